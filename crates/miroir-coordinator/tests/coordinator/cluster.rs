//! Three coordinators, started and stopped by a test.

use std::time::Duration;

use miroir_coordinator::app::{Listeners, run_on};
use miroir_coordinator::config::Config;
use miroir_coordinator::error::AppError;
use miroir_coordinator::grpc::auth::AttachToken;
use miroir_meili::Secret;
use miroir_proto::v1;
use miroir_proto::v1::admin_client::AdminClient;
use miroir_proto::v1::catalog_client::CatalogClient;
use miroir_proto::v1::change_request::Change;
use miroir_proto::v1::routing_client::RoutingClient;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// The token of every test cluster.
pub const TOKEN: &str = "test-cluster-token";
/// The master key of every fake node.
pub const KEY: &str = "test-master-key";
/// No condition of these tests takes longer, also on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

type Wire = InterceptedService<Channel, AttachToken>;

/// One coordinator.
pub struct Coordinator {
    pub config: Config,
    shutdown: CancellationToken,
    running: Option<JoinHandle<Result<(), AppError>>>,
}

/// A cluster of coordinators. They end with the value.
pub struct Cluster {
    pub coordinators: Vec<Coordinator>,
    _data: TempDir,
}

impl Cluster {
    /// Starts `count` coordinators; `extra` is more TOML for each.
    pub async fn start(count: u64, extra: &str) -> Self {
        let data = TempDir::new().expect("a directory");
        let mut bound = Vec::new();
        let mut peers = Vec::new();
        for id in 1..=count {
            let (api, raft, http) = (bind().await, bind().await, bind().await);
            let url = |listener: &TcpListener| {
                format!("http://{}", listener.local_addr().expect("bound"))
            };
            peers.push(format!(
                "{{ id = {id}, api_url = \"{}\", raft_url = \"{}\", http_url = \"{}\" }}",
                url(&api),
                url(&raft),
                url(&http)
            ));
            bound.push((id, Listeners { api, raft, http }));
        }
        let mut coordinators = Vec::new();
        for (id, listeners) in bound {
            let text = format!(
                "id = {id}\ncluster_token = \"{TOKEN}\"\nnode_master_key = \"{KEY}\"\n\
                 data_dir = \"{}\"\napi_addr = \"{}\"\nraft_addr = \"{}\"\nhttp_addr = \"{}\"\npeers = [{}]\n{extra}\n",
                data.path().join(id.to_string()).display(),
                listeners.api.local_addr().expect("bound"),
                listeners.raft.local_addr().expect("bound"),
                listeners.http.local_addr().expect("bound"),
                peers.join(", "),
            );
            let config = Config::parse("test", &text, []).expect("a valid configuration");
            coordinators.push(Coordinator::start(config, listeners));
        }
        Self {
            coordinators,
            _data: data,
        }
    }

    /// Starts three coordinators and makes them a cluster.
    pub async fn initialised(extra: &str) -> Self {
        Self::initialised_with(3, extra).await
    }

    /// Starts `count` coordinators and makes them a cluster whose indexes have four shards.
    pub async fn initialised_with(count: u64, extra: &str) -> Self {
        let cluster = Self::start(count, extra).await;
        let request = v1::InitClusterRequest {
            default_shards: Some(4),
            ..Default::default()
        };
        let first = &cluster.coordinators[0];
        let reply = first
            .admin()
            .init_cluster(request)
            .await
            .expect("initialised");
        assert!(!reply.into_inner().cluster_id.is_empty());
        cluster.leader().await;
        cluster
    }

    /// The one that leads, once one does and all know it.
    pub async fn leader(&self) -> &Coordinator {
        let mut found = None;
        eventually("a leader that all know", async || {
            let mut leaders = Vec::new();
            for one in self.running() {
                leaders.push(one.status().await?.leader);
            }
            let first = *leaders.first().ok_or("no coordinator is running")?;
            // One that was stopped is remembered as leader until another is elected.
            let runs = self.running().any(|one| one.config.id == first);
            if !runs || leaders.iter().any(|leader| *leader != first) {
                return Err(format!("leaders are {leaders:?}"));
            }
            found = Some(first);
            Ok(())
        })
        .await;
        self.running()
            .find(|one| Some(one.config.id) == found)
            .expect("the leader is running")
    }

    /// One that does not lead.
    pub async fn follower(&self) -> &Coordinator {
        let leader = self.leader().await.config.id;
        self.running()
            .find(|one| one.config.id != leader)
            .expect("another one is running")
    }

    /// Those that have not been stopped.
    pub fn running(&self) -> impl Iterator<Item = &Coordinator> {
        self.coordinators.iter().filter(|one| one.running.is_some())
    }

    /// Stops the coordinator of that id, and waits for its end.
    pub async fn stop(&mut self, id: u64) {
        let one = self
            .coordinators
            .iter_mut()
            .find(|one| one.config.id == id)
            .expect("it exists");
        one.shutdown.cancel();
        let running = one.running.take().expect("it is running");
        let ended = tokio::time::timeout(PATIENCE, running)
            .await
            .expect("it ends in time");
        ended.expect("it does not panic").expect("it ends well");
    }

    /// Starts a stopped coordinator again, on its old addresses and data.
    pub async fn restart(&mut self, id: u64) {
        let one = self
            .coordinators
            .iter_mut()
            .find(|one| one.config.id == id)
            .expect("it exists");
        let again = |addr| async move {
            let mut last = None;
            for _ in 0..100 {
                match TcpListener::bind(addr).await {
                    Ok(listener) => return listener,
                    Err(error) => last = Some(error),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            panic!("cannot bind {addr} again: {last:?}")
        };
        let listeners = Listeners {
            api: again(one.config.api_addr).await,
            raft: again(one.config.raft_addr).await,
            http: again(one.config.http_addr).await,
        };
        *one = Coordinator::start(one.config.clone(), listeners);
    }
}

impl Coordinator {
    fn start(config: Config, listeners: Listeners) -> Self {
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(run_on(config.clone(), listeners, shutdown.clone()));
        Self {
            config,
            shutdown,
            running: Some(running),
        }
    }

    /// Its API, as an URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.config.api_addr)
    }

    /// A place of its plain HTTP, as an URL.
    pub fn http_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.config.http_addr)
    }

    /// A connection to it without a token.
    pub fn channel(&self) -> Channel {
        Channel::from_shared(self.url())
            .expect("a URL")
            .connect_lazy()
    }

    fn wire(&self) -> Wire {
        let token = AttachToken::new(&Secret::new(TOKEN)).expect("a header");
        InterceptedService::new(self.channel(), token)
    }

    pub fn admin(&self) -> AdminClient<Wire> {
        AdminClient::new(self.wire())
    }

    pub fn catalog(&self) -> CatalogClient<Wire> {
        CatalogClient::new(self.wire())
    }

    pub fn routing(&self) -> RoutingClient<Wire> {
        RoutingClient::new(self.wire())
    }

    /// Asks this coordinator for a change.
    pub async fn change(&self, change: Change) -> Result<v1::ChangeReply, Status> {
        let request = v1::ChangeRequest {
            change: Some(change),
            ..Default::default()
        };
        let reply = self.admin().change(request).await;
        reply.map(tonic::Response::into_inner)
    }

    pub async fn status(&self) -> Result<v1::StatusReply, String> {
        let reply = self.admin().status(v1::StatusRequest {}).await;
        reply
            .map(tonic::Response::into_inner)
            .map_err(|status| status.to_string())
    }
}

async fn bind() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port")
}

/// Tries until it succeeds; fails the test with the last error when that takes too long.
pub async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) if Instant::now() > deadline => panic!("no {what} in time: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Asserts that a call was refused with `code`, for a reason that names all of `words`.
pub fn refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, words: &[&str]) {
    let status = result.expect_err("the call is refused");
    assert_eq!(status.code(), code, "{status}");
    for word in words {
        assert!(
            status.message().contains(word),
            "`{word}` is not in: {status}"
        );
    }
}
