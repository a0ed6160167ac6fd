//! Which of several copies of a shard are wrong, when they differ.
//!
//! The rule, for every document in which copies differ: what most copies hold is right, "no such document" being one
//! of the things that a copy may hold; where two hold the majority's place, what the earlier copy in order of
//! placement holds. So of two copies that differ the first choice is right. A copy is odd when it is wrong in any
//! document. When no copy is right in all of them, nothing is decided: every copy then holds something that no other
//! may be rebuilt without losing.

use std::collections::{BTreeMap, BTreeSet};

/// What the copies hold of one document, in order of placement: a digest of its content, or nothing.
pub type Holdings = Vec<Option<u64>>;

/// What a comparison of all copies of a shard means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// They are equal.
    Equal,
    /// These copies are wrong, by their position in order of placement; the others are right in everything.
    Odd(BTreeSet<usize>),
    /// No copy is right in everything.
    Undecided,
}

/// The verdict on `copies` copies that differ in some documents.
#[must_use]
pub fn judge<'a>(copies: usize, differing: impl IntoIterator<Item = &'a Holdings>) -> Verdict {
    let mut odd = BTreeSet::new();
    for holdings in differing {
        let right = right_of(holdings);
        let wrong = holdings
            .iter()
            .enumerate()
            .filter(|(_, held)| **held != right);
        odd.extend(wrong.map(|(copy, _)| copy));
    }
    match odd.len() {
        0 => Verdict::Equal,
        some if some < copies => Verdict::Odd(odd),
        _ => Verdict::Undecided,
    }
}

/// What is right of one document.
fn right_of(holdings: &Holdings) -> Option<u64> {
    let mut votes: BTreeMap<Option<u64>, usize> = BTreeMap::new();
    for held in holdings {
        *votes.entry(*held).or_default() += 1;
    }
    let most = votes.values().copied().max().unwrap_or(0);
    let first = holdings
        .iter()
        .find(|held| votes.get(held).is_some_and(|count| *count == most));
    first.copied().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_majority_is_right_and_of_two_the_first() {
        let odd = |copies: &[usize]| Verdict::Odd(copies.iter().copied().collect());
        // What each copy holds of each document (0 is nothing), and the verdict.
        let table: [(usize, &[&[u64]], Verdict); 12] = [
            (2, &[], Verdict::Equal),
            (3, &[&[5, 5, 5]], Verdict::Equal),
            (2, &[&[1, 2]], odd(&[1])),
            (2, &[&[1, 0]], odd(&[1])),
            (2, &[&[0, 1]], odd(&[1])),
            (3, &[&[2, 1, 1]], odd(&[0])),
            (3, &[&[0, 1, 1]], odd(&[0])),
            (3, &[&[1, 0, 0]], odd(&[0])),
            (3, &[&[1, 2, 3]], odd(&[1, 2])),
            (4, &[&[2, 1, 1, 2]], odd(&[1, 2])),
            (3, &[&[1, 2, 1], &[7, 7, 8]], odd(&[1, 2])),
            (3, &[&[2, 1, 1], &[7, 8, 7], &[3, 3, 4]], Verdict::Undecided),
        ];
        for (copies, documents, expected) in table {
            let held = |digest: &u64| (*digest > 0).then_some(*digest);
            let documents: Vec<Holdings> = documents
                .iter()
                .map(|one| one.iter().map(held).collect())
                .collect();
            assert_eq!(judge(copies, &documents), expected, "{documents:?}");
        }
    }

    #[test]
    fn some_copy_always_stays() {
        for a in 0..3_u64 {
            for b in 0..3 {
                for c in 0..3 {
                    let held = |digest: u64| (digest > 0).then_some(digest);
                    let one: Holdings = [a, b, c].map(held).to_vec();
                    if let Verdict::Odd(odd) = judge(3, [&one]) {
                        assert!(odd.len() < 3, "{one:?}");
                    }
                }
            }
        }
    }
}
