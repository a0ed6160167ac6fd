//! Why some routes of Meilisearch are refused.

/// How paths of routes begin that a cluster cannot offer, with the reason and what to do instead.
const REASONS: &[(&str, &str)] = &[
    (
        "/indexes/{uid}/documents/edit",
        "Every copy would run the function by itself, over what Miroir keeps in documents too, and copies could come to differ. Read the documents and write them back.",
    ),
    (
        "/export",
        "Every node would send only what it holds, with what Miroir keeps in documents. Read the documents and write them to the other server.",
    ),
    (
        "/tasks/compact",
        "A node that has compacted its task queue does nothing more until it is restarted. Have the nodes do it one after the other.",
    ),
    (
        "/tasks/{uid}/documents",
        "The documents of a task are on several nodes, with what Miroir keeps in them.",
    ),
    ("/network", NETWORK),
    ("/network/control", NETWORK),
    ("/logs/stream", LOGS),
    ("/logs/stderr", LOGS),
    (
        "/chats/{workspace}/chat/completions",
        "The node that answers would search only what it holds itself.",
    ),
];

const NETWORK: &str = "Which nodes there are, and what each of them holds, is for the coordinators to say. Ask them with miroirctl.";
const LOGS: &str =
    "Every process writes a log of its own. Ask the nodes, or read the logs where they run.";

/// Why the route at `path` is refused; nothing where it is only not offered yet.
#[must_use]
pub fn reason(path: &str) -> Option<&'static str> {
    let found = REASONS
        .iter()
        .find(|(beginning, _)| path.starts_with(beginning));
    found.map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::super::unsupported::ROUTES;
    use super::*;

    #[test]
    fn reasons_are_given_for_what_is_refused_only() {
        for (path, _) in REASONS {
            assert!(
                ROUTES
                    .iter()
                    .any(|(_, refused, _)| refused.starts_with(path)),
                "{path}"
            );
        }
        assert!(reason("/export").is_some_and(|text| text.contains("documents")));
        assert_eq!(reason("/indexes"), None);
    }
}
