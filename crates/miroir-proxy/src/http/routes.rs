//! Every route of Meilisearch, and what this proxy does with it.
//!
//! The table is the truth: the router is built from it, `docs/api.md` is checked against it, and a
//! route of Meilisearch that is not offered is refused by name.

use axum::Router;
use axum::routing::{MethodFilter, MethodRouter, any, on};

use super::{
    Server, batches, documents, indexes, reads, service, settings, sub_settings, tasks,
    unsupported, upkeep,
};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Answered by this proxy, from the routing table or by itself.
    Proxy,
    /// Answered by the coordinators, which keep the tasks.
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
    /// Whoever holds a key that the nodes accept for it.
    ClientKey,
    /// Whoever holds the master key.
    MasterKey,
    /// Programs on the same machine, and whoever holds the master key.
    Local,
}

impl Access {
    /// The word that `docs/api.md` uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::ClientKey => "client's key",
            Self::MasterKey => "master key",
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

macro_rules! routes {
    ($($method:ident $path:literal $mode:ident $access:ident $handler:expr;)*) => {
        /// The routes that are offered.
        pub const SUPPORTED: &[Route] = &[
            $(Route {
                method: stringify!($method),
                path: $path,
                mode: Mode::$mode,
                access: Access::$access,
            },)*
        ];

        /// The handlers, in the order of [`SUPPORTED`].
        fn handlers() -> Vec<(&'static str, MethodRouter<Server>)> {
            vec![$(($path, on(MethodFilter::$method, $handler)),)*]
        }
    };
}

routes! {
    GET    "/health"                               Proxy        Open      service::health;
    GET    "/version"                              OneCopy      MasterKey service::version;
    GET    "/stats"                                Gathered     MasterKey reads::stats;
    GET    "/indexes"                              Proxy        MasterKey indexes::list;
    POST   "/indexes"                              Write        MasterKey indexes::create;
    GET    "/indexes/{uid}"                        Proxy        MasterKey indexes::get;
    PATCH  "/indexes/{uid}"                        Write        MasterKey indexes::update;
    DELETE "/indexes/{uid}"                        Write        MasterKey indexes::delete;
    GET    "/indexes/{uid}/stats"                  Gathered     MasterKey reads::index_stats;
    GET    "/indexes/{uid}/search"                 Gathered     ClientKey reads::search_get;
    POST   "/indexes/{uid}/search"                 Gathered     ClientKey reads::search_post;
    GET    "/indexes/{uid}/documents"              Gathered     ClientKey reads::list_documents;
    POST   "/indexes/{uid}/documents"              Write        MasterKey documents::replace;
    PUT    "/indexes/{uid}/documents"              Write        MasterKey documents::update;
    DELETE "/indexes/{uid}/documents"              Write        MasterKey documents::delete_all;
    POST   "/indexes/{uid}/documents/fetch"        Gathered     ClientKey reads::fetch_documents;
    POST   "/indexes/{uid}/documents/delete-batch" Write        MasterKey documents::delete_batch;
    POST   "/indexes/{uid}/documents/delete"       Write        MasterKey documents::delete_by_filter;
    GET    "/indexes/{uid}/documents/{id}"         OneCopy      ClientKey reads::get_document;
    DELETE "/indexes/{uid}/documents/{id}"         Write        MasterKey documents::delete_one;
    GET    "/indexes/{uid}/settings"               OneCopy      MasterKey settings::get;
    PATCH  "/indexes/{uid}/settings"               Write        MasterKey settings::patch;
    DELETE "/indexes/{uid}/settings"               Write        MasterKey settings::reset;
    GET    "/indexes/{uid}/settings/{setting}"     OneCopy      MasterKey sub_settings::get;
    PUT    "/indexes/{uid}/settings/{setting}"     Write        MasterKey sub_settings::update;
    PATCH  "/indexes/{uid}/settings/{setting}"     Write        MasterKey sub_settings::update;
    DELETE "/indexes/{uid}/settings/{setting}"     Write        MasterKey sub_settings::reset;
    GET    "/tasks"                                Coordinators MasterKey tasks::list;
    GET    "/tasks/{uid}"                          Coordinators MasterKey tasks::get;
    POST   "/tasks/cancel"                         Coordinators MasterKey tasks::cancel;
    DELETE "/tasks"                                Coordinators MasterKey tasks::delete;
    GET    "/batches"                              Coordinators MasterKey batches::list;
    GET    "/batches/{uid}"                        Coordinators MasterKey batches::get;
    POST   "/indexes/{uid}/compact"                Coordinators MasterKey upkeep::compact;
    POST   "/dumps"                                Coordinators MasterKey upkeep::dump;
    POST   "/snapshots"                            Coordinators MasterKey upkeep::snapshot;
    GET    "/_miroir/tasks/{uid}"                  Coordinators MasterKey tasks::detail;
    GET    "/_miroir/proxy/stats"                  Proxy        Local     service::proxy_stats;
}

/// Every route that this proxy knows, offered or refused by name.
pub fn all() -> impl Iterator<Item = Route> {
    let refused = unsupported::ROUTES.iter().map(|(method, path)| Route {
        method,
        path,
        mode: Mode::Unsupported,
        access: Access::Open,
    });
    SUPPORTED.iter().copied().chain(refused)
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
    for (method, path) in unsupported::ROUTES {
        router = router.route(path, unsupported::handler(method));
    }
    router
        .method_not_allowed_fallback(unsupported::wrong_method)
        .fallback(any(unsupported::unknown_path))
}
