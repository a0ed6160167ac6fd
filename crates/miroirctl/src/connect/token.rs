//! The cluster token, which every call carries.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::exit::Error;

/// Adds the cluster token to calls, if there is one.
#[derive(Clone)]
pub struct Token {
    authorization: Option<MetadataValue<Ascii>>,
}

impl Token {
    /// The token in `file`, else `MIROIR_CLUSTER_TOKEN`, else the one in the file that
    /// `MIROIR_CLUSTER_TOKEN_FILE` names. There is no option for the token itself: every user of a
    /// machine sees command lines.
    pub(super) fn find(
        file: Option<&Path>,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Error> {
        let given = |name: &str| env(name).filter(|value| !value.is_empty());
        if let Some(path) = file {
            return Self::read(path);
        }
        if let Some(token) = given("MIROIR_CLUSTER_TOKEN") {
            let token = token.into_string();
            return Self::new("MIROIR_CLUSTER_TOKEN", &token.unwrap_or_default());
        }
        match given("MIROIR_CLUSTER_TOKEN_FILE") {
            Some(path) => Self::read(Path::new(&path)),
            None => Ok(Self {
                authorization: None,
            }),
        }
    }

    fn read(path: &Path) -> Result<Self, Error> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::Usage(format!(
                "cannot read the cluster token from {shown}: {error}"
            ))
        })?;
        Self::new(&shown.to_string(), text.trim())
    }

    fn new(place: &str, token: &str) -> Result<Self, Error> {
        let fits = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        let value = fits
            .then(|| MetadataValue::try_from(format!("Bearer {token}")).ok())
            .flatten();
        let Some(mut value) = value else {
            return Err(Error::Usage(format!(
                "the cluster token in {place} must be visible ASCII characters without spaces, at least one"
            )));
        };
        value.set_sensitive(true);
        Ok(Self {
            authorization: Some(value),
        })
    }
}

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.authorization {
            request
                .metadata_mut()
                .insert("authorization", value.clone());
        }
        Ok(request)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.authorization.is_some() {
            "Token(hidden)"
        } else {
            "Token(none)"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(file: Option<&Path>, vars: &[(&str, &str)]) -> Result<Option<String>, String> {
        let env = |name: &str| {
            vars.iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| OsString::from(value))
        };
        let mut token = Token::find(file, env).map_err(|error| error.to_string())?;
        let request = token
            .call(Request::new(()))
            .map_err(|status| status.to_string())?;
        let value = request.metadata().get("authorization");
        Ok(value.map(|value| value.to_str().unwrap_or_default().to_owned()))
    }

    #[test]
    fn the_option_comes_before_the_environment() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        let (a, b) = (write("a", "from-a\n"), write("b", "from-b"));
        let named = [("MIROIR_CLUSTER_TOKEN_FILE", b.to_str().expect("UTF-8"))];
        let both = [named[0], ("MIROIR_CLUSTER_TOKEN", "from-env")];
        let bearer = |token: &str| Ok(Some(format!("Bearer {token}")));
        assert_eq!(sent(Some(&a), &both), bearer("from-a"));
        assert_eq!(sent(None, &both), bearer("from-env"));
        assert_eq!(sent(None, &named), bearer("from-b"));
        assert_eq!(sent(None, &[("MIROIR_CLUSTER_TOKEN", "")]), Ok(None));
    }

    #[test]
    fn a_token_that_fits_no_header_is_named_and_not_shown() {
        for bad in ["two words", "tröken", "a\nb"] {
            let error = sent(None, &[("MIROIR_CLUSTER_TOKEN", bad)]).expect_err(bad);
            assert!(
                error.contains("MIROIR_CLUSTER_TOKEN") && !error.contains(bad),
                "{error}"
            );
        }
        let error = sent(Some(Path::new("/nowhere/token")), &[]).expect_err("no file");
        assert!(error.contains("/nowhere/token"), "{error}");
    }
}
