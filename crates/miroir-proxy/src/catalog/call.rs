//! One call, repeated over coordinators and elections until it is answered or its time is over.

use std::error::Error;
use std::time::Duration;

use miroir_core::cluster::Rejection;
use miroir_proto::REJECTION_METADATA;
use miroir_proto::v1::catalog_client::CatalogClient;
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use super::{Catalog, CatalogError};
use crate::backoff::Backoff;

/// The longest wait for one coordinator: one that hangs must not use up the whole call.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// What one answer means for the call.
enum Verdict {
    /// Ask again at once: the leader is known now.
    Redirected,
    /// Ask again later; the command was certainly not carried out.
    NotTaken(String),
    /// Ask again later; the command may have been carried out.
    Unknown(String),
    /// Do not ask again.
    Final(CatalogError),
}

impl Catalog {
    /// Sends `message` with `send` until a leader answers. Every attempt carries the same message and so the
    /// same request id: however often it arrives, it is carried out once.
    pub(super) async fn call<Q, A, F, Fut>(&self, message: Q, send: F) -> Result<A, CatalogError>
    where
        Q: Clone,
        F: Fn(CatalogClient<Channel>, Request<Q>) -> Fut,
        Fut: Future<Output = Result<Response<A>, Status>>,
    {
        let deadline = Instant::now() + self.within;
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(400));
        let mut redirects = 0_u32;
        let mut unknown = None;
        loop {
            let endpoint = self.coordinators.choose();
            let attempt_end = deadline.min(Instant::now() + ATTEMPT_TIMEOUT);
            let detail = match self.attempt(&endpoint, &message, attempt_end, &send).await {
                Ok(answer) => return Ok(answer),
                Err(Verdict::Final(error)) => return Err(error),
                // Two coordinators that name each other must not be asked in a tight loop.
                Err(Verdict::Redirected) if redirects < 3 => {
                    redirects += 1;
                    continue;
                }
                Err(Verdict::Redirected) => {
                    "coordinators name one another as the leader".to_owned()
                }
                Err(Verdict::NotTaken(detail)) => detail,
                Err(Verdict::Unknown(detail)) => {
                    unknown = Some(detail.clone());
                    detail
                }
            };
            redirects = 0;
            let wake = Instant::now() + backoff.next_delay();
            if wake >= deadline {
                return Err(match unknown {
                    Some(detail) => CatalogError::Unknown { detail },
                    None => CatalogError::NoLeader { detail },
                });
            }
            sleep_until(wake).await;
        }
    }

    async fn attempt<Q, A, F, Fut>(
        &self,
        endpoint: &str,
        message: &Q,
        end: Instant,
        send: &F,
    ) -> Result<A, Verdict>
    where
        Q: Clone,
        F: Fn(CatalogClient<Channel>, Request<Q>) -> Fut,
        Fut: Future<Output = Result<Response<A>, Status>>,
    {
        let channel = self
            .coordinators
            .channel(endpoint)
            .map_err(|error| Verdict::NotTaken(error.to_string()))?;
        let client = CatalogClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let mut request = Request::new(message.clone());
        self.coordinators.authorize(&mut request);
        request.set_timeout(end.saturating_duration_since(Instant::now()));
        match timeout_at(end, send(client, request)).await {
            Ok(Ok(answer)) => {
                self.coordinators.confirm(endpoint);
                Ok(answer.into_inner())
            }
            Ok(Err(status)) => Err(self.judge(endpoint, &status)),
            Err(_) => {
                self.coordinators
                    .learn(endpoint, &Status::unavailable("no answer"));
                Err(Verdict::Unknown(format!(
                    "{endpoint} did not answer in time"
                )))
            }
        }
    }

    fn judge(&self, endpoint: &str, status: &Status) -> Verdict {
        if let Some(rejection) = rejection(status) {
            return Verdict::Final(CatalogError::Rejected(Box::new(rejection)));
        }
        let detail = format!("{endpoint}: {:?}: {}", status.code(), status.message());
        match status.code() {
            // A coordinator says so itself when it took nothing. A connection that broke has the same code,
            // and a cause.
            Code::Unavailable | Code::ResourceExhausted => {
                let named = self.coordinators.learn(endpoint, status);
                match status.source() {
                    None if named => Verdict::Redirected,
                    None => Verdict::NotTaken(detail),
                    Some(cause) if refused_to_connect(cause) => Verdict::NotTaken(detail),
                    Some(_) => Verdict::Unknown(detail),
                }
            }
            Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::Aborted
            | Code::Internal => {
                self.coordinators.learn(endpoint, status);
                Verdict::Unknown(detail)
            }
            Code::Ok
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::DataLoss
            | Code::Unauthenticated => Verdict::Final(CatalogError::Protocol { detail }),
        }
    }
}

/// Whether the connection was never made, so that nothing was sent.
fn refused_to_connect(cause: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(cause);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::ConnectionRefused;
        }
        cause = error.source();
    }
    false
}

fn rejection(status: &Status) -> Option<Rejection> {
    let bytes = status
        .metadata()
        .get_bin(REJECTION_METADATA)?
        .to_bytes()
        .ok()?;
    serde_json::from_slice(&bytes).ok()
}
