//! CRC-32C (Castagnoli), as EROFS and ext4 seal their metadata with it. Law: pure; no I/O.
//!
//! Both file systems feed a running value and store it *without* the final inversion of RFC 3720 §B.4, so this is the
//! bare register: start with `!0`, and invert only where a format asks for it.

/// The reflected Castagnoli polynomial.
const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0_u32; 256];
    let mut index = 0;
    let mut seed = 0_u32;
    while index < table.len() {
        let mut value = seed;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
        seed += 1;
    }
    table
}

/// `register` after `bytes` have gone through it.
pub(crate) fn crc32c(register: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(register, |crc, &byte| {
        let [low, ..] = crc.to_le_bytes();
        TABLE[usize::from(low ^ byte)] ^ (crc >> 8)
    })
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    #[test]
    fn check_value_of_the_rocksoft_catalogue() {
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
    }

    #[test]
    fn may_be_fed_in_pieces() {
        assert_eq!(crc32c(crc32c(!0, b"1234"), b"56789"), crc32c(!0, b"123456789"));
    }
}
