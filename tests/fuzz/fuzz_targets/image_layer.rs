//! A layer of hostile entries with right checksums, inside an archive that is otherwise whole.
#![no_main]

use arbitrary::Arbitrary;

#[derive(Arbitrary, Debug)]
struct Entry {
    name: Vec<u8>,
    link: Vec<u8>,
    prefix: Vec<u8>,
    kind: u8,
    /// Mode, uid, gid, size, time: raw, or the truth for the size.
    numbers: [[u8; 8]; 3],
    size: Option<[u8; 12]>,
    gnu: bool,
    data: Vec<u8>,
}

/// Kinds that mean something: plain, links, devices, directories, pax, GNU long names, sparse files.
const KINDS: &[u8] = b"01234567gxLKSV\0";

impl Entry {
    fn write(&self, out: &mut Vec<u8>) {
        let mut header = [0u8; 512];
        let mut put = |at: usize, max: usize, bytes: &[u8]| {
            let bytes = &bytes[..bytes.len().min(max)];
            header[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(0, 100, &self.name);
        for (position, number) in self.numbers.iter().enumerate() {
            put(100 + 8 * position, 8, number);
        }
        put(124, 12, self.size.as_ref().map_or(format!("{:011o}", self.data.len()).as_bytes(), |size| size));
        put(156, 1, &[KINDS[usize::from(self.kind) % KINDS.len()]]);
        put(157, 100, &self.link);
        put(257, 8, if self.gnu { b"ustar  \0" } else { b"ustar\x0000" });
        put(345, 155, &self.prefix);
        put(148, 8, b"        ");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend(header);
        out.extend(&self.data);
        out.resize(out.len().next_multiple_of(512), 0);
    }
}

libfuzzer_sys::fuzz_target!(|entries: Vec<Entry>| {
    let mut layer = Vec::new();
    entries.iter().for_each(|entry| entry.write(&mut layer));
    layer.resize(layer.len() + 1024, 0);
    let _ = bottle_fuzz::archive::open(&bottle_fuzz::archive::of_layer(&layer));
});
