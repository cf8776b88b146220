//! Any file as a kernel: ELF and bzImage.
#![no_main]

use std::io::Write as _;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut file = tempfile::NamedTempFile::new_in("/dev/shm").expect("room in memory");
    file.write_all(bytes).expect("room in memory");
    let _ = bottle_vmm::kernel::image::open(file.path());
});
