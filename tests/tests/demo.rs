//! The demo, as a user runs it.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_miroir-under-test");

/// The port after which everything of one demo listens; others of this process and of other tests use free ports.
fn free_base() -> anyhow::Result<u16> {
    for base in (20_000..30_000).step_by(50) {
        let free =
            (base..base + 20).all(|port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok());
        if free {
            return Ok(base);
        }
    }
    anyhow::bail!("no twenty ports in a row are free")
}

fn demo(base: u16) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .arg("demo")
        .args(["--proxy-addr", &format!("127.0.0.1:{base}")])
        .kill_on_drop(true);
    if let Some(binary) = std::env::var_os("MEILISEARCH_BIN") {
        command.arg("--node-bin").arg(binary);
    }
    command
}

#[tokio::test]
async fn the_demo_passes_and_a_second_one_on_its_ports_is_refused() -> anyhow::Result<()> {
    let base = free_base()?;
    let first = demo(base)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while std::net::TcpListener::bind(("127.0.0.1", base)).is_ok() {
        ensure!(
            tokio::time::Instant::now() < deadline,
            "the first demo does not listen"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let second = demo(base).output().await?;
    let words = String::from_utf8_lossy(&second.stderr);
    ensure!(
        second.status.code() == Some(2),
        "the second demo ended with {}",
        second.status
    );
    ensure!(
        words.contains("in use") && words.contains(&format!("127.0.0.1:{base} (proxy-1)")),
        "{words}"
    );

    let ended = tokio::time::timeout(Duration::from_secs(300), first.wait_with_output()).await;
    let ended = ended.context("the demo did not end in five minutes")??;
    let report = String::from_utf8_lossy(&ended.stdout);
    println!("{report}");
    ensure!(
        ended.status.success(),
        "{}\n{}",
        ended.status,
        String::from_utf8_lossy(&ended.stderr)
    );
    for line in [
        "lost              0",
        "duplicated        0",
        "failed requests   0",
        "PASSED",
    ] {
        ensure!(report.contains(line), "the report lacks `{line}`");
    }
    Ok(())
}
