//! Images whose documents say what they like of each other.
#![no_main]

use bottle_fuzz::archive::open_image;
use bottle_fuzz::documents::{Document, Word, archive_of};

libfuzzer_sys::fuzz_target!(|input: (Vec<Document>, Option<Word>)| {
    let (documents, name) = input;
    let _ = open_image(&archive_of(&documents), name.as_ref().and_then(Word::text));
});
