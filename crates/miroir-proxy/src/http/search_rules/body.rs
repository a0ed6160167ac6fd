//! What clients say about dynamic search rules, refused in Meilisearch's words.

use miroir_core::api_error::{ApiError, Code};
use miroir_core::id::IndexUid;
use miroir_core::request::{expected_one_of, parse_json, unknown_field, wrong_type};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const LIMIT: usize = 20;

/// Which rules to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct List {
    /// How many to pass over.
    pub(super) offset: usize,
    /// How many to show.
    pub(super) limit: usize,
    /// Words of the description or the conditions.
    pub(super) query: Option<String>,
    /// Only those that are active, or only those that are not.
    pub(super) active: Option<bool>,
}

impl List {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// Of the first member that is wrong.
    pub(super) fn read(body: &[u8]) -> Result<Self, ApiError> {
        let mut list = Self {
            offset: 0,
            limit: LIMIT,
            query: None,
            active: None,
        };
        for (name, value) in &object(&parse_json(body)?, &At::body())? {
            match name.as_str() {
                "offset" => {
                    list.offset = count(
                        value,
                        &At::new(".offset", Code::InvalidDynamicSearchRuleOffset),
                    )?;
                }
                "limit" => {
                    list.limit = count(
                        value,
                        &At::new(".limit", Code::InvalidDynamicSearchRuleLimit),
                    )?;
                }
                "filter" if value.is_null() => {}
                "filter" => list.read_filter(value)?,
                _ => return Err(unknown_field("", name, &["offset", "limit", "filter"])),
            }
        }
        Ok(list)
    }

    fn read_filter(&mut self, value: &Value) -> Result<(), ApiError> {
        let at = At::new(".filter", Code::InvalidDynamicSearchRuleFilter);
        for (name, value) in &object(value, &at)? {
            match name.as_str() {
                "query" | "active" if value.is_null() => {}
                "query" => {
                    let at = At::new(".filter.query", Code::InvalidDynamicSearchRuleFilterQuery);
                    self.query = Some(text(value, &at)?);
                }
                "active" => {
                    let at = At::new(".filter.active", Code::InvalidDynamicSearchRuleFilterActive);
                    self.active = Some(flag(value, &at)?);
                }
                _ => return Err(at.unknown(name, &["query", "active"])),
            }
        }
        Ok(())
    }
}

/// Reads what a rule is to be. A member that goes back to its default is null.
///
/// # Errors
/// Of the first member that is wrong.
pub(super) fn read_rule(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    const NAMES: [&str; 5] = [
        "description",
        "precedence",
        "active",
        "conditions",
        "actions",
    ];
    let members = object(&parse_json(body)?, &At::body())?;
    let mut read = Map::new();
    for (name, value) in &members {
        let at = |code| At::new(&format!(".{name}"), code);
        let known = NAMES.contains(&name.as_str());
        let member = match name.as_str() {
            _ if !known => return Err(unknown_field("", name, &NAMES)),
            _ if value.is_null() => Value::Null,
            "description" => json!(text(value, &at(Code::InvalidDynamicSearchRuleDescription))?),
            "precedence" => json!(number(value, &at(Code::InvalidDynamicSearchRulePriority))?),
            "active" => json!(flag(value, &at(Code::InvalidDynamicSearchRuleActive))?),
            "conditions" => conditions(value, &at(Code::InvalidDynamicSearchRuleConditions))?,
            _ => actions(value, &at(Code::InvalidDynamicSearchRuleActions))?,
        };
        read.insert(name.clone(), member);
    }
    // In the order in which Meilisearch shows them.
    let in_order = NAMES.iter().filter_map(|name| read.remove_entry(*name));
    Ok(in_order.collect())
}

fn conditions(value: &Value, at: &At) -> Result<Value, ApiError> {
    let members = object(value, at)?;
    let mut read = Map::new();
    for (name, value) in &members {
        let at_member = at.member(name);
        match name.as_str() {
            "time" | "query" | "filter" if value.is_null() => continue,
            "time" => read.insert(name.clone(), time_condition(value, &at_member)?),
            "query" => read.insert(name.clone(), query_condition(value, &at_member)?),
            "filter" => read.insert(name.clone(), filter_condition(value, &at_member)?),
            _ => return Err(at.unknown(name, &["time", "query", "filter"])),
        };
    }
    let query = read.get("query");
    if query.is_some_and(|query| query["isEmpty"] == true && query.get("words").is_some()) {
        let message = format!(
            "Invalid value at `{}.query`: either `isEmpty` or `words` can be used, not both at once",
            at.path
        );
        return Err(ApiError::new(Code::BadRequest, message));
    }
    check_times(read.get("time"), at)?;
    let names = ["time", "query", "filter"];
    let in_order = names.iter().filter_map(|name| read.remove_entry(*name));
    Ok(Value::Object(in_order.collect()))
}

fn time_condition(value: &Value, at: &At) -> Result<Value, ApiError> {
    let mut read = Map::new();
    let members = object(value, at)?;
    for name in ["start", "end"] {
        if let Some(value) = members.get(name).filter(|value| !value.is_null()) {
            read.insert(name.to_owned(), json!(date(value, &at.member(name))?));
        }
    }
    Ok(Value::Object(read))
}

/// A date as nodes write it.
fn date(value: &Value, at: &At) -> Result<String, ApiError> {
    let text = text(value, at)?;
    let parsed = OffsetDateTime::parse(&text, &Rfc3339).ok();
    parsed.and_then(|date| date.format(&Rfc3339).ok()).ok_or_else(|| {
        at.invalid(&format!(
            "`{text}` is not a valid date. It should follow the RFC 3339 format to represents a date or datetime in the future or specified as a null value. e.g. 'YYYY-MM-DD' or 'YYYY-MM-DD HH:MM:SS'.\n"
        ))
    })
}

fn check_times(time: Option<&Value>, at: &At) -> Result<(), ApiError> {
    let bound = |name: &str| {
        let text = time?.get(name)?.as_str()?;
        OffsetDateTime::parse(text, &Rfc3339).ok()
    };
    match (bound("start"), bound("end")) {
        (Some(start), Some(end)) if start > end => {
            let message = format!(
                "Invalid value at `{}.time`: `end` (`{end}`) should be later than `start` (`{start}`)",
                at.path
            );
            Err(ApiError::new(Code::BadRequest, message))
        }
        _ => Ok(()),
    }
}

fn query_condition(value: &Value, at: &At) -> Result<Value, ApiError> {
    let mut read = Map::new();
    for (name, value) in &object(value, at)? {
        let value = match name.as_str() {
            "isEmpty" | "words" if value.is_null() => continue,
            "isEmpty" => json!(flag(value, &at.member(name))?),
            "words" => json!(text(value, &at.member(name))?),
            _ => return Err(at.unknown(name, &["isEmpty", "words"])),
        };
        read.insert(name.clone(), value);
    }
    let names = ["isEmpty", "words"];
    let in_order = names.iter().filter_map(|name| read.remove_entry(*name));
    Ok(Value::Object(in_order.collect()))
}

fn filter_condition(value: &Value, at: &At) -> Result<Value, ApiError> {
    let mut values = Map::new();
    for (name, value) in &object(value, at)? {
        if name != "values" {
            return Err(at.unknown(name, &["values"]));
        }
        values = object(value, &at.member(name))?;
    }
    // As nodes keep them.
    values.sort_keys();
    Ok(json!({ "values": values }))
}

fn actions(value: &Value, at: &At) -> Result<Value, ApiError> {
    let Some(list) = value.as_array() else {
        return Err(wrong_type(at.code, &at.path, "an array", value));
    };
    let read = list.iter().enumerate().map(|(position, value)| {
        let at = At::new(&format!("{}[{position}]", at.path), at.code);
        let known = ["selector", "action"];
        let members = object(value, &at)?;
        let mut read = Map::new();
        for (name, value) in &members {
            let member = match name.as_str() {
                "selector" => selector(value, &at.member(name))?,
                "action" => pin(value, &at.member(name))?,
                _ => return Err(at.unknown(name, &known)),
            };
            read.insert(name.clone(), member);
        }
        let take = |name: &str| read.get(name).cloned().ok_or_else(|| at.missing(name));
        Ok(json!({ "selector": take("selector")?, "action": take("action")? }))
    });
    read.collect::<Result<Vec<Value>, ApiError>>()
        .map(Value::Array)
}

fn selector(value: &Value, at: &At) -> Result<Value, ApiError> {
    let mut read = Map::new();
    for (name, value) in &object(value, at)? {
        let at_member = at.member(name);
        let value = match name.as_str() {
            "indexUid" if value.is_null() => continue,
            "indexUid" => {
                let uid = text(value, &at_member)?;
                IndexUid::parse(&uid).map_err(|error| at_member.invalid(&error.to_string()))?;
                uid
            }
            "id" => text(value, &at_member)?,
            _ => return Err(at.unknown(name, &["indexUid", "id"])),
        };
        read.insert(name.clone(), json!(value));
    }
    let id = read.remove("id").ok_or_else(|| at.missing("id"))?;
    read.insert("id".to_owned(), id);
    Ok(Value::Object(read))
}

fn pin(value: &Value, at: &At) -> Result<Value, ApiError> {
    let members = object(value, at)?;
    let kind = members.get("type").ok_or_else(|| at.missing("type"))?;
    if text(kind, &at.member("type"))? != "pin" {
        return Err(at.invalid("Incorrect tag value"));
    }
    let mut position = None;
    for (name, value) in members.iter().filter(|(name, _)| *name != "type") {
        let at_member = at.member(name);
        if name != "position" {
            return Err(at.unknown(name, &["position"]));
        }
        let place = number(value, &at_member)?;
        if place > u64::from(u32::MAX) {
            return Err(at_member.invalid(&format!(
                "value: `{place}` is too large to be deserialized, maximum value authorized is `{}`",
                u32::MAX
            )));
        }
        position = Some(place);
    }
    let position = position.ok_or_else(|| at.missing("position"))?;
    Ok(json!({ "type": "pin", "position": position }))
}

/// Where in a body something is, and which code names it.
struct At {
    path: String,
    code: Code,
}

impl At {
    fn new(path: &str, code: Code) -> Self {
        Self {
            path: path.to_owned(),
            code,
        }
    }

    fn body() -> Self {
        Self::new("", Code::BadRequest)
    }

    fn member(&self, name: &str) -> Self {
        Self::new(&format!("{}.{name}", self.path), self.code)
    }

    fn unknown(&self, name: &str, accepted: &[&str]) -> ApiError {
        let expected = expected_one_of(name, accepted);
        let message = format!("Unknown field `{name}` inside `{}`: {expected}", self.path);
        ApiError::new(self.code, message)
    }

    fn missing(&self, name: &str) -> ApiError {
        let message = format!("Missing field `{name}` inside `{}`", self.path);
        ApiError::new(self.code, message)
    }

    fn invalid(&self, why: &str) -> ApiError {
        ApiError::new(
            self.code,
            format!("Invalid value at `{}`: {why}", self.path),
        )
    }

    fn wrong(&self, expected: &str, found: &Value) -> ApiError {
        wrong_type(self.code, &self.path, expected, found)
    }
}

fn object(value: &Value, at: &At) -> Result<Map<String, Value>, ApiError> {
    let members = value.as_object().cloned();
    members.ok_or_else(|| at.wrong("an object", value))
}

fn text(value: &Value, at: &At) -> Result<String, ApiError> {
    let text = value.as_str().map(str::to_owned);
    text.ok_or_else(|| at.wrong("a string", value))
}

fn flag(value: &Value, at: &At) -> Result<bool, ApiError> {
    value.as_bool().ok_or_else(|| at.wrong("a boolean", value))
}

fn number(value: &Value, at: &At) -> Result<u64, ApiError> {
    let number = value.as_u64();
    number.ok_or_else(|| at.wrong("a positive integer", value))
}

fn count(value: &Value, at: &At) -> Result<usize, ApiError> {
    number(value, at).map(|count| usize::try_from(count).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests;
