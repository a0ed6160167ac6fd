//! Clients that write to and search a scratch index while a drill goes on.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::report::{Seen, millis};
use super::scratch::Scratch;
use super::tally::{Event, Figures, Kept, first_success};
use super::until;
use crate::args::LoadArgs;
use crate::exit::Error;
use crate::proxy::{Failure, Proxy};

/// Pause between two requests of one kind, which are sent one after the other.
const PAUSE: Duration = Duration::from_millis(25);

/// Requests of one kind at most; the load rests when they are spent.
const REQUESTS_MAX: usize = 100_000;

/// How long making, reading or deleting the scratch index may take.
const SCRATCH_WITHIN: Duration = Duration::from_secs(60);

/// The load of a drill. What it made is deleted by [`Load::end`].
#[derive(Debug)]
pub struct Load {
    scratch: Scratch,
    allowed_failed: u64,
    began: Instant,
    seen: Arc<Mutex<Log>>,
    stop: watch::Sender<bool>,
    clients: Vec<JoinHandle<()>>,
}

/// What the clients did.
#[derive(Debug, Default)]
struct Log {
    writes: Vec<Event>,
    searches: Vec<Event>,
    sent: BTreeSet<String>,
    acknowledged: BTreeSet<String>,
}

impl Log {
    fn note_write(&mut self, id: String, event: Event) {
        if event.error.is_none() {
            self.acknowledged.insert(id);
        }
        self.writes.push(event);
    }
}

/// Which ids are written, by number.
pub type Ids = Box<dyn FnMut() -> String + Send>;

impl Load {
    /// Makes the scratch index; `None` when the command line names no proxy. Nobody uses it yet.
    ///
    /// # Errors
    /// When the proxy cannot be used; then nothing is left behind.
    pub async fn prepare(args: &LoadArgs) -> Result<Option<Self>, Error> {
        let Some(proxy) = Proxy::find(args)? else {
            return Ok(None);
        };
        let deadline = Instant::now() + SCRATCH_WITHIN;
        let scratch = Scratch::create(args, proxy, deadline).await?;
        Ok(Some(Self {
            scratch,
            allowed_failed: args.allow_failed,
            began: Instant::now(),
            seen: Arc::default(),
            stop: watch::channel(false).0,
            clients: Vec::new(),
        }))
    }

    /// Makes the scratch index and begins to use it.
    ///
    /// # Errors
    /// As [`Load::prepare`].
    pub async fn begin(args: &LoadArgs) -> Result<Option<Self>, Error> {
        let mut load = Self::prepare(args).await?;
        if let Some(load) = &mut load {
            load.start(numbered());
        }
        Ok(load)
    }

    /// The scratch index's uid.
    #[must_use]
    pub fn index(&self) -> &str {
        &self.scratch.uid
    }

    /// Fills the scratch index; the documents must be there in the end.
    ///
    /// # Errors
    /// When they are refused, or not indexed in time.
    pub async fn fill(&self, ids: BTreeSet<String>) -> Result<(), Error> {
        self.scratch
            .fill(&ids, Instant::now() + SCRATCH_WITHIN)
            .await?;
        let mut log = self.log();
        log.sent.extend(ids.iter().cloned());
        log.acknowledged.extend(ids);
        Ok(())
    }

    /// Begins to write documents with these ids, and to search.
    pub fn start(&mut self, ids: Ids) {
        self.began = Instant::now();
        let client = || {
            (
                self.scratch.clone(),
                Arc::clone(&self.seen),
                self.stop.subscribe(),
            )
        };
        let (scratch, seen, stop) = client();
        let writer = tokio::spawn(write(scratch, seen, stop, (ids, self.began)));
        let (scratch, seen, stop) = client();
        let searcher = tokio::spawn(search(scratch, seen, stop, self.began));
        self.clients = vec![writer, searcher];
    }

    /// Waits until a write is acknowledged that was sent at `from` or later; answers when it was.
    pub async fn write_since(&self, from: Instant, deadline: Instant) -> Option<Instant> {
        let from_ms = millis(from.saturating_duration_since(self.began));
        let look = async || first_success(&self.log().writes, from_ms);
        let ended_ms = until(deadline, look).await?;
        Some(self.began + Duration::from_millis(ended_ms))
    }

    /// Ends the clients, looks for what was acknowledged, and deletes the scratch index.
    pub async fn end(mut self) -> Seen {
        self.stop.send_replace(true);
        for client in self.clients.drain(..) {
            // A client that panicked is a bug of this program; what it saw is counted all the same.
            let _ = client.await;
        }
        let end_ms = millis(self.began.elapsed());
        let mut seen = Seen {
            index: self.scratch.uid.clone(),
            allowed_failed: self.allowed_failed,
            ..Seen::default()
        };
        let deadline = Instant::now() + SCRATCH_WITHIN;
        match self.scratch.documents(deadline).await {
            Ok(found) => {
                let log = self.log();
                seen.kept = Some(Kept::of(&log.acknowledged, &log.sent, &found));
            }
            Err(what) => seen.complaints.push(what),
        }
        match self.scratch.failed_tasks().await {
            Ok(0) | Err(_) => {}
            Ok(n) => seen
                .complaints
                .push(format!("{n} tasks of the load failed")),
        }
        if let Err(what) = self.scratch.delete(Instant::now() + SCRATCH_WITHIN).await {
            seen.complaints.push(what);
        }
        let log = self.log();
        seen.writes = Figures::of(&log.writes, end_ms);
        seen.searches = Figures::of(&log.searches, end_ms);
        drop(log);
        seen
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.seen)
    }
}

fn lock(seen: &Mutex<Log>) -> MutexGuard<'_, Log> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every number once.
fn numbered() -> Ids {
    let mut n = 0_u64;
    Box::new(move || {
        n += 1;
        format!("w{n}")
    })
}

async fn write(
    scratch: Scratch,
    seen: Arc<Mutex<Log>>,
    stop: watch::Receiver<bool>,
    (mut ids, began): (Ids, Instant),
) {
    while !*stop.borrow() && lock(&seen).writes.len() < REQUESTS_MAX {
        let id = ids();
        // Before it is sent: whatever becomes of the answer, the document may be there.
        lock(&seen).sent.insert(id.clone());
        let sent = Instant::now();
        let event = event(began, sent, scratch.write(&id).await);
        lock(&seen).note_write(id, event);
        sleep(PAUSE).await;
    }
}

async fn search(
    scratch: Scratch,
    seen: Arc<Mutex<Log>>,
    stop: watch::Receiver<bool>,
    began: Instant,
) {
    while !*stop.borrow() && lock(&seen).searches.len() < REQUESTS_MAX {
        let sent = Instant::now();
        let event = event(began, sent, scratch.search().await);
        lock(&seen).searches.push(event);
        sleep(PAUSE).await;
    }
}

fn event(began: Instant, sent: Instant, answer: Result<(), Failure>) -> Event {
    Event {
        sent_ms: millis(sent.saturating_duration_since(began)),
        ended_ms: millis(began.elapsed()),
        error: answer.err().map(|failure| failure.code),
    }
}
