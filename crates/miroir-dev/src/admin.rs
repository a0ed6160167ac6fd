//! A client of the coordinators' administration, which finds the leader by itself.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use miroir_proto::v1;
use miroir_proto::v1::admin_client::AdminClient;
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::cluster::Options;

/// How long a call may take, elections included.
const CALL_WITHIN: Duration = Duration::from_secs(30);

type Client = AdminClient<InterceptedService<Channel, Token>>;

#[derive(Debug, Clone)]
struct Token(MetadataValue<Ascii>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        request.set_timeout(Duration::from_secs(10));
        Ok(request)
    }
}

/// Clients of all coordinators.
#[derive(Debug, Clone)]
pub struct Admin {
    clients: Vec<Client>,
}

impl Admin {
    /// Clients of the coordinators at these URLs. Nothing is connected yet.
    ///
    /// # Errors
    /// When a URL or the token cannot be used.
    pub fn new(urls: Vec<String>, token: String) -> anyhow::Result<Self> {
        let token = Token(
            format!("Bearer {token}")
                .parse()
                .context("the cluster token cannot be sent")?,
        );
        let client = |url: String| -> anyhow::Result<Client> {
            let endpoint = Endpoint::from_shared(url)?.connect_timeout(Duration::from_secs(1));
            Ok(AdminClient::with_interceptor(
                endpoint.connect_lazy(),
                token.clone(),
            ))
        };
        Ok(Self {
            clients: urls
                .into_iter()
                .map(client)
                .collect::<anyhow::Result<_>>()?,
        })
    }

    /// Asks one coordinator after the other until one answers, over elections.
    async fn call<T, F>(&self, call: impl Fn(Client) -> F) -> anyhow::Result<T>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let deadline = Instant::now() + CALL_WITHIN;
        let mut last = anyhow!("there is no coordinator");
        while Instant::now() < deadline {
            for client in &self.clients {
                match call(client.clone()).await {
                    Ok(answer) => return Ok(answer.into_inner()),
                    Err(status) if may_be_elsewhere(&status) => {
                        last = anyhow!("{}", status.message())
                    }
                    Err(status) => bail!("{}", status.message()),
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(last.context("no coordinator could be asked"))
    }

    /// Asks the coordinator that leads, as it says itself: another may not have heard yet of what was just done.
    async fn call_leader<T, F>(&self, call: impl Fn(Client) -> F) -> anyhow::Result<T>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let deadline = Instant::now() + CALL_WITHIN;
        let mut last = anyhow!("no coordinator leads");
        while Instant::now() < deadline {
            for client in &self.clients {
                let status = client.clone().status(v1::StatusRequest {}).await;
                let leads = |s: &v1::StatusReply| s.has_quorum && s.leader == s.coordinator;
                if !status.is_ok_and(|status| leads(status.get_ref())) {
                    continue;
                }
                match call(client.clone()).await {
                    Ok(answer) => return Ok(answer.into_inner()),
                    Err(status) if may_be_elsewhere(&status) => {
                        last = anyhow!("{}", status.message())
                    }
                    Err(status) => bail!("{}", status.message()),
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(last.context("the leader could not be asked"))
    }

    /// Initialises the cluster if nobody has.
    ///
    /// # Errors
    /// When the coordinators do not answer, or refuse.
    pub async fn ensure_initialised(&self, options: &Options) -> anyhow::Result<()> {
        let first = self.clients.first().context("there is no coordinator")?;
        let request = v1::InitClusterRequest {
            default_shards: Some(options.shards.into()),
            default_replication_factor: Some(options.replication_factor.into()),
            groups: Some(options.groups),
            ..v1::InitClusterRequest::default()
        };
        match first.clone().init_cluster(request).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::AlreadyExists => {
                let status = self.status().await?;
                if status.cluster_id.is_empty() {
                    bail!("the coordinators have no cluster yet")
                } else {
                    Ok(())
                }
            }
            Err(status) => bail!("{}", status.message()),
        }
    }

    /// The cluster's state in short, as some coordinator sees it.
    ///
    /// # Errors
    /// When none answers.
    pub async fn status(&self) -> anyhow::Result<v1::StatusReply> {
        self.call(|mut client| async move { client.status(v1::StatusRequest {}).await })
            .await
    }

    /// The state in short as one coordinator sees it; numbers begin at 1.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn status_of(&self, coordinator: u16) -> anyhow::Result<v1::StatusReply> {
        let client = self
            .clients
            .get(usize::from(coordinator).wrapping_sub(1))
            .context("no such coordinator")?;
        Ok(client
            .clone()
            .status(v1::StatusRequest {})
            .await?
            .into_inner())
    }

    /// The number of the coordinator that leads, as it says itself: others name one that died for a while.
    ///
    /// # Errors
    /// When nobody leads for a while.
    pub async fn leader(&self) -> anyhow::Result<u16> {
        let status =
            self.call_leader(|mut client| async move { client.status(v1::StatusRequest {}).await });
        Ok(u16::try_from(status.await?.coordinator)?)
    }

    /// Has the leader carry out a change; repeated over elections, it is carried out once.
    ///
    /// # Errors
    /// When it is refused, in the cluster's words.
    pub async fn change(
        &self,
        change: v1::change_request::Change,
    ) -> anyhow::Result<v1::ChangeReply> {
        self.change_as(change, false).await
    }

    /// What a change would do.
    ///
    /// # Errors
    /// When it would be refused.
    pub async fn dry_run(
        &self,
        change: v1::change_request::Change,
    ) -> anyhow::Result<v1::ChangeReply> {
        self.change_as(change, true).await
    }

    async fn change_as(
        &self,
        change: v1::change_request::Change,
        dry_run: bool,
    ) -> anyhow::Result<v1::ChangeReply> {
        let request = v1::ChangeRequest {
            request_id: uuid::Uuid::new_v4().to_string(),
            dry_run,
            change: Some(change),
        };
        self.call(|mut client| {
            let request = request.clone();
            async move { client.change(request).await }
        })
        .await
    }

    /// Adds a node; answers its id and its operation.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn add_node(&self, url: &str, group: u32) -> anyhow::Result<(u64, u64)> {
        let change = v1::change_request::Change::AddNode(v1::NewNode {
            url: url.to_owned(),
            group: Some(group),
            zone: None,
            weight: None,
        });
        let reply = self
            .change(change)
            .await
            .with_context(|| format!("adding the node at {url}"))?;
        let node = reply.node.context("a node that was added has an id")?;
        Ok((node, reply.operation.unwrap_or_default()))
    }

    /// All nodes.
    ///
    /// # Errors
    /// When no coordinator answers.
    pub async fn nodes(&self) -> anyhow::Result<Vec<v1::Node>> {
        let reply = self.call_leader(|mut client| async move {
            client.list_nodes(v1::ListNodesRequest {}).await
        });
        Ok(reply.await?.nodes)
    }

    /// All proxies, as the leader sees them.
    ///
    /// # Errors
    /// When no coordinator answers.
    pub async fn proxies(&self) -> anyhow::Result<Vec<v1::Proxy>> {
        let reply = self.call_leader(|mut client| async move {
            client.list_proxies(v1::ListProxiesRequest {}).await
        });
        Ok(reply.await?.proxies)
    }

    /// An index with its shard map.
    ///
    /// # Errors
    /// When there is none of that uid.
    pub async fn index(&self, uid: &str) -> anyhow::Result<v1::IndexDetail> {
        self.call_leader(|mut client| async move {
            client
                .get_index(v1::GetIndexRequest {
                    uid: uid.to_owned(),
                })
                .await
        })
        .await
    }

    /// All operations.
    ///
    /// # Errors
    /// When no coordinator answers.
    pub async fn operations(&self) -> anyhow::Result<Vec<v1::Operation>> {
        let reply = self.call_leader(|mut client| async move {
            client.list_operations(v1::ListOperationsRequest {}).await
        });
        Ok(reply.await?.operations)
    }

    /// The migrations of an operation.
    ///
    /// # Errors
    /// When no coordinator answers.
    pub async fn migrations(&self, operation: u64) -> anyhow::Result<v1::ListMigrationsReply> {
        let request = v1::ListMigrationsRequest {
            operation: Some(operation),
            unfinished_only: false,
        };
        self.call_leader(|mut client| async move { client.list_migrations(request).await })
            .await
    }

    /// The migrations that are not over, of all operations.
    ///
    /// # Errors
    /// When no coordinator answers.
    pub async fn unfinished_migrations(&self) -> anyhow::Result<Vec<v1::Migration>> {
        let request = v1::ListMigrationsRequest {
            operation: None,
            unfinished_only: true,
        };
        let reply =
            self.call_leader(|mut client| async move { client.list_migrations(request).await });
        Ok(reply.await?.migrations)
    }

    /// Policy, hold, groups and nodes.
    ///
    /// # Errors
    /// When no coordinator answers.
    pub async fn topology(&self) -> anyhow::Result<v1::Topology> {
        self.call_leader(|mut client| async move {
            client.get_topology(v1::GetTopologyRequest {}).await
        })
        .await
    }

    /// Every copy of every shard of an index, or of all.
    ///
    /// # Errors
    /// When there is no such index, or no coordinator answers.
    pub async fn shards(&self, index: Option<&str>) -> anyhow::Result<Vec<v1::ShardCopy>> {
        let reply = self.call_leader(|mut client| {
            let index = index.map(ToOwned::to_owned);
            async move { client.list_shards(v1::ListShardsRequest { index }).await }
        });
        Ok(reply.await?.copies)
    }

    /// Waits until an operation is done.
    ///
    /// # Errors
    /// When it is not in time; the text says what its migrations are doing.
    pub async fn wait_for_operation(
        &self,
        operation: u64,
        within: Duration,
    ) -> anyhow::Result<v1::Operation> {
        let deadline = Instant::now() + within;
        loop {
            let found = self
                .operations()
                .await?
                .into_iter()
                .find(|one| one.id == operation);
            match found {
                Some(done) if done.state == "done" => return Ok(done),
                _ if Instant::now() > deadline => break,
                _ => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
        let doing = self.migrations(operation).await?.migrations;
        let doing: Vec<String> = doing
            .iter()
            .filter(|m| m.phase() != v1::Phase::Done)
            .map(|m| {
                format!(
                    "shard {} {}: {}",
                    m.shard,
                    m.phase().as_str_name(),
                    m.last_error
                )
            })
            .collect();
        bail!(
            "operation {operation} is not done after {within:?}; {} left: {}",
            doing.len(),
            doing.join("; ")
        )
    }
}

/// Whether another coordinator, or the same one later, may answer.
fn may_be_elsewhere(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown
    )
}
