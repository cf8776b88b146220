//! Counts per destination, of so many destinations.

use super::Destination;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

/// Destinations told apart.
const DESTINATIONS: usize = 1024;

/// One destination's number, as it is printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub protocol: String,
    pub address: IpAddr,
    /// None where the protocol has none.
    pub port: Option<u16>,
    pub count: u64,
    /// How it was connected, or why it was refused the last time.
    pub detail: String,
    /// As people read it.
    shown: String,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)?;
        if self.count > 1 { write!(f, " ×{}", self.count) } else { Ok(()) }
    }
}

#[derive(Debug, Default)]
pub(super) struct Table {
    entries: HashMap<Destination, (u64, String)>,
    elsewhere: u64,
}

impl Table {
    pub(super) fn add(&mut self, to: Destination, detail: &str, count: u64) {
        if let Some((total, last)) = self.entries.get_mut(&to) {
            *total = total.saturating_add(count);
            if last != detail {
                detail.clone_into(last);
            }
        } else if self.entries.len() < DESTINATIONS {
            self.entries.insert(to, (count, detail.to_owned()));
        } else {
            self.elsewhere = self.elsewhere.saturating_add(count);
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.entries.values().map(|(count, _)| *count).fold(self.elsewhere, u64::saturating_add)
    }

    pub(super) fn destinations(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn elsewhere(&self) -> u64 {
        self.elsewhere
    }

    /// The largest first; equal ones by destination.
    pub(super) fn largest(&self, most: usize) -> Vec<Tally> {
        let mut all: Vec<_> = self.entries.iter().collect();
        all.sort_by_key(|(to, (count, _))| (std::cmp::Reverse(*count), **to));
        all.truncate(most);
        all.into_iter().map(|(to, (count, detail))| tally(to, *count, detail)).collect()
    }
}

fn tally(to: &Destination, count: u64, detail: &str) -> Tally {
    let port = (to.port != 0).then_some(to.port);
    Tally {
        protocol: to.protocol(),
        address: to.address,
        port,
        count,
        detail: detail.to_owned(),
        shown: to.to_string(),
    }
}
