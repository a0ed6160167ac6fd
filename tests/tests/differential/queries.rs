//! Generated searches over every parameter.

use serde_json::{Map, Value, json};

use super::corpus::{EMBEDDER, Index, vector, words};
use super::dice::Dice;

/// What queries of one index may name.
struct Names {
    filters: &'static [&'static str],
    sorts: &'static [&'static str],
    facets: &'static [&'static str],
    distinct: &'static [&'static str],
    attributes: &'static [&'static str],
    searched: &'static [&'static str],
    /// The sort that leaves no ties.
    total: &'static str,
    geo: bool,
    vectors: bool,
}

const THINGS: Names = Names {
    filters: &[
        "category = action",
        "category IN [drama, \"böcker\", 9]",
        "tags = red AND NOT tags = blue",
        "price > 10",
        "price 3 TO 12",
        "price = free",
        "price EXISTS",
        "price IS NULL",
        "price IS EMPTY",
        "weight < 0",
        "weight >= 100.5 OR flag = true",
        "nested.size.w > 25",
        "family = 7",
        "maker != \"Maker 3\"",
        "secret < 12",
        "tags NOT IN [red, old]",
        "id >= 400 AND id < 700",
        "_geoRadius(10, 10, 4000000)",
        "_geoBoundingBox([60, 90], [-60, -90])",
        "category = nothing",
        "many = \"value 000\"",
    ],
    sorts: &[
        "price:asc",
        "price:desc",
        "weight:asc",
        "weight:desc",
        "secret:asc",
        "secret:desc",
        "hidden_name:asc",
        "nested.size.w:desc",
        "category:asc",
        "tags:asc",
        "tags:desc",
        "name:desc",
        "_geoPoint(48.8, 2.3):asc",
        "_geoPoint(-33.9, 151.2):desc",
    ],
    facets: &[
        "tags",
        "category",
        "price",
        "weight",
        "many",
        "flag",
        "family",
        "nested.size.w",
        "secret",
    ],
    distinct: &["family", "maker", "many", "category"],
    attributes: &[
        "id",
        "name",
        "text",
        "tags",
        "price",
        "nested",
        "nested.size.w",
        "_geo",
        "secret",
        "*",
        "unknown",
    ],
    searched: &["name", "text", "tags", "category"],
    total: "code:asc",
    geo: true,
    vectors: true,
};

const OFFERS: Names = Names {
    filters: &[
        "shop = \"shop 3\"",
        "rank > 12",
        "product = \"product 7\"",
        "rank 3 TO 9 OR shop = \"Shop 1\"",
    ],
    sorts: &["rank:asc", "rank:desc", "shop:asc", "shop:desc"],
    facets: &["shop", "rank", "product", "*"],
    distinct: &["shop"],
    attributes: &["sku", "title", "notes", "shop", "rank", "*"],
    searched: &["title", "notes"],
    total: "code:desc",
    geo: false,
    vectors: false,
};

const PACKAGES: Names = Names {
    filters: &[
        "section = libs",
        "priority = optional AND section IN [games, python, perl]",
        "tags = \"role::program\"",
        "section != libs",
    ],
    sorts: &[
        "installed_size:asc",
        "installed_size:desc",
        "section:asc",
        "name:desc",
    ],
    facets: &["section", "priority", "tags"],
    distinct: &["section", "priority"],
    attributes: &["id", "name", "summary", "tags", "installed_size", "*"],
    searched: &["name", "summary", "tags"],
    total: "id:asc",
    geo: false,
    vectors: false,
};

fn names(index: &Index) -> &'static Names {
    match index.uid {
        "things" => &THINGS,
        "offers" => &OFFERS,
        _ => &PACKAGES,
    }
}

/// One search of the index.
pub fn query(dice: &mut Dice, index: &Index) -> Value {
    let names = names(index);
    let mut query = Map::new();
    terms(dice, index, names, &mut query);
    order(dice, names, &mut query);
    page(dice, &mut query);
    facets(dice, names, &mut query);
    shown(dice, names, &mut query);
    scores(dice, &mut query);
    if names.vectors && dice.percent(15) {
        meaning(dice, &mut query);
    }
    Value::Object(query)
}

/// What is searched for, where, and how strictly.
fn terms(dice: &mut Dice, index: &Index, names: &Names, query: &mut Map<String, Value>) {
    if let Some(q) = text(dice, index) {
        query.insert("q".into(), q.into());
    }
    if dice.percent(25) {
        let strategy = dice.one(&["all", "last", "frequency"]);
        query.insert("matchingStrategy".into(), json!(strategy));
    }
    if dice.percent(10) {
        query.insert(
            "attributesToSearchOn".into(),
            json!(dice.some(names.searched)),
        );
    }
    if dice.percent(5) {
        query.insert("locales".into(), json!(["eng"]));
    }
    if dice.percent(35) {
        let filter = match dice.below(4) {
            0 => json!([dice.some(names.filters), dice.one(names.filters)]),
            1 => json!(dice.some(names.filters)),
            _ => json!(dice.one(names.filters)),
        };
        query.insert("filter".into(), filter);
    }
    if dice.percent(12) {
        query.insert("distinct".into(), json!(dice.one(names.distinct)));
    }
}

/// Words, nothing, parts of words, slips, phrases, unwanted words, words written together.
fn text(dice: &mut Dice, index: &Index) -> Option<String> {
    let taken = |dice: &mut Dice| -> String {
        if index.uid != "packages" {
            return words(dice, 1, 1);
        }
        let document: Value =
            serde_json::from_str(dice.one(index.documents.as_slice()).as_str()).unwrap_or_default();
        let summary = document["summary"].as_str().unwrap_or("library").to_owned();
        let parts: Vec<&str> = summary.split_whitespace().collect();
        (*dice.one(&parts)).to_owned()
    };
    let word = taken(dice);
    let other = taken(dice);
    Some(match dice.below(11) {
        0 => return None,
        1 => String::new(),
        2 => word,
        3 => format!("{word} {other}"),
        4 => format!("{word} {other} {}", taken(dice)),
        5 => slip(dice, &word),
        6 => word.chars().take(1 + dice.below(4)).collect(),
        7 => format!("\"{word} {other}\""),
        8 => format!("{word} -{other}"),
        9 => format!("{word}{other}"),
        _ => format!(
            "{} {}",
            slip(dice, &word),
            other.chars().take(3).collect::<String>()
        ),
    })
}

/// A word with one letter missing, doubled or swapped.
fn slip(dice: &mut Dice, word: &str) -> String {
    let mut letters: Vec<char> = word.chars().collect();
    let at = dice.below(letters.len());
    match dice.below(3) {
        0 if letters.len() > 1 => {
            letters.remove(at);
        }
        1 => letters.insert(at, letters[at]),
        _ => {
            let next = (at + 1) % letters.len();
            letters.swap(at, next);
        }
    }
    letters.into_iter().collect()
}

fn order(dice: &mut Dice, names: &Names, query: &mut Map<String, Value>) {
    let mut sort: Vec<String> = match dice.below(10) {
        0..=4 => Vec::new(),
        _ => dice
            .some(names.sorts)
            .into_iter()
            .map(str::to_owned)
            .collect(),
    };
    if names.geo && dice.percent(10) {
        let (lat, lng) = (dice.below(160) as i64 - 80, dice.below(340) as i64 - 170);
        sort.insert(
            0,
            format!("_geoPoint({lat}, {lng}):{}", dice.one(&["asc", "desc"])),
        );
    }
    if dice.percent(50) {
        sort.push(names.total.to_owned());
    }
    if !sort.is_empty() {
        query.insert("sort".into(), json!(sort));
    }
}

fn page(dice: &mut Dice, query: &mut Map<String, Value>) {
    match dice.below(6) {
        0 => {}
        1 => {
            query.insert("limit".into(), json!(dice.below(90)));
        }
        2 | 3 => {
            query.insert("offset".into(), json!(dice.below(150)));
            query.insert("limit".into(), json!(1 + dice.below(40)));
        }
        4 => {
            query.insert("page".into(), json!(dice.below(8)));
        }
        _ => {
            query.insert("page".into(), json!(1 + dice.below(5)));
            query.insert("hitsPerPage".into(), json!(dice.below(30)));
        }
    }
}

fn facets(dice: &mut Dice, names: &Names, query: &mut Map<String, Value>) {
    if dice.percent(40) {
        let mut facets = dice.some(names.facets);
        if dice.percent(10) {
            facets = vec!["*"];
        }
        query.insert("facets".into(), json!(facets));
    }
}

fn shown(dice: &mut Dice, names: &Names, query: &mut Map<String, Value>) {
    for (name, percent) in [
        ("attributesToRetrieve", 30),
        ("attributesToHighlight", 20),
        ("attributesToCrop", 15),
    ] {
        if dice.percent(percent) {
            query.insert(name.into(), json!(dice.some(names.attributes)));
        }
    }
    if dice.percent(10) {
        query.insert("cropLength".into(), json!(dice.below(6)));
        query.insert("highlightPreTag".into(), json!("["));
        query.insert("highlightPostTag".into(), json!("]"));
    }
    if dice.percent(15) {
        query.insert("showMatchesPosition".into(), json!(true));
    }
    if names.vectors && dice.percent(8) {
        query.insert("retrieveVectors".into(), json!(true));
    }
}

fn scores(dice: &mut Dice, query: &mut Map<String, Value>) {
    if dice.percent(20) {
        query.insert("showRankingScore".into(), json!(true));
    }
    if dice.percent(15) {
        query.insert("showRankingScoreDetails".into(), json!(true));
    }
    if dice.percent(8) {
        let threshold = *dice.one(&[0.0, 0.3, 0.6, 0.8, 0.95]);
        query.insert("rankingScoreThreshold".into(), json!(threshold));
    }
}

fn meaning(dice: &mut Dice, query: &mut Map<String, Value>) {
    let ratio = *dice.one(&[0.0, 0.2, 0.5, 0.8, 1.0]);
    query.insert(
        "hybrid".into(),
        json!({"embedder": EMBEDDER, "semanticRatio": ratio}),
    );
    query.insert("vector".into(), json!(vector(dice)));
}

/// A search whose pages can be counted: it shows ids, and its total is exact.
pub fn walkable(dice: &mut Dice, index: &Index) -> Value {
    let names = names(index);
    let mut query = Map::new();
    terms(dice, index, names, &mut query);
    order(dice, names, &mut query);
    query.remove("distinct");
    query.insert("attributesToRetrieve".into(), json!([index.id]));
    Value::Object(query)
}

/// Queries that a node refuses, and what they ask in vain.
pub fn refused() -> Vec<Value> {
    vec![
        json!({"filter": "unknown = 1"}),
        json!({"filter": "price >"}),
        json!({"sort": ["text:asc"]}),
        json!({"sort": ["price:sideways"]}),
        json!({"facets": ["text"]}),
        json!({"distinct": "text"}),
        json!({"attributesToSearchOn": ["nowhere"]}),
        json!({"q": "sun", "hybrid": {"embedder": "nobody"}}),
        json!({"vector": [1.0, 2.0], "hybrid": {"embedder": EMBEDDER}}),
        json!({"sort": ["_geoPoint(200, 0):asc"]}),
    ]
}
