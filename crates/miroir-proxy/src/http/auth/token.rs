//! Tenant tokens: JSON web tokens that a client signs with the value of an API key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use miroir_core::registry::SearchRules;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use sha2::{Sha256, Sha384, Sha512};
use uuid::Uuid;

/// A token whose signature fits.
#[derive(Debug, PartialEq)]
pub struct TenantToken {
    /// The key that signed it.
    pub key: Uuid,
    /// What it may search.
    pub rules: SearchRules,
}

/// Why a text is not a token that counts.
#[derive(Debug, PartialEq, Eq)]
pub enum TokenError {
    /// It has not the form of a token: it may be a key.
    NotAToken,
    /// It is a token that does not count, in Meilisearch's words.
    Refused(String),
}

#[derive(Deserialize)]
struct Header {
    alg: Algorithm,
}

/// All that the standard has, for the words of a refusal; only the first three are accepted.
#[derive(Clone, Copy, Deserialize)]
enum Algorithm {
    HS256,
    HS384,
    HS512,
    ES256,
    ES384,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    EdDSA,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claims {
    search_rules: SearchRules,
    exp: Option<i64>,
    #[serde(deserialize_with = "uuid")]
    api_key_uid: Uuid,
}

/// A claim that no rule here is about: whom the token is meant for.
#[derive(Deserialize)]
struct Audience {
    aud: Option<Value>,
}

fn uuid<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse()
        .map_err(|error| D::Error::custom(format_args!("UUID parsing failed: {error}")))
}

fn undecodable(why: impl std::fmt::Display) -> TokenError {
    TokenError::Refused(format!("Could not decode tenant token, {why}."))
}

fn part<T: DeserializeOwned>(part: &str) -> Result<T, TokenError> {
    serde_json::from_slice(&decode(part)?)
        .map_err(|error| undecodable(format_args!("JSON error: {error}")))
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|error| undecodable(format_args!("Base64 error: {error}")))
}

/// Reads a token and checks its signature and its time. `secret` gives the value of a key, which
/// need not exist; `now_s` is the time in seconds since the Unix epoch.
///
/// # Errors
/// [`TokenError`].
pub fn read(
    token: &str,
    secret: impl Fn(Uuid) -> String,
    now_s: i64,
) -> Result<TenantToken, TokenError> {
    let (message, signature) = token.rsplit_once('.').ok_or(TokenError::NotAToken)?;
    let (header, payload) = message.rsplit_once('.').ok_or(TokenError::NotAToken)?;
    let Header { alg } = part(header)?;
    let claims: Claims = part(payload)?;
    let secret = secret(claims.api_key_uid);
    verify(
        alg,
        secret.as_bytes(),
        message.as_bytes(),
        &decode(signature)?,
    )?;
    match part::<Audience>(payload)?.aud {
        None | Some(Value::Null) => {}
        Some(Value::Array(members)) if members.is_empty() => {}
        Some(_) => return Err(undecodable("InvalidAudience")),
    }
    match claims.exp {
        Some(exp) if now_s > exp => Err(TokenError::Refused(format!(
            "Tenant token expired. Was valid up to `{exp}` and we're now `{now_s}`."
        ))),
        _ => Ok(TenantToken {
            key: claims.api_key_uid,
            rules: claims.search_rules,
        }),
    }
}

fn verify(alg: Algorithm, secret: &[u8], message: &[u8], given: &[u8]) -> Result<(), TokenError> {
    const ANY_LENGTH: &str = "HMAC takes keys of any length";
    // `verify_slice` takes as long for any wrong signature.
    let verified = match alg {
        Algorithm::HS256 => {
            let mac = Hmac::<Sha256>::new_from_slice(secret).expect(ANY_LENGTH);
            mac.chain_update(message).verify_slice(given)
        }
        Algorithm::HS384 => {
            let mac = Hmac::<Sha384>::new_from_slice(secret).expect(ANY_LENGTH);
            mac.chain_update(message).verify_slice(given)
        }
        Algorithm::HS512 => {
            let mac = Hmac::<Sha512>::new_from_slice(secret).expect(ANY_LENGTH);
            mac.chain_update(message).verify_slice(given)
        }
        Algorithm::ES256
        | Algorithm::ES384
        | Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512
        | Algorithm::EdDSA => return Err(undecodable("InvalidAlgorithm")),
    };
    verified.map_err(|_| undecodable("InvalidSignature"))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use serde_json::json;

    const UID: &str = "550e8400-e29b-41d4-a716-446655440000";

    /// A token of these parts, signed with HS256.
    pub fn signed(header: &Value, claims: &Value, secret: &str) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(header), encode(claims));
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
        let signature = mac.chain_update(message.as_bytes()).finalize().into_bytes();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn token(alg: &str, claims: Value) -> String {
        signed(&json!({ "typ": "JWT", "alg": alg }), &claims, "secret")
    }

    fn refusal(token: &str) -> String {
        match read(token, |_| "secret".to_owned(), 1000) {
            Err(TokenError::Refused(why)) => why,
            other => panic!("{token}: {other:?}"),
        }
    }

    #[test]
    fn a_signed_token_says_what_it_may() {
        for exp in [json!(null), json!(1000)] {
            let token = token(
                "HS256",
                json!({ "apiKeyUid": UID, "searchRules": ["a*"], "exp": exp }),
            );
            let read = read(&token, |_| "secret".to_owned(), 1000).expect("valid");
            assert_eq!(read.key.to_string(), UID);
            assert_eq!(json!(read.rules), json!(["a*"]));
        }
    }

    #[test]
    fn all_three_algorithms_count() {
        // RFC 4868's way of signing, computed by another library with the secret `secret`.
        let message = b"a message";
        let table = [
            (
                Algorithm::HS384,
                "ae4f905cc59ea47bd0ce084d2ef03cbe1b982595fbea68cb4494835a352730b98e0e2c3efd642fa327fe700a9fdaa4ed",
            ),
            (
                Algorithm::HS512,
                "4930a9daa3636a157e644497a6a134cbe1c575c1a96d3d5ac71d82725c2507384b1c80e03a978e9e8a8ac942e26aa8cded0b275d54f2e28dee17959699f8556b",
            ),
        ];
        for (alg, hex) in table {
            let given: Vec<u8> = (0..hex.len() / 2)
                .filter_map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok())
                .collect();
            assert_eq!(verify(alg, b"secret", message, &given), Ok(()));
            assert!(verify(alg, b"other", message, &given).is_err());
        }
    }

    #[test]
    fn what_has_not_three_parts_may_be_a_key() {
        for text in ["", "masterKey", "a.b", "0123abcd"] {
            let read = read(text, |_| String::new(), 0);
            assert_eq!(read, Err(TokenError::NotAToken), "{text}");
        }
    }

    #[test]
    fn other_tokens_are_refused_in_meilisearchs_words() {
        let claims = || json!({ "apiKeyUid": UID, "searchRules": ["*"] });
        let with = |name: &str, value: Value| {
            let mut claims = claims();
            claims[name] = value;
            token("HS256", claims)
        };
        let other_secret = signed(&json!({ "alg": "HS256" }), &claims(), "other");
        let table = [
            (
                with("exp", json!(999)),
                "Tenant token expired. Was valid up to `999` and we're now `1000`.",
            ),
            (
                other_secret,
                "Could not decode tenant token, InvalidSignature.",
            ),
            (
                token("RS256", claims()),
                "Could not decode tenant token, InvalidAlgorithm.",
            ),
            (
                with("aud", json!("x")),
                "Could not decode tenant token, InvalidAudience.",
            ),
            (
                with("apiKeyUid", json!("x")),
                "Could not decode tenant token, JSON error: UUID parsing failed:",
            ),
            (
                with("searchRules", json!("*")),
                "Could not decode tenant token, JSON error: data did not match any variant of untagged enum SearchRules",
            ),
            (
                token("HS256", json!({ "apiKeyUid": UID })),
                "Could not decode tenant token, JSON error: missing field `searchRules` at line 1",
            ),
            (
                token("none", claims()),
                "Could not decode tenant token, JSON error: unknown variant `none`, expected one of `HS256`, `HS384`,",
            ),
            (
                "a.b!.c".to_owned(),
                "Could not decode tenant token, Base64 error:",
            ),
        ];
        for (token, beginning) in table {
            let why = refusal(&token);
            assert!(why.starts_with(beginning), "{why}");
        }
    }
}
