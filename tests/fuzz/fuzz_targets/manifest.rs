//! Any bytes as a manifest file, and as the front matter of one: a repository's agents are somebody else's files.
#![no_main]

use bottle_vmm::manifest::{AgentFile, BottleFile, Name};
use std::collections::BTreeSet;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let own = BTreeSet::from([Name::new("mine").expect("a name")]);
    let within = [b"---\n", bytes, b"\n---\nbody"].concat();
    for file in [bytes, &within] {
        for error in [BottleFile::parse(file, &own).err(), AgentFile::parse(file).err()].into_iter().flatten() {
            let lines = file.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 1;
            assert!((1..=lines + 1).contains(&error.at.line), "{error:?} is in no line of {lines}");
            let shown = format!("{}{:?}", error.fault, error.fault.hint());
            assert!(!shown.contains('\u{1b}'), "a terminal would act on this");
        }
    }
});
