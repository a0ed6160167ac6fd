//! What a comparison of copies showed.

use miroir_proto::v1;
use serde::Serialize;

use crate::output::View;
use crate::table;

/// A comparison of all copies of an index.
#[derive(Debug, Clone, Serialize)]
pub struct Verification {
    index: String,
    shards: Vec<ShardVerdict>,
}

#[derive(Debug, Clone, Serialize)]
struct ShardVerdict {
    shard: u32,
    copies: Vec<u64>,
    documents: u64,
    differing: u64,
    ids: Vec<String>,
    restless: u64,
    odd: Vec<u64>,
    undecided: bool,
    repaired: bool,
    error: String,
}

impl Verification {
    /// The comparison of an index.
    #[must_use]
    pub fn new(index: &str, verdicts: Vec<v1::ShardVerdict>) -> Self {
        let shard = |one: v1::ShardVerdict| ShardVerdict {
            shard: one.shard,
            copies: one.copies,
            documents: one.documents,
            differing: one.differing,
            ids: one.ids,
            restless: one.restless,
            odd: one.odd,
            undecided: one.undecided,
            repaired: one.repaired,
            error: one.error,
        };
        Self {
            index: index.to_owned(),
            shards: verdicts.into_iter().map(shard).collect(),
        }
    }

    /// What is wrong, if anything is.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let count = |is: fn(&ShardVerdict) -> bool| self.shards.iter().filter(|s| is(s)).count();
        let differing = count(|shard| shard.differing > 0);
        let failed = count(|shard| shard.differing == 0 && !shard.error.is_empty());
        let all = self.shards.len();
        match (differing, failed) {
            (0, 0) => None,
            (0, failed) => Some(format!("{failed} of {all} shards could not be compared")),
            (differing, 0) => Some(format!("copies differ in {differing} of {all} shards")),
            (differing, failed) => Some(format!(
                "copies differ in {differing} of {all} shards, and {failed} could not be compared"
            )),
        }
    }
}

impl ShardVerdict {
    fn verdict(&self) -> String {
        let odd = || {
            let nodes: Vec<String> = self.odd.iter().map(ToString::to_string).collect();
            nodes.join(", ")
        };
        if !self.error.is_empty() {
            table::text(&self.error)
        } else if self.undecided {
            "no copy is right in everything".to_owned()
        } else if self.repaired {
            format!("out of use, to be rebuilt: {}", odd())
        } else if !self.odd.is_empty() {
            format!("wrong: {}", odd())
        } else if self.restless > 0 {
            format!("equal but for {} that are being written", self.restless)
        } else {
            "equal".to_owned()
        }
    }
}

impl View for Verification {
    fn table(&self) -> String {
        let row = |shard: &ShardVerdict| {
            let nodes: Vec<String> = shard.copies.iter().map(ToString::to_string).collect();
            let some: Vec<&str> = shard.ids.iter().take(3).map(String::as_str).collect();
            vec![
                shard.shard.to_string(),
                table::text(&nodes.join(",")),
                shard.documents.to_string(),
                shard.differing.to_string(),
                shard.verdict(),
                table::text(&some.join(", ")),
            ]
        };
        table::list(
            &[
                "SHARD",
                "NODES",
                "DOCUMENTS",
                "DIFFERING",
                "VERDICT",
                "SUCH AS",
            ],
            self.shards.iter().map(row).collect(),
            "no shards",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(shard: u32, odd: &[u64], error: &str) -> v1::ShardVerdict {
        v1::ShardVerdict {
            shard,
            copies: vec![1, 2],
            documents: 10,
            differing: odd.len() as u64,
            odd: odd.to_vec(),
            ids: odd.iter().map(|node| format!("d{node}")).collect(),
            error: error.to_owned(),
            ..v1::ShardVerdict::default()
        }
    }

    #[test]
    fn every_shard_is_a_line_and_what_is_wrong_is_counted() {
        let fine = Verification::new("books", vec![verdict(0, &[], "")]);
        assert_eq!(fine.complaint(), None);
        let all = vec![
            verdict(0, &[], ""),
            verdict(1, &[2], ""),
            verdict(2, &[], "node 1: down"),
        ];
        let found = Verification::new("books", all);
        let expected = "\
SHARD  NODES  DOCUMENTS  DIFFERING  VERDICT       SUCH AS
0      1,2    10         0          equal         -
1      1,2    10         1          wrong: 2      d2
2      1,2    10         0          node 1: down  -";
        assert_eq!(found.table(), expected);
        assert_eq!(
            found.complaint().as_deref(),
            Some("copies differ in 1 of 3 shards, and 1 could not be compared")
        );
    }
}
