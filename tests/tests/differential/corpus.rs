//! Documents and settings that give every rule of a search something to do.

use miroir_dev::demo::Corpus;
use serde_json::{Map, Value, json};

use super::dice::Dice;

/// The seed of the documents: they are the same in every run, whatever is asked.
const SEED: u64 = 20_261_122;
/// Dimensions of the vectors.
pub const DIMENSIONS: usize = 128;
/// The embedder whose vectors clients provide.
pub const EMBEDDER: &str = "given";
/// What documents are about.
pub const WORDS: [&str; 48] = [
    "sun",
    "flower",
    "sunflower",
    "river",
    "stone",
    "bridge",
    "light",
    "house",
    "lighthouse",
    "green",
    "garden",
    "winter",
    "summer",
    "water",
    "fall",
    "waterfall",
    "mountain",
    "forest",
    "harbour",
    "market",
    "music",
    "violin",
    "player",
    "piano",
    "silver",
    "golden",
    "copper",
    "engine",
    "steam",
    "railway",
    "station",
    "old",
    "new",
    "great",
    "small",
    "paper",
    "letter",
    "writer",
    "reader",
    "library",
    "kitchen",
    "bread",
    "butter",
    "butterfly",
    "fly",
    "night",
    "day",
    "daylight",
];
const CATEGORIES: [&str; 9] = [
    "Action", "action", "Böcker", "böcker", "Drama", "zebra", "Comedy", "10", "9",
];
const TAGS: [&str; 12] = [
    "red",
    "Red",
    "blue",
    "green",
    "old",
    "new",
    "Ålesund",
    "x-ray",
    "two words",
    "7",
    "08",
    "long",
];

/// An index: its documents, one JSON text each, and its settings.
pub struct Index {
    pub uid: &'static str,
    pub settings: Value,
    pub documents: Vec<String>,
    /// The attribute of the ids.
    pub id: &'static str,
}

/// Every kind of value, most attributes shown, three not.
pub fn things() -> Index {
    let mut dice = Dice::new(SEED);
    let documents = (0..1000).map(|n| thing(&mut dice, n).to_string()).collect();
    let settings = json!({
        "displayedAttributes": [
            "id", "name", "text", "tags", "category", "price", "weight", "code", "family", "_geo",
            "nested", "flag", "many", "_vectors"
        ],
        "filterableAttributes": [
            "id", "tags", "category", "price", "weight", "family", "maker", "_geo", "nested.size",
            "flag", "many", "secret", "code"
        ],
        "sortableAttributes": [
            "id", "price", "weight", "code", "secret", "hidden_name", "_geo", "nested.size.w",
            "category", "tags", "name"
        ],
        "faceting": {"maxValuesPerFacet": 25, "sortFacetValuesBy": {"many": "count", "tags": "count"}},
        "pagination": {"maxTotalHits": 2000},
        "synonyms": {"big": ["great"], "railway": ["steam engine"]},
        "stopWords": ["the", "of"],
        "embedders": {EMBEDDER: {"source": "userProvided", "dimensions": DIMENSIONS}},
    });
    Index {
        uid: "things",
        settings,
        documents,
        id: "id",
    }
}

fn thing(dice: &mut Dice, n: usize) -> Value {
    let mut thing = json!({
        "id": n,
        "code": (n * 7919) % 100_003,
        "name": words(dice, 1, 3),
        "text": format!("the {} of {}", words(dice, 4, 9), words(dice, 2, 6)),
        "category": dice.one(&CATEGORIES),
        "tags": if dice.percent(85) { json!(dice.some(&TAGS)) } else { json!([]) },
        "family": if dice.percent(50) { json!(dice.below(30)) } else { json!(format!("family {}", dice.below(30))) },
        "maker": format!("Maker {}", dice.below(60)),
        "secret": dice.below(40),
        "hidden_name": words(dice, 1, 1),
        "flag": dice.percent(30),
        "many": format!("value {:03}", dice.below(25) * dice.below(25)),
        "nested": {"size": {"w": dice.below(50), "h": dice.below(9)}},
    });
    let members = thing.as_object_mut().expect("an object");
    put(members, "price", price(dice));
    if dice.percent(90) {
        members.insert(
            "weight".into(),
            json!((dice.below(4000) as f64) / 8.0 - 100.0),
        );
    }
    if dice.percent(15) {
        members.remove("family");
    }
    if dice.percent(10) {
        members.remove("secret");
        members.remove("maker");
    }
    if dice.percent(70) {
        let (lat, lng) = (dice.unit() * 170.0 - 85.0, dice.unit() * 358.0 - 179.0);
        members.insert("_geo".into(), json!({"lat": lat, "lng": lng}));
    }
    // No more vectors than dimensions: nodes search so few one by one, and miss none.
    let vector = n.is_multiple_of(8).then(|| vector(dice));
    members.insert("_vectors".into(), json!({EMBEDDER: vector}));
    thing
}

/// A number, a text, both, nothing, or not even that.
fn price(dice: &mut Dice) -> Option<Value> {
    match dice.below(12) {
        0 => None,
        1 => Some(Value::Null),
        2 => Some(json!("free")),
        3 => Some(json!("Ask us")),
        4 => Some(json!([dice.below(20), "sale"])),
        5 => Some(json!(format!("{} crowns", dice.below(20)))),
        6 => Some(json!(-0.5)),
        _ => Some(json!(dice.below(30))),
    }
}

fn put(members: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        members.insert(name.to_owned(), value);
    }
}

/// A vector of its own for every throw.
pub fn vector(dice: &mut Dice) -> Vec<f64> {
    (0..DIMENSIONS)
        .map(|_| ((dice.unit() * 2.0 - 1.0) * 100.0).round() / 100.0)
        .collect()
}

/// Words of the corpus.
pub fn words(dice: &mut Dice, least: usize, most: usize) -> String {
    let count = least + dice.below(most - least + 1);
    let words: Vec<&str> = (0..count).map(|_| *dice.one(&WORDS)).collect();
    words.join(" ")
}

/// An index that is distinct by an attribute it does not show, with its own order of rules and little reach.
pub fn offers() -> Index {
    let mut dice = Dice::new(SEED + 1);
    let documents = (0..400)
        .map(|n| {
            let mut offer = json!({
                "sku": format!("o-{n}"),
                "title": words(&mut dice, 1, 4),
                "notes": words(&mut dice, 3, 8),
                "product": format!("Product {}", dice.below(90)),
                "rank": dice.below(25),
                "shop": format!("Shop {}", dice.below(40)),
                "code": (n * 7919) % 100_003,
            });
            if dice.percent(10) {
                offer.as_object_mut().expect("an object").remove("product");
            }
            offer.to_string()
        })
        .collect();
    let settings = json!({
        "displayedAttributes": ["sku", "title", "notes", "shop", "code"],
        "searchableAttributes": ["title", "notes"],
        "filterableAttributes": ["shop", "rank", "product"],
        "sortableAttributes": ["code", "rank", "shop"],
        "distinctAttribute": "product",
        "rankingRules": ["sort", "words", "typo", "rank:desc", "proximity", "attribute", "exactness"],
        "faceting": {"maxValuesPerFacet": 5, "sortFacetValuesBy": {"*": "count"}},
        "pagination": {"maxTotalHits": 60},
        "typoTolerance": {"minWordSizeForTypos": {"oneTypo": 4, "twoTypos": 7}},
    });
    Index {
        uid: "offers",
        settings,
        documents,
        id: "sku",
    }
}

/// The sample of real text that the demonstration uses.
pub fn packages() -> anyhow::Result<Index> {
    let corpus = Corpus::read(None)?;
    let mut settings = corpus.settings();
    settings["sortableAttributes"] = json!(["id", "installed_size", "name", "section"]);
    Ok(Index {
        uid: "packages",
        settings,
        documents: corpus
            .documents()
            .iter()
            .map(|d| d.text.to_string())
            .collect(),
        id: "id",
    })
}
