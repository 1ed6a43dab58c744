//! Query strings, with the same manners as bodies: an unknown name is refused, and the nearest
//! known one told.

use posthaste_core::{Error, ErrorKind, Result, suggest};

/// Reads a query string whose names are all among `known`, one value for each.
///
/// # Errors
/// `Invalid` for a name that isn't known, or is given twice.
pub(super) fn read<const N: usize>(
    query: Option<&str>,
    known: [&str; N],
) -> Result<[Option<String>; N]> {
    let (values, []) = read_repeated(query, known, [])?;
    Ok(values)
}

/// The values of names that are given once at most, and of those that may be repeated.
type Values<const N: usize, const M: usize> = ([Option<String>; N], [Vec<String>; M]);

/// Reads a query string whose names are all among `once`, which have one value each, or among
/// `often`, which may have several.
///
/// # Errors
/// `Invalid` for a name that isn't known, or of `once` and given twice.
pub(super) fn read_repeated<const N: usize, const M: usize>(
    query: Option<&str>,
    once: [&str; N],
    often: [&str; M],
) -> Result<Values<N, M>> {
    let mut values = std::array::from_fn(|_| None);
    let mut repeated = std::array::from_fn(|_| Vec::new());
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if let Some(index) = often.iter().position(|word| *word == name) {
            repeated[index].push(value.into_owned());
            continue;
        }
        let Some(index) = once.iter().position(|word| *word == name) else {
            return Err(unknown(&name, &[&once[..], &often[..]].concat()));
        };
        if values[index].replace(value.into_owned()).is_some() {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("the parameter {name:?} is given twice"),
            )
            .next("give it once"));
        }
    }
    Ok((values, repeated))
}

fn unknown(name: &str, known: &[&str]) -> Error {
    let error = Error::new(
        ErrorKind::Invalid,
        format!("the parameter {name:?} is unknown"),
    );
    match suggest::nearest(name, known.iter().copied()) {
        Some(near) => error.next(format!("did you mean {near:?}?")),
        None if known.is_empty() => error.next("leave it out"),
        None => error.next(format!("known: {}", known.join(", "))),
    }
}

/// A number of a page's or a slice's entries, `default` where none is given.
///
/// # Errors
/// `Invalid` where it isn't 1 to `most`.
pub(super) fn count(text: Option<&str>, default: u32, most: u32) -> Result<u32> {
    let Some(text) = text else {
        return Ok(default);
    };
    let number = text
        .parse()
        .ok()
        .filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| {
        Error::new(ErrorKind::Invalid, format!("max {text:?} is out of range"))
            .next(format!("give 1 to {most}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_or_refused_with_the_nearest() {
        let values = read(Some("queue=a%2Fb&max=3"), ["state", "queue", "max"]).expect("known");
        assert_eq!(values, [None, Some("a/b".to_owned()), Some("3".to_owned())]);
        let error = read(Some("queu=a"), ["state", "queue"]).expect_err("refused");
        assert_eq!(error.next_step(), Some("did you mean \"queue\"?"));
        assert!(read(Some("max=1&max=2"), ["max"]).is_err());
    }

    #[test]
    fn some_names_may_be_repeated() {
        let read = |query| read_repeated(Some(query), ["max"], ["type"]);
        let (values, types) = read("type=a&max=3&type=b").expect("known");
        assert_eq!(values, [Some("3".to_owned())]);
        assert_eq!(types, [["a".to_owned(), "b".to_owned()]]);
        let error = read("typ=a").expect_err("refused");
        assert_eq!(error.next_step(), Some("did you mean \"type\"?"));
        assert!(read("max=1&max=1").is_err());
    }

    #[test]
    fn counts_have_a_range() {
        assert_eq!(count(None, 100, 1000), Ok(100));
        assert_eq!(count(Some("7"), 100, 1000), Ok(7));
        for bad in ["0", "1001", "-1", "x", ""] {
            assert!(count(Some(bad), 100, 1000).is_err(), "{bad}");
        }
    }
}
