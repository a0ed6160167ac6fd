//! The messages are those of Meilisearch 1.50.

use super::*;

#[test]
fn wrong_rules_are_refused_as_by_meilisearch() {
    let table = [
        (
            r##"[]"##,
            Code::BadRequest,
            "Invalid value type: expected an object, but found an array: `[]`",
        ),
        (
            r##"{"foo":1}"##,
            Code::BadRequest,
            "Unknown field `foo`: expected one of `description`, `precedence`, `active`, `conditions`, `actions`",
        ),
        (
            r##"{"active":1}"##,
            Code::InvalidDynamicSearchRuleActive,
            "Invalid value type at `.active`: expected a boolean, but found a positive integer: `1`",
        ),
        (
            r##"{"precedence":-1}"##,
            Code::InvalidDynamicSearchRulePriority,
            "Invalid value type at `.precedence`: expected a positive integer, but found a negative integer: `-1`",
        ),
        (
            r##"{"precedence":"a"}"##,
            Code::InvalidDynamicSearchRulePriority,
            "Invalid value type at `.precedence`: expected a positive integer, but found a string: `\"a\"`",
        ),
        (
            r##"{"description":3}"##,
            Code::InvalidDynamicSearchRuleDescription,
            "Invalid value type at `.description`: expected a string, but found a positive integer: `3`",
        ),
        (
            r##"{"conditions":[]}"##,
            Code::InvalidDynamicSearchRuleConditions,
            "Invalid value type at `.conditions`: expected an object, but found an array: `[]`",
        ),
        (
            r##"{"conditions":{"foo":1}}"##,
            Code::InvalidDynamicSearchRuleConditions,
            "Unknown field `foo` inside `.conditions`: expected one of `time`, `query`, `filter`",
        ),
        (
            r##"{"conditions":{"query":3}}"##,
            Code::InvalidDynamicSearchRuleConditions,
            "Invalid value type at `.conditions.query`: expected an object, but found a positive integer: `3`",
        ),
        (
            r##"{"conditions":{"query":{"isEmpty":true,"words":"a"}}}"##,
            Code::BadRequest,
            "Invalid value at `.conditions.query`: either `isEmpty` or `words` can be used, not both at once",
        ),
        (
            r##"{"conditions":{"query":{"isEmpty":3}}}"##,
            Code::InvalidDynamicSearchRuleConditions,
            "Invalid value type at `.conditions.query.isEmpty`: expected a boolean, but found a positive integer: `3`",
        ),
        (
            r##"{"conditions":{"query":{"foo":3}}}"##,
            Code::InvalidDynamicSearchRuleConditions,
            "Unknown field `foo` inside `.conditions.query`: expected one of `isEmpty`, `words`",
        ),
        (
            r##"{"conditions":{"time":{"start":"x"}}}"##,
            Code::InvalidDynamicSearchRuleConditions,
            "Invalid value at `.conditions.time.start`: `x` is not a valid date. It should follow the RFC 3339 format to represents a date or datetime in the future or specified as a null value. e.g. 'YYYY-MM-DD' or 'YYYY-MM-DD HH:MM:SS'.\n",
        ),
        (
            r##"{"conditions":{"time":{"start":3}}}"##,
            Code::InvalidDynamicSearchRuleConditions,
            "Invalid value type at `.conditions.time.start`: expected a string, but found a positive integer: `3`",
        ),
        (
            r##"{"conditions":{"time":{"start":"2025-11-28T00:00:00Z","end":"2024-11-28T00:00:00Z"}}}"##,
            Code::BadRequest,
            "Invalid value at `.conditions.time`: `end` (`2024-11-28 0:00:00.0 +00:00:00`) should be later than `start` (`2025-11-28 0:00:00.0 +00:00:00`)",
        ),
        (
            r##"{"conditions":{"filter":{"values":3}}}"##,
            Code::InvalidDynamicSearchRuleConditions,
            "Invalid value type at `.conditions.filter.values`: expected an object, but found a positive integer: `3`",
        ),
        (
            r##"{"conditions":{"filter":{"values":{"a":[1,"b"]},"x":1}}}"##,
            Code::InvalidDynamicSearchRuleConditions,
            "Unknown field `x` inside `.conditions.filter`: expected one of `values`",
        ),
        (
            r##"{"actions":3}"##,
            Code::InvalidDynamicSearchRuleActions,
            "Invalid value type at `.actions`: expected an array, but found a positive integer: `3`",
        ),
        (
            r##"{"actions":[3]}"##,
            Code::InvalidDynamicSearchRuleActions,
            "Invalid value type at `.actions[0]`: expected an object, but found a positive integer: `3`",
        ),
        (
            r##"{"actions":[{}]}"##,
            Code::InvalidDynamicSearchRuleActions,
            "Missing field `selector` inside `.actions[0]`",
        ),
        (
            r##"{"actions":[{"selector":{},"action":{"type":"pin","position":1}}]}"##,
            Code::InvalidDynamicSearchRuleActions,
            "Missing field `id` inside `.actions[0].selector`",
        ),
        (
            r##"{"actions":[{"selector":{"id":1},"action":{"type":"pin","position":1}}]}"##,
            Code::InvalidDynamicSearchRuleActions,
            "Invalid value type at `.actions[0].selector.id`: expected a string, but found a positive integer: `1`",
        ),
        (
            r##"{"actions":[{"selector":{"id":"1","indexUid":"a b"},"action":{"type":"pin","position":1}}]}"##,
            Code::InvalidDynamicSearchRuleActions,
            "Invalid value at `.actions[0].selector.indexUid`: `a b` is not a valid index uid. Index uid can be an integer or a string containing only alphanumeric characters, hyphens (-) and underscores (_), and can not be more than 512 bytes.",
        ),
        (
            r##"{"actions":[{"selector":{"id":"1","x":1},"action":{"type":"pin","position":1}}]}"##,
            Code::InvalidDynamicSearchRuleActions,
            "Unknown field `x` inside `.actions[0].selector`: expected one of `indexUid`, `id`",
        ),
        (
            r##"{"actions":[{"selector":{"id":"1"},"action":{"type":"pin","position":-1}}]}"##,
            Code::InvalidDynamicSearchRuleActions,
            "Invalid value type at `.actions[0].action.position`: expected a positive integer, but found a negative integer: `-1`",
        ),
        (
            r##"{"actions":[{"selector":{"id":"1"},"action":{"type":"pinn","position":1}}]}"##,
            Code::InvalidDynamicSearchRuleActions,
            "Invalid value at `.actions[0].action`: Incorrect tag value",
        ),
        (
            r##"{"actions":[{"selector":{"id":"1"},"action":{"position":1}}]}"##,
            Code::InvalidDynamicSearchRuleActions,
            "Missing field `type` inside `.actions[0].action`",
        ),
        (
            r##"{"actions":[{"selector":{"id":"1"},"action":{"type":"pin"}}]}"##,
            Code::InvalidDynamicSearchRuleActions,
            "Missing field `position` inside `.actions[0].action`",
        ),
        (
            r##"{"actions":[{"selector":{"id":"1"}}]}"##,
            Code::InvalidDynamicSearchRuleActions,
            "Missing field `action` inside `.actions[0]`",
        ),
        (
            r##"{"actions":[{"selector":{"id":"1"},"action":{"type":"pin","position":99999999999}}]}"##,
            Code::InvalidDynamicSearchRuleActions,
            "Invalid value at `.actions[0].action.position`: value: `99999999999` is too large to be deserialized, maximum value authorized is `4294967295`",
        ),
        (
            r##"{"actions":[{"selector":{"id":"1"},"action":{"type":"pin","position":1,"z":1}}]}"##,
            Code::InvalidDynamicSearchRuleActions,
            "Unknown field `z` inside `.actions[0].action`: expected one of `position`",
        ),
        (
            r##"{"actions":[{"selector":null,"action":3}]}"##,
            Code::InvalidDynamicSearchRuleActions,
            "Invalid value type at `.actions[0].selector`: expected an object, but found null",
        ),
        (
            r##"{"actions":[{"selector":{"id":"1"},"action":3}]}"##,
            Code::InvalidDynamicSearchRuleActions,
            "Invalid value type at `.actions[0].action`: expected an object, but found a positive integer: `3`",
        ),
        (
            r##"{"actions":[{"selector":{"id":"1"},"action":{"type":3}}]}"##,
            Code::InvalidDynamicSearchRuleActions,
            "Invalid value type at `.actions[0].action.type`: expected a string, but found a positive integer: `3`",
        ),
        (
            r##"{"actions":[{"selector":{"id":"1"},"action":{"type":"pin","position":1}, "q":1}]}"##,
            Code::InvalidDynamicSearchRuleActions,
            "Unknown field `q` inside `.actions[0]`: expected one of `selector`, `action`",
        ),
        (
            r##"{"actions":[{"selector":{"id":"1","indexUid":3},"action":{"type":"pin","position":1}}]}"##,
            Code::InvalidDynamicSearchRuleActions,
            "Invalid value type at `.actions[0].selector.indexUid`: expected a string, but found a positive integer: `3`",
        ),
        (
            r##"{"actions":[{"selector":{"id":"1","indexUid":null},"action":{"type":"pin","position":1.5}}]}"##,
            Code::InvalidDynamicSearchRuleActions,
            "Invalid value type at `.actions[0].action.position`: expected a positive integer, but found a number: `1.5`",
        ),
        (
            r##"{"conditions":{"query":{"words":3}}}"##,
            Code::InvalidDynamicSearchRuleConditions,
            "Invalid value type at `.conditions.query.words`: expected a string, but found a positive integer: `3`",
        ),
    ];
    for (body, code, message) in table {
        let error = read_rule(body.as_bytes()).expect_err(body);
        assert_eq!(
            (error.code, error.message.as_str()),
            (code, message),
            "{body}"
        );
    }
}

#[test]
fn rules_are_kept_as_nodes_show_them() {
    let table = [
        (r#"{}"#, r#"{}"#),
        (
            r#"{"active":null,"description":null,"actions":null}"#,
            r#"{"description":null,"active":null,"actions":null}"#,
        ),
        (
            r#"{"conditions":{"query":{"words":null,"isEmpty":null},"time":null}}"#,
            r#"{"conditions":{"query":{}}}"#,
        ),
        (
            r#"{"conditions":{"filter":{},"time":{"other":1,"end":"2025-11-28T01:00:00.500+01:00"}}}"#,
            r#"{"conditions":{"time":{"end":"2025-11-28T01:00:00.5+01:00"},"filter":{"values":{}}}}"#,
        ),
        (
            r#"{"actions":[{"action":{"position":1,"type":"pin"},"selector":{"id":"1","indexUid":null}}],"precedence":3}"#,
            r#"{"precedence":3,"actions":[{"selector":{"id":"1"},"action":{"type":"pin","position":1}}]}"#,
        ),
        (
            r#"{"actions":[{"action":{"position":1,"type":"pin"},"selector":{"id":"1","indexUid":"books"}}]}"#,
            r#"{"actions":[{"selector":{"indexUid":"books","id":"1"},"action":{"type":"pin","position":1}}]}"#,
        ),
    ];
    for (body, expected) in table {
        let read = read_rule(body.as_bytes()).expect(body);
        assert_eq!(Value::Object(read).to_string(), expected);
    }
}

#[test]
fn lists_are_read() {
    let read = |body: Value| List::read(body.to_string().as_bytes());
    let all = List {
        offset: 0,
        limit: 20,
        query: None,
        active: None,
    };
    assert_eq!(read(json!({ "filter": null })), Ok(all));
    let some = json!({ "offset": 1, "limit": 2, "filter": { "query": "a b", "active": false } });
    let expected = List {
        offset: 1,
        limit: 2,
        query: Some("a b".to_owned()),
        active: Some(false),
    };
    assert_eq!(read(some), Ok(expected));
    let table = [
        (
            json!({ "offset": "a" }),
            Code::InvalidDynamicSearchRuleOffset,
        ),
        (
            json!({ "limit": null }),
            Code::InvalidDynamicSearchRuleLimit,
        ),
        (json!({ "filter": 3 }), Code::InvalidDynamicSearchRuleFilter),
        (
            json!({ "filter": { "x": 3 } }),
            Code::InvalidDynamicSearchRuleFilter,
        ),
        (
            json!({ "filter": { "query": 3 } }),
            Code::InvalidDynamicSearchRuleFilterQuery,
        ),
        (
            json!({ "filter": { "active": 3 } }),
            Code::InvalidDynamicSearchRuleFilterActive,
        ),
        (json!({ "x": 3 }), Code::BadRequest),
        (json!([]), Code::BadRequest),
    ];
    for (body, code) in table {
        let error = read(body.clone()).expect_err("wrong");
        assert_eq!(error.code, code, "{body}");
    }
}
