//! Listing documents over several nodes.
//!
//! A list has no order that clients could rely on, so it is the nodes' lists one after the
//! other. Their totals tell which part of each is wanted.

use serde_json::value::RawValue;

use super::answer::MergeError;
use crate::hidden_field::strip_document;
use crate::raw_json;

/// Which part of one node's list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Documents of the node to skip.
    pub offset: u64,
    /// Documents of the node to return.
    pub limit: u64,
}

/// The part wanted from each node, in the nodes' fixed order, for `limit` documents after
/// `offset`. `totals` are the documents that match on each node. `None` for a node that need
/// not be asked.
#[must_use]
pub fn windows(totals: &[u64], offset: u64, limit: u64) -> Vec<Option<Window>> {
    let (mut skip, mut left) = (offset, limit);
    totals
        .iter()
        .map(|&total| {
            let offset = skip.min(total);
            let limit = left.min(total - offset);
            skip -= offset;
            left -= limit;
            (limit > 0).then_some(Window { offset, limit })
        })
        .collect()
}

/// The client's page from the nodes' pages, in the nodes' fixed order. `total` is the sum of
/// the nodes' totals.
///
/// # Errors
/// When a page is not a list of documents.
pub fn merge_documents(
    pages: &[&[u8]],
    offset: u64,
    limit: u64,
    total: u64,
) -> Result<String, MergeError> {
    let mut results = Vec::new();
    for (position, page) in pages.iter().enumerate() {
        let documents = read_results(page).map_err(|error| MergeError::Unreadable {
            position,
            detail: error.to_string(),
        })?;
        results.extend(
            documents
                .iter()
                .map(|raw| strip_document(raw.get()).into_owned()),
        );
    }
    let results = results.join(",");
    Ok(format!(
        r#"{{"results":[{results}],"offset":{offset},"limit":{limit},"total":{total}}}"#
    ))
}

/// The documents of a node's page.
pub(super) fn read_results(page: &[u8]) -> Result<Vec<&RawValue>, serde_json::Error> {
    let page: &RawValue = serde_json::from_slice(page)?;
    let members = raw_json::members(page.get())?;
    let results = members.iter().find(|(name, _)| name == "results");
    serde_json::from_str(results.map_or("null", |(_, value)| value.get()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pages_are_joined_and_stripped() {
        let pages: [&[u8]; 2] = [
            br#"{"results":[{"_miroir_shard":"x","id":1.10}],"offset":0,"limit":1,"total":1}"#,
            br#"{"results":[{"id":2,"_miroir_shard":"x"}],"offset":0,"limit":1,"total":4}"#,
        ];
        assert_eq!(
            merge_documents(&pages, 0, 2, 5).as_deref(),
            Ok(r#"{"results":[{"id":1.10},{"id":2}],"offset":0,"limit":2,"total":5}"#)
        );
        let error =
            merge_documents(&[b"{\"results\":[]}", b"{}"], 0, 2, 5).expect_err("no results");
        assert!(
            error
                .to_string()
                .starts_with("answer 1 of the merge is unreadable"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn windows_cut_the_concatenation(
            totals in proptest::collection::vec(0_u64..9, 0..6),
            offset in 0_u64..40,
            limit in 0_u64..40,
        ) {
            let all: Vec<(usize, u64)> = totals
                .iter()
                .enumerate()
                .flat_map(|(node, total)| (0..*total).map(move |at| (node, at)))
                .collect();
            let wanted: Vec<_> = all.into_iter().skip(offset as usize).take(limit as usize).collect();
            let got: Vec<_> = windows(&totals, offset, limit)
                .into_iter()
                .enumerate()
                .filter_map(|(node, window)| window.map(|w| (node, w)))
                .flat_map(|(node, w)| (w.offset..w.offset + w.limit).map(move |at| (node, at)))
                .collect();
            prop_assert_eq!(got, wanted);
        }
    }
}
