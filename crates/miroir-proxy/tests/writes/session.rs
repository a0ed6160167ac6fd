//! The routing session: tables, leases, acknowledgements, reports.

use std::time::{Duration, Instant};

use miroir_core::cluster::{Command, NodeSpec, Policy};
use miroir_core::id::{Epoch, GroupId, MigrationId};
use miroir_core::routing::RoutingTable;
use miroir_proxy::control::{self, Control};
use tokio_util::sync::CancellationToken;

use super::cluster::{LONG, control_config, until};
use super::coordinator::{Coordinator, Heard};

async fn coordinator() -> Coordinator {
    let coordinator = Coordinator::start().await;
    coordinator.apply(&Command::Bootstrap {
        cluster_id: "c".to_owned(),
        policy: Policy::default(),
    });
    coordinator
}

/// Changes the table.
fn change(coordinator: &Coordinator) -> Epoch {
    let url = format!("http://127.0.0.1:1/{}", coordinator.epoch());
    let node = NodeSpec {
        url,
        group: GroupId(1),
        zone: None,
        weight: 1,
        version: "1.26.0".to_owned(),
    };
    coordinator.apply(&Command::AddNode { node });
    coordinator.epoch()
}

fn control(endpoints: &[&str]) -> (Control, CancellationToken) {
    let shutdown = CancellationToken::new();
    let config = control_config(endpoints, "http://127.0.0.1:9");
    (
        control::spawn(config, shutdown.clone()).expect("a configuration"),
        shutdown,
    )
}

async fn follows(control: &Control, coordinator: &Coordinator) {
    assert!(
        control
            .wait_epoch(coordinator.epoch(), Instant::now() + LONG)
            .await
    );
    assert_eq!(*control.table(), coordinator.table());
}

fn hellos(coordinator: &Coordinator) -> usize {
    coordinator
        .heard()
        .borrow()
        .iter()
        .filter(|heard| matches!(heard, Heard::Hello(_)))
        .count()
}

#[tokio::test]
async fn the_table_comes_whole_then_in_changes_and_whole_again_after_a_gap() {
    let coordinator = coordinator().await;
    assert!(coordinator.table().nodes.is_empty());
    let (control, _shutdown) = control(&[&coordinator.url]);
    until("registered", || control.proxy_id()).await;
    follows(&control, &coordinator).await;
    change(&coordinator);
    follows(&control, &coordinator).await;
    assert_eq!(hellos(&coordinator), 1);

    // The next change does not fit what the proxy has.
    coordinator.leave_out_changes(1);
    change(&coordinator);
    tokio::task::yield_now().await;
    until("the change was left out", || {
        (control.table().epoch < coordinator.epoch()).then_some(())
    })
    .await;
    change(&coordinator);
    follows(&control, &coordinator).await;
    assert!(
        hellos(&coordinator) >= 2,
        "the whole table comes with a new session"
    );
    assert_eq!(control.nodes().iter().count(), 3);
}

#[tokio::test]
async fn a_change_that_never_comes_is_noticed() {
    let coordinator = coordinator().await;
    let (control, _shutdown) = control(&[&coordinator.url]);
    until("registered", || control.proxy_id()).await;
    coordinator.leave_out_changes(1);
    change(&coordinator);
    follows(&control, &coordinator).await;
    assert_eq!(hellos(&coordinator), 2);
}

#[tokio::test]
async fn the_leader_is_found_through_any_other() {
    let leader = coordinator().await;
    let follower = Coordinator::start().await;
    follower.lead(false, Some(&leader.url));
    let (control, _shutdown) = control(&["http://127.0.0.1:1", &follower.url]);
    until("registered", || control.proxy_id()).await;
    assert_eq!(
        control.status().leader.as_deref(),
        Some(leader.url.as_str())
    );
    assert!(control.status().connected);

    // Another one leads now. What it knows is the same.
    let (before, instance) = (control.proxy_id(), control.instance().to_owned());
    leader.lead(false, None);
    until("noticed", || (!control.status().connected).then_some(())).await;
    leader.lead(true, None);
    until("back", || control.status().connected.then_some(())).await;
    assert_eq!(control.proxy_id(), before, "one run is one proxy");
    let heard = leader.heard();
    for one in heard.borrow().iter() {
        if let Heard::Hello(hello) = one {
            assert_eq!(hello.instance, instance);
        }
    }
}

#[tokio::test]
async fn without_renewal_the_lease_runs_out_and_reads_go_on() {
    let coordinator = coordinator().await;
    let (control, _shutdown) = control(&[&coordinator.url]);
    until("registered", || control.proxy_id()).await;
    let guard = control.begin_write().expect("a lease");
    assert!(control.may_write(guard.proxy));
    coordinator.renew(false);
    coordinator.lead(false, None);
    until("over", || control.lease_left().is_zero().then_some(())).await;
    assert!(control.begin_write().is_err());
    assert!(
        !control.may_write(guard.proxy),
        "also for a write that began before"
    );
    control.begin_read().expect("reads need no lease");
    coordinator.renew(true);
    coordinator.lead(true, None);
    until("again", || control.begin_write().ok()).await;
}

#[tokio::test]
async fn a_leader_that_says_nothing_is_left() {
    let coordinator = coordinator().await;
    let (control, _shutdown) = control(&[&coordinator.url]);
    until("registered", || control.proxy_id()).await;
    coordinator.renew(false);
    until("a new session", || {
        (hellos(&coordinator) >= 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_epoch_is_acknowledged_once_older_requests_have_ended() {
    let coordinator = coordinator().await;
    let (control, _shutdown) = control(&[&coordinator.url]);
    until("registered", || control.proxy_id()).await;
    let first = control.table().epoch.0;
    let acked = |writes, reads| {
        let acked = coordinator.acked();
        acked.filter(|ack| (ack.writes_epoch, ack.reads_epoch) == (writes, reads))
    };
    until("the first", || acked(first, first)).await;
    let write = control.begin_write().expect("a lease");
    let read = control.begin_read().expect("a table");
    assert_eq!(write.table.epoch.0, first);
    let second = change(&coordinator).0;
    follows(&control, &coordinator).await;
    let third = change(&coordinator).0;
    follows(&control, &coordinator).await;
    // A new session says again what holds, and no more.
    coordinator.kick();
    until("a new session", || {
        (hellos(&coordinator) >= 2 && control.status().connected).then_some(())
    })
    .await;
    assert!(
        acked(first, first).is_some(),
        "{:?} of {second} {third}",
        coordinator.acked()
    );
    drop(write);
    until("writes", || acked(third, first)).await;
    drop(read);
    until("reads", || acked(third, third)).await;
}

#[tokio::test]
async fn dirty_ids_arrive_before_the_acknowledgement_that_covers_them() {
    let coordinator = coordinator().await;
    let (control, _shutdown) = control(&[&coordinator.url]);
    until("registered", || control.proxy_id()).await;
    for round in 0..20 {
        let write = control.begin_write().expect("a lease");
        let epoch = change(&coordinator).0;
        follows(&control, &coordinator).await;
        control.report_dirty(MigrationId(round), ["7".to_owned()]);
        drop(write);
        until("acknowledged", || {
            coordinator.acked().filter(|ack| ack.writes_epoch >= epoch)
        })
        .await;
        let reported =
            |heard: &Heard| matches!(heard, Heard::Dirty(dirty) if dirty.migration == round);
        assert!(
            coordinator.heard().borrow().iter().any(reported),
            "round {round}"
        );
    }
}

#[tokio::test]
async fn dirty_ids_of_a_broken_session_are_sent_again() {
    let coordinator = coordinator().await;
    let (control, _shutdown) = control(&[&coordinator.url]);
    until("registered", || control.proxy_id()).await;
    // Without answers nothing tells the proxy that its report has arrived.
    coordinator.renew(false);
    control.report_dirty(MigrationId(3), ["7".to_owned()]);
    control.report_whole_shard(MigrationId(4));
    let reports = |migration| {
        let is_it =
            |heard: &&Heard| matches!(heard, Heard::Dirty(dirty) if dirty.migration == migration);
        coordinator.heard().borrow().iter().filter(is_it).count()
    };
    until("reported twice", || {
        (reports(3) >= 2 && reports(4) >= 2).then_some(())
    })
    .await;
    coordinator.renew(true);
}

#[tokio::test]
async fn routes_never_go_backwards() {
    let coordinator = coordinator().await;
    let old = coordinator.table();
    change(&coordinator);
    let (control, _shutdown) = control(&[&coordinator.url]);
    until("registered", || control.proxy_id()).await;
    let epoch = control.table().epoch;
    assert!(old.epoch < epoch);
    coordinator.send_old_table(old);
    until("a new session", || {
        (hellos(&coordinator) >= 2 && control.status().connected).then_some(())
    })
    .await;
    assert_eq!(control.table().epoch, epoch);
    change(&coordinator);
    follows(&control, &coordinator).await;
}

#[tokio::test]
async fn a_proxy_that_was_given_up_learns_its_new_id() {
    let coordinator = coordinator().await;
    let (control, _shutdown) = control(&[&coordinator.url]);
    let first = until("registered", || control.proxy_id()).await;
    coordinator.apply(&Command::LoseProxy { proxy: first });
    coordinator.kick();
    let second = until("another id", || {
        control.proxy_id().filter(|id| *id != first)
    })
    .await;
    assert!(!control.may_write(first));
    until("a lease", || control.may_write(second).then_some(())).await;
    // Resigning does the same from this side.
    control.resign(second);
    let third = until("another id", || {
        control.proxy_id().filter(|id| *id != second)
    })
    .await;
    assert!(third > second && !control.may_write(second));
    control.resign(second);
    assert_eq!(control.proxy_id(), Some(third), "resigned already");
}

#[tokio::test]
async fn a_proxy_that_the_table_lacks_registers_anew_at_once() {
    let coordinator = coordinator().await;
    coordinator.set_lease_ms(60_000);
    let (control, _shutdown) = control(&[&coordinator.url]);
    let first = until("registered", || control.proxy_id()).await;
    until("a lease", || control.may_write(first).then_some(())).await;
    // The session stays up and would be renewed.
    coordinator.apply(&Command::LoseProxy { proxy: first });
    let second = until("another id", || {
        control.proxy_id().filter(|id| *id != first)
    })
    .await;
    assert!(second > first && !control.may_write(first));
}

#[tokio::test]
async fn a_proxy_says_goodbye_when_its_writes_are_over() {
    let coordinator = coordinator().await;
    let (control, shutdown) = control(&[&coordinator.url]);
    until("registered", || control.proxy_id()).await;
    let write = control.begin_write().expect("a lease");
    shutdown.cancel();
    control.report_dirty(MigrationId(1), ["7".to_owned()]);
    until("still there", || {
        let heard = coordinator.heard();
        let dirty = heard
            .borrow()
            .iter()
            .any(|one| matches!(one, Heard::Dirty(_)));
        dirty.then_some(())
    })
    .await;
    assert!(!coordinator.heard().borrow().contains(&Heard::Goodbye));
    drop(write);
    tokio::time::timeout(LONG, control.ended())
        .await
        .expect("ended");
    assert_eq!(coordinator.heard().borrow().last(), Some(&Heard::Goodbye));
    assert!(
        control.begin_write().is_err(),
        "the goodbye says that there are no writes"
    );
    assert!(coordinator.state(|state| state.proxies.is_empty()));
}

#[tokio::test]
async fn without_any_table_nothing_is_read_or_written() {
    let (control, shutdown) = control(&["http://127.0.0.1:1"]);
    assert!(control.begin_read().is_err() && control.begin_write().is_err());
    assert_eq!(*control.table(), RoutingTable::default());
    assert!(
        !control
            .wait_epoch(Epoch(1), Instant::now() + Duration::from_millis(50))
            .await
    );
    shutdown.cancel();
    tokio::time::timeout(LONG, control.ended())
        .await
        .expect("ended");
}
