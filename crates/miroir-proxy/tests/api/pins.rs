//! Dynamic search rules over several nodes answer as on one. Only a Meilisearch that has them can say, so `MEILISEARCH_BIN`
//! has to name one; the merge by itself is tested in the core.

use miroir_core::registry::{Collection, DYNAMIC_SEARCH_RULES, Entry, FEATURES, Registry};
use miroir_core::settings::to_node;
use serde_json::{Map, Value, json};

use crate::equal::{Node, SHARDS, reference, settings, split, without_noise};
use crate::support::{INDEX, Layout, Proxy};

fn rules() -> Vec<(&'static str, Value)> {
    let pin = |id: &str, position: u64| json!({ "selector": { "id": id }, "action": { "type": "pin", "position": position } });
    vec![
        (
            "always",
            json!({ "precedence": 2, "actions": [pin("pyvcf", 3), pin("0ad", 12), pin("abcm2ps", 11), pin("none", 0)] }),
        ),
        (
            "first",
            json!({ "precedence": 1, "actions": [pin("bloboats", 3), pin("0ad", 4)], "conditions": { "query": { "words": "game" } } }),
        ),
        (
            "empty",
            json!({ "actions": [pin("bloboats", 0), pin("libopencore-amrnb0", 0)], "conditions": { "query": { "isEmpty": true } } }),
        ),
        (
            "games",
            json!({ "actions": [pin("bloboats", 1)], "conditions": { "filter": { "values": { "section": "games" } } } }),
        ),
        (
            "off",
            json!({ "active": false, "precedence": 0, "actions": [pin("libopencore-amrnb0", 0)] }),
        ),
    ]
}

fn queries() -> Vec<Value> {
    let pages = [
        (0, 1),
        (0, 5),
        (0, 13),
        (0, 14),
        (2, 3),
        (10, 3),
        (10, 5),
        (12, 20),
    ];
    let words = ["", "game", "library", "nothing-like-it"];
    let paged = words.iter().flat_map(|q| {
        pages.map(|(offset, limit)| {
            json!({
                "q": q, "sort": ["id:asc"], "offset": offset, "limit": limit,
                "showRankingScoreDetails": true, "attributesToHighlight": ["summary"],
            })
        })
    });
    let others = [
        json!({ "sort": ["id:asc"], "filter": "section = games", "page": 1, "hitsPerPage": 6, "facets": ["section"] }),
        json!({ "q": "game", "sort": ["id:asc"], "filter": "section != games", "facets": ["priority"] }),
        json!({ "sort": ["id:desc"], "attributesToRetrieve": ["name"], "limit": 6 }),
        json!({ "q": "game", "sort": ["id:asc"], "distinct": "section", "limit": 30 }),
        json!({ "q": "game", "sort": ["id:asc"], "limit": 0 }),
    ];
    paged.chain(others).collect()
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().expect("an object")
}

fn registry() -> Registry {
    let entry = |at: u64, value: Value| Entry {
        value,
        version: at,
        created_at_ms: at,
        updated_at_ms: at,
    };
    let features = (
        Collection::ExperimentalFeatures,
        FEATURES.to_owned(),
        entry(1, json!({ DYNAMIC_SEARCH_RULES: true })),
    );
    let rules = (2..).zip(rules()).map(|(at, (uid, rule))| {
        (
            Collection::DynamicSearchRules,
            uid.to_owned(),
            entry(at, rule),
        )
    });
    Registry::of(9, true, std::iter::once(features).chain(rules))
}

impl Node {
    async fn obey(&self) {
        let features = object(&json!({ DYNAMIC_SEARCH_RULES: true }));
        let switched = self.client.patch_features(&features).await;
        switched.expect("a Meilisearch that has rules");
        for (uid, rule) in rules() {
            let task = self.client.patch_rule(uid, &object(&rule)).await;
            self.wait(task.expect("a rule").task_uid).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pins_on_different_nodes_are_placed_as_on_one() {
    if std::env::var_os("MEILISEARCH_BIN").is_none() {
        return;
    }
    let reference = reference().await;
    reference.obey().await;
    let nodes = [
        Node::start().await,
        Node::start().await,
        Node::start().await,
    ];
    let split = split();
    let mut layout = Layout::new(&nodes.each_ref().map(|node| node.address))
        .settings(settings())
        .registry(registry());
    for shard in 0..SHARDS {
        layout = layout.shard(&[u64::from(shard % 3) + 1]);
    }
    for (number, node) in (0..).zip(&nodes) {
        let own = split.ndjson(|shard| shard % 3 == number);
        node.load(&to_node(&settings()), own).await;
        node.obey().await;
    }
    let proxy = Proxy::start(layout.build()).await;
    let path = format!("/indexes/{INDEX}/search");
    for query in queries() {
        let expected = without_noise(reference.ask(&path, &query).await);
        let (status, answer) = proxy.post(&path, query.clone()).await;
        assert_eq!(status, 200, "{query}: {answer}");
        assert_eq!(without_noise(answer), expected, "{query}");
    }
}
