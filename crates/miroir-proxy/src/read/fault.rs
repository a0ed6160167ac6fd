//! What a node's answer means for a read.

use miroir_core::hidden_field;
use miroir_meili::{MeiliError, NodeError, RawResponse};

use crate::error::HttpError;
use crate::upstream::Verdict;

/// Why a piece got no answer.
#[derive(Debug)]
pub enum Fault {
    /// The node is at fault or unreachable: another copy may answer. The text says how, in words
    /// that a client may see.
    Failed(String),
    /// The request is at fault: every copy would say the same.
    Refused(HttpError),
    /// The node does not have the index.
    Absent,
}

/// What a result says of the node, as opposed to the request.
#[must_use]
pub fn verdict(result: &Result<RawResponse, MeiliError>) -> Verdict {
    let of_status = |status: u16| match status {
        429 | 503 => Verdict::TurnsDown,
        500.. => Verdict::Fails,
        _ => Verdict::Answers,
    };
    match result {
        Ok(answer) => of_status(answer.status.as_u16()),
        Err(error) => match error {
            MeiliError::Connect { .. }
            | MeiliError::UnknownOutcome { .. }
            | MeiliError::Protocol { .. } => Verdict::Fails,
            MeiliError::Busy { .. } => Verdict::TurnsDown,
            MeiliError::Invalid { .. } => Verdict::Answers,
            MeiliError::Api { status, .. } => of_status(*status),
        },
    }
}

/// Sorts an answer by who is at fault.
///
/// # Errors
/// [`Fault`].
pub fn judge(result: Result<RawResponse, MeiliError>) -> Result<RawResponse, Fault> {
    let answer = result.map_err(|error| Fault::Failed(in_short(&error)))?;
    let status = answer.status.as_u16();
    match status {
        200..=299 => Ok(answer),
        429 | 500..=599 => Err(Fault::Failed(format!("it answered HTTP {status}"))),
        404 if code_of(&answer).as_deref() == Some("index_not_found") => Err(Fault::Absent),
        400 if lacks_hidden_rule(&answer) => {
            Err(Fault::Failed("its settings are not up to date".to_owned()))
        }
        _ => Err(Fault::Refused(HttpError::from_node(&answer))),
    }
}

/// The error without the node's address, which is nobody's business outside the cluster.
fn in_short(error: &MeiliError) -> String {
    match error {
        MeiliError::Connect { .. } => "it cannot be connected to".to_owned(),
        MeiliError::UnknownOutcome { how, .. } => how.to_string(),
        MeiliError::Busy { .. } => "it is busy".to_owned(),
        MeiliError::Api { status, .. } => format!("it answered HTTP {status}"),
        MeiliError::Protocol { .. } => "it does not answer as Meilisearch does".to_owned(),
        MeiliError::Invalid { what } => what.clone(),
    }
}

/// Whether the node cannot filter by the hidden field, which no client's filter names: it has not got the index's
/// settings yet, or has lost them. A message may quote the whole filter, so that the name alone says nothing.
fn lacks_hidden_rule(answer: &RawResponse) -> bool {
    let Ok(error) = serde_json::from_slice::<NodeError>(&answer.body) else {
        return false;
    };
    let of_a_filter = matches!(
        error.code.as_str(),
        "invalid_search_filter" | "invalid_document_filter"
    );
    let name = hidden_field::NAME;
    let complaints = [
        format!("ttribute `{name}` is not filterable"),
        format!("is not allowed for the attribute `{name}`"),
    ];
    of_a_filter && complaints.iter().any(|text| error.message.contains(text))
}

/// The error code of an answer, if it is an error of Meilisearch.
fn code_of(answer: &RawResponse) -> Option<String> {
    serde_json::from_slice::<NodeError>(&answer.body)
        .ok()
        .map(|error| error.code)
}
