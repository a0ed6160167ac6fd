//! A move that an operator interferes with.

use std::time::Duration;

use anyhow::{Context, ensure};
use miroir_dev::cluster::Role;
use miroir_dev::demo::INDEX;
use miroir_proto::v1::change_request::Change;
use miroir_proto::v1::control_migration::Action;
use miroir_proto::v1::{self, Phase};
use miroir_tests::{Load, Stage, Trial};

use super::support::{a_move, change, drill, migration, placement, reached, refused, with_nodes};

/// How long it is watched that a paused move goes no further.
const PAUSED_FOR: Duration = Duration::from_secs(1);

/// Long enough for the drill to act while a source is kept.
const REVERSE_WINDOW_MS: u64 = 600_000;

fn point(phase: &str) -> String {
    format!("migration-{phase}-{INDEX}")
}

fn control(id: u64, action: Action) -> Change {
    Change::ControlMigration(v1::ControlMigration {
        id,
        action: Some(action),
    })
}

/// Begins a move that is held in a phase; answers its operation and itself.
async fn held_in(
    (stage, trial): (&Stage, &Trial),
    shard: u16,
    phase: (Phase, &str),
) -> anyhow::Result<(u64, v1::Migration)> {
    stage.points.set(&point(phase.1), "pause").await?;
    let order = a_move(trial, shard).await?;
    let reply = trial.cluster.admin.change(Change::MoveShard(order)).await?;
    let operation = reply.operation.context("a move is an operation")?;
    let migration = reached(trial, operation, phase.0).await?;
    Ok((operation, migration))
}

/// A paused move stays where it is, also when the leader dies; it goes on when it is told to. It obeys a throttle that
/// comes while it runs.
#[test]
fn pause_resume_and_throttle_a_move() -> anyhow::Result<()> {
    drill(
        "pause_resume_and_throttle_a_move",
        |stage, seed| async move {
            let mut trial = stage.trial.write().await;
            with_nodes(&mut trial, 2).await?;
            let load = Load::start(&trial, seed);
            let preparing = (Phase::Preparing, "Preparing");
            let (operation, held) = held_in((&stage, &trial), 0, preparing).await?;
            change(&trial, control(held.id, Action::Pause(v1::Pause {}))).await?;
            let again = control(held.id, Action::Pause(v1::Pause {}));
            refused(&trial, again, &["paused already"]).await?;
            stage.points.lift(&point("Preparing"))?;
            let dead = Role::Coordinator(trial.cluster.admin.leader().await?);
            trial.cluster.kill(dead).await?;
            trial.cluster.spawn(dead)?;
            let before = migration(&trial, operation).await?;
            tokio::time::sleep(PAUSED_FOR).await;
            let now = migration(&trial, operation).await?;
            ensure!(
                now.paused && [Phase::Preparing, Phase::Copying].contains(&now.phase()),
                "{now:?} was {before:?}"
            );
            throttled(&trial, held.id, operation).await?;
            change(&trial, control(held.id, Action::Resume(v1::Resume {}))).await?;
            trial.wait_until_moved(operation).await?;
            let late = control(held.id, Action::Pause(v1::Pause {}));
            refused(&trial, late, &["finished"]).await?;
            let seen = load.stop().await?;
            seen.every_write_succeeded()?;
            trial.heal_and_check().await
        },
    )
}

async fn throttled(trial: &Trial, id: u64, operation: u64) -> anyhow::Result<()> {
    let throttle = |docs_per_s| {
        let throttle = v1::Throttle {
            docs_per_s,
            bytes_per_s: None,
        };
        control(id, Action::Throttle(throttle))
    };
    refused(trial, throttle(Some(0)), &["at least 1"]).await?;
    change(trial, throttle(Some(40))).await?;
    let now = migration(trial, operation).await?;
    ensure!(now.throttle_docs_per_s == Some(40), "{now:?}");
    Ok(())
}

/// A move that is cancelled before reads have moved leaves nothing behind.
#[test]
fn cancel_a_move() -> anyhow::Result<()> {
    drill("cancel_a_move", |stage, seed| async move {
        let mut trial = stage.trial.write().await;
        with_nodes(&mut trial, 2).await?;
        let before = placement(&trial.cluster.admin, INDEX).await?;
        let load = Load::start(&trial, seed);
        let phases = [
            (Phase::Copying, "Copying"),
            (Phase::CatchingUp, "CatchingUp"),
            (Phase::Mirroring, "Mirroring"),
        ];
        for (shard, phase) in (1..).zip(phases) {
            let (operation, held) = held_in((&stage, &trial), shard, phase).await?;
            let reverse = control(held.id, Action::Reverse(v1::Reverse {}));
            refused(&trial, reverse, &["cancel it instead"]).await?;
            change(&trial, control(held.id, Action::Cancel(v1::Cancel {}))).await?;
            stage.points.lift(&point(phase.1))?;
            reached(&trial, operation, Phase::Cancelled).await?;
        }
        let seen = load.stop().await?;
        seen.every_read_succeeded()?;
        seen.every_write_succeeded()?;
        let after = placement(&trial.cluster.admin, INDEX).await?;
        ensure!(before == after, "{before:?} became {after:?}");
        trial.heal_and_check().await
    })
}

/// A move whose reads have moved is reversed within its window: reads and the data go back. Once the source is being
/// deleted it is too late, and the operator is told.
#[test]
fn reverse_a_move() -> anyhow::Result<()> {
    drill("reverse_a_move", |stage, seed| async move {
        let mut trial = stage.trial.write().await;
        with_nodes(&mut trial, 2).await?;
        let before = placement(&trial.cluster.admin, INDEX).await?;
        let load = Load::start(&trial, seed);
        window(&trial, REVERSE_WINDOW_MS).await?;
        let order = a_move(&trial, 2).await?;
        let reply = trial.cluster.admin.change(Change::MoveShard(order)).await?;
        let operation = reply.operation.context("a move is an operation")?;
        let held = reached(&trial, operation, Phase::Holding).await?;
        let cancel = control(held.id, Action::Cancel(v1::Cancel {}));
        refused(&trial, cancel, &["reverse it instead"]).await?;
        change(&trial, control(held.id, Action::Reverse(v1::Reverse {}))).await?;
        reached(&trial, operation, Phase::Cancelled).await?;
        let after = placement(&trial.cluster.admin, INDEX).await?;
        ensure!(before == after, "{before:?} became {after:?}");

        window(&trial, 0).await?;
        let cleaning = (Phase::Cleaning, "Cleaning");
        let (operation, held) = held_in((&stage, &trial), 3, cleaning).await?;
        let reverse = control(held.id, Action::Reverse(v1::Reverse {}));
        refused(&trial, reverse, &["neither cancelled nor reversed"]).await?;
        stage.points.lift(&point("Cleaning"))?;
        trial.wait_until_moved(operation).await?;
        let seen = load.stop().await?;
        seen.every_read_succeeded()?;
        seen.every_write_succeeded()?;
        trial.heal_and_check().await
    })
}

async fn window(trial: &Trial, reverse_window_ms: u64) -> anyhow::Result<()> {
    let policy = v1::PolicyChange {
        reverse_window_ms: Some(reverse_window_ms),
        ..v1::PolicyChange::default()
    };
    change(trial, Change::Policy(policy)).await.map(|_| ())
}
