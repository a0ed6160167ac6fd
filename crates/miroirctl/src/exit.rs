//! How a run ends: what went wrong, and the exit status that says so to scripts.

use std::fmt;
use std::io;
use std::process::ExitCode;

use miroir_core::cluster::Rejection;

/// What `--help` tells about exit statuses.
pub const HELP: &str = "\
Exit status:
  0  done
  1  the cluster refused: bad input, wrong token, unknown id, already there
  2  wrong usage: unknown option, unreadable token file
  3  no coordinator can be reached, or none leads; nothing was changed
  4  a change was sent and its outcome is unknown; the message says how to find out";

/// The exit statuses. Their numbers are an interface: scripts compare them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// The cluster refused, or what it answered could not be printed.
    Refused = 1,
    /// Wrong usage.
    Usage = 2,
    /// Nobody to ask.
    Unreachable = 3,
    /// A change may or may not have happened.
    Unknown = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option has a value that cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The cluster refused.
    #[error("{what}")]
    Refused {
        /// The cluster's words, with what to do.
        what: String,
        /// The refusal itself, when it comes from the log.
        rejection: Option<Rejection>,
    },
    /// No coordinator answered.
    #[error(
        "no coordinator can be reached: {0}; start them, or name others with --endpoint or MIROIR_ENDPOINTS"
    )]
    Unreachable(Failures),
    /// Coordinators answered, and none of them leads.
    #[error(
        "no coordinator leads: {0}; look whether a majority of them is running, with `miroirctl status`"
    )]
    NoLeader(Failures),
    /// The cluster is there and was never initialised.
    #[error("the cluster is not initialised; run `miroirctl cluster init` once")]
    NotInitialised,
    /// A change was sent, and its outcome is unknown.
    #[error("it is unknown whether {what} took place: {failures}; {advice}")]
    UnknownOutcome {
        /// The change.
        what: String,
        /// What each coordinator answered last.
        failures: Failures,
        /// How to find out, and how to repeat it without harm.
        advice: String,
    },
    /// The answer cannot be printed.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
    /// This machine is at fault.
    #[error("{0}")]
    Local(String),
}

impl Error {
    /// The status to exit with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Refused { .. } | Self::Output(_) | Self::Local(_) => Exit::Refused,
            Self::Unreachable(_) | Self::NoLeader(_) | Self::NotInitialised => Exit::Unreachable,
            Self::UnknownOutcome { .. } => Exit::Unknown,
        }
    }

    /// Whether the same command, given again, may succeed without anything being corrected.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::NoLeader(_) | Self::UnknownOutcome { .. } => true,
            Self::Refused { rejection, .. } => rejection.as_ref().is_some_and(Rejection::retryable),
            Self::Usage(_) | Self::NotInitialised | Self::Output(_) | Self::Local(_) => false,
        }
    }
}

/// What went wrong at each endpoint, in the order they were first asked; the last word of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failures(Vec<(String, String)>);

impl Failures {
    /// Notes what went wrong at `endpoint`; it replaces what went wrong there before.
    pub fn note(&mut self, endpoint: &str, what: impl Into<String>) {
        let what = what.into();
        match self.0.iter_mut().find(|(known, _)| known == endpoint) {
            Some((_, last)) => *last = what,
            None => self.0.push((endpoint.to_owned(), what)),
        }
    }

    /// Each endpoint with what went wrong there.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(endpoint, what)| (endpoint.as_str(), what.as_str()))
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (endpoint, what)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{endpoint} ({what})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_every_endpoint_is_kept_in_order() {
        let mut failures = Failures::default();
        failures.note("http://b:1", "connection refused");
        failures.note("http://a:1", "does not lead");
        failures.note("http://b:1", "timed out");
        assert_eq!(
            failures.to_string(),
            "http://b:1 (timed out), http://a:1 (does not lead)"
        );
    }

    #[test]
    fn help_and_statuses_agree() {
        for exit in [
            Exit::Ok,
            Exit::Refused,
            Exit::Usage,
            Exit::Unreachable,
            Exit::Unknown,
        ] {
            assert!(HELP.contains(&format!("\n  {}  ", exit as u8)), "{exit:?}");
        }
    }
}
