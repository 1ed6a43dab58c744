//! One program to run, with its output shown as it comes and its closing line remembered.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

/// One program to run.
pub(crate) struct Step {
    name: &'static str,
    program: String,
    args: Vec<String>,
    env: Vec<(&'static str, &'static str)>,
}

/// How a program ended.
pub(crate) struct Ended {
    /// It exited with 0.
    pub(crate) passed: bool,
    /// The closing line of a test runner, if it was one.
    pub(crate) summary: Option<String>,
}

impl Step {
    /// `cargo ARGS`, the arguments separated by spaces.
    pub(crate) fn cargo(name: &'static str, args: &str) -> Self {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        Self::program(name, &cargo, args)
    }

    /// `PROGRAM ARGS`, the arguments separated by spaces.
    pub(crate) fn program(name: &'static str, program: &str, args: &str) -> Self {
        Self {
            name,
            program: program.to_owned(),
            args: args.split_whitespace().map(str::to_owned).collect(),
            env: Vec::new(),
        }
    }

    /// With an environment variable.
    pub(crate) fn env(mut self, key: &'static str, value: &'static str) -> Self {
        self.env.push((key, value));
        self
    }

    /// What it is called.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The command line, as a person types it.
    pub(crate) fn line(&self) -> String {
        let program = match self.program.rsplit('/').next() {
            Some("cargo") => "cargo",
            _ => &self.program,
        };
        let mut line = String::new();
        for (key, value) in &self.env {
            line.push_str(&format!("{key}='{value}' "));
        }
        line.push_str(program);
        for arg in &self.args {
            line.push(' ');
            match arg.contains('(') {
                true => line.push_str(&format!("'{arg}'")), // a shell would read it otherwise
                false => line.push_str(arg),
            }
        }
        line
    }

    /// Runs it to its end.
    pub(crate) fn run(&self) -> io::Result<Ended> {
        let mut child = Command::new(&self.program)
            .args(&self.args)
            .envs(self.env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (lines, seen) = mpsc::sync_channel(1_024);
        let pipes: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|pipe| Box::new(pipe) as _),
            child.stderr.take().map(|pipe| Box::new(pipe) as _),
        ];
        let readers: Vec<_> = pipes
            .into_iter()
            .flatten()
            .map(|pipe| {
                let lines = lines.clone();
                thread::spawn(move || pass_on(pipe, &lines))
            })
            .collect();
        drop(lines);
        let mut summary = Summary::default();
        let mut out = io::stdout().lock();
        for line in seen {
            summary.look_at(&line);
            writeln!(out, "{line}")?;
        }
        drop(out);
        for reader in readers {
            let _ = reader.join();
        }
        let passed = child.wait()?.success();
        Ok(Ended {
            passed,
            summary: summary.line(),
        })
    }
}

/// Sends what comes out of `pipe` on, line by line.
fn pass_on(pipe: Box<dyn Read + Send>, lines: &mpsc::SyncSender<String>) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        match pipe.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                if lines
                    .send(text.trim_end_matches(['\n', '\r']).to_owned())
                    .is_err()
                {
                    return;
                }
            }
        }
    }
}

/// The closing line of nextest, or the sum of those of `cargo test`, which has one a binary.
#[derive(Default)]
struct Summary {
    nextest: Option<String>,
    binaries: u64,
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Summary {
    fn look_at(&mut self, line: &str) {
        if line.contains("Summary [") && line.contains(" run: ") {
            self.nextest = Some(line.to_owned());
        } else if let Some(counts) = line.strip_prefix("test result: ") {
            self.binaries += 1;
            self.passed += count(counts, " passed");
            self.failed += count(counts, " failed");
            self.ignored += count(counts, " ignored");
        }
    }

    fn line(self) -> Option<String> {
        if self.nextest.is_some() {
            return self.nextest;
        }
        let Self {
            binaries,
            passed,
            failed,
            ignored,
            ..
        } = self;
        let verdict = if failed == 0 { "ok" } else { "FAILED" };
        (binaries > 0).then(|| {
            format!("test result: {verdict}. {passed} passed; {failed} failed; {ignored} ignored")
        })
    }
}

/// The number that stands before `what` in `ok. 12 passed; 0 failed; …`.
fn count(counts: &str, what: &str) -> u64 {
    let Some(end) = counts.find(what) else {
        return 0;
    };
    let before = &counts[..end];
    let start = before.rfind(' ').map_or(0, |space| space + 1);
    before[start..].parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary_of(lines: &[&str]) -> Option<String> {
        let mut summary = Summary::default();
        lines.iter().for_each(|line| summary.look_at(line));
        summary.line()
    }

    #[test]
    fn nextest_closes_with_its_own_line() {
        let line = "     Summary [   0.012s] 3 tests run: 3 passed, 0 skipped";
        assert_eq!(summary_of(&["PASS x", line]).as_deref(), Some(line));
    }

    #[test]
    fn cargo_test_is_summed_over_its_binaries() {
        let lines = [
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured",
        ];
        assert_eq!(
            summary_of(&lines).as_deref(),
            Some("test result: FAILED. 15 passed; 2 failed; 1 ignored")
        );
        assert_eq!(summary_of(&["no tests here"]), None);
    }

    #[test]
    fn a_program_that_fails_is_seen_to_fail() {
        let run = |program: &str| {
            Step::program("x", program, "")
                .run()
                .map(|ended| ended.passed)
        };
        assert!(run("true").expect("true starts"));
        assert!(!run("false").expect("false starts"));
        assert!(run("no-such-program-anywhere").is_err());
    }
}
