//! Keys and experimental features: what of them cannot be taken over is named, and stops nothing.

use reqwest::Method;
use serde_json::{Value, json};

use super::report::Report;
use super::target::Target;
use crate::proxy::Failure;

/// Switches features on that were on in the dump.
///
/// # Errors
/// When the proxy cannot be asked.
pub async fn features(
    names: &[String],
    target: &Target,
    report: &mut Report,
) -> Result<(), Failure> {
    for name in names {
        let body = json!({ name: true });
        let path = "/experimental-features";
        match target.call(Method::PATCH, path, Some(&body)).await {
            Ok(_) => report.features.push(name.clone()),
            Err(failure) if failure.may_pass() => return Err(failure),
            Err(failure) => {
                let why = &failure.message;
                report.left(format!("experimental feature `{name}`: {why}"));
            }
        }
    }
    Ok(())
}

/// Makes the keys, under their uids: with the same master key they have the same values.
///
/// # Errors
/// When the proxy cannot be asked.
pub async fn keys(keys: &[Value], target: &Target, report: &mut Report) -> Result<(), Failure> {
    for key in keys {
        match target.call(Method::POST, "/keys", Some(&given(key))).await {
            Ok(_) => report.keys += 1,
            Err(failure) if failure.has_code("api_key_already_exists") => report.keys_there += 1,
            Err(failure) if failure.may_pass() => return Err(failure),
            Err(failure) if failure.is_forbidden() => {
                report.left(format!(
                    "keys ({}), which the key given to this command may not make: {}",
                    keys.len(),
                    failure.message
                ));
                return Ok(());
            }
            Err(failure) => {
                let uid = key["uid"].as_str().unwrap_or("without a uid");
                report.left(format!("key {uid}: {}", failure.message));
            }
        }
    }
    Ok(())
}

/// A key of a dump, as it is asked for.
fn given(key: &Value) -> Value {
    json!({
        "uid": key["uid"], "name": key["name"], "description": key["description"],
        "actions": key["actions"], "indexes": key["indexes"], "expiresAt": key["expires_at"],
    })
}
