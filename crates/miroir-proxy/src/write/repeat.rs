//! Writes that a client sends again under its own key (docs/adr/0016).
//!
//! Whether a write was registered is known to the coordinators alone. The index's writer asks them before it sends
//! anything to a node, and has one write of a key under way at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use miroir_core::api_error::{ApiError, Code};
use miroir_core::cluster::{Digest, Idempotency, Rejection};
use tokio::sync::watch;
use tokio::time::timeout_at;

use super::{Shared, WriteError};

/// Writes with a key that this proxy has under way.
#[derive(Debug, Default, Clone)]
pub(super) struct Flights {
    under_way: Arc<Mutex<HashMap<Digest, Known>>>,
}

#[derive(Debug)]
struct Known {
    request: Digest,
    /// Closed when it has ended.
    ended: watch::Receiver<()>,
}

/// A write under way. It ends when this is dropped: no command that registers it can follow.
#[derive(Debug)]
pub(super) struct Flight {
    key: Digest,
    flights: Flights,
    _end: watch::Sender<()>,
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut under_way = self.flights.lock();
        under_way.remove(&self.key);
    }
}

impl Flights {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Known>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a write, once none with its key is under way any more.
    ///
    /// # Errors
    /// The same request is still under way at `deadline`; another one is under way.
    async fn begin(&self, write: Idempotency, deadline: Instant) -> Result<Flight, WriteError> {
        loop {
            let mut ended = match self.begin_now(write)? {
                Ok(flight) => return Ok(flight),
                Err(ended) => ended,
            };
            // Nothing is ever sent: it changes by being closed.
            let waited = timeout_at(deadline.into(), ended.changed()).await;
            waited.map_err(|_| in_use()).map(drop)?;
        }
    }

    fn begin_now(
        &self,
        write: Idempotency,
    ) -> Result<Result<Flight, watch::Receiver<()>>, WriteError> {
        let mut under_way = self.lock();
        match under_way.get(&write.key) {
            Some(known) if known.request != write.request => Err(key_reused().into()),
            Some(known) => Ok(Err(known.ended.clone())),
            None => {
                let (end, ended) = watch::channel(());
                let request = write.request;
                under_way.insert(write.key, Known { request, ended });
                Ok(Ok(Flight {
                    key: write.key,
                    flights: self.clone(),
                    _end: end,
                }))
            }
        }
    }
}

impl Shared {
    /// Begins a write with a client's key at the index's writer, unless it was registered before.
    ///
    /// The coordinators are asked while no other write with the key is under way here, and by the proxy that orders the
    /// index's writes: whatever an earlier writer registered was committed before this one was named.
    ///
    /// # Errors
    /// [`WriteError::Repeated`] for a write that was registered before; a refusal; 503.
    pub(super) async fn begin_once(
        &self,
        write: Idempotency,
        deadline: Instant,
    ) -> Result<Flight, WriteError> {
        let flight = self.flights.begin(write, deadline).await?;
        self.check_new(write, deadline).await?;
        Ok(flight)
    }

    /// Makes sure that a write was not registered before.
    ///
    /// # Errors
    /// As [`begin_once`](Self::begin_once).
    pub(super) async fn check_new(
        &self,
        write: Idempotency,
        deadline: Instant,
    ) -> Result<(), WriteError> {
        let checked = self.catalog_until(deadline).check_key(write).await;
        checked.map_err(|error| {
            let refused = error.rejection().and_then(known);
            // Only a question was asked.
            refused.unwrap_or_else(|| WriteError::held(error.to_string()))
        })
    }
}

/// What a client is told whose key is known to the coordinators.
pub(super) fn known(rejection: &Rejection) -> Option<WriteError> {
    if let Rejection::Repeated { task, at_ms } = rejection {
        let (task, at_ms) = (*task, *at_ms);
        return Some(WriteError::Repeated { task, at_ms });
    }
    (*rejection == Rejection::KeyReused).then(|| key_reused().into())
}

/// What a client is told that uses a key for two requests.
#[must_use]
pub fn key_reused() -> ApiError {
    let message = "The `Idempotency-Key` was used for another request. Use a new key for a new request, and send a repeated request unchanged.";
    ApiError::new(Code::IdempotencyKeyReused, message)
}

fn in_use() -> WriteError {
    let message =
        "The first request with this `Idempotency-Key` is still under way. Send it again later.";
    ApiError::new(Code::IdempotencyKeyInUse, message).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn write(key: u8, request: u8) -> Idempotency {
        Idempotency {
            key: Digest([key; 16]),
            request: Digest([request; 16]),
        }
    }

    #[tokio::test]
    async fn one_write_of_a_key_is_under_way() {
        let flights = Flights::default();
        let soon = || Instant::now() + Duration::from_millis(20);
        let late = || Instant::now() + Duration::from_secs(20);
        let first = flights.begin(write(1, 1), late()).await.expect("free");
        let _other = flights.begin(write(2, 1), late()).await.expect("free");
        let error = flights.begin(write(1, 2), late()).await;
        assert_eq!(error.expect_err("another request").status(), 422);
        let error = flights.begin(write(1, 1), soon()).await;
        assert_eq!(error.expect_err("under way").status(), 409);
        let second = flights.begin(write(1, 1), late());
        tokio::pin!(second);
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        drop(second.await.expect("free again"));
        assert_eq!(flights.lock().len(), 1, "what ended is forgotten");
    }
}
