//! One process: started, watched, stopped, killed.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::process::{Child, Command};

use super::{Layout, config};

/// How long a process may take to stop when asked.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Which part of the cluster a process is. Numbers begin at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A coordinator.
    Coordinator(u16),
    /// A proxy.
    Proxy(u16),
    /// A node.
    Node(u16),
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Coordinator(n) => write!(f, "coordinator-{n}"),
            Self::Proxy(n) => write!(f, "proxy-{n}"),
            Self::Node(n) => write!(f, "node-{n}"),
        }
    }
}

/// A process of the cluster. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    /// What it is.
    pub role: Role,
    child: Child,
    log: PathBuf,
    /// Set when it was stopped or killed on purpose.
    dismissed: bool,
}

impl Process {
    /// Starts the process of a role, with its output appended to its log file.
    ///
    /// # Errors
    /// When its configuration cannot be written or the program cannot be started.
    pub fn spawn(layout: &Layout, role: Role) -> anyhow::Result<Self> {
        let home = layout.home(role);
        std::fs::create_dir_all(&home)
            .with_context(|| format!("cannot create {}", home.display()))?;
        let log = layout.log_file(role);
        if let Some(parent) = log.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let output = File::options().append(true).create(true).open(&log)?;
        let mut command = match role {
            Role::Coordinator(n) => {
                let mut command = starting(layout, role, &layout.options.program);
                command
                    .arg("coordinator")
                    .arg("--config")
                    .arg(config::coordinator(layout, n)?);
                command.envs(layout.options.environment.iter().cloned());
                command
            }
            Role::Proxy(n) => {
                let mut command = starting(layout, role, &layout.options.program);
                command
                    .arg("proxy")
                    .arg("--config")
                    .arg(config::proxy(layout, n)?);
                command
            }
            Role::Node(n) => node_command(layout, n)?,
        };
        let child = command
            .current_dir(&home)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // Ctrl-C reaches the whole group of a terminal; the cluster stops its processes itself, in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {role}"))?;
        Ok(Self {
            role,
            child,
            log,
            dismissed: false,
        })
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What to tell of a process that ended though nobody asked it to.
    pub fn obituary(&mut self) -> Option<String> {
        if self.dismissed {
            return None;
        }
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(format!(
                "{} ended ({status}); the end of {}:\n{}",
                self.role,
                self.log.display(),
                self.last_words()
            )),
            Err(error) => Some(format!("{} cannot be watched: {error}", self.role)),
        }
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    /// Sends a signal by name, such as `STOP`.
    ///
    /// # Errors
    /// When the process is gone.
    pub async fn signal(&mut self, name: &str) -> anyhow::Result<()> {
        let pid = self
            .pid()
            .with_context(|| format!("{} is not running", self.role))?;
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(pid.to_string())
            .status()
            .await?;
        anyhow::ensure!(
            status.success(),
            "kill -{name} {pid} of {} failed",
            self.role
        );
        Ok(())
    }

    /// Kills it with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// When it is gone already.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.dismissed = true;
        self.child
            .kill()
            .await
            .with_context(|| format!("cannot kill {}", self.role))
    }

    /// Asks it to stop, and kills it when it does not.
    pub async fn stop(&mut self) {
        self.dismissed = true;
        // One that is paused hears nothing before it goes on.
        if self.signal("TERM").await.is_ok()
            && self.signal("CONT").await.is_ok()
            && tokio::time::timeout(STOP_WITHIN, self.child.wait())
                .await
                .is_ok()
        {
            return;
        }
        // Gone already, or hung: either way it is over after this.
        let _gone = self.child.kill().await;
    }
}

/// A command that starts `program`, by the wrapper of the role if it has one.
fn starting(layout: &Layout, role: Role, program: &Path) -> Command {
    match layout.options.places.wrappers.get(&role).map(Vec::as_slice) {
        Some([wrapper, arguments @ ..]) => {
            let mut command = Command::new(wrapper);
            command.args(arguments).arg(program);
            command
        }
        Some([]) | None => Command::new(program),
    }
}

/// A node is started by Meilisearch's own flags, so that the embedded one and the real one are interchangeable.
fn node_command(layout: &Layout, n: u16) -> anyhow::Result<Command> {
    let mut command = match &layout.options.node_bin {
        Some(binary) => starting(layout, Role::Node(n), binary),
        None => {
            let mut command = starting(layout, Role::Node(n), &layout.options.program);
            command.arg("node");
            command
        }
    };
    command
        .arg("--http-addr")
        .arg(layout.addr(&format!("node-{n}")).to_string())
        .arg("--db-path")
        .arg(layout.home(Role::Node(n)).join("data.ms"))
        // Dumps are named by the time: nodes that shared a directory would overwrite each other's.
        .arg("--dump-dir")
        .arg(layout.home(Role::Node(n)).join("dumps"))
        .arg("--no-analytics")
        .args([
            "--max-indexing-memory",
            "256 MiB",
            "--max-indexing-threads",
            "1",
        ])
        .env("MEILI_MASTER_KEY", layout.master_key()?);
    Ok(command)
}
