//! Whether the documentation is true where that can be looked up: links lead somewhere, the tests
//! it names exist, every dependency has its line, and every module is on the map.

use std::fs;
use std::path::Path;

use crate::files::tracked;
use crate::report::Found;

const GUARANTEES: &str = "docs/guarantees.md";
const MAP: &str = "ARCHITECTURE.md";
const DEPENDENCIES: &str = "docs/decisions/dependencies.md";

/// Judges every Markdown file.
pub(crate) fn check() -> Found {
    match look() {
        Ok((wrong, notes)) => Found::from(wrong, notes),
        Err(error) => Found::Wrong(vec![error]),
    }
}

fn look() -> Result<(Vec<String>, Vec<String>), String> {
    let mut wrong = Vec::new();
    for name in tracked(".md")? {
        let text = read(&name)?;
        let dir = Path::new(&name).parent().unwrap_or(Path::new(""));
        for link in links(&text) {
            if !dir.join(link).exists() {
                wrong.push(format!("{name}: the link {link:?} leads nowhere"));
            }
        }
    }
    let mut code = String::new();
    for name in tracked(".rs")? {
        code.push_str(&read(&name)?);
    }
    for test in named_tests(&read(GUARANTEES)?) {
        if !code.contains(&format!("fn {test}(")) {
            wrong.push(format!(
                "{GUARANTEES} names the test {test:?}, which is not there"
            ));
        }
    }
    let known = read(DEPENDENCIES)?;
    for name in dependencies(&read("Cargo.toml")?) {
        if !known.contains(&format!("`{name}`")) {
            wrong.push(format!(
                "{DEPENDENCIES} has no line for `{name}`: what for, what else was weighed"
            ));
        }
    }
    let map = read(MAP)?;
    let notes = tracked(".rs")?
        .iter()
        .filter_map(|name| unmapped(name, &map))
        .collect();
    Ok((wrong, notes))
}

/// Complains of a module of a crate that the map does not name.
fn unmapped(file: &str, map: &str) -> Option<String> {
    let (_, inside) = file.strip_prefix("crates/")?.split_once("/src/")?;
    let module = inside.trim_end_matches(".rs").trim_end_matches("/mod");
    let name = module.rsplit('/').next()?;
    let plain = matches!(name, "lib" | "main") || inside.contains("tests");
    (!plain && !map.contains(&format!("`{name}`")))
        .then(|| format!("{MAP} has no line for `{name}` ({file})"))
}

fn read(name: &str) -> Result<String, String> {
    fs::read_to_string(name).map_err(|error| format!("could not read {name}: {error}"))
}

/// The targets of relative links, without what follows a `#`.
fn links(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .map(|target| target.split('#').next().unwrap_or(""))
        .filter(|target| !target.is_empty() && !target.contains(':') && !target.contains(' '))
        .collect()
}

/// The last segment of every `path::to::a_test` between backticks.
fn named_tests(text: &str) -> Vec<&str> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| code.contains("::") && !code.contains([' ', '(', '*']))
        .filter_map(|code| code.rsplit("::").next())
        .collect()
}

/// The names in `[workspace.dependencies]` that are not our own.
fn dependencies(manifest: &str) -> Vec<&str> {
    manifest
        .lines()
        .skip_while(|line| *line != "[workspace.dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.contains("path ="))
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.trim())
        .filter(|name| !name.starts_with('#'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_our_own_are_found() {
        let text = "[a](docs/a.md#part) [b](https://example.invalid/x) [c](#here) [d](LICENSE)";
        assert_eq!(links(text), ["docs/a.md", "LICENSE"]);
    }

    #[test]
    fn tests_are_known_by_their_paths() {
        let text = "by `it::sweeps::every_bit`, not `cargo test` and not `Store::commit(x)`";
        assert_eq!(named_tests(text), ["every_bit"]);
    }

    #[test]
    fn a_module_that_is_not_on_the_map_is_named() {
        let map = "| `machine` | decides |";
        assert_eq!(unmapped("crates/core/src/machine/mod.rs", map), None);
        assert_eq!(unmapped("crates/core/src/lib.rs", map), None);
        assert_eq!(unmapped("xtask/src/step.rs", map), None);
        assert!(unmapped("crates/core/src/machine/claim.rs", map).is_some());
    }

    #[test]
    fn dependencies_are_read_from_the_manifest() {
        let text = "[workspace]\n[workspace.dependencies]\nours = { path = \"x\" }\n\nbytes = \"1\"\n[profile.dev]\nx = 1\n";
        assert_eq!(dependencies(text), ["bytes"]);
    }
}
