//! Lengths of files, and words that may not appear.

use std::fs;
use std::process::Command;

use crate::report::Found;

/// A longer file is questioned.
const LINES_ASKED: usize = 500;
/// A longer file is refused.
const LINES_MAX: usize = 800;

/// Words that may not appear, with where they are looked for and why. Each is written in two
/// halves, so that it does not appear here.
const WORDS: [(&str, &str, &str, &str); 6] = [
    ("/wor", "k/", "", "a path of one machine"),
    ("/roo", "t/", "", "a path of one machine"),
    ("/hom", "e/", "", "a path of one machine"),
    ("TO", "DO", ".rs", "unfinished work belongs on the roadmap"),
    ("FIX", "ME", ".rs", "unfinished work belongs on the roadmap"),
    (
        "#[igno",
        "re",
        ".rs",
        "a test that is not run proves nothing",
    ),
];

/// What only one file of a crate may do: (files below, a word, the file that may, why).
const FENCES: [(&str, &str, &str, &str); 2] = [
    (
        "crates/posthaste-log/src/",
        "fs::",
        "disk.rs",
        "files are touched through the disk that was passed in",
    ),
    (
        "crates/posthaste-log/src/",
        "SystemTime",
        "clock.rs",
        "time is read from the clock that was passed in",
    ),
];

/// Judges every file that git knows.
pub(crate) fn check() -> Found {
    let names = match tracked("") {
        Ok(names) => names,
        Err(error) => return Found::Wrong(vec![error]),
    };
    let (mut wrong, mut notes) = (Vec::new(), Vec::new());
    for name in names {
        let Ok(text) = fs::read_to_string(&name) else {
            continue; // not a text, or removed and not yet committed
        };
        let lines = text.lines().count();
        if name.ends_with(".rs") && lines > LINES_MAX {
            wrong.push(format!(
                "{name} has {lines} lines, more than {LINES_MAX}: split it"
            ));
        } else if name.ends_with(".rs") && lines > LINES_ASKED {
            notes.push(format!("{name} has {lines} lines: should it be two?"));
        }
        wrong.extend(words_in(&name, &text));
        wrong.extend(fences_in(&name, &text));
    }
    Found::from(wrong, notes)
}

/// The files that git knows, or will know, whose name ends so.
pub(crate) fn tracked(suffix: &str) -> Result<Vec<String>, String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .output()
        .map_err(|error| format!("could not start git: {error}"))?;
    let names = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || names.is_empty() {
        return Err("git lists no files here: run it in a clone".to_owned());
    }
    Ok(names
        .lines()
        .filter(|name| name.ends_with(suffix))
        .map(str::to_owned)
        .collect())
}

fn words_in(name: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (head, tail, suffix, why) in WORDS {
        let word = format!("{head}{tail}");
        let lines = text.lines().enumerate();
        wrong.extend(
            lines
                .filter(|(_, line)| name.ends_with(suffix) && line.contains(&word))
                .map(|(index, _)| format!("{name}:{}: {word:?}: {why}", index + 1)),
        );
    }
    wrong
}

fn fences_in(name: &str, text: &str) -> Vec<String> {
    let fenced = |(below, word, only, _): &&(&str, &str, &str, &str)| {
        let inside = name.starts_with(below) && !name.ends_with(only);
        inside && !name.ends_with("tests.rs") && text.contains(word)
    };
    FENCES
        .iter()
        .filter(fenced)
        .map(|(_, word, only, why)| format!("{name}: {word:?} belongs in {only}: {why}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_is_minded() {
        let climbed = |name| fences_in(name, "std::fs::read(path)").len();
        assert_eq!(climbed("crates/posthaste-log/src/journal.rs"), 1);
        assert_eq!(climbed("crates/posthaste-log/src/disk.rs"), 0);
        assert_eq!(climbed("crates/posthaste-server/src/main.rs"), 0);
    }

    #[test]
    fn a_forbidden_word_is_named_with_its_line() {
        let text = ["fine", concat!("see /wor", "k/here")].join("\n");
        let wrong = words_in("a.md", &text);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(wrong[0].starts_with("a.md:2: "), "{wrong:?}");
        assert!(words_in("a.rs", concat!("// TO", "DO")).len() == 1);
        assert!(words_in("a.md", concat!("TO", "DO")).is_empty());
    }
}
