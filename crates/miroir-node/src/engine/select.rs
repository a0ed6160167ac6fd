//! Selecting parts of a document by dotted paths, and visiting its leaves.
//!
//! A selector `a.b` means the field `b` of the object (or of each object of the array) `a`, and
//! also the top-level field literally called `a.b`: documents may have both.

use milli_core::Object;
use serde_json::Value;

/// Whether `path` is `prefix` itself or lies below it.
fn is_under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The parts of a document that the selectors name, in the document's order.
pub fn select<'a>(document: &Object, selectors: impl IntoIterator<Item = &'a str>) -> Object {
    let selectors: Vec<&str> = selectors.into_iter().collect();
    select_object(document, &selectors)
}

fn select_object(object: &Object, selectors: &[&str]) -> Object {
    let mut selected = Object::new();
    for (key, value) in object {
        if selectors.contains(&key.as_str()) {
            selected.insert(key.clone(), value.clone());
            continue;
        }
        let below: Vec<&str> = selectors
            .iter()
            .filter_map(|selector| selector.strip_prefix(key.as_str())?.strip_prefix('.'))
            .collect();
        if below.is_empty() {
            continue;
        }
        match value {
            Value::Object(inner) => {
                selected.insert(key.clone(), Value::Object(select_object(inner, &below)));
            }
            Value::Array(values) => {
                selected.insert(key.clone(), Value::Array(select_array(values, &below)));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (),
        }
    }
    selected
}

/// Objects that keep nothing are dropped from the array; scalars have no fields to select.
fn select_array(values: &[Value], selectors: &[&str]) -> Vec<Value> {
    let mut selected = Vec::new();
    for value in values {
        match value {
            Value::Array(inner) => selected.push(Value::Array(select_array(inner, selectors))),
            Value::Object(inner) => {
                let object = select_object(inner, selectors);
                if !object.is_empty() {
                    selected.push(Value::Object(object));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (),
        }
    }
    selected
}

/// Calls `visit(path, indices, leaf)` for each scalar that a selector names or lies below one.
/// `indices` are the positions in the arrays that were crossed.
pub fn visit_leaves(
    document: &mut Object,
    selectors: &[&str],
    visit: &mut impl FnMut(&str, &[usize], &mut Value),
) {
    visit_object(document, selectors, "", &mut Vec::new(), visit);
}

fn visit_object(
    object: &mut Object,
    selectors: &[&str],
    base: &str,
    indices: &mut Vec<usize>,
    visit: &mut impl FnMut(&str, &[usize], &mut Value),
) {
    for (key, value) in object.iter_mut() {
        let path = if base.is_empty() {
            key.clone()
        } else {
            format!("{base}.{key}")
        };
        if selectors
            .iter()
            .any(|s| is_under(s, &path) || is_under(&path, s))
        {
            visit_value(value, selectors, &path, indices, visit);
        }
    }
}

fn visit_value(
    value: &mut Value,
    selectors: &[&str],
    path: &str,
    indices: &mut Vec<usize>,
    visit: &mut impl FnMut(&str, &[usize], &mut Value),
) {
    match value {
        Value::Object(object) => visit_object(object, selectors, path, indices, visit),
        Value::Array(values) => {
            for (at, value) in values.iter_mut().enumerate() {
                indices.push(at);
                visit_value(value, selectors, path, indices, visit);
                indices.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            visit(path, indices, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn selectors_reach_into_objects_and_arrays() {
        let document = object(json!({
            "id": 1,
            "race": { "name": "bernese", "size": 80 },
            "dogs": [{ "name": "a", "age": 1 }, { "age": 2 }, 7],
            "race.name": "literal",
        }));
        for (selectors, expected) in [
            (vec!["id"], json!({ "id": 1 })),
            (
                vec!["race"],
                json!({ "race": { "name": "bernese", "size": 80 } }),
            ),
            (
                vec!["race.name"],
                json!({ "race": { "name": "bernese" }, "race.name": "literal" }),
            ),
            (vec!["dogs.name"], json!({ "dogs": [{ "name": "a" }] })),
            (vec!["rac"], json!({})),
            (vec!["id.x"], json!({})),
        ] {
            assert_eq!(
                Value::Object(select(&document, selectors.clone())),
                expected,
                "{selectors:?}"
            );
        }
    }

    #[test]
    fn leaves_are_visited_with_their_paths_and_array_positions() {
        let mut document = object(json!({ "a": [{ "b": 1 }, [2]], "c": 3, "d": null }));
        let mut seen = Vec::new();
        visit_leaves(&mut document, &["a", "d"], &mut |path, indices, leaf| {
            seen.push((path.to_owned(), indices.to_vec(), leaf.clone()));
        });
        assert_eq!(
            seen,
            [
                ("a.b".to_owned(), vec![0], json!(1)),
                ("a".to_owned(), vec![1, 0], json!(2)),
                ("d".to_owned(), vec![], json!(null)),
            ]
        );
    }
}
