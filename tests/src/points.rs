//! Failpoints that are set and lifted while the coordinators run, through a file that all of them watch.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use miroir_dev::cluster::{Layout, Role};
use tokio::time::Instant;

/// The environment variable that names the file.
const VARIABLE: &str = "FAILPOINTS_FILE";

/// The file as a coordinator sees it, which runs in a directory of its own below the cluster's.
const FILE: &str = "../failpoints";

/// Where a coordinator writes down what it obeys.
const OBEYED: &str = "failpoints.obeyed";

/// How soon a change of the file is noticed.
const SOON: Duration = Duration::from_millis(10);

/// How long coordinators may take to obey; only reached when a test fails.
const WITHIN: Duration = Duration::from_secs(30);

/// The failpoints of a cluster that was started with [`Points::environment`].
#[derive(Debug)]
pub struct Points {
    file: PathBuf,
    obeyed: Vec<PathBuf>,
    actions: Mutex<BTreeMap<String, String>>,
}

impl Points {
    /// The variable that makes coordinators watch the file.
    #[must_use]
    pub fn environment() -> (String, String) {
        (VARIABLE.to_owned(), FILE.to_owned())
    }

    /// No points yet, for the cluster of this layout.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        let coordinators = 1..=layout.options.coordinators;
        Self {
            file: layout.data_dir.join("failpoints"),
            obeyed: coordinators
                .map(|n| layout.home(Role::Coordinator(n)).join(OBEYED))
                .collect(),
            actions: Mutex::default(),
        }
    }

    /// Sets a point, such as `migration-Copying` to `pause`. All coordinators must be running; when this returns, all
    /// of them obey it.
    ///
    /// # Errors
    /// When one does not obey in time.
    pub async fn set(&self, name: &str, action: &str) -> anyhow::Result<()> {
        self.change(|actions| actions.insert(name.to_owned(), action.to_owned()))?;
        let line = format!("{name}={action}");
        let deadline = Instant::now() + WITHIN;
        for obeyed in &self.obeyed {
            let obeys = || {
                let text = std::fs::read_to_string(obeyed).unwrap_or_default();
                text.lines().any(|one| one == line)
            };
            while !obeys() {
                ensure!(
                    Instant::now() < deadline,
                    "{} lacks {line}",
                    obeyed.display()
                );
                tokio::time::sleep(SOON).await;
            }
        }
        Ok(())
    }

    /// Lifts a point: who paused there goes on, soon.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn lift(&self, name: &str) -> anyhow::Result<()> {
        self.change(|actions| actions.remove(name))
    }

    /// Lifts all points.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn lift_all(&self) -> anyhow::Result<()> {
        self.change(BTreeMap::clear)
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, String>) -> T,
    ) -> anyhow::Result<()> {
        let mut actions = self.actions.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut actions);
        let lines = actions
            .iter()
            .map(|(name, action)| format!("{name}={action}\n"));
        replace(&self.file, &lines.collect::<String>())
    }
}

/// In a coordinator under test: does what the file says, at once and whenever it changes. Without the variable, nothing.
pub fn obey_points() {
    let Some(file) = std::env::var_os(VARIABLE).map(PathBuf::from) else {
        return;
    };
    let mut obeyed = String::new();
    obey(&file, &mut obeyed);
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(SOON);
            obey(&file, &mut obeyed);
        }
    });
}

fn obey(file: &Path, obeyed: &mut String) {
    let wanted = std::fs::read_to_string(file).unwrap_or_default();
    if wanted == *obeyed {
        return;
    }
    let points = |text: &str| -> BTreeMap<String, String> {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs
            .map(|(name, action)| (name.to_owned(), action.to_owned()))
            .collect()
    };
    let (old, new) = (points(obeyed), points(&wanted));
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        fail::remove(name);
    }
    for (name, action) in new.iter().filter(|(name, to)| old.get(*name) != Some(to)) {
        if let Err(error) = fail::cfg(name, action) {
            eprintln!("failpoint {name}={action}: {error}");
            return;
        }
    }
    if let Err(error) = replace(Path::new(OBEYED), &wanted) {
        eprintln!("{error:#}");
    }
    *obeyed = wanted;
}

/// Writes a file so that nobody reads half of it.
fn replace(file: &Path, text: &str) -> anyhow::Result<()> {
    let draft = file.with_extension("new");
    std::fs::write(&draft, text)
        .and_then(|()| std::fs::rename(&draft, file))
        .with_context(|| format!("cannot write {}", file.display()))
}
