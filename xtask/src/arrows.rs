//! Which crate may depend on which.
//!
//! A crate exists to forbid a dependency; here is where it is forbidden. What a crate depends on is
//! asked of `cargo tree`, with every feature on.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::report::Found;

/// Every crate of the workspace with those of our own that it may depend on.
const ARROWS: [(&str, &[&str]); 9] = [
    ("posthaste-core", &[]),
    ("posthaste-derive", &["posthaste-core"]),
    ("posthaste-log", &["posthaste-core"]),
    (
        "posthaste",
        &["posthaste-core", "posthaste-log", "posthaste-derive"],
    ),
    (
        "posthaste-server",
        &[
            "posthaste",
            "posthaste-core",
            "posthaste-log",
            "posthaste-sim",
        ],
    ),
    ("posthaste-sim", &["posthaste-core"]),
    ("posthaste-testkit", &["posthaste-core", "posthaste-log"]),
    ("posthaste-torture", &[]),
    ("xtask", &[]),
];

/// What only tests may depend on.
const TESTS_ONLY: &str = "posthaste-testkit";

/// What may be nowhere below a crate: (crate, with which features, names, why).
const FORBIDDEN: [(&str, &str, &[&str], &str); 5] = [
    (
        "posthaste-core",
        "--all-features",
        &[
            "tokio",
            "futures",
            "mio",
            "rustix",
            "nix",
            "libc",
            "getrandom",
            "rand",
            "chrono",
            "jiff",
            "time",
            "parking_lot",
            "crossbeam",
            "serde_json",
        ],
        "the core is pure: no I/O, no clock, no threads, no randomness",
    ),
    (
        "posthaste-sim",
        "--all-features",
        &["tokio", "mio", "libc", "rustix", "getrandom", "rand"],
        "the simulator runs on virtual time and on chance from a seed",
    ),
    (
        "posthaste-log",
        "--all-features",
        &["tokio", "smol", "async-io", "serde_json", "hyper"],
        "the log has threads of its own and knows no async runtime",
    ),
    (
        "posthaste",
        "",
        &[
            "clap",
            "lexopt",
            "axum",
            "hyper",
            "reqwest",
            "sqlx",
            "rusqlite",
            "tokio-postgres",
            "openssl-sys",
            "ring",
        ],
        "embedding pulls in no command line, HTTP server or database driver",
    ),
    (
        "posthaste-torture",
        "--all-features",
        &[
            "posthaste",
            "posthaste-core",
            "posthaste-log",
            "posthaste-server",
        ],
        "the judge shares no code with the judged",
    ),
];

/// Judges every arrow, and reports what is compiled in two versions.
pub(crate) fn check() -> Found {
    match look() {
        Ok((wrong, notes)) => Found::from(wrong, notes),
        Err(error) => Found::Wrong(vec![error]),
    }
}

fn look() -> Result<(Vec<String>, Vec<String>), String> {
    let mut wrong = Vec::new();
    let members: BTreeSet<String> = packages(&["--workspace", "--depth", "0"])?
        .into_keys()
        .collect();
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for member in &members {
        let normal = direct(member, "normal,build")?;
        let tests = direct(member, "dev")?;
        wrong.extend(judge(member, &normal, &tests, &members));
        for (name, version) in normal.into_iter().chain(tests) {
            versions.entry(name).or_default().extend(version);
        }
    }
    for (krate, features, names, why) in FORBIDDEN {
        let mut args = vec!["-p", krate, "-e", "normal"];
        args.extend(features.split_whitespace());
        let below = packages(&args)?;
        wrong.extend(
            names
                .iter()
                .filter(|name| **name != krate && below.contains_key(**name))
                .map(|name| format!("{krate} may not depend on {name}: {why}; see: cargo tree -p {krate} -e normal -i {name}")),
        );
    }
    for (name, versions) in &versions {
        if versions.len() > 1 {
            let versions: Vec<_> = versions.iter().map(String::as_str).collect();
            wrong.push(format!(
                "our crates use {name} in several versions: {}; name it once, in [workspace.dependencies]",
                versions.join(", ")
            ));
        }
    }
    Ok((wrong, vec![twice()?]))
}

/// Whether one crate's direct dependencies are allowed.
fn judge(
    member: &str,
    normal: &BTreeMap<String, BTreeSet<String>>,
    tests: &BTreeMap<String, BTreeSet<String>>,
    members: &BTreeSet<String>,
) -> Vec<String> {
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == member) else {
        return vec![format!(
            "{member} is new: give it a line in xtask/src/arrows.rs and in ARCHITECTURE.md"
        )];
    };
    let ours = |name: &&String| members.contains(*name) && *name != member;
    let mut wrong: Vec<String> = normal
        .keys()
        .filter(ours)
        .filter(|name| !allowed.contains(&name.as_str()))
        .map(|name| format!("{member} may not depend on {name}"))
        .collect();
    let may_test_with = |name: &str| name == TESTS_ONLY || allowed.contains(&name);
    let judge = member == "posthaste-torture";
    wrong.extend(
        tests
            .keys()
            .filter(ours)
            .filter(|name| judge || !may_test_with(name))
            .map(|name| format!("the tests of {member} may not depend on {name}")),
    );
    wrong
}

/// What a crate names itself, by kind of dependency.
fn direct(krate: &str, edges: &str) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    let mut found = packages(&["-p", krate, "-e", edges, "--depth", "1", "--all-features"])?;
    found.remove(krate);
    Ok(found)
}

/// What is compiled in more than one version, for information.
fn twice() -> Result<String, String> {
    let twice: BTreeSet<String> = packages(&["--workspace", "-d", "--depth", "0", "-e", "normal"])?
        .into_keys()
        .collect();
    if twice.is_empty() {
        return Ok("nothing is compiled in two versions".to_owned());
    }
    let names: Vec<_> = twice.iter().map(String::as_str).collect();
    Ok(format!("in two versions: {}", names.join(", ")))
}

/// The packages that `cargo tree ARGS` prints, with their versions.
fn packages(args: &[&str]) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    let output = Command::new("cargo")
        .args(["tree", "--quiet", "--prefix", "none", "--format", "{p}"])
        .args(args)
        .output()
        .map_err(|error| format!("could not start cargo tree: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "cargo tree {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

/// Reads lines such as `bytes v1.12.0` and `posthaste v0.1.0 (/somewhere)`.
fn parse(tree: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in tree.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(version)) = (words.next(), words.next())
            && version.starts_with('v')
        {
            found
                .entry(name.to_owned())
                .or_default()
                .insert(version.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
        list.iter()
            .map(|name| ((*name).to_owned(), BTreeSet::new()))
            .collect()
    }

    fn members() -> BTreeSet<String> {
        ARROWS.iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    #[test]
    fn an_arrow_against_the_direction_is_seen() {
        let wrong = judge(
            "posthaste-core",
            &names(&["posthaste-log", "bytes"]),
            &names(&[]),
            &members(),
        );
        assert_eq!(wrong, ["posthaste-core may not depend on posthaste-log"]);
        let fine = judge(
            "posthaste-log",
            &names(&["posthaste-core"]),
            &names(&[TESTS_ONLY]),
            &members(),
        );
        assert!(fine.is_empty(), "{fine:?}");
    }

    #[test]
    fn the_testkit_is_for_tests_and_not_for_the_judge() {
        let wrong = judge("posthaste", &names(&[TESTS_ONLY]), &names(&[]), &members());
        assert_eq!(wrong, ["posthaste may not depend on posthaste-testkit"]);
        let wrong = judge(
            "posthaste-torture",
            &names(&[]),
            &names(&[TESTS_ONLY]),
            &members(),
        );
        assert_eq!(
            wrong,
            ["the tests of posthaste-torture may not depend on posthaste-testkit"]
        );
    }

    #[test]
    fn a_new_crate_needs_a_line() {
        let wrong = judge("posthaste-new", &names(&[]), &names(&[]), &members());
        assert!(wrong[0].contains("is new"), "{wrong:?}");
    }

    #[test]
    fn a_tree_is_read() {
        let tree = "posthaste v0.1.0 (/here)\nbytes v1.12.0\nserde_derive v1.0.1 (proc-macro)\n\n[dev-dependencies]\nbytes v1.12.0 (*)\n";
        let found: Vec<_> = parse(tree).into_keys().collect();
        assert_eq!(found, ["bytes", "posthaste", "serde_derive"]);
    }
}
