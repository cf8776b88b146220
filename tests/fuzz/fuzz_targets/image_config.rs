//! A hostile configuration: as a whole, and inside one that is otherwise right.
#![no_main]

use bottle_fuzz::archive::{configuration, of, open};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let layer = [0; 1024];
    let _ = open(&of(text.as_bytes(), &layer));
    let _ = open(&of(configuration(text, &layer).as_bytes(), &layer));
});
