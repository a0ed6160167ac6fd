//! `GET /metrics`: what a Prometheus server collects.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use miroir_core::api_error::{ApiError, Code};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Allowed, Server, service};
use crate::error::HttpError;
use crate::read::{Caller, ReadStats, StatsQuery};

/// The media type of the text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4";

/// `GET /metrics`
///
/// What the nodes hold has the names that Meilisearch gives it; what is this proxy's own begins with
/// `miroir_proxy_`.
pub async fn get(State(server): State<Server>, allowed: Allowed) -> Result<Response, HttpError> {
    let parts = server.parts();
    if !parts.control.table().registry.feature("metrics") {
        let message = "Getting metrics requires enabling the `metrics` experimental feature. See https://github.com/meilisearch/product/discussions/625";
        return Err(ApiError::new(Code::FeatureNotEnabled, message).into());
    }
    if !allowed.all_indexes() {
        let message = "The provided API key is invalid. The API key for the `/metrics` route must allow access to all indexes.";
        return Err(ApiError::new(Code::InvalidApiKey, message).into());
    }
    let nobody = Caller::nobody();
    let stats = parts.reads.stats(StatsQuery::default(), &nobody, |_| true);
    let stats = Box::pin(stats).await?;
    let mut text = Text::default();
    of_the_indexes(&mut text, &stats);
    let in_flight = server.in_flight().saturating_sub(1);
    text.gauge(
        "miroir_proxy_requests_in_flight",
        "Requests that have begun and not been answered",
        in_flight as f64,
    );
    text.gauge(
        "miroir_proxy_node_reads_in_flight",
        "Reads under way on nodes",
        parts.reads.upstream().in_flight() as f64,
    );
    of_the_reads(&mut text, parts.reads.stats_of_reads());
    if let Some(bytes) = service::rss_bytes() {
        text.gauge(
            "miroir_proxy_resident_memory_bytes",
            "Resident memory of the proxy",
            bytes as f64,
        );
    }
    let content_type = HeaderValue::from_static(TEXT_FORMAT);
    Ok(([(header::CONTENT_TYPE, content_type)], text.0).into_response())
}

fn of_the_reads(text: &mut Text, stats: ReadStats) {
    let counters = [
        (
            "partial_answers",
            "Answers that were without some shards",
            stats.partial_answers,
        ),
        (
            "hedges_sent",
            "Requests to other copies beside nodes that were late",
            stats.hedges_sent,
        ),
        (
            "hedges_won",
            "Late answers that other copies came before",
            stats.hedges_won,
        ),
        (
            "hedges_out_of_budget",
            "Late answers that were waited for because the budget was spent",
            stats.hedges_out_of_budget,
        ),
        (
            "mixed_settings",
            "Answers of nodes with different settings while a change was under way",
            stats.mixed_settings,
        ),
    ];
    for (name, help, value) in counters {
        text.counter(&format!("miroir_proxy_{name}_total"), help, value);
    }
}

fn of_the_indexes(text: &mut Text, stats: &Value) {
    let number = |value: &Value| value.as_f64().unwrap_or(0.0);
    let sizes = [
        (
            "meilisearch_db_size_bytes",
            "Meilisearch DB Size In Bytes",
            "databaseSize",
        ),
        (
            "meilisearch_used_db_size_bytes",
            "Meilisearch Used DB Size In Bytes",
            "usedDatabaseSize",
        ),
    ];
    for (name, help, member) in sizes {
        text.gauge(name, help, number(&stats[member]));
    }
    let indexes = stats["indexes"].as_object();
    let count = indexes.map_or(0, |indexes| indexes.len());
    text.gauge(
        "meilisearch_index_count",
        "Meilisearch Index Count",
        count as f64,
    );
    let name = "meilisearch_index_docs_count";
    text.head(name, "Meilisearch Index Docs Count", "gauge");
    let mut is_indexing = false;
    for (uid, index) in indexes.into_iter().flatten() {
        // An index uid needs no escapes.
        let labelled = format!("{name}{{index=\"{uid}\"}}");
        text.value(&labelled, number(&index["numberOfDocuments"]));
        is_indexing |= index["isIndexing"] == true;
    }
    text.gauge(
        "meilisearch_is_indexing",
        "Meilisearch Is Indexing",
        f64::from(u8::from(is_indexing)),
    );
    let updated = stats["lastUpdate"].as_str();
    let updated = updated.and_then(|at| OffsetDateTime::parse(at, &Rfc3339).ok());
    if let Some(updated) = updated {
        text.gauge(
            "meilisearch_last_update",
            "Meilisearch Last Update",
            updated.unix_timestamp() as f64,
        );
    }
}

/// The text format, written line by line.
#[derive(Default)]
struct Text(String);

impl Text {
    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, help, "gauge");
        self.value(name, value);
    }

    /// A number that only grows.
    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "counter");
        self.value(name, value as f64);
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, labelled: &str, value: f64) {
        let _ = writeln!(self.0, "{labelled} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn indexes_are_told_as_meilisearch_tells_them() {
        let mut text = Text::default();
        of_the_indexes(
            &mut text,
            &json!({
                "databaseSize": 700, "usedDatabaseSize": 500, "lastUpdate": "1970-01-01T00:01:00.000001Z",
                "indexes": {"movies": {"numberOfDocuments": 3, "isIndexing": true}},
            }),
        );
        for line in [
            "# TYPE meilisearch_db_size_bytes gauge\nmeilisearch_db_size_bytes 700\n",
            "meilisearch_used_db_size_bytes 500\n",
            "meilisearch_index_count 1\n",
            "meilisearch_index_docs_count{index=\"movies\"} 3\n",
            "meilisearch_is_indexing 1\n",
            "meilisearch_last_update 60\n",
        ] {
            assert!(text.0.contains(line), "{line} is not in {}", text.0);
        }
    }
}
