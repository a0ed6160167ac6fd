//! Validation of request bodies and query parameters, with Meilisearch's messages and a code per
//! field.
//!
//! `deserr` words the messages exactly as Meilisearch does (it was made for it); this module adds
//! the error code: each field names a marker type, and a failure inside the field carries its code.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::ops::ControlFlow;

use deserr::errors::{JsonError, QueryParamError};
use deserr::{
    DeserializeError, Deserr, ErrorKind, IntoValue, MergeWithError, ValuePointerRef,
    take_cf_content,
};
use serde_json::Value;

use crate::error::{ApiError, Code, CodeMarker, marker};

/// How the place of a failure is described: a JSON path or a parameter name.
pub trait Format {
    /// The message for this failure.
    fn describe<V: IntoValue>(error: ErrorKind<'_, V>, location: ValuePointerRef<'_>) -> String;
}

/// The request's body is JSON.
#[derive(Debug)]
pub struct JsonFormat;

/// The values are query parameters.
#[derive(Debug)]
pub struct QueryFormat;

impl Format for JsonFormat {
    fn describe<V: IntoValue>(error: ErrorKind<'_, V>, location: ValuePointerRef<'_>) -> String {
        take_cf_content(JsonError::error(None, error, location)).to_string()
    }
}

impl Format for QueryFormat {
    fn describe<V: IntoValue>(error: ErrorKind<'_, V>, location: ValuePointerRef<'_>) -> String {
        take_cf_content(QueryParamError::error(None, error, location)).to_string()
    }
}

/// A request that is not valid: message and code. `C` gives the code of failures found right here.
pub struct Invalid<F, C> {
    /// The code to report.
    pub code: Code,
    /// The message to report.
    pub message: String,
    marker: PhantomData<(F, C)>,
}

/// An invalid JSON body.
pub type InvalidJson<C = marker::BadRequest> = Invalid<JsonFormat, C>;

/// Invalid query parameters.
pub type InvalidQuery<C = marker::BadRequest> = Invalid<QueryFormat, C>;

impl<F, C> Invalid<F, C> {
    /// A failure with a message of its own.
    pub fn new(code: Code, message: String) -> Self {
        Self {
            code,
            message,
            marker: PhantomData,
        }
    }
}

impl<F, C> fmt::Debug for Invalid<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.message)
    }
}

impl<F, C> From<Invalid<F, C>> for ApiError {
    fn from(invalid: Invalid<F, C>) -> Self {
        ApiError::new(invalid.code, invalid.message)
    }
}

impl<F: Format, C: CodeMarker> DeserializeError for Invalid<F, C> {
    fn error<V: IntoValue>(
        _previous: Option<Self>,
        error: ErrorKind<'_, V>,
        location: ValuePointerRef<'_>,
    ) -> ControlFlow<Self, Self> {
        ControlFlow::Break(Self::new(C::CODE, F::describe(error, location)))
    }
}

impl<F, C1, C2> MergeWithError<Invalid<F, C2>> for Invalid<F, C1> {
    fn merge(
        _previous: Option<Self>,
        other: Invalid<F, C2>,
        _location: ValuePointerRef<'_>,
    ) -> ControlFlow<Self, Self> {
        ControlFlow::Break(Self::new(other.code, other.message))
    }
}

/// What is wrong with one value, in words; the place and the code are added by its field.
#[derive(Debug)]
pub struct Problem(pub String);

impl<F: Format, C: CodeMarker> MergeWithError<Problem> for Invalid<F, C> {
    fn merge(
        _previous: Option<Self>,
        other: Problem,
        location: ValuePointerRef<'_>,
    ) -> ControlFlow<Self, Self> {
        Self::error::<Infallible>(None, ErrorKind::Unexpected { msg: other.0 }, location)
    }
}

/// The failure for a missing field that has a code of its own.
pub fn missing_field<M: CodeMarker>(field: &str, location: ValuePointerRef<'_>) -> InvalidJson<M> {
    take_cf_content(InvalidJson::<M>::error::<Infallible>(
        None,
        ErrorKind::MissingField { field },
        location,
    ))
}

/// The failure for a known field that may not be changed, or else for an unknown field.
pub fn unknown_or_immutable(
    field: &str,
    accepted: &[&str],
    location: ValuePointerRef<'_>,
    immutable: &[(&str, Code)],
) -> InvalidJson {
    match immutable.iter().find(|(name, _)| *name == field) {
        Some((_, code)) => {
            let accepted: Vec<_> = accepted.iter().map(|name| format!("`{name}`")).collect();
            let message = format!(
                "Immutable field `{field}`: expected one of {}",
                accepted.join(", ")
            );
            InvalidJson::new(*code, message)
        }
        None => take_cf_content(InvalidJson::error::<Infallible>(
            None,
            ErrorKind::UnknownKey {
                key: field,
                accepted,
            },
            location,
        )),
    }
}

/// Validates a JSON body.
pub fn json<T: Deserr<InvalidJson>>(value: Value) -> Result<T, ApiError> {
    deserr::deserialize::<T, _, InvalidJson>(value).map_err(ApiError::from)
}

/// Validates query parameters. Of a repeated parameter the last value counts.
pub fn query<T: Deserr<InvalidQuery>>(pairs: Vec<(String, String)>) -> Result<T, ApiError> {
    let object: serde_json::Map<_, _> = pairs
        .into_iter()
        .map(|(name, value)| (name, Value::String(value)))
        .collect();
    deserr::deserialize::<T, _, InvalidQuery>(Value::Object(object)).map_err(ApiError::from)
}

/// A value that is written in one query parameter.
pub trait FromParam: Sized {
    /// Parses the parameter's text.
    fn from_param(text: &str) -> Result<Self, Problem>;
}

impl FromParam for String {
    fn from_param(text: &str) -> Result<Self, Problem> {
        Ok(text.to_owned())
    }
}

impl FromParam for usize {
    fn from_param(text: &str) -> Result<Self, Problem> {
        text.parse()
            .map_err(|_| Problem(format!("could not parse `{text}` as a positive integer")))
    }
}

impl FromParam for u32 {
    fn from_param(text: &str) -> Result<Self, Problem> {
        text.parse()
            .map_err(|_| Problem(format!("could not parse `{text}` as a positive integer")))
    }
}

impl FromParam for f32 {
    fn from_param(text: &str) -> Result<Self, Problem> {
        text.parse()
            .map_err(|_| Problem("invalid float literal".to_owned()))
    }
}

impl FromParam for bool {
    fn from_param(text: &str) -> Result<Self, Problem> {
        text.parse().map_err(|_| {
            Problem(format!(
                "could not parse `{text}` as a boolean, expected either `true` or `false`"
            ))
        })
    }
}

/// One query parameter.
#[derive(Debug, Clone, Copy, Default)]
pub struct Param<T>(pub T);

/// A comma-separated query parameter.
#[derive(Debug, Clone, Default)]
pub struct CommaList<T>(pub Vec<T>);

/// A comma-separated query parameter in which `*` means "all", that is no restriction.
#[derive(Debug, Clone)]
pub struct StarList<T>(pub Option<Vec<T>>);

impl<T> Default for StarList<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: FromParam> FromParam for CommaList<T> {
    fn from_param(text: &str) -> Result<Self, Problem> {
        text.split(',')
            .map(T::from_param)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl<T: FromParam> FromParam for StarList<T> {
    fn from_param(text: &str) -> Result<Self, Problem> {
        if text.split(',').any(|item| item.trim() == "*") {
            return Ok(Self(None));
        }
        text.split(',')
            .map(|item| T::from_param(item.trim()))
            .collect::<Result<_, _>>()
            .map(|items| Self(Some(items)))
    }
}

fn from_string<T: FromParam, E, V: IntoValue>(
    value: deserr::Value<V>,
    location: ValuePointerRef<'_>,
) -> Result<T, E>
where
    E: DeserializeError + MergeWithError<Problem>,
{
    let text = String::deserialize_from_value(value, location)?;
    T::from_param(&text).map_err(|problem| take_cf_content(E::merge(None, problem, location)))
}

macro_rules! deserr_from_param {
    ($($wrapper:ident => $build:expr;)*) => { $(
        impl<T, E> Deserr<E> for $wrapper<T>
        where
            T: FromParam,
            E: DeserializeError + MergeWithError<Problem>,
        {
            fn deserialize_from_value<V: IntoValue>(
                value: deserr::Value<V>,
                location: ValuePointerRef<'_>,
            ) -> Result<Self, E> {
                from_string(value, location).map($build)
            }
        }
    )* };
}

deserr_from_param! {
    Param => Param;
    CommaList => |list: CommaList<T>| list;
    StarList => |list: StarList<T>| list;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserr)]
    #[deserr(error = InvalidQuery, rename_all = camelCase, deny_unknown_fields)]
    struct Example {
        #[deserr(default = Param(20), error = InvalidQuery<marker::InvalidIndexLimit>)]
        limit: Param<usize>,
        #[deserr(default, error = InvalidQuery<marker::InvalidTaskUids>)]
        uids: StarList<u32>,
    }

    fn parse(pairs: &[(&str, &str)]) -> Result<Example, ApiError> {
        query(
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn failures_carry_the_code_of_their_field() {
        let ok = parse(&[("uids", "1, 2")]).unwrap();
        assert_eq!((ok.limit.0, ok.uids.0), (20, Some(vec![1, 2])));
        assert_eq!(parse(&[("uids", "1,*")]).unwrap().uids.0, None);

        let limit = parse(&[("limit", "many")]).unwrap_err();
        assert_eq!(limit.code, Code::InvalidIndexLimit);
        assert_eq!(
            limit.message,
            "Invalid value in parameter `limit`: could not parse `many` as a positive integer"
        );
        let unknown = parse(&[("lmit", "1")]).unwrap_err();
        assert_eq!(unknown.code, Code::BadRequest);
        assert_eq!(
            unknown.message,
            "Unknown parameter `lmit`: did you mean `limit`? expected one of `limit`, `uids`"
        );
    }
}
