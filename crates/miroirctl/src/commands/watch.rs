//! `migration watch`: following migrations until none is left, over changes of leader.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use miroir_proto::v1;
use tokio::time::{Instant, sleep};
use tonic::Streaming;

use crate::connect::{Coordinators, Fault};
use crate::exit::{Error, Failures};
use crate::output::{Output, View};
use crate::progress::Tracker;
use crate::view::Watched;

/// Pause before contact is sought again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(250);
/// Plain lines come no closer than this, unless a shard arrived.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// Follows the migrations of one operation, or all unfinished ones.
pub async fn watch(
    operation: Option<u64>,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    let done_before = match operation {
        Some(_) => 0,
        None => done_before(coordinators).await?,
    };
    let mut watcher = Watcher {
        operation,
        coordinators,
        tracker: Tracker::new(done_before),
        known: false,
    };
    let mut screen = Screen::new(output, true);
    watcher.follow(&mut screen).await
}

/// Follows an operation that is known to exist. Prints its progress in tables only: the JSON of
/// the command that waits is one document.
pub async fn wait(
    operation: u64,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    let mut watcher = Watcher {
        operation: Some(operation),
        coordinators,
        tracker: Tracker::new(0),
        known: true,
    };
    let told = output.is_table();
    let mut screen = Screen::new(output, told);
    watcher.follow(&mut screen).await
}

/// Migrations that are done and belong to no unfinished operation.
async fn done_before(coordinators: &Coordinators) -> Result<u32, Error> {
    let operations = coordinators
        .read(async |mut c| c.list_operations(v1::ListOperationsRequest {}).await)
        .await?;
    let all = v1::ListMigrationsRequest {
        operation: None,
        unfinished_only: true,
    };
    let migrations = coordinators
        .read(async |mut c| c.list_migrations(all).await)
        .await?;
    let unfinished = operations
        .operations
        .iter()
        .filter(|operation| !matches!(operation.state.as_str(), "done" | "cancelled"));
    let of_them: u32 = unfinished.map(|operation| operation.migrations_done).sum();
    Ok(migrations.done.saturating_sub(of_them))
}

struct Watcher<'a> {
    operation: Option<u64>,
    coordinators: &'a Coordinators,
    tracker: Tracker,
    /// The operation exists: a coordinator that does not know it is behind.
    known: bool,
}

impl Watcher<'_> {
    /// Until the stream says that none is left. Contact may be lost for as long as the timeout.
    async fn follow(&mut self, screen: &mut Screen<'_>) -> Result<(), Error> {
        let mut contact = Instant::now();
        loop {
            let lost = match self.open().await {
                Ok(reports) => match self.consume(reports, &mut contact, screen).await? {
                    None => return screen.finish(),
                    Some(fault) => broken(fault),
                },
                Err(error) => error,
            };
            let temporary =
                lost.retryable() || (self.known && matches!(lost, Error::Refused { .. }));
            if !temporary || contact.elapsed() >= self.coordinators.timeout() {
                screen.abandon();
                return Err(lost);
            }
            sleep(RECONNECT_PAUSE).await;
        }
    }

    async fn open(&self) -> Result<Streaming<v1::ListMigrationsReply>, Error> {
        let request = v1::WatchMigrationsRequest {
            operation: self.operation,
        };
        self.coordinators
            .stream(async |mut c| c.watch_migrations(request).await)
            .await
    }

    /// Shows reports until the stream ends well (`None`) or breaks.
    async fn consume(
        &mut self,
        mut reports: Streaming<v1::ListMigrationsReply>,
        contact: &mut Instant,
        screen: &mut Screen<'_>,
    ) -> Result<Option<Fault>, Error> {
        let mut heard = false;
        loop {
            match reports.message().await {
                Ok(Some(report)) => {
                    heard = true;
                    self.known = true;
                    let progress = self.tracker.update(&report);
                    screen.show(Watched::new(&progress, &report))?;
                }
                Ok(None) => return Ok(None),
                Err(status) => {
                    // Reports come only when something changes: contact lasted until it broke.
                    if heard {
                        *contact = Instant::now();
                    }
                    return Ok(Some(Fault::of(&status)));
                }
            }
        }
    }
}

/// What a stream that broke means. Only a refusal is the cluster's word; anything else may pass.
fn broken(fault: Fault) -> Error {
    let mut failures = Failures::default();
    failures.note("the stream of reports", fault.what());
    Option::<Error>::from(fault).unwrap_or(Error::Unreachable(failures))
}

/// Where progress is shown: a bar that moves, lines, or nowhere.
struct Screen<'a> {
    output: &'a mut Output,
    told: bool,
    bar: Option<ProgressBar>,
    printed: Option<(Instant, u32)>,
    last: Option<Watched>,
}

impl<'a> Screen<'a> {
    fn new(output: &'a mut Output, told: bool) -> Self {
        let bar = (told && output.is_live()).then(bar);
        Self {
            output,
            told,
            bar,
            printed: None,
            last: None,
        }
    }

    fn show(&mut self, watched: Watched) -> Result<(), Error> {
        let (total, done) = watched.shards();
        if let Some(bar) = &self.bar {
            bar.set_length(total.into());
            bar.set_position(done.into());
            bar.set_prefix(watched.summary());
            bar.set_message(watched.under_way());
        } else if self.told && self.is_due(done) {
            self.output.print(&watched)?;
            self.printed = Some((Instant::now(), done));
            self.last = None;
            return Ok(());
        }
        self.last = Some(watched);
        Ok(())
    }

    /// Every report is a line of JSON; people get one a second.
    fn is_due(&self, done: u32) -> bool {
        !self.output.is_table()
            || self
                .printed
                .is_none_or(|(at, before)| before != done || at.elapsed() >= LINE_INTERVAL)
    }

    /// The last report is always shown, and stays.
    fn finish(&mut self) -> Result<(), Error> {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        match self.last.take() {
            Some(last) if self.told => self.output.line(&last.table()),
            _ => Ok(()),
        }
    }

    /// Leaves the last state of the bar, under which the error is printed.
    fn abandon(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.abandon();
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
    let style = ProgressStyle::with_template("[{bar:32}] {pos}/{len} shards, {prefix}\n{wide_msg}");
    bar.set_style(
        style
            .expect("a template without errors")
            .progress_chars("=> "),
    );
    bar
}
