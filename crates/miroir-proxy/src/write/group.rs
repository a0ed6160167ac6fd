//! Which waiting requests of a lane go in one. Pure.
//!
//! While a lane is busy, additions gather behind it. Consecutive ones of one kind become one request to the node:
//! it makes fewer tasks, and the order of documents stays what it was.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use miroir_core::id::ShardId;

use super::prepare::Documents;
use super::queue::Ticket;

/// Settings of the index as some version has them.
#[derive(Debug, PartialEq)]
pub(super) struct SettingsVersion {
    /// The version; 0 means none.
    pub(super) version: u64,
    /// The body that brings a node to it from any other version.
    pub(super) full: serde_json::Value,
    /// The body that brings a node to it from the version before.
    pub(super) patch: Option<serde_json::Value>,
    /// Whether the index has embedders, so that a document can fail on a node by itself.
    pub(super) embedders: bool,
}

/// What a node is asked to do.
#[derive(Debug, Clone)]
pub(super) enum Body {
    /// Add the documents of the request's shards.
    Documents(Arc<Documents>),
    /// Delete by id: a JSON array.
    Ids(bytes::Bytes),
    /// Delete what matches: a filter with the shards in it.
    Filter(serde_json::Value),
    /// Take the request's settings.
    Settings,
}

/// A request that waits in a lane.
#[derive(Debug, Clone)]
pub(super) struct NodeRequest {
    /// The operation; 0 for settings that no client waits for.
    pub(super) ticket: Ticket,
    /// Which of the operation's dispatches it belongs to.
    pub(super) chunk: usize,
    /// The shards it is about.
    pub(super) shards: BTreeSet<ShardId>,
    /// Whether what the node counts is counted.
    pub(super) counts: bool,
    /// What to do.
    pub(super) body: Body,
    /// The size of the body, in bytes.
    pub(super) bytes: usize,
    /// What the node's settings must be before.
    pub(super) settings: Arc<SettingsVersion>,
}

/// Requests and bytes that go in one at most: one lost answer puts no more than these in doubt.
const REQUESTS_MAX: usize = 64;
const BYTES_MAX: usize = 8 << 20;

/// Takes the requests that go next, at least one if any waits.
pub(super) fn take(waiting: &mut VecDeque<NodeRequest>) -> Vec<NodeRequest> {
    let mut group: Vec<NodeRequest> = waiting.pop_front().into_iter().collect();
    let mut bytes = group.iter().map(|request| request.bytes).sum::<usize>();
    while let (Some(first), Some(next)) = (group.first(), waiting.front()) {
        bytes = bytes.saturating_add(next.bytes);
        if group.len() >= REQUESTS_MAX || bytes > BYTES_MAX || !go_together(first, next) {
            break;
        }
        group.extend(waiting.pop_front());
    }
    group
}

fn go_together(first: &NodeRequest, next: &NodeRequest) -> bool {
    let (Body::Documents(a), Body::Documents(b)) = (&first.body, &next.body) else {
        return false;
    };
    a.may_be_grouped
        && b.may_be_grouped
        && a.mode == b.mode
        && a.primary_key == b.primary_key
        && !first.settings.embedders
        && first.settings.version == next.settings.version
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::request::Mode;
    use miroir_core::document::{Batch, ContentType, Split};
    use serde_json::Value;

    fn settings(version: u64, embedders: bool) -> Arc<SettingsVersion> {
        Arc::new(SettingsVersion {
            version,
            full: Value::Null,
            patch: None,
            embedders,
        })
    }

    fn request(body: Body) -> NodeRequest {
        let settings = settings(1, false);
        NodeRequest {
            ticket: 0,
            chunk: 0,
            shards: BTreeSet::new(),
            counts: false,
            body,
            bytes: 10,
            settings,
        }
    }

    fn documents(mode: Mode, key: &str, may_be_grouped: bool) -> NodeRequest {
        let batch = Batch::parse(b"[]", ContentType::Json).expect("JSON");
        let split = Split::new(&batch, key, 1).expect("empty");
        let primary_key = key.to_owned();
        let documents = Documents {
            split,
            mode,
            primary_key,
            skip_creation: false,
            may_be_grouped,
        };
        request(Body::Documents(Arc::new(documents)))
    }

    fn sizes(requests: Vec<NodeRequest>) -> Vec<usize> {
        let mut waiting = VecDeque::from(requests);
        std::iter::from_fn(|| Some(take(&mut waiting).len()).filter(|size| *size > 0)).collect()
    }

    #[test]
    fn only_additions_of_one_kind_share_a_request() {
        let plain = || documents(Mode::Replace, "id", true);
        let ids = || request(Body::Ids(bytes::Bytes::new()));
        let newer = || NodeRequest {
            settings: settings(2, false),
            ..plain()
        };
        let embedded = || NodeRequest {
            settings: settings(1, true),
            ..plain()
        };
        let large = || NodeRequest {
            bytes: BYTES_MAX / 2,
            ..plain()
        };
        let table = [
            (vec![], vec![]),
            (vec![plain(), plain(), plain()], vec![3]),
            (vec![plain(), ids(), plain(), plain()], vec![1, 1, 2]),
            (vec![ids(), ids()], vec![1, 1]),
            (
                vec![plain(), documents(Mode::Update, "id", true), plain()],
                vec![1, 1, 1],
            ),
            (
                vec![plain(), documents(Mode::Replace, "sku", true)],
                vec![1, 1],
            ),
            (
                vec![plain(), documents(Mode::Replace, "id", false), plain()],
                vec![1, 1, 1],
            ),
            (vec![plain(), newer(), newer()], vec![1, 2]),
            (vec![embedded(), embedded()], vec![1, 1]),
            (vec![request(Body::Settings), plain()], vec![1, 1]),
            (vec![large(), large(), large()], vec![2, 1]),
            (
                (0..100).map(|_| plain()).collect(),
                vec![REQUESTS_MAX, 100 - REQUESTS_MAX],
            ),
        ];
        for (requests, expected) in table {
            let shown = format!("{requests:?}");
            assert_eq!(sizes(requests), expected, "{shown}");
        }
    }
}
