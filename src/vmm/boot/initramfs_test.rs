use super::*;
use std::io::Write as _;

fn ram(mib: usize) -> GuestRam {
    GuestRam::from_ranges(&[(GuestAddress(0), mib << 20)]).unwrap()
}

/// Name, mode, data.
type Entry = (String, u32, Vec<u8>);

/// A small newc reader: every entry up to the first trailer, and the bytes behind it.
fn unpack(mut bytes: &[u8]) -> (Vec<Entry>, Vec<u8>) {
    let mut entries = Vec::new();
    loop {
        assert_eq!(&bytes[..6], b"070701");
        let field =
            |n: usize| u32::from_str_radix(std::str::from_utf8(&bytes[6 + 8 * n..14 + 8 * n]).unwrap(), 16).unwrap();
        let (mode, size, name_length) = (field(1), field(6) as usize, field(11) as usize);
        let name = String::from_utf8(bytes[110..110 + name_length - 1].to_vec()).unwrap();
        let data_start = (110 + name_length).next_multiple_of(4);
        let data = bytes[data_start..data_start + size].to_vec();
        bytes = &bytes[(data_start + size).next_multiple_of(4)..];
        if name == "TRAILER!!!" {
            return (entries, bytes.to_vec());
        }
        entries.push((name, mode, data));
    }
}

#[test]
fn holds_the_agent_a_console_and_the_modules_behind() {
    for agent_length in [1, 2, 3, 4, 4097] {
        let ram = ram(4);
        let agent = vec![0x7f; agent_length];
        let mut modules = tempfile::tempfile().unwrap();
        modules.write_all(b"070701 the next archive").unwrap();
        let (start, length) = write(&ram, 0x10_0000, &agent, Some(&modules)).unwrap();
        assert_eq!(start.0 % PAGE, 0);
        assert!(start.0 + u64::from(length) <= 4 << 20);
        let mut bytes = vec![0; length as usize];
        ram.read_slice(&mut bytes, start).unwrap();
        let (entries, rest) = unpack(&bytes);
        let names: Vec<_> = entries.iter().map(|e| (e.0.as_str(), e.1)).collect();
        assert_eq!(names, [("dev", 0o040_755), ("dev/console", 0o020_600), ("init", 0o100_755)]);
        assert_eq!(entries[2].2, agent);
        assert_eq!(rest, b"070701 the next archive");
    }
}

#[test]
fn a_guest_too_small_for_kernel_and_initramfs_is_an_error_with_both_sizes() {
    let error = write(&ram(4), (4 << 20) - 4096, &[0; 8192], None).unwrap_err();
    assert_eq!(error.to_string(), "guest memory of 4 MiB is too small for the kernel and its initramfs of 8 KiB");
}
