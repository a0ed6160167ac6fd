use super::*;
use serde_json::json;

fn rank(details: Value) -> Rank {
    Rank::new(details.as_object().expect("an object"), 0.0)
}

fn compare(a: Value, b: Value) -> Ordering {
    let (a, b) = (rank(a), rank(b));
    let order = a.compare(&b, 0.5);
    assert_eq!(
        b.compare(&a, 0.5),
        order.reverse(),
        "not antisymmetric: {a:?} {b:?}"
    );
    order
}

#[test]
fn every_rule_has_its_better_side() {
    let better_worse = [
        (
            json!({"words": {"order": 0, "matchingWords": 2, "maxMatchingWords": 2}}),
            json!({"words": {"order": 0, "matchingWords": 1, "maxMatchingWords": 2}}),
        ),
        (
            json!({"typo": {"order": 0, "typoCount": 0}}),
            json!({"typo": {"order": 0, "typoCount": 1}}),
        ),
        (
            json!({"proximity": {"order": 0, "score": 0.9}}),
            json!({"proximity": {"order": 0, "score": 0.8}}),
        ),
        (
            json!({"attributeRank": {"order": 0, "score": 0.9}}),
            json!({"attributeRank": {"order": 0, "score": 0.8}}),
        ),
        (
            json!({"wordPosition": {"order": 0, "score": 0.9}}),
            json!({"wordPosition": {"order": 0, "score": 0.8}}),
        ),
        (
            json!({"attribute": {"order": 0, "attributeRankingOrderScore": 0.5, "queryWordDistanceScore": 0.2}}),
            json!({"attribute": {"order": 0, "attributeRankingOrderScore": 0.4, "queryWordDistanceScore": 0.9}}),
        ),
        (
            json!({"attribute": {"order": 0, "attributeRankingOrderScore": 0.5, "queryWordDistanceScore": 0.9}}),
            json!({"attribute": {"order": 0, "attributeRankingOrderScore": 0.5, "queryWordDistanceScore": 0.2}}),
        ),
        (
            json!({"exactness": {"order": 0, "matchType": "exactMatch"}}),
            json!({"exactness": {"order": 0, "matchType": "matchesStart"}}),
        ),
        (
            json!({"exactness": {"order": 0, "matchType": "matchesStart"}}),
            json!({"exactness": {"order": 0, "matchType": "noExactMatch", "matchingWords": 3}}),
        ),
        (
            json!({"exactness": {"order": 0, "matchType": "noExactMatch", "matchingWords": 2}}),
            json!({"exactness": {"order": 0, "matchType": "noExactMatch", "matchingWords": 1}}),
        ),
        (
            json!({"p:asc": {"order": 0, "value": 1}}),
            json!({"p:asc": {"order": 0, "value": 2}}),
        ),
        (
            json!({"p:desc": {"order": 0, "value": 2.5}}),
            json!({"p:desc": {"order": 0, "value": 2}}),
        ),
        (
            json!({"p:asc": {"order": 0, "value": "Abc"}}),
            json!({"p:asc": {"order": 0, "value": "abd"}}),
        ),
        (
            json!({"p:desc": {"order": 0, "value": "é"}}),
            json!({"p:desc": {"order": 0, "value": "e"}}),
        ),
        (
            json!({"p:asc": {"order": 0, "value": 9}}),
            json!({"p:asc": {"order": 0, "value": "a"}}),
        ),
        (
            json!({"p:desc": {"order": 0, "value": 9}}),
            json!({"p:desc": {"order": 0, "value": "a"}}),
        ),
        (
            json!({"p:asc": {"order": 0, "value": "a"}}),
            json!({"p:asc": {"order": 0, "value": null}}),
        ),
        (
            json!({"p:desc": {"order": 0, "value": "a"}}),
            json!({"p:desc": {"order": 0, "value": null}}),
        ),
        (
            json!({"_geoPoint(1, 2):asc": {"order": 0, "value": {"lat": 1, "lng": 2}, "distance": 10.5}}),
            json!({"_geoPoint(1, 2):asc": {"order": 0, "value": {"lat": 1, "lng": 3}, "distance": 20.0}}),
        ),
        (
            json!({"_geoPoint(1, 2):desc": {"order": 0, "distance": 20.0}}),
            json!({"_geoPoint(1, 2):desc": {"order": 0, "distance": 10.0}}),
        ),
        (
            json!({"_geoPoint(1, 2):desc": {"order": 0, "distance": 1.0}}),
            json!({"_geoPoint(1, 2):desc": {"order": 0, "distance": null}}),
        ),
        (
            json!({"_geoPoint(1, 2):asc": {"order": 0, "distance": 1.0}}),
            json!({"_geoPoint(1, 2):asc": {"order": 0, "distance": null}}),
        ),
        (
            json!({"vectorSort": {"order": 0, "similarity": 0.9}}),
            json!({"vectorSort": {"order": 0, "similarity": 0.8}}),
        ),
        (
            json!({"vectorSort": {"order": 0, "similarity": 0.1}}),
            json!({"vectorSort": {"order": 0, "similarity": null}}),
        ),
        (
            json!({"typo": {"order": 0, "typoCount": 2}}),
            json!({"skipped": {"order": 0}}),
        ),
        (
            json!({"words": {"order": 0, "matchingWords": 1}, "typo": {"order": 1, "typoCount": 0}}),
            json!({"words": {"order": 0, "matchingWords": 1}, "skipped": {"order": 1}}),
        ),
        (
            json!({"words": {"order": 0, "matchingWords": 1}, "typo": {"order": 1}}),
            json!({"words": {"order": 0, "matchingWords": 1}}),
        ),
    ];
    for (better, worse) in better_worse {
        assert_eq!(
            compare(better.clone(), worse.clone()),
            Ordering::Greater,
            "{better} {worse}"
        );
        assert_eq!(
            compare(better.clone(), better.clone()),
            Ordering::Equal,
            "{better}"
        );
    }
}

#[test]
fn denominators_do_not_count() {
    let table = [
        (
            json!({"typo": {"order": 0, "typoCount": 1, "maxTypoCount": 2, "score": 0.66}}),
            json!({"typo": {"order": 0, "typoCount": 1, "maxTypoCount": 3, "score": 0.75}}),
        ),
        (json!({}), json!({})),
        (
            json!({"<hidden-rule-0>": {"order": 0, "value": "<hidden>"}}),
            json!({"<hidden-rule-0>": {"order": 0, "value": "<hidden>"}}),
        ),
        (
            json!({"p:asc": {"order": 0, "value": "ÀB"}}),
            json!({"p:asc": {"order": 0, "value": "àb"}}),
        ),
    ];
    for (a, b) in table {
        assert_eq!(compare(a.clone(), b.clone()), Ordering::Equal, "{a} {b}");
    }
}

#[test]
fn the_first_rule_in_order_decides() {
    let a =
        json!({"typo": {"order": 1, "typoCount": 2}, "words": {"order": 0, "matchingWords": 2}});
    let b =
        json!({"words": {"order": 0, "matchingWords": 1}, "typo": {"order": 1, "typoCount": 0}});
    assert_eq!(compare(a, b), Ordering::Greater);
}

#[test]
fn hybrid_halves_are_weighed_by_the_ratio() {
    let semantic = rank(json!({"vectorSort": {"order": 0, "similarity": 0.8}}));
    let keyword = Rank {
        score: 0.8,
        ..rank(json!({"words": {"order": 0, "matchingWords": 1}}))
    };
    assert!(semantic.is_semantic() && !keyword.is_semantic());
    for (ratio, expected) in [
        (0.5, Ordering::Greater),
        (0.4, Ordering::Less),
        (0.6, Ordering::Greater),
    ] {
        assert_eq!(semantic.compare(&keyword, ratio), expected, "{ratio}");
        assert_eq!(
            keyword.compare(&semantic, ratio),
            expected.reverse(),
            "{ratio}"
        );
    }
}
