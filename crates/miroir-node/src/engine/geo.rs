//! `_geoDistance`: how far a hit is from the point its search is sorted by.

use milli_core::{Object, distance_between_two_points};
use serde_json::{Value, json};

/// Adds `_geoDistance`, in whole metres, if a sort names a `_geoPoint` and the hit has a `_geo`.
pub fn insert_distance(sorts: &[String], document: &mut Object) {
    let Some(origin) = sorts.iter().find_map(|sort| point_of(sort)) else {
        return;
    };
    let Some(geo) = document.get("_geo") else {
        return;
    };
    if let (Some(lat), Some(lng)) = (coordinate(&geo["lat"]), coordinate(&geo["lng"])) {
        let metres = distance_between_two_points(&origin, &[lat, lng]).round();
        document.insert("_geoDistance".to_owned(), json!(metres as u64));
    }
}

/// The point in `_geoPoint(48.8, 2.3):asc`.
fn point_of(sort: &str) -> Option<[f64; 2]> {
    let arguments = sort.split_once("_geoPoint(")?.1.split_once(')')?.0;
    let (lat, lng) = arguments.split_once(',')?;
    Some([lat.trim().parse().ok()?, lng.trim().parse().ok()?])
}

/// Coordinates may be numbers or numeric strings.
fn coordinate(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_is_added_only_when_both_points_are_known() {
        let mut paris = json!({ "_geo": { "lat": "48.8566", "lng": 2.3522 } });
        let document = paris.as_object_mut().unwrap();
        insert_distance(
            &["name:asc".into(), "_geoPoint(48.8566, 2.3522):asc".into()],
            document,
        );
        assert_eq!(document["_geoDistance"], 0);
        let mut nowhere = Object::new();
        insert_distance(&["_geoPoint(1,2):asc".into()], &mut nowhere);
        assert!(nowhere.is_empty());
    }
}
