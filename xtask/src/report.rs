//! What was run, how long it took, and what came of it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::step::Step;

/// The steps that were run so far.
#[derive(Default)]
pub(crate) struct Report {
    lines: Vec<Line>,
    summaries: Vec<String>,
}

struct Line {
    name: String,
    alone: String,
    took: Duration,
    verdict: Verdict,
}

enum Verdict {
    Passed,
    Failed,
    Skipped(String),
}

/// What a check that runs in this process found.
pub(crate) enum Found {
    /// Nothing is wrong; the lines are worth reading all the same.
    Fine(Vec<String>),
    /// These are wrong.
    Wrong(Vec<String>),
}

impl Found {
    /// `Wrong` where anything is.
    pub(crate) fn from(wrong: Vec<String>, notes: Vec<String>) -> Self {
        if wrong.is_empty() {
            Self::Fine(notes)
        } else {
            Self::Wrong(wrong)
        }
    }
}

impl Report {
    /// Runs a program, shows its output as it comes, and says whether it succeeded.
    pub(crate) fn run(&mut self, step: &Step) -> bool {
        say!("\n── {}: {}", step.name(), step.line());
        let start = Instant::now();
        let outcome = step.run();
        let took = start.elapsed();
        let passed = match outcome {
            Ok(ended) => {
                self.summaries.extend(ended.summary);
                ended.passed
            }
            Err(error) => {
                say!("could not start {}: {error}", step.line());
                false
            }
        };
        self.note(step.name(), &step.line(), took, passed);
        passed
    }

    /// Runs a check of our own.
    pub(crate) fn judge(&mut self, name: &str, alone: &str, check: fn() -> Found) {
        say!("\n── {name}");
        let start = Instant::now();
        let found = check();
        let took = start.elapsed();
        let (lines, passed) = match found {
            Found::Fine(notes) => (notes, true),
            Found::Wrong(wrong) => (wrong, false),
        };
        for line in lines {
            say!("   {line}");
        }
        self.note(name, alone, took, passed);
    }

    /// Notes a step that is not run here, and why.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        say!("\n── {name}: skipped, {why}");
        self.lines.push(Line {
            name: name.to_owned(),
            alone: String::new(),
            took: Duration::ZERO,
            verdict: Verdict::Skipped(why.to_owned()),
        });
    }

    fn note(&mut self, name: &str, alone: &str, took: Duration, passed: bool) {
        let verdict = if passed {
            Verdict::Passed
        } else {
            say!("── {name} FAILED; to run it alone: {alone}");
            Verdict::Failed
        };
        self.lines.push(Line {
            name: name.to_owned(),
            alone: alone.to_owned(),
            took,
            verdict,
        });
    }

    /// Prints the table, the test runners' own last lines, and gives the exit code.
    pub(crate) fn close(&self) -> ExitCode {
        say!("\n── steps");
        let mut failed = false;
        let mut total = Duration::ZERO;
        for line in &self.lines {
            total += line.took;
            let seconds = line.took.as_secs_f64();
            match &line.verdict {
                Verdict::Passed => say!("   ok      {seconds:7.1}s  {}", line.name),
                Verdict::Skipped(why) => say!("   skipped           {} ({why})", line.name),
                Verdict::Failed => {
                    failed = true;
                    say!("   FAILED  {seconds:7.1}s  {}", line.name);
                    say!("                     to run it alone: {}", line.alone);
                }
            }
        }
        say!(
            "   {} in {:.1}s",
            if failed { "FAILED" } else { "all passed" },
            total.as_secs_f64()
        );
        for summary in &self.summaries {
            say!("{summary}");
        }
        if failed {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }
}
