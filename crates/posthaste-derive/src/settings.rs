//! What the attributes of all derives have in common: words, texts and numbers, and how each is
//! refused.

use std::fmt::Display;

use posthaste_core::suggest;
use syn::meta::ParseNestedMeta;
use syn::{Error, LitInt, LitStr, Result};

/// Which of the `known` settings this is.
pub(crate) fn setting(meta: &ParseNestedMeta<'_>, known: &[&'static str]) -> Result<&'static str> {
    let word = match meta.path.get_ident() {
        Some(word) => word.to_string(),
        None => return Err(meta.error("a setting is one word")),
    };
    if let Some(setting) = known.iter().find(|setting| **setting == word) {
        return Ok(setting);
    }
    Err(
        meta.error(match suggest::nearest(&word, known.iter().copied()) {
            Some(near) => format!("unknown setting `{word}`; did you mean `{near}`?"),
            None => format!("unknown setting `{word}`; known: {}", known.join(", ")),
        }),
    )
}

/// A text that keeps its rule.
pub(crate) fn text<T, E: Display>(
    meta: &ParseNestedMeta<'_>,
    check: impl FnOnce(&str) -> std::result::Result<T, E>,
) -> Result<String> {
    let literal: LitStr = meta.value()?.parse()?;
    let text = literal.value();
    check(&text).map_err(|error| Error::new(literal.span(), error))?;
    Ok(text)
}

/// A whole number within its range.
pub(crate) fn number<N>(meta: &ParseNestedMeta<'_>, least: N, most: N, hint: &str) -> Result<N>
where
    N: TryFrom<u64> + PartialOrd + Display,
{
    let literal: LitInt = meta.value()?.parse()?;
    literal
        .base10_parse::<u64>()
        .ok()
        .and_then(|number| N::try_from(number).ok())
        .filter(|number| *number >= least && *number <= most)
        .ok_or_else(|| {
            let range = format!("{literal} is out of range; give {least} to {most}{hint}");
            Error::new(literal.span(), range)
        })
}

/// A setting that is there already.
pub(crate) fn given_twice(meta: &ParseNestedMeta<'_>, setting: &str) -> Error {
    meta.error(format!("`{setting}` is given twice; give it once"))
}
