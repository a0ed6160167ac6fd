//! Requests to any route, each part of which may be wrong.

use miroir_proxy::http::routes;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::mutate::mutate;

/// Routes that are left out: they stream without an end, or send what they are given to an address that they are given.
const LEFT_OUT: [&str; 4] = ["/logs", "/webhooks", "/export", "/network"];

const SEGMENTS: [&str; 14] = [
    "packages",
    "packages",
    "packages",
    "other",
    "1",
    "0ad",
    "%ff",
    "%00",
    "..",
    "*",
    "-1",
    "99999999999999999999",
    "%F0%9F%A6%80",
    "a%2Fb",
];

const PARAMETERS: [&str; 14] = [
    "limit=2",
    "offset=1",
    "q=game",
    "filter=section%20%3D%20games",
    "sort=installed_size:asc",
    "fields=id,name",
    "primaryKey=id",
    "csvDelimiter=%3B",
    "statuses=succeeded,failed",
    "uids=1,2",
    "from=3&reverse=true",
    "afterEnqueuedAt=2026-01-01T00:00:00Z",
    "showRankingScore=true&page=1",
    "ids=1,2&retrieveVectors=false",
];

const BODIES: [&str; 16] = [
    r#"[{"id":"0ad","name":"x"},{"id":"zz-1","section":"games"}]"#,
    "{\"id\":\"a\"}\n{\"id\":\"b\"}\n",
    "id,name\na,b\n",
    r#"["a","b",3]"#,
    r#"{"filter":"section = none"}"#,
    r#"{"q":"game","limit":3,"filter":["section = games"],"sort":["installed_size:asc"],"facets":["section"]}"#,
    r#"{"q":"game","page":1,"hitsPerPage":2,"showRankingScoreDetails":true,"matchingStrategy":"all"}"#,
    r#"{"queries":[{"indexUid":"packages","q":"a"},{"indexUid":"other","q":"b"}],"federation":{"limit":2}}"#,
    r#"{"facetName":"section","facetQuery":"ga"}"#,
    r#"{"stopWords":["the"],"synonyms":{"a":["b"]},"pagination":{"maxTotalHits":500}}"#,
    r#"{"typoTolerance":{"enabled":false},"faceting":{"maxValuesPerFacet":5}}"#,
    r#"["name","summary"]"#,
    r#"{"uid":"other","primaryKey":"id"}"#,
    r#"{"description":"k","actions":["search"],"indexes":["packages"],"expiresAt":null}"#,
    r#"[{"indexes":["packages","other"]}]"#,
    r#"{"ids":["0ad"],"fields":["id"],"limit":1}"#,
];

const CONTENT_TYPES: [&str; 6] = [
    "application/json",
    "application/json",
    "application/x-ndjson",
    "text/csv",
    "text/plain; charset=\u{7f}",
    "",
];

const HEADERS: [&str; 7] = [
    "content-encoding: gzip",
    "content-encoding: br",
    "content-encoding: nonsense",
    "accept-encoding: identity;q=two, nonsense, *;q=0",
    "meili-include-metadata: true",
    "expect: 100-continue",
    "miroir-forwarded: 7",
];

/// A request.
pub struct Recipe {
    bytes: Vec<u8>,
}

impl Recipe {
    /// A request to some route.
    pub fn draw(key: &str, rng: &mut StdRng) -> Self {
        let offered: Vec<_> = routes::all()
            .filter(|route| !LEFT_OUT.iter().any(|left| route.path.starts_with(left)))
            .collect();
        let route = offered.choose(rng).expect("there are routes");
        let method = if rng.random_ratio(1, 20) {
            "FOO"
        } else {
            route.method
        };
        let mut head = format!(
            "{method} {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n",
            target(route.path, rng)
        );
        let authorization = match rng.random_range(0..20_u8) {
            0 => String::new(),
            1 => "authorization: Bearer wrong\r\n".to_owned(),
            2 => "authorization: Basic \u{1}\r\n".to_owned(),
            3 => "authorization: Bearer a.b.c\r\n".to_owned(),
            _ => format!("authorization: Bearer {key}\r\n"),
        };
        head.push_str(&authorization);
        let content_type = pick(&CONTENT_TYPES, rng);
        if !content_type.is_empty() {
            head.push_str(&format!("content-type: {content_type}\r\n"));
        }
        if rng.random_ratio(1, 10) {
            head.push_str(&format!("{}\r\n", pick(&HEADERS, rng)));
        }
        let body = if method == "GET" {
            Vec::new()
        } else {
            mutate(&BODIES, rng)
        };
        Self::with(&head, &body)
    }

    /// A write that is accepted and changes nothing.
    pub fn marker(key: &str) -> Self {
        let head = format!(
            "POST /indexes/packages/documents HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
        );
        Self::with(&head, b"[]")
    }

    fn with(head: &str, body: &[u8]) -> Self {
        let mut bytes = format!("{head}content-length: {}\r\n\r\n", body.len()).into_bytes();
        bytes.extend_from_slice(body);
        Self { bytes }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// As much of it as a person wants to read.
    pub fn shown(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        text.chars().take(2_000).collect()
    }
}

fn pick<'a>(from: &[&'a str], rng: &mut StdRng) -> &'a str {
    from.choose(rng).copied().unwrap_or_default()
}

/// The route's path with something in every gap, and parameters that some route has.
fn target(path: &str, rng: &mut StdRng) -> String {
    let mut target = String::new();
    for segment in path.split('/').skip(1) {
        target.push('/');
        target.push_str(if segment.starts_with('{') {
            pick(&SEGMENTS, rng)
        } else {
            segment
        });
    }
    let parameters: Vec<String> = (0..rng.random_range(0..3_u8))
        .map(|_| parameter(rng))
        .collect();
    if !parameters.is_empty() {
        target.push('?');
        target.push_str(&parameters.join("&"));
    }
    target
}

fn parameter(rng: &mut StdRng) -> String {
    if rng.random_ratio(1, 2) {
        return pick(&PARAMETERS, rng).to_owned();
    }
    // What no URI may hold is sent as it must be written there.
    let wild = mutate(&PARAMETERS, rng);
    let wild = &wild[..wild.len().min(4_000)];
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"=&%:,._-".contains(byte);
    let text = wild.iter().map(|byte| match byte {
        byte if plain(byte) => char::from(*byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    text.collect()
}
