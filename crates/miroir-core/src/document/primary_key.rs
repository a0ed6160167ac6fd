//! Which member of a document is its id.

use super::Batch;
use crate::api_error::{ApiError, Code};
use crate::raw_json;

/// The primary key of a write: the index's, else the `primaryKey` parameter, else inferred
/// from the first document. `None` only for an empty batch on an index without a key, which
/// succeeds without setting one.
///
/// The nodes must be told the answer explicitly: left to themselves, each would infer from
/// the first document that it happens to receive.
///
/// # Errors
/// The task's error: `index_primary_key_already_exists`,
/// `index_primary_key_no_candidate_found` or `index_primary_key_multiple_candidates_found`.
pub fn resolve_primary_key(
    of_index: Option<&str>,
    parameter: Option<&str>,
    batch: &Batch<'_>,
) -> Result<Option<String>, ApiError> {
    match (of_index, parameter) {
        (Some(existing), Some(requested)) if existing != requested => Err(ApiError::new(
            Code::IndexPrimaryKeyAlreadyExists,
            format!("Index already has a primary key: `{existing}`."),
        )),
        (Some(key), _) | (None, Some(key)) => Ok(Some(key.to_owned())),
        (None, None) => batch.documents().next().map(infer).transpose(),
    }
}

fn infer(first: &str) -> Result<String, ApiError> {
    let members = raw_json::members(first).map_err(|error| {
        ApiError::new(
            Code::MalformedPayload,
            format!("The first document is malformed: `{error}`."),
        )
    })?;
    let mut candidates: Vec<String> = members
        .into_iter()
        .map(|(name, _)| name.into_owned())
        .filter(|name| name.to_lowercase().ends_with("id"))
        .collect();
    candidates.sort_unstable();
    candidates.dedup();
    match candidates.as_slice() {
        [key] => Ok(key.clone()),
        [] => Err(ApiError::new(
            Code::IndexPrimaryKeyNoCandidateFound,
            "The primary key inference failed as the engine did not find any field ending with `id` in its name. Please specify the primary key manually using the `primaryKey` query parameter.",
        )),
        [first, second, ..] => Err(ApiError::new(
            Code::IndexPrimaryKeyMultipleCandidatesFound,
            format!(
                "The primary key inference failed as the engine found {} fields ending with `id` in their names: '{first}' and '{second}'. Please specify the primary key manually using the `primaryKey` query parameter.",
                candidates.len()
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::ContentType;

    fn resolve(
        of_index: Option<&str>,
        parameter: Option<&str>,
        body: &str,
    ) -> Result<Option<String>, ApiError> {
        let batch = Batch::parse(body.as_bytes(), ContentType::Json).expect("JSON");
        resolve_primary_key(of_index, parameter, &batch)
    }

    #[test]
    fn keys_are_chosen_as_meilisearch_does() {
        let table = [
            (
                None,
                None,
                r#"[{"title":"x","movieID":1}]"#,
                Some("movieID"),
            ),
            (None, None, r#"[{"\u0069d":1}]"#, Some("id")),
            (None, None, r#"[{"id":1,"id":2}]"#, Some("id")),
            (None, None, r#"[{"a":{"id":1},"uid":1}]"#, Some("uid")),
            (None, None, "[]", None),
            (None, Some("sku"), r#"[{"id":1}]"#, Some("sku")),
            (Some("sku"), None, r#"[{"id":1}]"#, Some("sku")),
            (Some("sku"), Some("sku"), "[]", Some("sku")),
        ];
        for (of_index, parameter, body, key) in table {
            assert_eq!(
                resolve(of_index, parameter, body),
                Ok(key.map(str::to_owned)),
                "{body}"
            );
        }
    }

    #[test]
    fn failures_are_meilisearchs() {
        let error = resolve(Some("id"), Some("sku"), "[]").expect_err("differs");
        assert_eq!(error.code, Code::IndexPrimaryKeyAlreadyExists);
        assert_eq!(error.message, "Index already has a primary key: `id`.");

        let error = resolve(None, None, r#"[{"title":"x"},{"id":1}]"#).expect_err("none");
        assert_eq!(error.code, Code::IndexPrimaryKeyNoCandidateFound);

        let error = resolve(None, None, r#"[{"zid":1,"id":2,"Uid":3}]"#).expect_err("three");
        assert_eq!(error.code, Code::IndexPrimaryKeyMultipleCandidatesFound);
        assert!(
            error
                .message
                .contains("found 3 fields ending with `id` in their names: 'Uid' and 'id'.")
        );
    }
}
