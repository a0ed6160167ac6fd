//! Delays between attempts that grow, with jitter.

use std::time::Duration;

use rand::Rng;

/// Doubling delays up to a bound. Kept until an attempt succeeds; then a new one is begun.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Delays from about `first` to about `longest`.
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// The next delay: from half of the nominal one up to the whole, so that many clients of a restarted
    /// server do not return together.
    pub(crate) fn next_delay(&mut self) -> Duration {
        let nominal = self.next;
        self.next = (nominal * 2).min(self.longest);
        nominal.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// Begins again after a success.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_bound() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(10), ms(35));
        for nominal in [10, 20, 35, 35] {
            let delay = backoff.next_delay();
            assert!(
                delay >= ms(nominal) / 2 && delay <= ms(nominal),
                "{delay:?} for {nominal}"
            );
        }
        backoff.reset();
        assert!(backoff.next_delay() <= ms(10));
    }
}
