//! The settings file: the third word after flags and `POSTHASTE_*` variables.

use std::path::Path;

use posthaste_core::{Error, ErrorKind, Result, duration};
use serde::Deserialize;

/// What the file may say. Unknown names are refused.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// As `--store`.
    pub(crate) store: Option<String>,
    /// For `serve`.
    #[serde(default)]
    pub(crate) serve: Serve,
    /// For `work`.
    #[serde(default)]
    pub(crate) work: Work,
}

/// As the flags of `serve`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Serve {
    pub(crate) listen: Option<String>,
    pub(crate) durability: Option<String>,
    pub(crate) lock_wait: Option<String>,
    pub(crate) grace: Option<String>,
    pub(crate) max_connections: Option<u32>,
    pub(crate) completed_kept: Option<String>,
    pub(crate) completed_kept_max: Option<u32>,
    pub(crate) dead_kept: Option<String>,
    pub(crate) dead_kept_max: Option<u32>,
    pub(crate) create_topics: Option<bool>,
    pub(crate) backlog_max: Option<u64>,
    pub(crate) admission: Option<bool>,
}

/// As the flags of `work`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Work {
    pub(crate) concurrency: Option<u32>,
    pub(crate) lease: Option<String>,
    pub(crate) grace: Option<String>,
}

/// Reads the file, where one is named.
///
/// # Errors
/// `Invalid` where it can't be read, isn't TOML, or says something unknown.
pub(super) fn read(path: Option<&Path>) -> Result<Config> {
    let Some(path) = path else {
        return Ok(Config::default());
    };
    let refuse = |what: String| {
        Error::new(ErrorKind::Invalid, format!("{}: {what}", path.display()))
            .next("see docs/cli.md for what a settings file may say")
    };
    let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    toml::from_str(&text).map_err(|error| refuse(error.to_string().trim_end().to_owned()))
}

/// The flag (or variable) where it was given, else what the file says, else the default.
///
/// # Errors
/// `Invalid` where what the file says can't be read.
pub(crate) fn or_file<T>(
    flag: Option<T>,
    file: Option<&str>,
    read: impl FnOnce(&str) -> Result<T>,
    default: T,
) -> Result<T> {
    match (flag, file) {
        (Some(flag), _) => Ok(flag),
        (None, Some(text)) => read(text),
        (None, None) => Ok(default),
    }
}

/// A duration, as flags and the file write it.
///
/// # Errors
/// `Invalid` where it isn't one.
pub(crate) fn span(text: &str) -> Result<std::time::Duration> {
    duration::parse(text)
}

/// A name and a value, as flags write them: `name=value`.
///
/// # Errors
/// `Invalid` where it isn't that.
pub(crate) fn pair(text: &str) -> Result<(String, String)> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or_else(|| {
        Error::new(
            ErrorKind::Invalid,
            format!("{text:?} is not a name and a value"),
        )
        .next("write it as name=value")
    })?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_comes_before_the_file_and_the_file_before_the_default() {
        let number = |text: &str| Ok(text.len());
        assert_eq!(or_file(Some(7), Some("abc"), number, 1), Ok(7));
        assert_eq!(or_file(None, Some("abc"), number, 1), Ok(3));
        assert_eq!(or_file(None, None, number, 1), Ok(1));
    }

    #[test]
    fn an_unknown_setting_is_refused_by_name() {
        let error = toml::from_str::<Config>("[serve]\nlisten_on = \"x\"").expect_err("refused");
        assert!(error.to_string().contains("listen_on"), "{error}");
    }
}
