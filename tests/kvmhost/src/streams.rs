//! Bytes between the caller and the job: each output stream ends with a mark that no program can know beforehand, so
//! that "all of it has arrived" is seen in the stream itself and does not depend on how fast it is read.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read, Write};

/// A run that captures more is a mistake of the test, and must not take the machine's memory.
const MAX_CAPTURED_BYTES: usize = 256 << 20;

/// What closes an output stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EndMark(String);

impl EndMark {
    pub(crate) fn random() -> EndMark {
        // The standard library's only source of randomness: fresh SipHash keys from the system.
        let word = || RandomState::new().build_hasher().finish();
        EndMark(format!("kvmhost-end-{:016x}{:016x}", word(), word()))
    }
}

impl fmt::Display for EndMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a stream of the job goes.
pub enum Sink {
    Capture,
    Writer(Box<dyn Write + Send>),
}

/// How a stream ended.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// With its mark: all of it is here. The bytes are those captured.
    Whole(Vec<u8>),
    /// Without: the machine ended first.
    Cut(Vec<u8>),
    /// What it went to takes no more.
    Refused(io::Error),
}

/// Copies the stream as it comes, and ends with it.
pub(crate) fn carry(mut from: impl Read, end: &EndMark, sink: Sink) -> Arrival {
    let mut captured = Vec::new();
    let mut writer = match sink {
        Sink::Capture => None,
        Sink::Writer(writer) => Some(writer),
    };
    let mut take = |bytes: &[u8]| match &mut writer {
        Some(writer) => writer.write_all(bytes).and_then(|()| writer.flush()),
        None if captured.len() + bytes.len() > MAX_CAPTURED_BYTES => Err(io::ErrorKind::FileTooLarge.into()),
        None => {
            captured.extend_from_slice(bytes);
            Ok(())
        }
    };
    match copy_to_mark(&mut from, end.0.as_bytes(), &mut take) {
        Ok(true) => Arrival::Whole(captured),
        Ok(false) => Arrival::Cut(captured),
        Err(error) => Arrival::Refused(error),
    }
}

/// Hands on everything before the mark; false if the stream ended without one. Nothing is held back but a possible
/// beginning of the mark.
fn copy_to_mark(from: &mut impl Read, mark: &[u8], take: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<bool> {
    let mut buffer = vec![0; 64 << 10];
    let mut pending = Vec::with_capacity(buffer.len() + mark.len());
    loop {
        let count = match from.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // QEMU ended with bytes of ours unread: for a reader that is an end like any other.
            Err(_) => 0,
        };
        pending.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if let Some(last) = pending.strip_suffix(mark) {
            return take(last).map(|()| true);
        }
        if count == 0 {
            return take(&pending).map(|()| false);
        }
        let held = begun(&pending, mark);
        let ready = pending.len() - held;
        if ready > 0 {
            take(pending.get(..ready).unwrap_or_default())?;
            pending.drain(..ready);
        }
    }
}

/// How many of the last bytes may be the beginning of the mark.
fn begun(bytes: &[u8], mark: &[u8]) -> usize {
    let longest = bytes.len().min(mark.len().saturating_sub(1));
    (1..=longest).rev().find(|&count| mark.get(..count).is_some_and(|start| bytes.ends_with(start))).unwrap_or(0)
}

#[cfg(test)]
#[path = "streams_test.rs"]
mod tests;
