//! A scripted coordinator that speaks real gRPC, and the real program that asks it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::process::Output;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context, Result};
use miroir_core::cluster::Rejection;
use miroir_proto::v1::admin_server::{Admin, AdminServer};
use miroir_proto::{LEADER_METADATA, REJECTION_METADATA, v1};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tonic::metadata::MetadataValue;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// A run of the program takes no longer than this, or the test fails.
const RUN_WITHIN: Duration = Duration::from_secs(60);

/// What a coordinator answers, and what it was asked.
#[derive(Default)]
pub struct Script {
    pub status: v1::StatusReply,
    pub nodes: v1::ListNodesReply,
    pub groups: v1::ListGroupsReply,
    pub indexes: v1::ListIndexesReply,
    pub index: v1::IndexDetail,
    pub operations: v1::ListOperationsReply,
    pub migrations: v1::ListMigrationsReply,
    pub migration: v1::Migration,
    pub coordinators: v1::ListCoordinatorsReply,
    pub proxies: v1::ListProxiesReply,
    /// Answers to `InitCluster`, in order; the last one stays.
    pub inits: VecDeque<Result<v1::InitClusterReply, Status>>,
    /// Answers to `Change`, in order; the last one stays. `None` never answers.
    pub changes: VecDeque<Option<Result<v1::ChangeReply, Status>>>,
    pub topology: v1::Topology,
    pub node: v1::NodeDetail,
    pub shards: v1::ListShardsReply,
    pub explained: v1::ExplainShardReply,
    pub operation: v1::Operation,
    /// What each `WatchMigrations` sends, in order; an error ends the stream.
    pub watches: VecDeque<Vec<Result<v1::ListMigrationsReply, Status>>>,
    /// What `VerifyIndex` sends.
    pub verdicts: Vec<v1::ShardVerdict>,
    /// What each `GetDump` answers, in order; the last one stays.
    pub dumps: VecDeque<v1::Dump>,
    /// The token to insist on.
    pub token: Option<String>,
    /// Every request, by the name of its call.
    pub asked: Vec<&'static str>,
    /// What `Change` and `InitCluster` were asked.
    pub change_requests: Vec<v1::ChangeRequest>,
    pub init_requests: Vec<v1::InitClusterRequest>,
    pub watch_requests: Vec<v1::WatchMigrationsRequest>,
    pub list_migration_requests: Vec<v1::ListMigrationsRequest>,
}

/// A coordinator. Dropping it ends it.
pub struct Coordinator {
    pub url: String,
    script: Arc<Mutex<Script>>,
    server: JoinHandle<()>,
}

impl Coordinator {
    /// Serves a script on a port of the system's choice.
    pub async fn start(script: Script) -> Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), script).await
    }

    /// Serves a script at an address.
    pub async fn start_at(address: SocketAddr, script: Script) -> Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let script = Arc::new(Mutex::new(script));
        let service = AdminServer::new(Service {
            script: script.clone(),
        });
        let serving = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpIncoming::from(listener));
        let server = tokio::spawn(async move {
            serving.await.expect("a server on a bound port");
        });
        Ok(Self {
            url,
            script,
            server,
        })
    }

    /// The script as it stands.
    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.script
            .lock()
            .expect("no test panics while it holds it")
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A status reply of coordinator `me` that takes `leader` for the leader.
pub fn status(me: u64, leader: u64, leader_api_url: &str) -> v1::StatusReply {
    v1::StatusReply {
        cluster_id: "c-1".to_owned(),
        coordinator: me,
        leader,
        term: 3,
        epoch: 40,
        applied: 50,
        coordinators: 3,
        nodes: 3,
        nodes_reachable: if me == leader { 2 } else { 0 },
        has_quorum: leader != 0,
        leader_api_url: leader_api_url.to_owned(),
        ..Default::default()
    }
}

/// What a coordinator answers that does not lead.
pub fn not_leader(leader: Option<&str>) -> Status {
    let mut status = Status::unavailable("this coordinator is not the leader");
    if let Some(url) = leader {
        let url = MetadataValue::try_from(url).expect("a URL is ASCII");
        status.metadata_mut().insert(LEADER_METADATA, url);
    }
    status
}

/// A refusal as coordinators send it.
pub fn refused(code: tonic::Code, rejection: &Rejection) -> Status {
    let mut status = Status::new(code, rejection.to_string());
    let json = serde_json::to_vec(rejection).expect("plain data");
    status
        .metadata_mut()
        .insert_bin(REJECTION_METADATA, MetadataValue::from_bytes(&json));
    status
}

/// Runs the program on these endpoints; `line` is split at spaces.
pub async fn miroirctl(endpoints: &[&str], line: &str) -> Result<Run> {
    run_with(endpoints, line, &[]).await
}

/// The same, with environment variables.
pub async fn run_with(endpoints: &[&str], line: &str, env: &[(&str, &str)]) -> Result<Run> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_miroirctl"));
    command
        .env_clear()
        .envs(env.iter().copied())
        .kill_on_drop(true);
    if !endpoints.is_empty() {
        command.arg("--endpoint").arg(endpoints.join(","));
    }
    command.args(line.split(' '));
    let output = tokio::time::timeout(RUN_WITHIN, command.output()).await;
    Run::new(output.with_context(|| format!("`miroirctl {line}` hangs"))??)
}

/// How a run of the program ended.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    fn new(output: Output) -> Result<Self> {
        Ok(Self {
            code: output.status.code().context("it was killed")?,
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8(output.stderr)?,
        })
    }

    /// The one document that it printed.
    pub fn json(&self) -> Result<serde_json::Value> {
        anyhow::ensure!(self.stdout.lines().count() == 1, "not one line: {self:?}");
        serde_json::from_str(&self.stdout).with_context(|| format!("{self:?}"))
    }

    /// Checks the exit status, and that the error is one line with all of `parts`.
    pub fn failed(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        let errors: Vec<&str> = self
            .stderr
            .lines()
            .filter(|line| line.starts_with("error: "))
            .collect();
        assert_eq!(errors.len(), 1, "{self:?}");
        assert_eq!(
            self.stderr.lines().last(),
            errors.first().copied(),
            "{self:?}"
        );
        for part in parts {
            assert!(
                errors[0].contains(part),
                "`{part}` is missing: {}",
                errors[0]
            );
        }
    }
}

struct Service {
    script: Arc<Mutex<Script>>,
}

impl Service {
    /// Notes a call, and answers it from the script.
    fn answer<T, R>(
        &self,
        request: &Request<R>,
        name: &'static str,
        answer: impl FnOnce(&mut Script) -> T,
    ) -> Result<Response<T>, Status> {
        let mut script = self
            .script
            .lock()
            .expect("no test panics while it holds it");
        let sent = request
            .metadata()
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        if let Some(token) = &script.token
            && sent != Some(format!("Bearer {token}").as_str())
        {
            return Err(Status::unauthenticated("the cluster token is wrong"));
        }
        script.asked.push(name);
        Ok(Response::new(answer(&mut script)))
    }
}

/// The next answer; the last one stays.
fn next<T: Clone>(answers: &mut VecDeque<T>) -> Option<T> {
    if answers.len() > 1 {
        answers.pop_front()
    } else {
        answers.front().cloned()
    }
}

type Verdicts = tokio_stream::Iter<std::vec::IntoIter<Result<v1::ShardVerdict, Status>>>;
type Reports = tokio_stream::Iter<std::vec::IntoIter<Result<v1::ListMigrationsReply, Status>>>;

#[tonic::async_trait]
impl Admin for Service {
    async fn init_cluster(
        &self,
        request: Request<v1::InitClusterRequest>,
    ) -> Result<Response<v1::InitClusterReply>, Status> {
        let asked = request.get_ref().clone();
        let answer = self.answer(&request, "init_cluster", |script| {
            script.init_requests.push(asked);
            next(&mut script.inits)
        })?;
        answer
            .into_inner()
            .unwrap_or_else(|| Err(Status::unimplemented("no script")))
            .map(Response::new)
    }

    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusReply>, Status> {
        self.answer(&request, "status", |script| script.status.clone())
    }

    async fn change(
        &self,
        request: Request<v1::ChangeRequest>,
    ) -> Result<Response<v1::ChangeReply>, Status> {
        let asked = request.get_ref().clone();
        let answer = self.answer(&request, "change", |script| {
            script.change_requests.push(asked);
            next(&mut script.changes)
        })?;
        match answer.into_inner() {
            Some(Some(answer)) => answer.map(Response::new),
            Some(None) => std::future::pending().await,
            None => Err(Status::unimplemented("no script")),
        }
    }

    async fn get_topology(
        &self,
        request: Request<v1::GetTopologyRequest>,
    ) -> Result<Response<v1::Topology>, Status> {
        self.answer(&request, "get_topology", |script| script.topology.clone())
    }

    async fn get_node(
        &self,
        request: Request<v1::GetNodeRequest>,
    ) -> Result<Response<v1::NodeDetail>, Status> {
        let id = request.get_ref().id;
        let detail = self.answer(&request, "get_node", |script| script.node.clone())?;
        match &detail.get_ref().node {
            Some(node) if node.id == id => Ok(detail),
            _ => Err(Status::not_found(format!("there is no node {id}"))),
        }
    }

    async fn list_shards(
        &self,
        request: Request<v1::ListShardsRequest>,
    ) -> Result<Response<v1::ListShardsReply>, Status> {
        self.answer(&request, "list_shards", |script| script.shards.clone())
    }

    async fn explain_shard(
        &self,
        request: Request<v1::ExplainShardRequest>,
    ) -> Result<Response<v1::ExplainShardReply>, Status> {
        self.answer(&request, "explain_shard", |script| script.explained.clone())
    }

    async fn get_operation(
        &self,
        request: Request<v1::GetOperationRequest>,
    ) -> Result<Response<v1::Operation>, Status> {
        let id = request.get_ref().id;
        let operation =
            self.answer(&request, "get_operation", |script| script.operation.clone())?;
        match operation.get_ref().id == id {
            true => Ok(operation),
            false => Err(Status::not_found(format!("there is no operation {id}"))),
        }
    }

    async fn list_nodes(
        &self,
        request: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesReply>, Status> {
        self.answer(&request, "list_nodes", |script| script.nodes.clone())
    }

    async fn list_groups(
        &self,
        request: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsReply>, Status> {
        self.answer(&request, "list_groups", |script| script.groups.clone())
    }

    async fn list_indexes(
        &self,
        request: Request<v1::ListIndexesRequest>,
    ) -> Result<Response<v1::ListIndexesReply>, Status> {
        self.answer(&request, "list_indexes", |script| script.indexes.clone())
    }

    async fn get_index(
        &self,
        request: Request<v1::GetIndexRequest>,
    ) -> Result<Response<v1::IndexDetail>, Status> {
        let uid = request.get_ref().uid.clone();
        let detail = self.answer(&request, "get_index", |script| script.index.clone())?;
        match &detail.get_ref().summary {
            Some(summary) if summary.uid == uid => Ok(detail),
            _ => Err(Status::not_found(format!("Index `{uid}` not found."))),
        }
    }

    async fn list_operations(
        &self,
        request: Request<v1::ListOperationsRequest>,
    ) -> Result<Response<v1::ListOperationsReply>, Status> {
        self.answer(&request, "list_operations", |script| {
            script.operations.clone()
        })
    }

    async fn list_migrations(
        &self,
        request: Request<v1::ListMigrationsRequest>,
    ) -> Result<Response<v1::ListMigrationsReply>, Status> {
        self.answer(&request, "list_migrations", |script| {
            script.list_migration_requests.push(*request.get_ref());
            script.migrations.clone()
        })
    }

    async fn get_migration(
        &self,
        request: Request<v1::GetMigrationRequest>,
    ) -> Result<Response<v1::Migration>, Status> {
        let id = request.get_ref().id;
        let migration =
            self.answer(&request, "get_migration", |script| script.migration.clone())?;
        match migration.get_ref().id == id {
            true => Ok(migration),
            false => Err(Status::not_found(format!("there is no migration {id}"))),
        }
    }

    type WatchMigrationsStream = Reports;

    async fn watch_migrations(
        &self,
        request: Request<v1::WatchMigrationsRequest>,
    ) -> Result<Response<Reports>, Status> {
        self.answer(&request, "watch_migrations", |script| {
            script.watch_requests.push(*request.get_ref());
            tokio_stream::iter(script.watches.pop_front().unwrap_or_default())
        })
    }

    async fn create_dump(
        &self,
        request: Request<v1::CreateDumpRequest>,
    ) -> Result<Response<v1::CreateDumpReply>, Status> {
        self.answer(&request, "create_dump", |_| v1::CreateDumpReply { task: 7 })
    }

    async fn get_dump(
        &self,
        request: Request<v1::GetDumpRequest>,
    ) -> Result<Response<v1::Dump>, Status> {
        self.answer(&request, "get_dump", |script| next(&mut script.dumps))?
            .into_inner()
            .map(Response::new)
            .ok_or_else(|| Status::not_found("Task `7` not found."))
    }

    async fn step_down(
        &self,
        request: Request<v1::StepDownRequest>,
    ) -> Result<Response<v1::StepDownReply>, Status> {
        let term = request.get_ref().term;
        self.answer(&request, "step_down", |script| {
            script.status.term = term + 1;
            v1::StepDownReply {
                coordinator: script.status.coordinator,
                for_ms: 1_000,
            }
        })
    }

    type VerifyIndexStream = Verdicts;

    async fn verify_index(
        &self,
        request: Request<v1::VerifyIndexRequest>,
    ) -> Result<Response<Verdicts>, Status> {
        self.answer(&request, "verify_index", |script| {
            let verdicts = script.verdicts.iter().cloned().map(Ok);
            tokio_stream::iter(verdicts.collect::<Vec<_>>())
        })
    }

    async fn list_coordinators(
        &self,
        request: Request<v1::ListCoordinatorsRequest>,
    ) -> Result<Response<v1::ListCoordinatorsReply>, Status> {
        self.answer(&request, "list_coordinators", |script| {
            script.coordinators.clone()
        })
    }

    async fn list_proxies(
        &self,
        request: Request<v1::ListProxiesRequest>,
    ) -> Result<Response<v1::ListProxiesReply>, Status> {
        self.answer(&request, "list_proxies", |script| script.proxies.clone())
    }
}
