//! Any file as an image.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = bottle_fuzz::archive::open(bytes);
});
