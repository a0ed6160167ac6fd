//! Initialisation and nodes.

use miroir_proto::v1;
use miroir_proto::v1::admin_client::AdminClient;
use miroir_proto::v1::change_request::Change;
use miroir_proto::{LEADER_METADATA, REJECTION_METADATA};
use tonic::{Code, Status};

use super::cluster::{Cluster, eventually, refused};
use super::fake_node::FakeNode;

fn spec(url: &str) -> v1::NewNode {
    v1::NewNode {
        url: url.to_owned(),
        ..Default::default()
    }
}

fn adding(new: v1::NewNode) -> v1::ChangeRequest {
    v1::ChangeRequest {
        change: Some(Change::AddNode(new)),
        ..Default::default()
    }
}

fn node(url: &str) -> v1::ChangeRequest {
    adding(spec(url))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_initialised_once() {
    let cluster = Cluster::start(3, "").await;
    let first = &cluster.coordinators[0];
    let before = first.status().await.expect("it answers");
    assert_eq!(
        (before.leader, before.has_quorum, before.cluster_id.as_str()),
        (0, false, "")
    );
    let request = v1::InitClusterRequest {
        groups: Some(0),
        ..Default::default()
    };
    refused(
        first.admin().init_cluster(request).await,
        Code::InvalidArgument,
        &["groups"],
    );

    let request = v1::InitClusterRequest {
        cluster_id: "prod".to_owned(),
        ..Default::default()
    };
    let reply = first
        .admin()
        .init_cluster(request.clone())
        .await
        .expect("initialised");
    assert_eq!(reply.into_inner().cluster_id, "prod");
    let leader = cluster.leader().await;
    for one in cluster.running() {
        eventually("the cluster everywhere", async || {
            match one.status().await?.cluster_id.as_str() {
                "prod" => Ok(()),
                other => Err(other.to_owned()),
            }
        })
        .await;
        let again = one.admin().init_cluster(request.clone()).await;
        refused(again, Code::AlreadyExists, &["prod"]);
    }
    let reply = leader
        .admin()
        .list_coordinators(v1::ListCoordinatorsRequest {})
        .await
        .expect("listed");
    let mut roles: Vec<_> = reply
        .into_inner()
        .coordinators
        .into_iter()
        .map(|one| one.role)
        .collect();
    roles.sort();
    assert_eq!(roles, ["follower", "follower", "leader"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_fit_is_refused_and_changes_nothing() {
    let cluster = Cluster::initialised("").await;
    let leader = cluster.leader().await;
    let mut admin = leader.admin();
    let good = FakeNode::start().await;
    let old = FakeNode::start().await;
    old.set(|node| node.version = "1.14.0".to_owned());
    let locked = FakeNode::start().await;
    locked.set(|node| node.key = "another-key".to_owned());
    let full = FakeNode::start().await;
    full.set(|node| {
        node.indexes.insert("films".to_owned(), 7);
    });
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let unreachable = format!("http://{}", silent.local_addr().expect("bound"));
    drop(silent);
    let epoch = leader.status().await.expect("it answers").epoch;

    let coordinator = leader.url();
    let table: [(v1::ChangeRequest, Code, [&str; 2]); 12] = [
        (
            node("localhost:7700"),
            Code::InvalidArgument,
            ["http://host:port", ""],
        ),
        (
            node("https://localhost:7700"),
            Code::InvalidArgument,
            ["only http", ""],
        ),
        (
            node(&format!("{}/meili", good.url)),
            Code::InvalidArgument,
            ["path", ""],
        ),
        (
            adding(v1::NewNode {
                weight: Some(0),
                ..spec(&good.url)
            }),
            Code::InvalidArgument,
            ["weight", ""],
        ),
        (
            adding(v1::NewNode {
                weight: Some(1_001),
                ..spec(&good.url)
            }),
            Code::InvalidArgument,
            ["weight", "1000"],
        ),
        (
            adding(v1::NewNode {
                group: Some(9),
                ..spec(&good.url)
            }),
            Code::NotFound,
            ["group 9", "groups 1"],
        ),
        (
            v1::ChangeRequest {
                request_id: "x".to_owned(),
                ..node(&good.url)
            },
            Code::InvalidArgument,
            ["UUID", ""],
        ),
        (
            node(&unreachable),
            Code::FailedPrecondition,
            ["cannot be reached", &unreachable],
        ),
        (
            node(&coordinator),
            Code::FailedPrecondition,
            [&coordinator, ""],
        ),
        (
            node(&old.url),
            Code::FailedPrecondition,
            ["1.14.0", "1.15.0"],
        ),
        (
            node(&locked.url),
            Code::PermissionDenied,
            ["master key", &locked.url],
        ),
        (
            node(&full.url),
            Code::FailedPrecondition,
            ["holds 1 indexes", "empty database"],
        ),
    ];
    for (request, code, words) in table {
        refused(admin.change(request).await, code, &words);
    }
    let reply = admin
        .list_nodes(v1::ListNodesRequest {})
        .await
        .expect("listed")
        .into_inner();
    assert_eq!(reply.nodes, []);
    assert_eq!(leader.status().await.expect("it answers").epoch, epoch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_added_once_whatever_its_address_is_spelled_like() {
    let cluster = Cluster::initialised("nodes.health_interval_ms = 50").await;
    let leader = cluster.leader().await;
    let mut admin = leader.admin();
    let fake = FakeNode::start().await;
    let request_id = "67e55044-10b1-426f-9247-bb680e5fe0c8".to_owned();
    let request = v1::ChangeRequest {
        request_id,
        ..adding(v1::NewNode {
            zone: Some("z".to_owned()),
            ..spec(&format!("{}/", fake.url))
        })
    };
    let added = admin
        .change(request.clone())
        .await
        .expect("added")
        .into_inner();
    let again = admin
        .change(request)
        .await
        .expect("the same request")
        .into_inner();
    assert_eq!(added, again);

    let duplicate = admin.change(node(&fake.url)).await;
    let status = duplicate.as_ref().expect_err("there is one already");
    assert!(
        status.metadata().get_bin(REJECTION_METADATA).is_some(),
        "{status:?}"
    );
    refused(
        duplicate,
        Code::AlreadyExists,
        &["node 1", fake.url.as_str()],
    );
    let alias = fake.url.replace("127.0.0.1", "localhost");
    refused(
        admin.change(node(&alias)).await,
        Code::AlreadyExists,
        &["same address", "node 1"],
    );

    eventually("a healthy node", async || {
        let reply = admin
            .clone()
            .list_nodes(v1::ListNodesRequest {})
            .await
            .map_err(|e| e.to_string())?;
        match reply.into_inner().nodes.as_slice() {
            [node] if node.health == "up" && node.url == fake.url && node.version == "1.15.1" => {
                Ok(())
            }
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    fake.set(|node| node.broken = true);
    eventually("a node that is down", async || {
        let reply = admin
            .clone()
            .list_nodes(v1::ListNodesRequest {})
            .await
            .map_err(|e| e.to_string())?;
        match reply.into_inner().nodes.as_slice() {
            [node] if node.health == "down" && node.last_error.contains("503") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_lead_names_the_leader() {
    let cluster = Cluster::initialised("").await;
    let (leader, follower) = (cluster.leader().await.url(), cluster.follower().await);
    let named = |status: &Status| {
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        status
            .metadata()
            .get(LEADER_METADATA)
            .and_then(|url| url.to_str().ok())
            .map(ToOwned::to_owned)
    };
    let status = follower
        .admin()
        .change(node("http://127.0.0.1:1"))
        .await
        .expect_err("it does not lead");
    assert_eq!(named(&status).as_deref(), Some(leader.as_str()));
    let request = v1::CreateIndexRequest {
        uid: "books".to_owned(),
        ..Default::default()
    };
    let status = follower
        .catalog()
        .create_index(request)
        .await
        .expect_err("it does not lead");
    assert_eq!(named(&status).as_deref(), Some(leader.as_str()));
    let status = follower
        .catalog()
        .get_task(v1::GetTaskRequest { uid: 0 })
        .await
        .expect_err("it does not lead");
    assert_eq!(named(&status).as_deref(), Some(leader.as_str()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_service_but_health_and_reflection_wants_the_token() {
    let cluster = Cluster::start(1, "").await;
    let one = &cluster.coordinators[0];
    let call = AdminClient::new(one.channel())
        .status(v1::StatusRequest {})
        .await;
    refused(call, Code::Unauthenticated, &["cluster token is missing"]);
    let list = v1::ListTasksRequest::default();
    let call = v1::catalog_client::CatalogClient::new(one.channel())
        .list_tasks(list)
        .await;
    refused(call, Code::Unauthenticated, &["token"]);
    let call = v1::routing_client::RoutingClient::new(one.channel())
        .watch(v1::WatchRequest {})
        .await;
    refused(call, Code::Unauthenticated, &["token"]);
    let raft = tonic::transport::Channel::from_shared(format!("http://{}", one.config.raft_addr));
    let mut raft =
        v1::raft_service_client::RaftServiceClient::new(raft.expect("a URL").connect_lazy());
    let call = raft
        .identify(v1::RaftIdentifyRequest {
            cluster_id: "miroir".to_owned(),
        })
        .await;
    refused(call, Code::Unauthenticated, &["token"]);

    let mut health = tonic_health::pb::health_client::HealthClient::new(one.channel());
    let mut serving = async |service: &str| {
        let request = tonic_health::pb::HealthCheckRequest {
            service: service.to_owned(),
        };
        health
            .check(request)
            .await
            .expect("health needs no token")
            .into_inner()
            .status()
    };
    use tonic_health::pb::health_check_response::ServingStatus::{NotServing, Serving};
    assert_eq!(serving("").await, Serving);
    assert_eq!(serving("miroir.v1.Admin").await, Serving);
    assert_eq!(serving("miroir.v1.Catalog").await, NotServing);
    assert_eq!(serving("miroir.v1.Routing").await, NotServing);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_survives_the_loss_of_its_leader_and_of_all() {
    let mut cluster = Cluster::initialised("").await;
    let fake = FakeNode::start().await;
    let leader = cluster.leader().await;
    leader.admin().change(node(&fake.url)).await.expect("added");
    let lost = leader.config.id;
    cluster.stop(lost).await;
    let second = cluster.leader().await;
    let reply = second
        .admin()
        .list_nodes(v1::ListNodesRequest {})
        .await
        .expect("listed");
    assert_eq!(reply.into_inner().nodes.len(), 1);
    for id in cluster
        .running()
        .map(|one| one.config.id)
        .collect::<Vec<_>>()
    {
        cluster.stop(id).await;
    }
    for id in 1..=3 {
        cluster.restart(id).await;
    }
    let third = cluster.leader().await;
    let reply = third
        .admin()
        .list_nodes(v1::ListNodesRequest {})
        .await
        .expect("listed");
    assert_eq!(reply.into_inner().nodes.len(), 1);
}
