//! `posthaste-torture kill|power --binary PATH`: crash the server, and judge what its clients saw.
//!
//! Exit codes: 0 nothing was found (or, with `--expect`, all of what it names was), 1 the contrary,
//! 2 it could not be run.

use std::collections::BTreeSet;
use std::env;
use std::io::Write;
use std::path::PathBuf;
use std::process::{self, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

use posthaste_torture::campaign::{Campaign, Nemesis, Report};
use posthaste_torture::history::{OfTopic, What};

const HELP: &str = "\
posthaste-torture kill|power --binary PATH [options]

  kill                    kill -9 at random points
  power                   cut the power of an ext4 loop image; needs root

  --binary PATH           the posthaste binary
  --rounds N              how often (kill 200, power 20)
  --seed S                what chance is drawn from (the clock)
  --clients N             threads that enqueue, and as many that work; half as many
                          publish, and are members of each of two groups (3)
  --dir DIR               where to work; removed in the end (a temporary directory)
  --history FILE          write what the clients saw, one JSON object a line
  --fault NAMES           for a build with fault-injection, with commas between them:
                          skip-sync (nothing is synced), small-segments (of 1 MiB)
  --expect KINDS          succeed only if violations of each of these kinds are found, with
                          commas between them: a control of the harness
";

/// Violations shown at most; the rest is counted.
const SHOWN: usize = 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.iter().any(|it| it == "--help" || it == "-h") {
        say(HELP);
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(2)
        }
    }
}

struct Asked {
    campaign: Campaign,
    history: Option<PathBuf>,
    expected: Vec<String>,
}

fn parse(arguments: &[String]) -> Result<Asked, String> {
    let (nemesis, rounds) = match arguments.first().map(String::as_str) {
        Some("kill") => (Nemesis::Kill, 200),
        Some("power") => (Nemesis::Power, 20),
        Some(other) => return Err(format!("{other:?} is no campaign; give kill or power")),
        None => return Err(String::from("no campaign; give kill or power")),
    };
    let mut asked = Asked {
        campaign: Campaign {
            nemesis,
            binary: PathBuf::new(),
            rounds,
            seed: fresh_seed(),
            clients: 3,
            dir: env::temp_dir().join(format!("posthaste-torture-{}", process::id())),
            fault: None,
        },
        history: None,
        expected: Vec::new(),
    };
    let mut rest = arguments[1..].iter();
    while let Some(flag) = rest.next() {
        let value = rest.next();
        let value = value.ok_or_else(|| format!("{flag} needs a value; see --help"))?;
        let campaign = &mut asked.campaign;
        match flag.as_str() {
            "--binary" => campaign.binary = PathBuf::from(value),
            "--rounds" => campaign.rounds = number(flag, value)?,
            "--seed" => campaign.seed = number(flag, value)?,
            "--clients" => campaign.clients = number(flag, value)?,
            "--dir" => campaign.dir = PathBuf::from(value),
            "--fault" => campaign.fault = Some(value.clone()),
            "--expect" => asked.expected = value.split(',').map(str::to_owned).collect(),
            "--history" => asked.history = Some(PathBuf::from(value)),
            _ => return Err(format!("{flag} is not an option; see --help")),
        }
    }
    if !asked.campaign.binary.is_file() {
        let binary = asked.campaign.binary.display();
        return Err(format!("no binary at {binary:?}; give --binary PATH"));
    }
    Ok(asked)
}

fn number<T: std::str::FromStr>(flag: &str, value: &str) -> Result<T, String> {
    let number = value.parse();
    number.map_err(|_| format!("{flag} {value:?} is not a number that it can be"))
}

fn fresh_seed() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.map_or(1, |it| u64::from(it.subsec_nanos()))
}

fn run(arguments: &[String]) -> Result<bool, String> {
    let asked = parse(arguments)?;
    let rounds = asked.campaign.rounds;
    say(&format!("seed {}\n", asked.campaign.seed));
    let report = asked.campaign.run(|round| {
        if round % (rounds / 10).max(1) == 0 {
            say(&format!("{round} of {rounds}\n"));
        }
    })?;
    if let Some(path) = &asked.history {
        let written = std::fs::write(path, report.history.lines());
        written.map_err(|error| format!("{}: {error}", path.display()))?;
    }
    tell(&report, rounds);
    if asked.expected.is_empty() {
        return Ok(report.violations.is_empty());
    }
    let kinds = report.violations.iter().map(|it| format!("{:?}", it.fault));
    let kinds: BTreeSet<String> = kinds.collect();
    say(&format!(
        "found: {kinds:?}, expected: {:?}\n",
        asked.expected
    ));
    Ok(asked.expected.iter().all(|kind| kinds.contains(kind)))
}

fn tell(report: &Report, rounds: u32) {
    let (mut enqueued, mut delivered, mut settled) = (0, 0, 0);
    let (mut published, mut read, mut handed) = (0, 0, 0);
    for entry in &report.history.entries {
        match &entry.what {
            What::Enqueue { answer, .. } => enqueued += answer.ok().map_or(0, Vec::len),
            What::Lease { answer, .. } => delivered += answer.ok().map_or(0, Vec::len),
            What::Settle { answer, .. } => settled += usize::from(answer.ok().is_some()),
            What::Topic(OfTopic::Publish { answer, .. }) => {
                published += answer.ok().map_or(0, Vec::len);
            }
            What::Topic(OfTopic::Read { answer, .. }) => {
                read += answer.ok().map_or(0, |page| page.events.len());
            }
            What::Topic(OfTopic::Ask { answer, .. }) => {
                handed += answer.ok().map_or(0, |(_, events)| events.len());
            }
            What::Topic(_) | What::Down { .. } | What::Up => {}
        }
    }
    for violation in report.violations.iter().take(SHOWN) {
        say(&format!("{violation}\n"));
    }
    say(&format!(
        "{rounds} rounds in {:.1} s: {enqueued} jobs enqueued, {delivered} delivered, {settled} \
         settles answered; {published} events published, {read} read, {handed} handed to members; \
         {} violations\n",
        report.took.as_secs_f64(),
        report.violations.len()
    ));
}

fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
