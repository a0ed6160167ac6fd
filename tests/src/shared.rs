//! A cluster that several tests of one program use one after the other, or at the same time: starting one takes longer
//! than most tests.

use std::future::Future;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::Context;
use miroir_dev::cluster::Options;
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, RwLock, RwLockReadGuard};
use tokio::time::Instant;

use crate::{Points, Trial};

/// Clients and processes belong to the runtime they were made in, so that tests which share them share it, too.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Runtime::new().expect("threads can be started"));

/// How long requests may go on of a test that has failed.
const LEFT_WITHIN: Duration = Duration::from_secs(90);

/// A cluster on the stage.
#[derive(Debug)]
pub struct Stage {
    /// The cluster. A test that kills or adds processes writes; others read.
    pub trial: RwLock<Trial>,
    /// Failpoints of its coordinators.
    pub points: Points,
}

/// A stage for tests of one program.
#[derive(Debug)]
pub struct Shared {
    options: fn() -> Options,
    slot: Mutex<Slot>,
    /// Held for writing by a test that has a cluster of its own: two clusters at once would starve each other on a small
    /// machine.
    alone: RwLock<()>,
}

#[derive(Debug)]
struct Slot {
    stage: Option<Arc<Stage>>,
    users: usize,
    failed: bool,
}

impl Shared {
    /// An empty stage. The first test that comes starts a cluster with these options.
    #[must_use]
    pub const fn new(options: fn() -> Options) -> Self {
        Self {
            options,
            slot: Mutex::const_new(Slot {
                stage: None,
                users: 0,
                failed: false,
            }),
            alone: RwLock::const_new(()),
        }
    }

    /// Plays a test on the stage. Whoever leaves last stops the cluster; its logs are kept when a test on it failed.
    ///
    /// # Errors
    /// What the test ended with.
    pub fn play<F>(&self, test: impl FnOnce(Arc<Stage>) -> F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        RUNTIME.block_on(async {
            let _together = self.alone.read().await;
            let stage = self.enter().await?;
            let outcome = match tokio::spawn(test(stage)).await {
                Ok(outcome) => outcome,
                Err(panic) => Err(panic.into()),
            };
            let left = self.leave(outcome.is_err()).await;
            outcome.and(left)
        })
    }

    /// Runs a test that has a cluster of its own, with nobody on the stage.
    ///
    /// # Errors
    /// What the test ended with.
    pub fn play_alone<F>(&self, test: F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        RUNTIME.block_on(async {
            let _alone = self.alone.write().await;
            tokio::spawn(test).await?
        })
    }

    async fn enter(&self) -> anyhow::Result<Arc<Stage>> {
        let mut slot = self.slot.lock().await;
        let stage = match slot.stage.take() {
            Some(stage) => stage,
            None => Arc::new(Stage::start((self.options)()).await?),
        };
        slot.stage = Some(Arc::clone(&stage));
        slot.users += 1;
        Ok(stage)
    }

    async fn leave(&self, failed: bool) -> anyhow::Result<()> {
        let mut slot = self.slot.lock().await;
        slot.users -= 1;
        slot.failed |= failed;
        if slot.users > 0 {
            return Ok(());
        }
        let outcome = match std::mem::take(&mut slot.failed) {
            true => Err(anyhow::anyhow!("a test on this cluster failed")),
            false => Ok(()),
        };
        let stage = slot.stage.take().context("nobody is on the stage")?;
        if let Err(kept) = Stage::end_shared(stage, outcome).await {
            println!("{kept:#}");
        }
        Ok(())
    }
}

impl Stage {
    /// Starts a cluster without documents, whose failpoints can be changed.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(mut options: Options) -> anyhow::Result<Self> {
        options.environment.push(Points::environment());
        let trial = Trial::start_empty(options).await?;
        Ok(Self {
            points: Points::new(&trial.cluster.layout),
            trial: RwLock::new(trial),
        })
    }

    /// The cluster, for tests that leave its processes as they are.
    pub async fn trial(&self) -> RwLockReadGuard<'_, Trial> {
        self.trial.read().await
    }

    /// Ends the trial as soon as nothing of a test that failed is using it.
    ///
    /// # Errors
    /// What the trial ended with, or that something still uses it.
    pub async fn end_shared(
        mut shared: Arc<Self>,
        outcome: anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        shared.points.lift_all()?;
        let deadline = Instant::now() + LEFT_WITHIN;
        loop {
            shared = match Arc::try_unwrap(shared) {
                Ok(stage) => return stage.end(outcome).await,
                Err(shared) => shared,
            };
            if Instant::now() > deadline {
                return outcome.context("and a test left something running");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lifts all failpoints and ends the trial.
    ///
    /// # Errors
    /// What the trial ended with.
    pub async fn end(self, outcome: anyhow::Result<()>) -> anyhow::Result<()> {
        // A coordinator that is paused somewhere cannot stop in order.
        self.points.lift_all()?;
        self.trial.into_inner().end(outcome).await
    }
}
