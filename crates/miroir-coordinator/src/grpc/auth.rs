//! The bearer token that every call but health and reflection must carry.

use std::fmt;
use std::hint::black_box;

use miroir_meili::Secret;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

const HEADER: &str = "authorization";

/// Lets only calls through that carry the cluster token.
#[derive(Clone)]
pub struct CheckToken {
    expected: MetadataValue<Ascii>,
}

/// Adds the cluster token to calls.
#[derive(Clone)]
pub struct AttachToken {
    value: MetadataValue<Ascii>,
}

/// A token with characters that no header can carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the cluster token has characters that do not fit into a header")]
pub struct BadToken;

fn bearer(token: &Secret) -> Result<MetadataValue<Ascii>, BadToken> {
    let text = format!("Bearer {}", token.expose());
    let mut value = MetadataValue::try_from(text).map_err(|_| BadToken)?;
    value.set_sensitive(true);
    Ok(value)
}

impl CheckToken {
    /// Expects `token`.
    ///
    /// # Errors
    /// [`BadToken`] when no caller could ever send it.
    pub fn new(token: &Secret) -> Result<Self, BadToken> {
        Ok(Self {
            expected: bearer(token)?,
        })
    }

    /// Looks at the value of an `authorization` header.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`, saying what is wrong.
    pub fn admits(&self, given: Option<&[u8]>) -> Result<(), Status> {
        match given {
            Some(given) if equal(given, self.expected.as_bytes()) => Ok(()),
            Some(_) => Err(Status::unauthenticated("the cluster token is wrong")),
            None => Err(Status::unauthenticated(
                "the cluster token is missing; send it as `authorization: Bearer TOKEN`",
            )),
        }
    }
}

impl AttachToken {
    /// Sends `token`.
    ///
    /// # Errors
    /// [`BadToken`] when it does not fit into a header.
    pub fn new(token: &Secret) -> Result<Self, BadToken> {
        Ok(Self {
            value: bearer(token)?,
        })
    }
}

impl Interceptor for CheckToken {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let given = request.metadata().get(HEADER);
        self.admits(given.map(MetadataValue::as_bytes))?;
        Ok(request)
    }
}

impl Interceptor for AttachToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(HEADER, self.value.clone());
        Ok(request)
    }
}

/// Compares in a time that depends on the lengths alone: an early return would tell a guesser
/// how much of the token is right.
fn equal(given: &[u8], expected: &[u8]) -> bool {
    let mut difference = u8::from(given.len() != expected.len());
    for (at, byte) in expected.iter().enumerate() {
        difference |= byte ^ given.get(at).copied().unwrap_or(0);
        difference = black_box(difference);
    }
    difference == 0
}

impl fmt::Debug for CheckToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CheckToken(hidden)")
    }
}

impl fmt::Debug for AttachToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AttachToken(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_passes() {
        let mut check = CheckToken::new(&Secret::new("right-token")).expect("a header");
        for (sent, passes) in [
            ("right-token", true),
            ("right-tokem", false),
            ("right-toke", false),
            ("right-token2", false),
            ("", false),
        ] {
            let mut attach = AttachToken::new(&Secret::new(sent)).expect("a header");
            let request = attach.call(Request::new(())).expect("it only adds");
            assert_eq!(check.call(request).is_ok(), passes, "{sent:?}");
        }
        let error = check.call(Request::new(())).expect_err("no token");
        assert_eq!(error.code(), tonic::Code::Unauthenticated);
        assert!(error.message().contains("Bearer"), "{error}");
    }

    #[test]
    fn no_debug_output_shows_the_token() {
        let token = Secret::new("right-token");
        let shown = format!(
            "{:?} {:?}",
            CheckToken::new(&token),
            AttachToken::new(&token)
        );
        assert!(!shown.contains("right-token"), "{shown}");
    }
}
