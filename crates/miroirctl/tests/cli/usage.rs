//! The command line itself: help, wrong usage, the token.

use anyhow::Result;

use crate::support::{Coordinator, Script, miroirctl, run_with, status};

#[tokio::test]
async fn help_documents_every_exit_status() -> Result<()> {
    for line in ["--help", "-h", "help"] {
        let run = miroirctl(&[], line).await?;
        assert_eq!(run.code, 0, "{run:?}");
        for part in [
            "Exit status:",
            "  0  ",
            "  1  ",
            "  2  ",
            "  3  ",
            "  4  ",
            "MIROIR_ENDPOINTS",
        ] {
            assert!(
                run.stdout.contains(part),
                "{line}: no `{part}` in {}",
                run.stdout
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn wrong_usage_exits_2_and_asks_nobody() -> Result<()> {
    let coordinator = Coordinator::start(Script {
        status: status(1, 1, ""),
        ..Default::default()
    })
    .await?;
    for line in [
        "",
        "frobnicate",
        "node add",
        "status --output yaml",
        "status --timeout-ms 0",
        "index show",
    ] {
        let run = miroirctl(&[&coordinator.url], line).await?;
        assert_eq!(run.code, 2, "{line}: {run:?}");
    }
    let run = miroirctl(&["https://127.0.0.1:1"], "status").await?;
    run.failed(2, &["https://127.0.0.1:1", "http://host:port"]);
    let run = miroirctl(&[&coordinator.url], "status --token-file /nowhere/token").await?;
    run.failed(2, &["/nowhere/token"]);
    let run = miroirctl(
        &[&coordinator.url],
        "node add http://127.0.0.1:7700 --request-id 12",
    )
    .await?;
    assert_eq!(run.code, 2, "{run:?}");
    assert!(coordinator.script().asked.is_empty());
    Ok(())
}

#[tokio::test]
async fn the_token_comes_from_a_file_or_the_environment() -> Result<()> {
    let script = Script {
        status: status(1, 1, ""),
        token: Some("s3cret".to_owned()),
        ..Default::default()
    };
    let coordinator = Coordinator::start(script).await?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("token");
    std::fs::write(&file, "s3cret\n")?;
    let file = file.to_str().expect("UTF-8");
    let url = coordinator.url.as_str();

    let run = miroirctl(&[url], &format!("status --token-file {file}")).await?;
    assert_eq!(run.code, 0, "{run:?}");
    let run = run_with(
        &[],
        "status",
        &[
            ("MIROIR_CLUSTER_TOKEN", "s3cret"),
            ("MIROIR_ENDPOINTS", url),
        ],
    )
    .await?;
    assert_eq!(run.code, 0, "{run:?}");
    let run = run_with(&[url], "status", &[("MIROIR_CLUSTER_TOKEN_FILE", file)]).await?;
    assert_eq!(run.code, 0, "{run:?}");

    for line in [
        "status",
        "node list",
        "node add http://127.0.0.1:1",
        "cluster init",
        "migration watch",
    ] {
        let run = run_with(&[url], line, &[("MIROIR_CLUSTER_TOKEN", "guess")]).await?;
        run.failed(1, &["token is wrong", "--token-file"]);
        assert!(!run.stderr.contains("guess"), "{run:?}");
    }
    Ok(())
}
