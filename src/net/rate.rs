//! A token bucket. Law: pure; the time is the caller's.

use std::time::{Duration, Instant};

/// Lets `rate` things a second through, and as many at once as that is in a second, or `burst`.
#[derive(Clone, Debug)]
pub struct Rate {
    /// How long one thing takes to be earned.
    each: Duration,
    /// What can be saved up.
    most: Duration,
    /// The bucket is full from then on. In the past: it is full.
    full_at: Instant,
}

impl Rate {
    /// `rate` and `burst` are at least 1.
    #[must_use]
    pub fn new(rate: u32, burst: u32, now: Instant) -> Self {
        let each = Duration::from_secs(1) / rate.max(1);
        Self { each, most: each.saturating_mul(burst.max(1)), full_at: now }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let missing = self.full_at.saturating_duration_since(now) + self.each;
        if missing > self.most {
            return false;
        }
        self.full_at = now + missing;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_at_once_and_then_the_rate() {
        let begin = Instant::now();
        let mut rate = Rate::new(10, 5, begin);
        let taken =
            |rate: &mut Rate, at: u64| (0..100).filter(|_| rate.take(begin + Duration::from_millis(at))).count();
        assert_eq!(taken(&mut rate, 0), 5);
        assert_eq!(taken(&mut rate, 99), 0);
        assert_eq!(taken(&mut rate, 100), 1);
        assert_eq!(taken(&mut rate, 350), 2);
        assert_eq!(taken(&mut rate, 60_000), 5, "no more is saved up than a burst");
        assert_eq!(taken(&mut rate, 0), 0, "a clock that goes back gives nothing");
    }
}
