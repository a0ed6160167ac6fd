//! Query parameters, refused in Meilisearch's words.

use std::fmt;
use std::str::FromStr;

use axum::extract::Query;
use axum::http::Uri;
use miroir_core::api_error::{ApiError, Code};
use miroir_core::request::unknown_parameter;

/// The decoded query of a request. Of a repeated parameter the last value counts.
#[derive(Debug, Default)]
pub struct Params {
    pairs: Vec<(String, String)>,
}

/// The error for a parameter's value.
#[must_use]
pub fn invalid(name: &str, code: Code, problem: impl fmt::Display) -> ApiError {
    ApiError::new(
        code,
        format!("Invalid value in parameter `{name}`: {problem}"),
    )
}

impl Params {
    /// Decodes the query of `uri`.
    ///
    /// # Errors
    /// `bad_request` when it is not a list of pairs.
    pub fn of(uri: &Uri) -> Result<Self, ApiError> {
        let query = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| ApiError::new(Code::BadRequest, error.to_string()))?;
        Ok(Self { pairs: query.0 })
    }

    /// Decodes the query of `uri`, which may have only the parameters that `accepted` names.
    ///
    /// # Errors
    /// `bad_request`, naming a parameter that is not accepted.
    pub fn only(uri: &Uri, accepted: &[&str]) -> Result<Self, ApiError> {
        let params = Self::of(uri)?;
        match params
            .pairs
            .iter()
            .find(|(name, _)| !accepted.contains(&name.as_str()))
        {
            Some((name, _)) => Err(unknown_parameter(name, accepted)),
            None => Ok(params),
        }
    }

    /// All pairs, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The text of a parameter.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// A whole number that is not negative.
    ///
    /// # Errors
    /// `code`, when it is something else.
    pub fn number<T: FromStr>(&self, name: &str, code: Code) -> Result<Option<T>, ApiError> {
        let parse = |text: &str| {
            text.parse().map_err(|_| {
                invalid(
                    name,
                    code,
                    format!("could not parse `{text}` as a positive integer"),
                )
            })
        };
        self.text(name).map(parse).transpose()
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// `code`, when it is something else.
    pub fn flag(&self, name: &str, code: Code) -> Result<Option<bool>, ApiError> {
        let parse = |text: &str| {
            text.parse().map_err(|_| {
                let problem = format!(
                    "could not parse `{text}` as a boolean, expected either `true` or `false`"
                );
                invalid(name, code, problem)
            })
        };
        self.text(name).map(parse).transpose()
    }

    /// Items between commas.
    #[must_use]
    pub fn list(&self, name: &str) -> Option<Vec<String>> {
        let items = |text: &str| text.split(',').map(str::to_owned).collect();
        self.text(name).map(items)
    }

    /// Items between commas, each read by `parse`; `None` when the parameter is absent or one of
    /// them is `*`, which means any.
    ///
    /// # Errors
    /// `code` with what `parse` says.
    pub fn star_list<T>(
        &self,
        name: &str,
        code: Code,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<Vec<T>>, ApiError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let items: Vec<&str> = text.split(',').map(str::trim).collect();
        if items.contains(&"*") {
            return Ok(None);
        }
        let place = |at: usize| match items.len() {
            1 => name.to_owned(),
            _ => format!("{name}[{at}]"),
        };
        // An empty item names nothing.
        let named = items
            .iter()
            .enumerate()
            .filter(|(_, item)| !item.is_empty());
        named
            .map(|(at, item)| parse(item).map_err(|problem| invalid(&place(at), code, problem)))
            .collect::<Result<_, _>>()
            .map(Some)
    }
}

/// Reads an item of a list as a whole number that is not negative.
///
/// # Errors
/// Meilisearch's words for anything else.
pub fn number_item(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| format!("could not parse `{text}` as a positive integer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        let uri = format!("/x?{query}").parse().expect("a URI");
        Params::of(&uri).expect("pairs")
    }

    #[test]
    fn values_are_decoded_and_the_last_counts() {
        let params = params("a=1&a=2&b=x%20y+z,w&c=");
        assert_eq!(params.number("a", Code::BadRequest), Ok(Some(2_u32)));
        assert_eq!(
            params.list("b"),
            Some(vec!["x y z".to_owned(), "w".to_owned()])
        );
        assert_eq!((params.text("c"), params.text("d")), (Some(""), None));
    }

    #[test]
    fn wrong_values_are_named() {
        let params = params("a=-1&b=yes&c=1,x&d=1,*");
        let table = [
            (
                params.number::<u32>("a", Code::InvalidTaskLimit).map(drop),
                "Invalid value in parameter `a`: could not parse `-1` as a positive integer",
            ),
            (
                params.flag("b", Code::InvalidTaskLimit).map(drop),
                "Invalid value in parameter `b`: could not parse `yes` as a boolean, expected either `true` or `false`",
            ),
            (
                params
                    .star_list("c", Code::InvalidTaskLimit, number_item)
                    .map(drop),
                "Invalid value in parameter `c[1]`: could not parse `x` as a positive integer",
            ),
        ];
        for (result, message) in table {
            let error = result.expect_err(message);
            assert_eq!(
                (error.code, error.message.as_str()),
                (Code::InvalidTaskLimit, message)
            );
        }
        assert_eq!(
            params.star_list("d", Code::BadRequest, number_item),
            Ok(None)
        );
    }

    #[test]
    fn unknown_parameters_are_refused() {
        let uri = "/x?limit=1&offst=2".parse().expect("a URI");
        let error = Params::only(&uri, &["limit", "offset"]).expect_err("unknown");
        assert_eq!(
            error.message,
            "Unknown parameter `offst`: did you mean `offset`? expected one of `limit`, `offset`"
        );
    }
}
