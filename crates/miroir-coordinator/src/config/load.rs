//! File and environment to a checked [`Config`].

use std::fs;
use std::path::{Path, PathBuf};

use miroir_meili::Secret;
use toml::{Table, Value};

use super::Config;

/// Prefix of the variables that override a field.
const PREFIX: &str = "MIROIR_COORDINATOR__";

/// A configuration that cannot be used. It says where and what, never a secret's value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A file could not be read.
    #[error("cannot read {}: {detail}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's own words.
        detail: String,
    },
    /// The text is not TOML, or not of this shape.
    #[error("{place}: {detail}")]
    Parse {
        /// File and line, or the variable.
        place: String,
        /// What is wrong.
        detail: String,
    },
    /// A value is out of bounds, missing or contradicts another.
    #[error("configuration field `{field}` {rule}")]
    Invalid {
        /// The field, with its section.
        field: String,
        /// What it must be.
        rule: String,
    },
}

impl ConfigError {
    /// Whether the same configuration may be read well later: never, somebody has to change it.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Read { .. } | Self::Parse { .. } | Self::Invalid { .. } => false,
        }
    }

    pub(super) fn invalid(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self::Invalid {
            field: field.into(),
            rule: rule.into(),
        }
    }
}

impl Config {
    /// Reads `path`, overrides it by the environment of this process, and checks all of it.
    ///
    /// # Errors
    /// [`ConfigError`] naming the field or line at fault.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read(path)?;
        Self::parse(&path.display().to_string(), &text, std::env::vars())
    }

    /// The configuration that `text`, called `name` in errors, and the variables `vars` give.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(
        name: &str,
        text: &str,
        vars: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text).map_err(|e| parse_error(name, text, &e))?;
        let mut table: Table = toml::from_str(text).map_err(|e| parse_error(name, text, &e))?;
        let mut token = None;
        let mut key = None;
        for (variable, value) in vars {
            match variable.as_str() {
                "MIROIR_CLUSTER_TOKEN" => token = Some(value),
                "MIROIR_NODE_MASTER_KEY" => key = Some(value),
                _ => {
                    if let Some(path) = variable.strip_prefix(PREFIX) {
                        config = overridden(&mut table, &variable, path, &value)?;
                    }
                }
            }
        }
        config.cluster_token = choose(
            "cluster_token",
            token,
            config.cluster_token.take(),
            config.cluster_token_file.as_deref(),
        )?;
        config.node_master_key = choose(
            "node_master_key",
            key,
            config.node_master_key.take(),
            config.node_master_key_file.as_deref(),
        )?;
        config.check()?;
        Ok(config)
    }
}

/// Sets one field in `table`, and reads the whole again, so that the variable at fault is known.
fn overridden(
    table: &mut Table,
    variable: &str,
    path: &str,
    value: &str,
) -> Result<Config, ConfigError> {
    let wrong = |detail: String| ConfigError::Parse {
        place: format!("environment variable {variable}"),
        detail,
    };
    let path = path.to_ascii_lowercase();
    let mut keys: Vec<&str> = path.split("__").collect();
    let last = keys.pop().unwrap_or_default();
    let mut section = &mut *table;
    for key in keys {
        let entry = section
            .entry(key)
            .or_insert_with(|| Value::Table(Table::new()));
        section = entry
            .as_table_mut()
            .ok_or_else(|| wrong(format!("`{key}` is not a section")))?;
    }
    section.insert(last.to_owned(), plain_or_toml(value));
    Config::deserialize_table(table.clone()).map_err(wrong)
}

impl Config {
    fn deserialize_table(table: Table) -> Result<Self, String> {
        table
            .try_into()
            .map_err(|error: toml::de::Error| error.message().to_owned())
    }
}

/// `12`, `true` and `[…]` are what they look like; anything else is a string.
fn plain_or_toml(value: &str) -> Value {
    let parsed: Option<Table> = toml::from_str(&format!("value = {value}")).ok();
    parsed
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(value.to_owned()))
}

/// One secret from the three places it may stand in. The environment comes first.
fn choose(
    field: &str,
    from_env: Option<String>,
    inline: Option<Secret>,
    file: Option<&Path>,
) -> Result<Option<Secret>, ConfigError> {
    if let Some(value) = from_env {
        return Ok(Some(Secret::new(value)));
    }
    match (inline, file) {
        (Some(_), Some(_)) => Err(ConfigError::invalid(
            field,
            format!("is given twice; keep it or `{field}_file`"),
        )),
        (Some(secret), None) => Ok(Some(secret)),
        (None, Some(path)) => Ok(Some(Secret::new(read(path)?.trim()))),
        (None, None) => Ok(None),
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|error| ConfigError::Read {
        path: path.to_owned(),
        detail: error.to_string(),
    })
}

/// The parser's own text quotes the line, which may hold a secret; only its number is kept.
fn parse_error(name: &str, text: &str, error: &toml::de::Error) -> ConfigError {
    let place = match error.span() {
        Some(span) => {
            let before = text.get(..span.start).unwrap_or_default();
            format!("{name}, line {}", before.matches('\n').count() + 1)
        }
        None => name.to_owned(),
    };
    ConfigError::Parse {
        place,
        detail: error.message().to_owned(),
    }
}
