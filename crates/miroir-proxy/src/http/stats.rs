//! Statistics of an index, and of all.

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use miroir_core::api_error::{ApiError, Code};
use serde_json::Value;

use super::params::Params;
use super::path::Path;
use super::reads::caller;
use super::{Allowed, Server};
use crate::error::HttpError;
use crate::read::{SizeFormat, StatsQuery};

const NAMES: [&str; 2] = ["showInternalDatabaseSizes", "sizeFormat"];

/// `GET /indexes/{uid}/stats`
pub async fn get_index(
    State(server): State<Server>,
    Path(uid): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<axum::Json<Value>, HttpError> {
    let query = query(&uri)?;
    let caller = caller(&headers);
    Box::pin(server.parts().reads.index_stats(&uid, query, &caller))
        .await
        .map(axum::Json)
}

/// `GET /stats`
pub async fn get(
    State(server): State<Server>,
    allowed: Allowed,
    uri: Uri,
    headers: HeaderMap,
) -> Result<axum::Json<Value>, HttpError> {
    let query = query(&uri)?;
    let caller = caller(&headers);
    let shows = |uid: &str| allowed.index(uid);
    Box::pin(server.parts().reads.stats(query, &caller, shows))
        .await
        .map(axum::Json)
}

fn query(uri: &Uri) -> Result<StatsQuery, ApiError> {
    let params = Params::only(uri, &NAMES)?;
    let code = Code::InvalidStatsShowInternalDatabaseSizes;
    let internal_sizes = params.flag("showInternalDatabaseSizes", code)?;
    let format = match params.text("sizeFormat") {
        None | Some("raw") => SizeFormat::Raw,
        Some("human") => SizeFormat::Human,
        Some(other) => {
            let message = format!(
                "Unknown value `{other}` for parameter `sizeFormat`: expected one of `human`, `raw`"
            );
            return Err(ApiError::new(Code::InvalidStatsSizeFormat, message));
        }
    };
    Ok(StatsQuery {
        internal_sizes: internal_sizes.unwrap_or(false),
        format,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_and_what_is_wrong_is_named() {
        let read = |text: &str| query(&format!("/stats{text}").parse().expect("a URI"));
        let human = StatsQuery {
            internal_sizes: true,
            format: SizeFormat::Human,
        };
        let both = "?showInternalDatabaseSizes=true&sizeFormat=human";
        assert_eq!(read(both), Ok(human));
        assert_eq!(read("?sizeFormat=raw"), Ok(StatsQuery::default()));
        let table = [
            (
                "?sizeFormat=x",
                Code::InvalidStatsSizeFormat,
                "expected one of `human`, `raw`",
            ),
            (
                "?showInternalDatabaseSizes=1",
                Code::InvalidStatsShowInternalDatabaseSizes,
                "could not parse `1` as a boolean",
            ),
            ("?foo=1", Code::BadRequest, "Unknown parameter `foo`"),
        ];
        for (text, code, message) in table {
            let error = read(text).expect_err(text);
            assert_eq!(error.code, code);
            assert!(error.message.contains(message), "{error}");
        }
    }
}
