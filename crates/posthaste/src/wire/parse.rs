//! From bytes to shapes, with errors that say where, and what was probably meant.

use posthaste_core::{Error, ErrorKind, Result, limits, suggest};
use serde::de::DeserializeOwned;

/// Reads one shape.
///
/// # Errors
/// `Invalid`: not JSON, a field that isn't known (named, with the nearest known one), a field that
/// is missing or of another type. The message carries the path of the field.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| explain(body, &error))
}

/// Reads one shape, or an array of them; the flag says whether it was an array.
///
/// # Errors
/// As [`parse`].
pub fn parse_one_or_many<T: DeserializeOwned>(body: &[u8]) -> Result<(Vec<T>, bool)> {
    let array = body.trim_ascii_start().first() == Some(&b'[');
    if array {
        parse(body).map(|many| (many, true))
    } else {
        parse(body).map(|one| (vec![one], false))
    }
}

/// Refuses JSON that is nested deeper than 64. `field` is what the error calls it.
///
/// # Errors
/// `Invalid`.
pub fn check_depth(json: &[u8], field: &str) -> Result<()> {
    let opened = json
        .iter()
        .filter(|byte| matches!(byte, b'[' | b'{'))
        .count();
    if opened <= limits::JSON_DEPTH_MAX || depth(json) <= limits::JSON_DEPTH_MAX {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Invalid,
        format!("{field} is nested deeper than {}", limits::JSON_DEPTH_MAX),
    )
    .next("flatten it, or send it as bytes in base64"))
}

fn depth(json: &[u8]) -> usize {
    let (mut deepest, mut depth) = (0, 0_usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn explain(body: &[u8], error: &serde_json::Error) -> Error {
    let said = error.to_string();
    let said = said.split(" at line ").next().unwrap_or(&said);
    let place = format!("line {} column {}", error.line(), error.column());
    if !error.is_data() {
        return Error::new(ErrorKind::Invalid, format!("the body is not JSON: {said}"))
            .next(format!("check it at {place}"));
    }
    let path = path_at(body, error.line(), error.column());
    let quoted: Vec<&str> = said.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        Some((word, known)) if said.starts_with("unknown field") => {
            unknown("field", &path, word, known)
        }
        Some((word, known)) if said.starts_with("unknown variant") => {
            unknown("value", &path, word, known)
        }
        Some((word, _)) if said.starts_with("missing field") => Error::new(
            ErrorKind::Invalid,
            format!("the field {word:?} is missing{}", at(&path)),
        )
        .next("add it"),
        _ => {
            let (what, next) = said
                .split_once("; ")
                .unwrap_or((said, "see the documentation"));
            let error = Error::new(ErrorKind::Invalid, format!("{what}{}", at(&path)));
            if next == "see the documentation" {
                error.next(format!("check it at {place}"))
            } else {
                error.next(next)
            }
        }
    }
}

fn at(path: &str) -> String {
    if path.is_empty() {
        String::new()
    } else {
        format!(", at {path}")
    }
}

fn unknown(what: &str, path: &str, word: &str, known: &[&str]) -> Error {
    let error = Error::new(
        ErrorKind::Invalid,
        format!("the {what} {word:?} is unknown{}", at(path)),
    );
    match suggest::nearest(word, known.iter().copied()) {
        Some(near) => error.next(format!("did you mean {near:?}?")),
        None if known.is_empty() => error.next("leave it out"),
        None => error.next(format!("known: {}", known.join(", "))),
    }
}

/// The path of the value that is being read where the text breaks off, such as `[3].unique.period`.
fn path_at(body: &[u8], line: usize, column: usize) -> String {
    let start: usize = body
        .split_inclusive(|byte| *byte == b'\n')
        .take(line.saturating_sub(1))
        .map(<[u8]>::len)
        .sum();
    let read = &body[..body.len().min(start + column)];
    let mut path: Vec<Step> = Vec::new();
    let mut rest = read;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'{' => path.push(Step::Field {
                name: &[],
                key_next: true,
            }),
            b'[' => path.push(Step::Index(0)),
            b'}' | b']' => {
                path.pop();
            }
            b'"' => {
                let end = string_end(rest);
                if let Some(Step::Field {
                    name,
                    key_next: key_next @ true,
                }) = path.last_mut()
                {
                    *name = &rest[..end];
                    *key_next = false;
                }
                rest = rest.get(end + 1..).unwrap_or_default();
            }
            b',' => match path.last_mut() {
                Some(Step::Field { key_next, .. }) => *key_next = true,
                Some(Step::Index(index)) => *index += 1,
                None => {}
            },
            _ => {}
        }
    }
    path.iter()
        .map(Step::text)
        .collect::<String>()
        .trim_start_matches('.')
        .to_owned()
}

fn string_end(text: &[u8]) -> usize {
    let mut escaped = false;
    text.iter()
        .position(|byte| {
            let end = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            end
        })
        .unwrap_or(text.len())
}

enum Step<'a> {
    Field { name: &'a [u8], key_next: bool },
    Index(usize),
}

impl Step<'_> {
    fn text(&self) -> String {
        match self {
            Self::Field { name: [], .. } => String::new(),
            Self::Field { name, .. } => format!(".{}", String::from_utf8_lossy(name)),
            Self::Index(index) => format!("[{index}]"),
        }
    }
}
