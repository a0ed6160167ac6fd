use super::*;

fn post(body: Value) -> Result<SimilarQuery, ApiError> {
    SimilarQuery::from_json(body.to_string().as_bytes())
}

fn get(pairs: &[(&str, &str)]) -> Result<SimilarQuery, ApiError> {
    SimilarQuery::from_parameters(pairs.iter().copied())
}

#[test]
fn what_is_wrong_is_named() {
    let with = |name: &str, value: Value| {
        let mut body = json!({"id": 1, "embedder": "e"});
        body[name] = value;
        post(body)
    };
    let table = [
        (post(json!([])), Code::BadRequest, "expected an object"),
        (post(json!({})), Code::BadRequest, "Missing field `id`"),
        (
            post(json!({"id": 1})),
            Code::BadRequest,
            "Missing field `embedder`",
        ),
        (with("id", json!(1.5)), Code::InvalidSimilarId, "`1.5`"),
        (
            with("id", json!("a b")),
            Code::InvalidSimilarId,
            "`\"a b\"`",
        ),
        (
            with("embedder", json!(1)),
            Code::InvalidSimilarEmbedder,
            "`.embedder`",
        ),
        (
            with("limit", json!("a")),
            Code::InvalidSimilarLimit,
            "`.limit`",
        ),
        (
            with("offset", json!(null)),
            Code::InvalidSimilarOffset,
            "`.offset`",
        ),
        (
            with("filter", json!(1)),
            Code::InvalidSimilarFilter,
            "found: 1",
        ),
        (
            with("filter", json!("_miroir_shard = a")),
            Code::InvalidSimilarFilter,
            "_miroir_shard",
        ),
        (
            with("rankingScoreThreshold", json!(2)),
            Code::InvalidSimilarRankingScoreThreshold,
            "between `0.0` and `1.0`",
        ),
        (
            with("showRankingScore", json!(1)),
            Code::InvalidSimilarShowRankingScore,
            "expected a boolean",
        ),
        (
            with("attributesToRetrieve", json!("a")),
            Code::InvalidSimilarAttributesToRetrieve,
            "expected an array",
        ),
        (
            with("foo", json!(1)),
            Code::BadRequest,
            "Unknown field `foo`",
        ),
        (
            get(&[("embedder", "e")]),
            Code::BadRequest,
            "Missing parameter `id`",
        ),
        (
            get(&[("id", "1"), ("limit", "x")]),
            Code::InvalidSimilarLimit,
            "in parameter `limit`",
        ),
        (
            get(&[("rankingScoreThreshold", "2")]),
            Code::InvalidSimilarRankingScoreThreshold,
            "in parameter `rankingScoreThreshold`",
        ),
        (
            get(&[("foo", "1")]),
            Code::BadRequest,
            "Unknown parameter `foo`",
        ),
    ];
    for (result, code, text) in table {
        let error = result.expect_err(text);
        assert_eq!(error.code, code, "{error}");
        assert!(error.message.contains(text), "{error}");
    }
}

#[test]
fn owner_and_others_are_asked_up_to_the_end_of_the_page() {
    let query = post(json!({
        "id": 7, "embedder": "e", "offset": 2, "limit": 3, "filter": "x = 1", "rankingScoreThreshold": 0.5,
    }));
    let query = query.expect("valid");
    assert_eq!(
        query.owner_body(Some("H")),
        Ok(json!({
            "id": "7", "embedder": "e", "offset": 0, "limit": 5, "filter": ["H", "x = 1"],
            "rankingScoreThreshold": 0.5, "showRankingScore": true,
        }))
    );
    assert_eq!(
        query.search_body(&json!([1.0, 0.5]), None),
        Ok(json!({
            "hybrid": {"embedder": "e", "semanticRatio": 1.0}, "vector": [1.0, 0.5],
            "offset": 0, "limit": 5, "filter": "x = 1", "rankingScoreThreshold": 0.5,
            "showRankingScore": true,
        }))
    );
    let same = get(&[
        ("id", "7"),
        ("embedder", "e"),
        ("offset", "2"),
        ("limit", "3"),
        ("filter", "x = 1"),
        ("rankingScoreThreshold", "0.5"),
    ]);
    assert_eq!(
        same.expect("valid").owner_body(None),
        query.owner_body(None)
    );
}

#[test]
fn hits_come_by_similarity() {
    let node = |hits: &[(u32, f64)], total: u32| {
        let hits = hits
            .iter()
            .map(|(id, score)| json!({"id": id, "_rankingScore": score, "_miroir_shard": "†"}));
        let hits: Vec<Value> = hits.collect();
        json!({"hits": hits, "processingTimeMs": 2, "estimatedTotalHits": total}).to_string()
    };
    let nodes = [
        node(&[(1, 0.9), (2, 0.5)], 2),
        node(&[(3, 0.7), (4, 0.5)], 4),
    ];
    let nodes: Vec<&[u8]> = nodes.iter().map(|node| node.as_bytes()).collect();
    let query = post(json!({"id": 9, "embedder": "e", "offset": 1, "limit": 2}));
    let merged = query
        .expect("valid")
        .merge(&nodes, &SearchSettings::default());
    assert_eq!(
        merged.as_deref(),
        Ok(
            r#"{"hits":[{"id":3},{"id":2}],"id":"9","processingTimeMs":2,"limit":2,"offset":1,"estimatedTotalHits":6}"#
        )
    );
}
