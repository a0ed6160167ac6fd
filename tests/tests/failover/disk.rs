//! A node's disk is full. What it cannot keep is not called kept: its copies leave the in-sync set, or the write is
//! refused. When there is room again they are repaired.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use miroir_dev::cluster::{Options, Role};
use miroir_tests::{Load, Trial, seed};
use tokio::process::Command;
use tokio::time::Instant;

use super::{ALONE, options};

/// The node with the small disk.
const NODE: u16 = 3;

/// How large it is: room for all there is, twice.
const DISK_MIB: u32 = 96;

/// How long the disk stays full.
const FULL: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_is_full() -> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    let seed = seed("a_disk_is_full")?;
    if let Some(reason) = no_mounts().await {
        println!("SKIPPED: {reason}");
        return Ok(());
    }
    let mut options = Options {
        nodes: 3,
        replication_factor: 2,
        ..options()
    };
    // The process has a mount namespace of its own, which ends with it: nothing is left behind.
    let mounted =
        format!("mount -t tmpfs -o size={DISK_MIB}m miroir-drill . && cd . && exec \"$@\"");
    options.places.wrappers.insert(
        Role::Node(NODE),
        ["unshare", "--mount", "sh", "-c", &mounted, "sh"]
            .map(ToOwned::to_owned)
            .to_vec(),
    );
    let mut trial = Trial::start(options).await?;
    let outcome = full(&mut trial, seed).await;
    trial.end(outcome).await
}

/// Why a process cannot have a mount of its own here.
async fn no_mounts() -> Option<String> {
    let tried = Command::new("unshare")
        .args([
            "--mount",
            "sh",
            "-c",
            "mount -t tmpfs -o size=1m miroir-drill /mnt",
        ])
        .output()
        .await;
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!(
            "this machine lets nobody mount: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => Some(format!("there is no `unshare`: {error}")),
    }
}

async fn full(trial: &mut Trial, seed: u64) -> anyhow::Result<()> {
    let load = Load::start(trial, seed);
    let (_, operation) = trial.cluster.add_node(1).await?;
    let filler = filler(trial)?;
    fill(&filler)?;
    println!("    the disk is full");
    let stale = stale_copies_show(trial).await;
    tokio::time::sleep(FULL).await;
    std::fs::remove_file(&filler).context("the disk cannot be freed")?;
    let stale = stale?;
    println!("    the disk has room; copies were ejected: {stale}");
    trial.wait_until_moved(operation).await?;
    let seen = load.stop().await?;
    seen.every_read_succeeded()?;
    ensure!(
        stale || seen.written.refused > 0,
        "every copy took every write: the disk cannot have been full"
    );
    trial.heal_and_check().await
}

/// A file on the small disk, seen from outside the node's mount namespace.
fn filler(trial: &mut Trial) -> anyhow::Result<PathBuf> {
    let home = trial.cluster.layout.home(Role::Node(NODE));
    let process = trial.cluster.process(Role::Node(NODE));
    let pid = process.and_then(|process| process.pid());
    let root = format!("/proc/{}/root", pid.context("the node does not run")?);
    let inside = home
        .strip_prefix("/")
        .context("the home is no absolute path")?;
    Ok(PathBuf::from(root).join(inside).join("filler"))
}

/// Writes until there is no room.
fn fill(filler: &PathBuf) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::File::create(filler)
        .with_context(|| format!("cannot create {}", filler.display()))?;
    let chunk = vec![0x55; 4_096];
    for _ in 0..u64::from(DISK_MIB) * 1_024 * 1_024 / 4_096 + 1 {
        if let Err(error) = file.write_all(&chunk) {
            ensure!(
                error.kind() == std::io::ErrorKind::StorageFull,
                "filling the disk: {error}"
            );
            return Ok(());
        }
    }
    anyhow::bail!("the disk is larger than {DISK_MIB} MiB")
}

/// Whether copies are ejected in a while; a node whose files have holes may go on for longer than a drill waits.
async fn stale_copies_show(trial: &Trial) -> anyhow::Result<bool> {
    let deadline = Instant::now() + Duration::from_secs(15);
    while Instant::now() < deadline {
        let admin = &trial.cluster.admin;
        let status = admin.status_of(admin.leader().await?).await?;
        if status.replicas_stale > 0 {
            return Ok(true);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(false)
}
