//! Every route of Meilisearch, and what this proxy does with it.
//!
//! The table is the truth: the router is built from it, `docs/api.md` is checked against it, and a
//! route of Meilisearch that is not offered is refused by name.

use axum::Router;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, any, on};
use miroir_core::registry::Action;

use super::{
    Server, aliases, batches, documents, facet_search, features, fields, indexes, keys, metrics,
    multi_search, reads, render, search_rules, service, settings, similar, stats, sub_settings,
    swap, tasks, unsupported, upkeep, webhooks,
};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Answered by this proxy, from the routing table or by itself.
    Proxy,
    /// Answered or changed by the coordinators, which keep the tasks and the registry.
    Coordinators,
    /// Asked of one copy of every shard, and merged.
    Gathered,
    /// Asked of the one shard or the one node that knows.
    OneCopy,
    /// Ordered by the index's writer, sent to every copy, and answered with a task.
    Write,
    /// Refused by name.
    Unsupported,
}

impl Mode {
    /// The word that `docs/api.md` uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Coordinators => "coordinators",
            Self::Gathered => "gathered",
            Self::OneCopy => "one copy",
            Self::Write => "write",
            Self::Unsupported => "unsupported",
        }
    }
}

/// Who may use a route, when there is a master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Open,
    /// Whoever holds the master key, or a key that allows this.
    Key(Action),
    /// Programs on the same machine, and whoever holds the master key.
    Local,
}

impl Access {
    /// The word that `docs/api.md` uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Key(action) => action.as_str(),
            Self::Local => "local, or master key",
        }
    }
}

/// A method of a path.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The method.
    pub method: &'static str,
    /// The path, as axum writes it.
    pub path: &'static str,
    /// What becomes of it.
    pub mode: Mode,
    /// Who may use it.
    pub access: Access,
}

/// The path of the internal statistics.
pub const PROXY_STATS: &str = "/_miroir/proxy/stats";

/// The access that a word of the table means: an action, unless it is one of two.
macro_rules! access {
    (Open) => {
        Access::Open
    };
    (Local) => {
        Access::Local
    };
    ($action:ident) => {
        Access::Key(Action::$action)
    };
}

macro_rules! routes {
    ($($method:ident $path:literal $mode:ident $access:ident $handler:expr;)*) => {
        /// The routes that are offered.
        pub const SUPPORTED: &[Route] = &[
            $(Route {
                method: stringify!($method),
                path: $path,
                mode: Mode::$mode,
                access: access!($access),
            },)*
        ];

        /// The handlers, in the order of [`SUPPORTED`].
        fn handlers() -> Vec<(&'static str, MethodRouter<Server>)> {
            vec![$(($path, on(MethodFilter::$method, $handler)),)*]
        }
    };
}

routes! {
    GET    "/health"                                Proxy        Open            service::health;
    GET    "/version"                               OneCopy      Version         service::version;
    GET    "/stats"                                 Gathered     StatsGet        stats::get;
    GET    "/indexes"                               Proxy        IndexesGet      indexes::list;
    POST   "/indexes"                               Write        IndexesAdd      indexes::create;
    GET    "/indexes/{uid}"                         Proxy        IndexesGet      indexes::get;
    PATCH  "/indexes/{uid}"                         Write        IndexesUpdate   indexes::update;
    DELETE "/indexes/{uid}"                         Write        IndexesDelete   indexes::delete;
    GET    "/indexes/{uid}/stats"                   Gathered     StatsGet        stats::get_index;
    GET    "/indexes/{uid}/search"                  Gathered     Search          reads::search_get;
    POST   "/indexes/{uid}/search"                  Gathered     Search          reads::search_post;
    POST   "/indexes/{uid}/facet-search"            Gathered     Search          facet_search::post;
    GET    "/indexes/{uid}/similar"                 Gathered     Search          similar::get;
    POST   "/indexes/{uid}/similar"                 Gathered     Search          similar::post;
    POST   "/indexes/{uid}/fields"                  Gathered     FieldsPost      fields::post;
    GET    "/indexes/{uid}/documents"               Gathered     DocumentsGet    reads::list_documents;
    POST   "/indexes/{uid}/documents"               Write        DocumentsAdd    documents::replace;
    PUT    "/indexes/{uid}/documents"               Write        DocumentsAdd    documents::update;
    DELETE "/indexes/{uid}/documents"               Write        DocumentsDelete documents::delete_all;
    POST   "/indexes/{uid}/documents/fetch"         Gathered     DocumentsGet    reads::fetch_documents;
    POST   "/indexes/{uid}/documents/delete-batch"  Write        DocumentsDelete documents::delete_batch;
    POST   "/indexes/{uid}/documents/delete"        Write        DocumentsDelete documents::delete_by_filter;
    GET    "/indexes/{uid}/documents/{id}"          OneCopy      DocumentsGet    reads::get_document;
    DELETE "/indexes/{uid}/documents/{id}"          Write        DocumentsDelete documents::delete_one;
    GET    "/indexes/{uid}/settings"                OneCopy      SettingsGet     settings::get;
    PATCH  "/indexes/{uid}/settings"                Write        SettingsUpdate  settings::patch;
    DELETE "/indexes/{uid}/settings"                Write        SettingsUpdate  settings::reset;
    POST   "/multi-search"                          Gathered     Search          multi_search::post;
    POST   "/render-template"                       OneCopy      SettingsGet     render::post;
    GET    "/metrics"                               Gathered     MetricsGet      metrics::get;
    GET    "/tasks"                                 Coordinators TasksGet        tasks::list;
    GET    "/tasks/{uid}"                           Coordinators TasksGet        tasks::get;
    GET    "/keys"                                  Proxy        KeysGet         keys::list;
    POST   "/keys"                                  Coordinators KeysAdd         keys::create;
    GET    "/keys/{key}"                            Proxy        KeysGet         keys::get;
    PATCH  "/keys/{key}"                            Coordinators KeysUpdate      keys::update;
    DELETE "/keys/{key}"                            Coordinators KeysDelete      keys::delete;
    GET    "/experimental-features"                 Proxy        ExperimentalFeaturesGet features::get;
    PATCH  "/experimental-features"                 Coordinators ExperimentalFeaturesUpdate features::patch;
    GET    "/webhooks"                              Proxy        WebhooksGet     webhooks::list;
    POST   "/webhooks"                              Coordinators WebhooksCreate  webhooks::create;
    GET    "/webhooks/{uuid}"                       Proxy        WebhooksGet     webhooks::get;
    PATCH  "/webhooks/{uuid}"                       Coordinators WebhooksUpdate  webhooks::update;
    DELETE "/webhooks/{uuid}"                       Coordinators WebhooksDelete  webhooks::delete;
    POST   "/dynamic-search-rules"                  Proxy        DynamicSearchRulesGet search_rules::list;
    DELETE "/dynamic-search-rules"                  Coordinators DynamicSearchRulesDelete search_rules::clear;
    GET    "/dynamic-search-rules/{uid}"            Proxy        DynamicSearchRulesGet search_rules::get;
    PATCH  "/dynamic-search-rules/{uid}"            Coordinators DynamicSearchRulesUpdate search_rules::update;
    DELETE "/dynamic-search-rules/{uid}"            Coordinators DynamicSearchRulesDelete search_rules::delete;
    GET    "/indexes/{uid}/settings/{setting}"      OneCopy      SettingsGet     sub_settings::get;
    PUT    "/indexes/{uid}/settings/{setting}"      Write        SettingsUpdate  sub_settings::update;
    PATCH  "/indexes/{uid}/settings/{setting}"      Write        SettingsUpdate  sub_settings::update;
    DELETE "/indexes/{uid}/settings/{setting}"      Write        SettingsUpdate  sub_settings::reset;
    POST   "/indexes/{uid}/compact"                 Coordinators IndexesCompact  upkeep::compact;
    POST   "/tasks/cancel"                          Coordinators TasksCancel     tasks::cancel;
    DELETE "/tasks"                                 Coordinators TasksDelete     tasks::delete;
    POST   "/swap-indexes"                          Coordinators IndexesSwap     swap::post;
    GET    "/batches"                               Coordinators TasksGet        batches::list;
    GET    "/batches/{uid}"                         Coordinators TasksGet        batches::get;
    POST   "/dumps"                                 Coordinators DumpsCreate     upkeep::dump;
    POST   "/snapshots"                             Coordinators SnapshotsCreate upkeep::snapshot;
    GET    "/_miroir/tasks/{uid}"                   Coordinators TasksGet        tasks::detail;
    GET    "/_miroir/dumps/{uid}"                   Coordinators DumpsCreate     upkeep::manifest;
    GET    "/_miroir/aliases"                       Proxy        IndexesGet      aliases::list;
    GET    "/_miroir/aliases/{name}"                Proxy        IndexesGet      aliases::get;
    PUT    "/_miroir/aliases/{name}"                Coordinators IndexesSwap     aliases::put;
    DELETE "/_miroir/aliases/{name}"                Coordinators IndexesSwap     aliases::delete;
    GET    "/_miroir/proxy/stats"                   Proxy        Local           service::proxy_stats;
}

/// Every route that this proxy knows, offered or refused by name.
pub fn all() -> impl Iterator<Item = Route> {
    let refused = unsupported::ROUTES
        .iter()
        .map(|(method, path, action)| Route {
            method,
            path,
            mode: Mode::Unsupported,
            access: Access::Key(*action),
        });
    SUPPORTED.iter().copied().chain(refused)
}

/// Who may use a route; `None` for one that there is not. `path` is as axum matched it.
#[must_use]
pub fn access_of(method: &Method, path: &str) -> Option<Access> {
    let method = super::auth::listed(method);
    let is = |route: &Route| route.path == path && route.method == method;
    all().find(is).map(|route| route.access)
}

/// The methods that a path has in Meilisearch.
#[must_use]
pub fn methods_of(path: &str) -> Vec<&'static str> {
    all()
        .filter(|route| route.path == path)
        .map(|route| route.method)
        .collect()
}

/// The router of all routes.
pub fn router() -> Router<Server> {
    let mut router = Router::new();
    for (path, handler) in handlers() {
        router = router.route(path, handler);
    }
    for (method, path, _) in unsupported::ROUTES {
        router = router.route(path, unsupported::handler(method));
    }
    router
        .method_not_allowed_fallback(unsupported::wrong_method)
        .fallback(any(unsupported::unknown_path))
}
