//! What to make of documents that differ while clients write: they are looked at again.
//!
//! All copies get the same writes in the same order, so what differs only because one is ahead becomes equal. What
//! stays different and stands still is different. What changes with every look is written without pause, and cannot
//! be judged by looking.

use std::collections::{BTreeMap, BTreeSet};

use miroir_core::verdict::Holdings;

use super::digest::Digests;

/// What differs in the end.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Documents that stand still, with what each copy holds.
    pub(super) still: BTreeMap<String, Holdings>,
    /// Documents that change.
    pub(super) restless: BTreeSet<String>,
}

/// The latest looks at what differs.
#[derive(Debug)]
pub(super) struct Looks {
    /// Looks in a row through which a document must not change to stand still.
    enough: usize,
    /// By id: what was held at the last look, and for how many looks.
    held: BTreeMap<String, (Holdings, usize)>,
}

impl Looks {
    pub(super) fn new(enough: usize) -> Self {
        Self {
            enough,
            held: BTreeMap::new(),
        }
    }

    /// Takes note of what differs at one more look.
    pub(super) fn note(&mut self, suspects: &BTreeMap<String, Holdings>) {
        let before = std::mem::take(&mut self.held);
        for (id, now) in suspects {
            let looks = match before.get(id) {
                Some((held, looks)) if held == now => looks + 1,
                Some(_) | None => 1,
            };
            self.held.insert(id.clone(), (now.clone(), looks));
        }
    }

    /// What the looks have shown of what still differs.
    pub(super) fn conclude(&self, suspects: BTreeMap<String, Holdings>) -> Found {
        let mut found = Found::default();
        for (id, holdings) in suspects {
            let looks = self.held.get(&id).map_or(0, |(_, looks)| *looks);
            if looks >= self.enough {
                found.still.insert(id, holdings);
            } else {
                found.restless.insert(id);
            }
        }
        found
    }
}

/// The documents in which copies differ, with what each holds.
pub(super) fn differing(all: &[Digests]) -> BTreeMap<String, Holdings> {
    let ids: BTreeSet<&String> = all.iter().flat_map(Digests::keys).collect();
    let held = |id: &String| -> Holdings { all.iter().map(|copy| copy.get(id).copied()).collect() };
    ids.into_iter()
        .map(|id| (id.clone(), held(id)))
        .filter(|(_, held)| held.windows(2).any(|pair| pair[0] != pair[1]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(pairs: &[(&str, u64)]) -> Digests {
        let own = |(id, digest): &(&str, u64)| ((*id).to_owned(), *digest);
        pairs.iter().map(own).collect()
    }

    #[test]
    fn documents_differ_when_any_copy_holds_another_or_none() {
        let all = [
            digests(&[("same", 1), ("other", 2), ("lacking", 3)]),
            digests(&[("same", 1), ("other", 2)]),
            digests(&[("same", 1), ("other", 9), ("lacking", 3)]),
        ];
        let found = differing(&all);
        assert_eq!(
            found,
            BTreeMap::from([
                ("lacking".to_owned(), vec![Some(3), None, Some(3)]),
                ("other".to_owned(), vec![Some(2), Some(2), Some(9)]),
            ])
        );
        assert!(differing(&all[..1]).is_empty());
    }

    #[test]
    fn what_changes_between_looks_is_not_called_different() {
        let still = ("still".to_owned(), vec![Some(1), Some(2)]);
        let mut looks = Looks::new(4);
        let mut suspects = BTreeMap::new();
        for look in 0..6_u64 {
            let busy = ("busy".to_owned(), vec![Some(10 + look), Some(9 + look)]);
            suspects = BTreeMap::from([still.clone(), busy]);
            looks.note(&suspects);
        }
        let found = looks.conclude(suspects);
        assert_eq!(found.still, BTreeMap::from([still]));
        assert_eq!(found.restless, BTreeSet::from(["busy".to_owned()]));
    }

    #[test]
    fn too_few_looks_decide_nothing() {
        let suspects = BTreeMap::from([("x".to_owned(), vec![Some(1), None])]);
        let mut looks = Looks::new(4);
        for _ in 1..4 {
            looks.note(&suspects);
        }
        assert_eq!(looks.conclude(suspects).restless.len(), 1);
    }
}
