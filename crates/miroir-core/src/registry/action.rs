//! What a key may allow, in Meilisearch's words.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How an action goes together with keys that name indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexScope {
    /// It concerns the whole cluster: a key that names indexes cannot have it.
    Global,
    /// Its routes look by themselves at which indexes the key names.
    CheckedByRoute,
    /// Its routes name one index, which the key must name.
    OneIndex,
    /// It stands for several actions; no route asks for it alone.
    Several,
}

macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $read:literal, $scope:ident;)*) => {
        /// An action of an API key.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Action {
            $(#[doc = concat!("`", $name, "`")] #[serde(rename = $name)] $variant,)*
        }

        impl Action {
            /// Every action, in the order in which Meilisearch names them.
            pub const ALL_ACTIONS: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Whether `*.get` includes it.
            #[must_use]
            pub const fn is_read(self) -> bool {
                match self { $(Self::$variant => $read,)* }
            }

            /// How it goes together with keys that name indexes.
            #[must_use]
            pub const fn scope(self) -> IndexScope {
                match self { $(Self::$variant => IndexScope::$scope,)* }
            }
        }
    };
}

actions! {
    All = "*", false, Several;
    Search = "search", true, CheckedByRoute;
    DocumentsAll = "documents.*", false, Several;
    DocumentsAdd = "documents.add", false, OneIndex;
    DocumentsGet = "documents.get", true, CheckedByRoute;
    DocumentsDelete = "documents.delete", false, OneIndex;
    IndexesAll = "indexes.*", false, Several;
    IndexesAdd = "indexes.create", false, CheckedByRoute;
    IndexesGet = "indexes.get", true, CheckedByRoute;
    IndexesUpdate = "indexes.update", false, OneIndex;
    IndexesDelete = "indexes.delete", false, OneIndex;
    IndexesSwap = "indexes.swap", false, CheckedByRoute;
    TasksAll = "tasks.*", false, Several;
    TasksCancel = "tasks.cancel", false, CheckedByRoute;
    TasksDelete = "tasks.delete", false, CheckedByRoute;
    TasksGet = "tasks.get", true, CheckedByRoute;
    SettingsAll = "settings.*", false, Several;
    SettingsGet = "settings.get", true, CheckedByRoute;
    SettingsUpdate = "settings.update", false, OneIndex;
    StatsAll = "stats.*", false, CheckedByRoute;
    StatsGet = "stats.get", true, CheckedByRoute;
    MetricsAll = "metrics.*", false, Global;
    MetricsGet = "metrics.get", true, Global;
    DumpsAll = "dumps.*", false, Global;
    DumpsCreate = "dumps.create", false, Global;
    SnapshotsAll = "snapshots.*", false, Global;
    SnapshotsCreate = "snapshots.create", false, Global;
    Version = "version", true, Global;
    KeysAdd = "keys.create", false, Global;
    // No read: whoever reads keys has what they allow.
    KeysGet = "keys.get", false, Global;
    KeysUpdate = "keys.update", false, Global;
    KeysDelete = "keys.delete", false, Global;
    ExperimentalFeaturesGet = "experimental.get", true, Global;
    ExperimentalFeaturesUpdate = "experimental.update", false, Global;
    Export = "export", true, Global;
    NetworkGet = "network.get", true, Global;
    NetworkUpdate = "network.update", false, Global;
    ChatCompletions = "chatCompletions", false, CheckedByRoute;
    ChatsAll = "chats.*", false, Global;
    ChatsGet = "chats.get", true, Global;
    ChatsDelete = "chats.delete", false, Global;
    ChatsSettingsAll = "chatsSettings.*", false, Global;
    ChatsSettingsGet = "chatsSettings.get", true, Global;
    ChatsSettingsUpdate = "chatsSettings.update", false, Global;
    AllGet = "*.get", false, Several;
    WebhooksGet = "webhooks.get", true, Global;
    WebhooksUpdate = "webhooks.update", false, Global;
    WebhooksDelete = "webhooks.delete", false, Global;
    WebhooksCreate = "webhooks.create", false, Global;
    WebhooksAll = "webhooks.*", false, Global;
    IndexesCompact = "indexes.compact", false, OneIndex;
    FieldsPost = "fields.post", true, OneIndex;
    TasksCompact = "tasks.compact", false, Global;
    DynamicSearchRulesGet = "dynamicSearchRules.get", true, Global;
    DynamicSearchRulesCreate = "dynamicSearchRules.create", false, Global;
    DynamicSearchRulesUpdate = "dynamicSearchRules.update", false, Global;
    DynamicSearchRulesDelete = "dynamicSearchRules.delete", false, Global;
    DynamicSearchRulesAll = "dynamicSearchRules.*", false, Global;
}

impl Action {
    /// The action of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL_ACTIONS
            .iter()
            .copied()
            .find(|action| action.as_str() == name)
    }

    /// Whether a key that has this action may do what asks for `needed`.
    ///
    /// As in Meilisearch, `documents.*` stands for its parts only: a route that asks for `documents.*` itself,
    /// editing by function, takes a key with `*`.
    #[must_use]
    pub fn grants(self, needed: Self) -> bool {
        match self.as_str().strip_suffix('*') {
            Some("") => needed != Self::AllGet,
            Some(prefix) => needed != self && needed.as_str().starts_with(prefix),
            None if self == Self::AllGet => needed.is_read(),
            None => needed == self,
        }
    }

    /// Whether a tenant token may be used for it.
    #[must_use]
    pub const fn takes_tenant_tokens(self) -> bool {
        matches!(self, Self::Search | Self::ChatCompletions)
    }

    /// Whether it is about keys, which there are only with a master key.
    #[must_use]
    pub const fn is_about_keys(self) -> bool {
        matches!(
            self,
            Self::KeysAdd | Self::KeysGet | Self::KeysUpdate | Self::KeysDelete
        )
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found_again() {
        for action in Action::ALL_ACTIONS {
            assert_eq!(Action::parse(action.as_str()), Some(*action));
        }
        assert_eq!(Action::parse("documents"), None);
    }

    #[test]
    fn wildcards_stand_for_their_parts() {
        let table = [
            (Action::All, Action::KeysAdd, true),
            (Action::All, Action::DocumentsAll, true),
            (Action::DocumentsAll, Action::DocumentsAdd, true),
            (Action::DocumentsAll, Action::DocumentsAll, false),
            (Action::DocumentsAll, Action::IndexesAdd, false),
            (Action::ChatsAll, Action::ChatsSettingsGet, false),
            (Action::TasksAll, Action::TasksCompact, true),
            (Action::AllGet, Action::DocumentsGet, true),
            (Action::AllGet, Action::Search, true),
            (Action::AllGet, Action::KeysGet, false),
            (Action::AllGet, Action::DocumentsAdd, false),
            (Action::AllGet, Action::ChatCompletions, false),
            (Action::Search, Action::Search, true),
            (Action::Search, Action::DocumentsGet, false),
        ];
        for (granted, needed, expected) in table {
            assert_eq!(granted.grants(needed), expected, "{granted} {needed}");
        }
    }
}
