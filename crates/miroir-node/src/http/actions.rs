//! The actions a key can be given, and those the routes of this node ask for.

pub const SEARCH: &str = "search";
pub const DOCUMENTS_ADD: &str = "documents.add";
pub const DOCUMENTS_GET: &str = "documents.get";
pub const DOCUMENTS_DELETE: &str = "documents.delete";
pub const DUMPS_CREATE: &str = "dumps.create";
pub const INDEXES_CREATE: &str = "indexes.create";
pub const INDEXES_GET: &str = "indexes.get";
pub const INDEXES_UPDATE: &str = "indexes.update";
pub const INDEXES_DELETE: &str = "indexes.delete";
pub const TASKS_GET: &str = "tasks.get";
pub const SETTINGS_GET: &str = "settings.get";
pub const SETTINGS_UPDATE: &str = "settings.update";
pub const STATS_GET: &str = "stats.get";
pub const VERSION: &str = "version";
pub const KEYS_GET: &str = "keys.get";
pub const KEYS_CREATE: &str = "keys.create";
pub const KEYS_UPDATE: &str = "keys.update";
pub const KEYS_DELETE: &str = "keys.delete";

/// Everything a key can be given.
pub const ALL: [&str; 58] = [
    "*",
    "search",
    "documents.*",
    "documents.add",
    "documents.get",
    "documents.delete",
    "indexes.*",
    "indexes.create",
    "indexes.get",
    "indexes.update",
    "indexes.delete",
    "indexes.swap",
    "tasks.*",
    "tasks.cancel",
    "tasks.delete",
    "tasks.get",
    "settings.*",
    "settings.get",
    "settings.update",
    "stats.*",
    "stats.get",
    "metrics.*",
    "metrics.get",
    "dumps.*",
    "dumps.create",
    "snapshots.*",
    "snapshots.create",
    "version",
    "keys.create",
    "keys.get",
    "keys.update",
    "keys.delete",
    "experimental.get",
    "experimental.update",
    "export",
    "network.get",
    "network.update",
    "chatCompletions",
    "chats.*",
    "chats.get",
    "chats.delete",
    "chatsSettings.*",
    "chatsSettings.get",
    "chatsSettings.update",
    "*.get",
    "webhooks.get",
    "webhooks.update",
    "webhooks.delete",
    "webhooks.create",
    "webhooks.*",
    "indexes.compact",
    "fields.post",
    "tasks.compact",
    "dynamicSearchRules.get",
    "dynamicSearchRules.create",
    "dynamicSearchRules.update",
    "dynamicSearchRules.delete",
    "dynamicSearchRules.*",
];

/// Whether a granted action includes another: `documents.*` includes `documents.add`, and `*.get`
/// includes reading everything but keys.
pub fn includes(granted: &str, action: &str) -> bool {
    match granted {
        "*" => true,
        "*.get" => {
            let reads = action.ends_with(".get") || [SEARCH, VERSION].contains(&action);
            reads && action != KEYS_GET
        }
        _ => match granted.strip_suffix('*') {
            Some(family) => action.starts_with(family),
            None => granted == action,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_of_actions_are_understood() {
        for (granted, action, included) in [
            ("*", KEYS_DELETE, true),
            ("documents.*", DOCUMENTS_ADD, true),
            ("documents.*", SEARCH, false),
            ("search", DOCUMENTS_GET, false),
            ("*.get", INDEXES_GET, true),
            ("*.get", KEYS_GET, false),
            ("*.get", SEARCH, true),
        ] {
            assert_eq!(includes(granted, action), included, "{granted} {action}");
        }
    }
}
