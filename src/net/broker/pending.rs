//! Connections that wait for somebody to answer: how many, and for whom.

use std::collections::HashMap;
use std::net::IpAddr;

/// Bounded by who asks [`Pending::has_room`] first.
#[derive(Debug, Default)]
pub(super) struct Pending {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Pending {
    /// Whether one more may wait for `address`, of `most` in all and `most_of_one` for each: a host that never answers has as many ports
    /// as it likes, and leaves room for others.
    pub(super) fn has_room(&self, address: IpAddr, most: usize, most_of_one: usize) -> bool {
        self.total < most && self.by_address.get(&address).is_none_or(|count| *count < most_of_one)
    }

    pub(super) fn begin(&mut self, address: IpAddr) {
        self.total += 1;
        *self.by_address.entry(address).or_default() += 1;
    }

    pub(super) fn end(&mut self, address: IpAddr) {
        let Some(count) = self.by_address.get_mut(&address) else { return };
        self.total = self.total.saturating_sub(1);
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.by_address.remove(&address);
        }
    }
}
