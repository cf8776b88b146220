//! A token bucket: how much of a rate may be used now.

use std::time::Duration;

/// What a silence saves up for a burst.
const BURST: Duration = Duration::from_millis(100);
/// However low the rate, a burst is a packet or two.
const BURST_MIN: u64 = 128 << 10;

/// May go into debt, by the packet that was let through last: the rate is kept on average.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// Bytes per second, not 0.
    rate: u64,
    /// Bytes; negative is debt.
    level: i64,
    filled: Duration,
}

impl Bucket {
    /// `rate` in bytes per second; 0 is taken as 1.
    #[must_use]
    pub fn new(rate: u64, now: Duration) -> Self {
        let mut bucket = Self { rate: rate.max(1), level: 0, filled: now };
        bucket.level = bucket.burst();
        bucket
    }

    fn burst(&self) -> i64 {
        i64::try_from(bytes(self.rate, BURST).max(BURST_MIN)).unwrap_or(i64::MAX)
    }

    /// Whether something may pass now; otherwise the time after which to ask again.
    pub fn allows(&mut self, now: Duration) -> Result<(), Duration> {
        let earned = bytes(self.rate, now.saturating_sub(self.filled));
        if earned > 0 {
            self.filled = now;
            self.level = self.level.saturating_add(i64::try_from(earned).unwrap_or(i64::MAX)).min(self.burst());
        }
        if self.level > 0 {
            return Ok(());
        }
        let missing = u128::from(self.level.unsigned_abs()) + 1;
        let wait = missing.saturating_mul(1_000_000_000).div_ceil(self.rate.into());
        Err(Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)))
    }

    pub fn spend(&mut self, bytes: usize) {
        self.level = self.level.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

fn bytes(rate: u64, time: Duration) -> u64 {
    u64::try_from(u128::from(rate).saturating_mul(time.as_nanos()) / 1_000_000_000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_whatever_the_size_of_packets() {
        for (rate, packet) in [(1_000, 1), (1_000_000, 1_500), (10_000_000, 65_000), (50, 65_000)] {
            let mut bucket = Bucket::new(rate, Duration::ZERO);
            let (mut now, mut sent) = (Duration::ZERO, 0u64);
            let end = Duration::from_secs(20_000);
            while now < end && sent < 100_000_000 {
                match bucket.allows(now) {
                    Ok(()) => {
                        bucket.spend(packet);
                        sent += packet as u64;
                    }
                    Err(wait) => now += wait,
                }
            }
            let most = bytes(rate, now) + BURST_MIN.max(bytes(rate, BURST)) + packet as u64;
            assert!(sent <= most, "{rate}: {sent} > {most}");
            assert!(sent + 2 * packet as u64 >= bytes(rate, now), "{rate}: {sent} in {now:?}");
        }
    }

    #[test]
    fn a_silence_saves_up_no_more_than_a_burst() {
        let mut bucket = Bucket::new(1 << 20, Duration::ZERO);
        bucket.allows(Duration::from_secs(1_000_000)).unwrap();
        bucket.spend(128 << 10);
        assert!(bucket.allows(Duration::from_secs(1_000_000)).is_err());
    }
}
