//! Images whose documents say what they like of each other.
#![no_main]

use bottle_fuzz::archive::open;
use bottle_fuzz::documents::{Document, archive_of};

libfuzzer_sys::fuzz_target!(|documents: Vec<Document>| {
    let _ = open(&archive_of(&documents));
});
