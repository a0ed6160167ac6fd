//! Chance from a seed: the same seed makes the same corpus and the same queries everywhere.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A source of chance.
pub struct Dice(StdRng);

impl Dice {
    /// The same throws for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// A number below `end`, which is not zero.
    pub fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    /// True in `percent` of a hundred throws.
    pub fn percent(&mut self, percent: u32) -> bool {
        self.0.random_range(0..100) < percent
    }

    /// A number between 0 and 1.
    pub fn unit(&mut self) -> f64 {
        self.0.random_range(0.0..1.0)
    }

    /// One of several.
    pub fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// Some of several, at least one, none twice, in any order.
    pub fn some<T: Clone>(&mut self, of: &[T]) -> Vec<T> {
        let mut left = of.to_vec();
        let count = 1 + self.below(left.len().min(3));
        (0..count)
            .map(|_| left.swap_remove(self.below(left.len())))
            .collect()
    }
}
