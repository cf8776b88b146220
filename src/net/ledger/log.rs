//! `--egress-log`: a JSON line per burst of connections or refusals to one destination: the first at once, then how many more there were.
//! No payload is in it.
//!
//! A guest can make as many of both as it likes; so lines come at a bounded rate, what is left out is counted and told, and the file
//! has a size that it does not grow beyond. Connections have as many lines as the usual pace has connections: none of them hides another.

use super::Destination;
use crate::net::broker::Pace;
use crate::net::rate::Rate;
use nix::fcntl::OFlag;
use serde::Serialize;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What happens to one destination within this time is one line more.
const BURST: Duration = Duration::from_secs(10);
/// Destinations whose bursts are followed at a time.
const BURSTS: usize = 1024;
/// Of refusals, and of failures.
const LINES: Pace = Pace { a_second: 100, at_once: 1000 };
/// What one bottle adds at most, of refusals, of failures and of connections.
const BYTES_MAX: u64 = 32 << 20;

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("cannot open the egress log {}", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the egress log {} is no regular file", path.display())]
    NoFile { path: PathBuf },
    #[error("the egress log {} can be read or written by others (mode {mode:o})", path.display())]
    Shared { path: PathBuf, mode: u32 },
}

impl LogError {
    /// The way out.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Shared { path, .. } => Some(format!("`chmod 600 {}`, or another file", path.display())),
            Self::NoFile { .. } => Some("give the path of a file, which may be there or not".to_owned()),
            Self::Open { .. } => {
                Some("give the path of a file in a directory that is there and that you may write to".to_owned())
            }
        }
    }
}

/// An open log.
#[derive(Debug)]
pub struct EgressLog {
    file: File,
    /// Each has lines of its own: a guest must not be able to hide what it tried behind what it may do, nor where it was behind either.
    refusals: Share,
    failures: Share,
    connections: Share,
}

/// A part of the log that is bounded by itself.
#[derive(Debug)]
struct Share {
    name: &'static str,
    lines: Rate,
    bytes_left: u64,
    left_out: u64,
    unwritten: u64,
    /// The last line was cut short: the next one begins with its end.
    torn: bool,
    bursts: HashMap<(&'static str, Destination), Pending>,
    swept: Instant,
}

/// What is not told yet.
#[derive(Debug)]
struct Pending {
    reason: String,
    since: Instant,
    count: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    unix_ms: u64,
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    count: u64,
}

impl EgressLog {
    /// Appends to a file that only its owner can read; makes it, mode 0600, if it is missing.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let failed = |source| LogError::Open { path: path.to_owned(), source };
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600).custom_flags(flags.bits());
        let file = options.open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let mode = metadata.mode() & 0o7777;
        if !metadata.is_file() {
            return Err(LogError::NoFile { path: path.to_owned() });
        }
        if mode & 0o077 != 0 {
            return Err(LogError::Shared { path: path.to_owned(), mode });
        }
        Ok(Self::to_file(file, Instant::now()))
    }

    fn to_file(file: File, now: Instant) -> Self {
        let share = |name, lines| Share::new(name, lines, now);
        Self {
            file,
            refusals: share("refusals", LINES),
            failures: share("failures", LINES),
            connections: share("connections", Pace::USUAL),
        }
    }

    pub(super) fn connected(&mut self, to: Destination, how: &str, now: Instant) {
        self.connections.burst(&self.file, "connected", to, how, 1, now);
    }

    /// Not allowed. The first of a burst is told at once, the others when it is over.
    pub(super) fn refused(&mut self, to: Destination, reason: &str, count: u64, now: Instant) {
        self.refusals.burst(&self.file, "refused", to, reason, count, now);
    }

    /// Allowed, and come to nothing; told as refusals are.
    pub(super) fn failed(&mut self, event: &'static str, to: Destination, reason: &str, count: u64, now: Instant) {
        self.failures.burst(&self.file, event, to, reason, count, now);
    }

    pub(super) fn catch_up(&mut self, now: Instant) {
        for share in [&mut self.connections, &mut self.failures, &mut self.refusals] {
            share.sweep(&self.file, now);
        }
    }

    /// What is not in the file because it could not be written, a full disk for one.
    pub(super) fn unwritten(&self) -> u64 {
        [&self.connections, &self.failures, &self.refusals].map(|share| share.unwritten).iter().sum()
    }

    pub(super) fn finish(&mut self, now: Instant) {
        for share in [&mut self.connections, &mut self.failures, &mut self.refusals] {
            share.finish(&self.file, now);
        }
    }
}

impl Share {
    fn new(name: &'static str, lines: Pace, now: Instant) -> Self {
        let lines = Rate::new(lines.a_second, lines.at_once, now);
        Self {
            name,
            lines,
            bytes_left: BYTES_MAX,
            left_out: 0,
            unwritten: 0,
            torn: false,
            bursts: HashMap::new(),
            swept: now,
        }
    }

    fn burst(&mut self, file: &File, event: &'static str, to: Destination, reason: &str, count: u64, now: Instant) {
        if let Some(burst) = self.bursts.get_mut(&(event, to)) {
            burst.count = burst.count.saturating_add(count);
            if now.saturating_duration_since(burst.since) < BURST {
                return;
            }
            let count = std::mem::take(&mut burst.count);
            burst.since = now;
            self.tell(file, event, Some(to), Some(reason), count, now);
            return;
        }
        if self.bursts.len() < BURSTS || self.sweep(file, now) {
            self.bursts.insert((event, to), Pending { reason: reason.to_owned(), since: now, count: 0 });
        }
        self.tell(file, event, Some(to), Some(reason), count, now);
    }

    /// Ends the bursts that are over, at most once a second; whether there is room now.
    fn sweep(&mut self, file: &File, now: Instant) -> bool {
        if now.saturating_duration_since(self.swept) < Duration::from_secs(1) {
            return false;
        }
        self.swept = now;
        self.end_bursts(file, BURST, now);
        self.bursts.len() < BURSTS
    }

    fn end_bursts(&mut self, file: &File, older: Duration, now: Instant) {
        let over = |_: &(&str, Destination), burst: &mut Pending| now.saturating_duration_since(burst.since) >= older;
        let mut ended: Vec<_> = self.bursts.extract_if(over).collect();
        ended.sort_by_key(|(key, _)| *key);
        for ((event, to), burst) in ended.into_iter().filter(|(_, burst)| burst.count > 0) {
            self.tell(file, event, Some(to), Some(&burst.reason), burst.count, now);
        }
    }

    fn finish(&mut self, file: &File, now: Instant) {
        self.end_bursts(file, Duration::ZERO, now);
        if self.left_out > 0 {
            let left_out = std::mem::take(&mut self.left_out);
            self.write(file, "left out", None, Some(self.name), left_out);
        }
    }

    fn tell(
        &mut self,
        file: &File,
        event: &str,
        to: Option<Destination>,
        detail: Option<&str>,
        count: u64,
        now: Instant,
    ) {
        if !self.lines.take(now) {
            self.left_out = self.left_out.saturating_add(count);
            return;
        }
        self.write(file, event, to, detail, count);
    }

    fn write(&mut self, mut file: &File, event: &str, to: Option<Destination>, detail: Option<&str>, count: u64) {
        let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis());
        let line = Line {
            unix_ms: u64::try_from(unix_ms).unwrap_or(u64::MAX),
            event,
            protocol: to.map(|to| to.protocol()),
            address: to.map(|to| to.address),
            port: to.map(|to| to.port).filter(|port| *port != 0),
            detail,
            count,
        };
        let mut bytes = if self.torn { b"\n".to_vec() } else { Vec::new() };
        if serde_json::to_writer(&mut bytes, &line).is_err() {
            return;
        }
        bytes.push(b'\n');
        if let Some(left) = self.bytes_left.checked_sub(bytes.len() as u64) {
            self.bytes_left = left;
            // One write, so that bottles that share a file do not mix their lines. A full disk must not end a bottle: the counts go on.
            match file.write(&bytes) {
                Ok(written) if written == bytes.len() => return self.torn = false,
                Ok(written) => self.torn |= written > 0,
                Err(_) => {}
            }
            self.unwritten = self.unwritten.saturating_add(count);
        }
        self.left_out = self.left_out.saturating_add(count);
    }
}

#[cfg(test)]
#[path = "log_test.rs"]
mod tests;
