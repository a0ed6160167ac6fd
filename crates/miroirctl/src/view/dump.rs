//! What a dump of the whole cluster holds.

use miroir_core::dump::Manifest;
use serde::Serialize;

use crate::output::View;
use crate::table;

/// A dump with its manifest.
#[derive(Debug, Clone, Serialize)]
pub struct DumpShown {
    status: String,
    manifest: Manifest,
}

impl DumpShown {
    /// The dump of a task in that state.
    #[must_use]
    pub fn new(status: String, manifest: Manifest) -> Self {
        Self { status, manifest }
    }
}

impl View for DumpShown {
    fn table(&self) -> String {
        let manifest = &self.manifest;
        let about = table::pairs([
            ("task", manifest.task_uid.to_string()),
            ("status", self.status.clone()),
            ("indexes", manifest.indexes.len().to_string()),
        ]);
        let row = |(id, node): (&miroir_core::id::NodeId, &miroir_core::dump::ManifestNode)| {
            let file = node.dump_uid.as_ref().map(|uid| format!("{uid}.dump"));
            vec![id.to_string(), node.url.clone(), table::opt(file)]
        };
        let rows = manifest.nodes.iter().map(row).collect();
        let nodes = table::list(
            &["NODE", "URL", "FILE IN ITS DUMP DIRECTORY"],
            rows,
            "no nodes",
        );
        format!("{about}\n\n{nodes}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_a_line_with_its_file() {
        let manifest = serde_json::json!({
            "clusterId": "c", "taskUid": 7, "epoch": 3, "indexes": [],
            "nodes": {"1": {"url": "http://a:1", "nodeTask": 4, "dumpUid": "2026"},
                      "12": {"url": "http://b:1", "nodeTask": 5, "dumpUid": null}},
        });
        let manifest = serde_json::from_value(manifest).expect("a manifest");
        let shown = DumpShown::new("succeeded".to_owned(), manifest).table();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "task     7");
        assert_eq!(lines[5], "1     http://a:1  2026.dump");
        assert_eq!(lines[6], "12    http://b:1  -");
    }
}
