//! A coordinator that leads, gives every proxy one table, and remembers a few tasks.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures::stream::{self, BoxStream, StreamExt};
use miroir_core::cluster::{ClusterState, Command, Outcome, Policy, Task};
use miroir_core::id::Epoch;
use miroir_core::routing::RoutingTable;
use miroir_proto::v1::catalog_server::{Catalog, CatalogServer};
use miroir_proto::v1::coordinator_message::Message;
use miroir_proto::v1::proxy_message;
use miroir_proto::v1::routing_server::{Routing, RoutingServer};
use miroir_proto::{REJECTION_METADATA, v1};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{TcpListenerStream, WatchStream};
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

/// When everything happens, in milliseconds since the Unix epoch; a moment later with every change.
const NOW_MS: u64 = 1_800_000_000_000;

type Messages = BoxStream<'static, Result<v1::CoordinatorMessage, Status>>;

/// A running coordinator. It ends with the value.
pub struct Coordinator {
    pub address: SocketAddr,
    pub said_goodbye: Arc<AtomicBool>,
    /// What is pending, and how often that was asked.
    pub pending: Arc<Mutex<(v1::PendingTasksReply, usize)>>,
    table: watch::Sender<Arc<RoutingTable>>,
    server: JoinHandle<()>,
}

#[derive(Clone)]
struct Service {
    table: watch::Sender<Arc<RoutingTable>>,
    state: Arc<Mutex<ClusterState>>,
    tasks: Arc<Vec<Task>>,
    said_goodbye: Arc<AtomicBool>,
    pending: Arc<Mutex<(v1::PendingTasksReply, usize)>>,
}

impl Coordinator {
    /// Starts one that routes by `table` and knows `tasks`.
    pub async fn start(table: RoutingTable, tasks: Vec<Task>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let mut state = ClusterState::default();
        let bootstrap = Command::Bootstrap {
            cluster_id: table.cluster_id.clone(),
            policy: Policy::default(),
        };
        state.apply(1, NOW_MS, &bootstrap);
        state.registry = Arc::clone(&table.registry);
        let sender = watch::Sender::new(Arc::new(table));
        let said_goodbye = Arc::new(AtomicBool::new(false));
        let pending = Arc::default();
        let service = Service {
            pending: Arc::clone(&pending),
            table: sender.clone(),
            state: Arc::new(Mutex::new(state)),
            tasks: Arc::new(tasks),
            said_goodbye: said_goodbye.clone(),
        };
        let server = tonic::transport::Server::builder()
            .add_service(RoutingServer::new(service.clone()))
            .add_service(CatalogServer::new(service));
        let server = tokio::spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            server
                .serve_with_incoming(incoming)
                .await
                .expect("the coordinator serves");
        });
        Self {
            address,
            said_goodbye,
            pending,
            table: sender,
            server,
        }
    }

    /// Routes by another table from now on.
    pub fn publish(&self, table: RoutingTable) {
        self.table.send_replace(Arc::new(table));
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn message(message: Message) -> Result<v1::CoordinatorMessage, Status> {
    Ok(v1::CoordinatorMessage {
        message: Some(message),
    })
}

#[tonic::async_trait]
impl Routing for Service {
    type SessionStream = Messages;
    type WatchStream = Messages;

    async fn session(
        &self,
        request: Request<Streaming<v1::ProxyMessage>>,
    ) -> Result<Response<Messages>, Status> {
        let (table, goodbye) = (self.table.clone(), self.said_goodbye.clone());
        let answers = request.into_inner().filter_map(move |received| {
            let epoch = table.borrow().epoch.0;
            let goodbye = goodbye.clone();
            async move {
                match received.ok()?.message? {
                    proxy_message::Message::Renew(renew) => {
                        Some(message(Message::Renewed(v1::Renewed {
                            number: renew.number,
                            epoch,
                        })))
                    }
                    proxy_message::Message::Goodbye(_) => {
                        goodbye.store(true, Ordering::SeqCst);
                        None
                    }
                    proxy_message::Message::Hello(_)
                    | proxy_message::Message::Ack(_)
                    | proxy_message::Message::Dirty(_) => None,
                }
            }
        });
        let welcome = v1::Welcome {
            proxy_id: 1,
            lease_ms: 3000,
            static_reads_ms: 600_000,
        };
        let tables = WatchStream::new(self.table.subscribe())
            .map(|table| message(Message::Table(table.as_ref().into())));
        let first = stream::iter([message(Message::Welcome(welcome))]);
        // The session ends when the proxy closes its side.
        let (closed, is_closed) = tokio::sync::oneshot::channel::<()>();
        let mut closed = Some(closed);
        let answers = answers.chain(stream::poll_fn(move |_| {
            drop(closed.take());
            std::task::Poll::Ready(None)
        }));
        let rest = stream::select(tables.take_until(is_closed), answers);
        Ok(Response::new(first.chain(rest).boxed()))
    }

    async fn watch(&self, _: Request<v1::WatchRequest>) -> Result<Response<Messages>, Status> {
        Err(Status::unimplemented("no observers here"))
    }
}

#[tonic::async_trait]
impl Catalog for Service {
    async fn create_index(
        &self,
        _: Request<v1::CreateIndexRequest>,
    ) -> Result<Response<v1::CreateIndexReply>, Status> {
        Err(Status::unimplemented("this coordinator commits nothing"))
    }
    async fn set_primary_key(
        &self,
        _: Request<v1::SetPrimaryKeyRequest>,
    ) -> Result<Response<v1::SetPrimaryKeyReply>, Status> {
        Err(Status::unimplemented("this coordinator commits nothing"))
    }
    async fn change_settings(
        &self,
        _: Request<v1::ChangeSettingsRequest>,
    ) -> Result<Response<v1::ChangeSettingsReply>, Status> {
        Err(Status::unimplemented("this coordinator commits nothing"))
    }
    async fn swap_indexes(
        &self,
        _: Request<v1::SwapIndexesRequest>,
    ) -> Result<Response<v1::TaskReply>, Status> {
        Err(Status::unimplemented("this coordinator commits nothing"))
    }
    async fn rename_index(
        &self,
        _: Request<v1::RenameIndexRequest>,
    ) -> Result<Response<v1::TaskReply>, Status> {
        Err(Status::unimplemented("this coordinator commits nothing"))
    }
    async fn settings_enqueued(
        &self,
        _: Request<v1::SettingsEnqueuedRequest>,
    ) -> Result<Response<v1::SettingsEnqueuedReply>, Status> {
        Err(Status::unimplemented("this coordinator commits nothing"))
    }
    async fn delete_index(
        &self,
        _: Request<v1::DeleteIndexRequest>,
    ) -> Result<Response<v1::TaskReply>, Status> {
        Err(Status::unimplemented("this coordinator commits nothing"))
    }
    async fn register_writes(
        &self,
        _: Request<v1::RegisterWritesRequest>,
    ) -> Result<Response<v1::RegisterWritesReply>, Status> {
        Err(Status::unimplemented("this coordinator commits nothing"))
    }
    async fn register_task(
        &self,
        _: Request<v1::RegisterTaskRequest>,
    ) -> Result<Response<v1::TaskReply>, Status> {
        Err(Status::unimplemented("this coordinator commits nothing"))
    }

    async fn cancel_tasks(
        &self,
        _: Request<v1::SelectTasksRequest>,
    ) -> Result<Response<v1::TaskReply>, Status> {
        Err(Status::unimplemented("this coordinator commits nothing"))
    }

    async fn delete_tasks(
        &self,
        _: Request<v1::SelectTasksRequest>,
    ) -> Result<Response<v1::TaskReply>, Status> {
        Err(Status::unimplemented("this coordinator commits nothing"))
    }

    async fn broadcast(
        &self,
        _: Request<v1::RegisterTaskRequest>,
    ) -> Result<Response<v1::TaskReply>, Status> {
        Err(Status::unimplemented("this coordinator commits nothing"))
    }

    async fn check_key(
        &self,
        _: Request<v1::CheckKeyRequest>,
    ) -> Result<Response<v1::CheckKeyReply>, Status> {
        Ok(Response::new(v1::CheckKeyReply {}))
    }

    async fn pending_tasks(
        &self,
        _: Request<v1::PendingTasksRequest>,
    ) -> Result<Response<v1::PendingTasksReply>, Status> {
        let mut pending = self.pending.lock().expect("no panic while locked");
        pending.1 += 1;
        Ok(Response::new(pending.0.clone()))
    }

    async fn get_task(
        &self,
        request: Request<v1::GetTaskRequest>,
    ) -> Result<Response<v1::Task>, Status> {
        let uid = request.into_inner().uid;
        let task = self.tasks.iter().find(|task| task.uid.0 == uid);
        task.map(|task| Response::new(task.into()))
            .ok_or_else(|| Status::not_found("no such task"))
    }

    async fn get_dump(&self, _: Request<v1::GetDumpRequest>) -> Result<Response<v1::Dump>, Status> {
        Err(Status::not_found("no such dump"))
    }

    async fn list_tasks(
        &self,
        request: Request<v1::ListTasksRequest>,
    ) -> Result<Response<v1::ListTasksReply>, Status> {
        let wanted = request.into_inner();
        let matching = |task: &&Task| {
            (wanted.uids.is_empty() || wanted.uids.contains(&task.uid.0))
                && (wanted.statuses.is_empty()
                    || wanted
                        .statuses
                        .iter()
                        .any(|status| status == task.status.as_str()))
        };
        let found: Vec<v1::Task> = self
            .tasks
            .iter()
            .rev()
            .filter(matching)
            .map(Into::into)
            .collect();
        let limit = usize::try_from(wanted.limit.unwrap_or(20)).expect("small");
        Ok(Response::new(v1::ListTasksReply {
            total: u32::try_from(found.len()).expect("few"),
            next: found.get(limit).map(|task| task.uid),
            results: found.into_iter().take(limit).collect(),
        }))
    }

    /// Carried out, and published at once.
    async fn change_registry(
        &self,
        request: Request<v1::ChangeRegistryRequest>,
    ) -> Result<Response<v1::ChangeRegistryReply>, Status> {
        let change = request.into_inner().try_into().expect("a change");
        let mut state = self.state.lock().expect("no panic while locked");
        let mut table = RoutingTable::clone(&self.table.borrow());
        let index = table.epoch.0 + 1;
        let command = Command::ChangeRegistry { change };
        if let Outcome::Rejected(rejection) = state.apply(index, NOW_MS + index, &command) {
            let mut status = Status::failed_precondition("refused");
            let json = serde_json::to_vec(&rejection).expect("plain data");
            let value = MetadataValue::from_bytes(&json);
            status.metadata_mut().insert_bin(REJECTION_METADATA, value);
            return Err(status);
        }
        table.epoch = Epoch(index);
        table.registry = Arc::clone(&state.registry);
        self.table.send_replace(Arc::new(table));
        Ok(Response::new(v1::ChangeRegistryReply { epoch: index }))
    }
}
