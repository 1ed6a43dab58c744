//! What is shown meanwhile: a table that redraws itself on a terminal, a line a second elsewhere,
//! JSON lines for programs.

use std::io::IsTerminal;
use std::time::Duration;

use posthaste::Posthaste;
use posthaste_core::JobState;
use posthaste_core::view::QueueView;
use tokio::time::Instant;

use super::Args;
use super::acknowledged::{Acknowledged, Counts};
use super::customers::Customers;
use super::followers::{FOLLOWERS, Followed, Told};
use super::parties::{PARTIES, Parties};
use super::totals::Totals;
use crate::cli::print;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);

/// How to show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Table,
    Lines,
    Json,
}

/// The screen.
#[derive(Debug)]
pub(super) struct Screen {
    form: Form,
    start: Instant,
    last: Totals,
    /// Lines of the table that stand on the terminal.
    drawn: usize,
}

/// One look at everything.
struct Look {
    second: u64,
    totals: Totals,
    /// Completed in the last second.
    rate: u64,
    latency: Option<(u64, u64)>,
    queues: Vec<QueueView>,
    told: Told,
}

impl Screen {
    pub(super) fn new(json: bool) -> Self {
        let form = match (json, std::io::stdout().is_terminal()) {
            (true, _) => Form::Json,
            (false, true) => Form::Table,
            (false, false) => Form::Lines,
        };
        Self {
            form,
            start: Instant::now(),
            last: Totals::default(),
            drawn: 0,
        }
    }

    /// Says what is about to happen.
    pub(super) fn opening(&self, args: &Args, url: &str, address: &str) {
        if self.form == Form::Json {
            return print::json(&serde_json::json!({
                "event": "start", "store": url, "listen": format!("http://{address}"),
                "rate": args.rate, "seconds": args.seconds,
            }));
        }
        print::line(&format!(
            "a shop with {} sign-ups and orders a second for {} s, on {url}\n\
             its third parties are slow and fail; look into it from another terminal:\n  \
             {} queues list --store http://{address}\n",
            args.rate,
            args.seconds,
            called()
        ));
    }

    /// Says what was there already, and whether anything of it is missing.
    pub(super) fn found(&mut self, found: &Totals, before: &Counts, missing: u64) {
        self.last = *found;
        self.start = Instant::now();
        if found.accepted == 0 && before.accepted == 0 {
            return;
        }
        if self.form == Form::Json {
            return print::json(&serde_json::json!({
                "event": "found", "totals": json(found), "acknowledged_before": before.accepted,
                "missing": missing, "balances": found.balances(),
            }));
        }
        print::line(&format!(
            "found from before:\n{}\nacknowledged before: {} accepted, {} completed, {} published; missing now: {missing}\n",
            sum(found),
            number(before.accepted),
            number(before.completed),
            number(before.published),
        ));
    }

    /// Shows what happens, once a second, until `length` is over, the last second too.
    pub(super) async fn follow(
        &mut self,
        hub: &Posthaste,
        parties: &Parties,
        customers: &Customers,
        length: Duration,
    ) {
        let mut ticks = tokio::time::interval_at(self.start + LOOK, LOOK);
        loop {
            ticks.tick().await;
            let over = self.start.elapsed() >= length;
            let (Ok(queues), Ok(told)) = (hub.queues().await, Told::read(hub).await) else {
                if over {
                    return;
                }
                continue;
            };
            let totals = Totals::of(&queues);
            let look = Look {
                second: self.start.elapsed().as_secs(),
                rate: totals.completed.saturating_sub(self.last.completed),
                totals,
                latency: parties.latency(),
                queues,
                told,
            };
            self.last = totals;
            match self.form {
                Form::Table => self.table(&look, parties, customers, length),
                Form::Lines => print::line(&summary(&look, length).join("  ")),
                Form::Json => print::json(&serde_json::json!({
                    "event": "second", "second": look.second, "totals": json(&totals),
                    "completed_per_second": look.rate,
                    "p50_ms": look.latency.map(|(p50, _)| p50),
                    "p99_ms": look.latency.map(|(_, p99)| p99),
                    "events": events_json(&look.told),
                })),
            }
            if over {
                return;
            }
        }
    }

    fn table(&mut self, look: &Look, parties: &Parties, customers: &Customers, length: Duration) {
        let [rate, counts] = summary(look, length);
        let mut lines = vec![rate, counts, String::new()];
        let row = |cells: [&str; 7]| {
            let [party, waiting, running, completed, retried, dead, manners] = cells;
            format!(
                "{party:<12}{waiting:>9}{running:>9}{completed:>11}{retried:>9}{dead:>7}  {manners}"
            )
        };
        lines.push(row([
            "third party",
            "waiting",
            "running",
            "completed",
            "retried",
            "dead",
            "manners",
        ]));
        for party in &PARTIES {
            let mut queues = look.queues.iter();
            let queue = queues.find(|queue| queue.name.as_str() == party.queue);
            let totals = queue.map(|queue| queue.totals).unwrap_or_default();
            let held = |state: JobState| queue.map_or(0, |queue| queue.held[state as usize]);
            let waiting = JobState::ALL.into_iter().filter(|state| state.is_waiting());
            lines.push(row([
                party.queue,
                &number(waiting.map(held).sum()),
                &number(held(JobState::Running)),
                &number(totals.completed),
                &number(totals.retried),
                &number(totals.dead),
                party.manners,
            ]));
        }
        lines.extend(table_of_groups(&look.told));
        let (refused, last) = customers.refused();
        let (refused, troubles) = (number(refused), parties.troubles());
        if let Some(error) = last {
            lines.push(format!(
                "{refused} customers were refused: {}",
                error.message()
            ));
        }
        if troubles > 0 {
            lines.push(format!(
                "{} verbs of the workers were refused",
                number(troubles)
            ));
        }
        self.draw(&lines);
    }

    /// Draws lines over those that were drawn last. A line that is wider than the terminal is cut,
    /// because one that wraps would be two.
    fn draw(&mut self, lines: &[String]) {
        let size = rustix::termios::tcgetwinsize(std::io::stdout());
        let width = size.map_or(80, |size| usize::from(size.ws_col));
        let width = if width == 0 { 80 } else { width };
        let cut = |line: &String| line.chars().take(width - 1).collect::<String>() + "\x1b[K";
        let text: Vec<String> = lines.iter().map(cut).collect();
        let up = match self.drawn {
            0 => String::new(),
            drawn => format!("\x1b[{drawn}F"),
        };
        print::line(&format!("{up}{}", text.join("\n")));
        self.drawn = lines.len();
    }

    /// Says what it came to, and what to try next.
    pub(super) fn closing(
        &self,
        (end, told): (&Totals, &Told),
        acknowledged: &Acknowledged,
        verdict: &Result<(), String>,
        url: &str,
        kept: bool,
    ) {
        if self.form == Form::Json {
            return print::json(&serde_json::json!({
                "event": "end", "totals": json(end), "balances": verdict.is_ok(),
                "acknowledged": acknowledged.now().accepted, "events": events_json(told),
            }));
        }
        let said = acknowledged.now();
        let word = match verdict {
            Ok(()) => "the totals balance".to_owned(),
            Err(what) => format!("THE TOTALS DO NOT BALANCE: {what}"),
        };
        print::line(&format!(
            "\n{}{}\n{word}; acknowledged to customers and workers: {} accepted, {} completed, {} published",
            sum(end),
            sums_of_groups(told),
            number(said.accepted),
            number(said.completed),
            number(said.published),
        ));
        print::line(&next_steps(url, kept));
    }
}

fn next_steps(url: &str, kept: bool) -> String {
    let url = if kept { url } else { "file:./demo-data" };
    let posthaste = called();
    format!(
        "\nwhat to try next\n  \
         {posthaste} demo --store {url} --seconds 60 & sleep 10; kill -9 $!; {posthaste} demo --store {url}\n      \
         it says what it found, and that nothing acknowledged is missing\n  \
         {posthaste} dead list --store {url}\n      what was given up on, and why; dead redrive --all brings it back\n  \
         {posthaste} groups dead shop billing --store {url}\n      orders that could not be charged; groups redrive has them charged again\n  \
         {posthaste} serve & sleep 1; {posthaste} enqueue --kind hello --text 'hi' && {posthaste} work --queue default --exec 'cat'\n      \
         a job of your own, run by a command"
    )
}

/// What this program was called as, so that what is printed can be typed.
fn called() -> String {
    std::env::args()
        .next()
        .unwrap_or_else(|| String::from("posthaste"))
}

/// The sum of all jobs, as an equation.
fn sum(totals: &Totals) -> String {
    let mut text = format!(
        "accepted {} = completed {} + dead {} + cancelled {} + waiting {} + running {}",
        number(totals.accepted),
        number(totals.completed),
        number(totals.dead),
        number(totals.cancelled),
        number(totals.waiting),
        number(totals.running)
    );
    for (sign, what, many) in [
        ('-', "brought back", totals.redriven),
        ('+', "deleted while waiting", totals.deleted_waiting),
    ] {
        if many > 0 {
            text.push_str(&format!(" {sign} {what} {}", number(many)));
        }
    }
    format!("{text}   ({} attempts retried)", number(totals.retried))
}

/// How fast it goes, and what it came to so far.
fn summary(look: &Look, length: Duration) -> [String; 2] {
    let totals = &look.totals;
    let latency = look.latency.map_or_else(
        || "no latency yet".to_owned(),
        |(p50, p99)| format!("p50 {p50} ms, p99 {p99} ms"),
    );
    [
        format!(
            "{:>3}s of {}s  {} jobs/s, {latency}",
            look.second,
            length.as_secs(),
            number(look.rate)
        ),
        format!(
            "accepted {}, completed {}, retried {}, dead {}, cancelled {}, backlog {}",
            number(totals.accepted),
            number(totals.completed),
            number(totals.retried),
            number(totals.dead),
            number(totals.cancelled),
            number(totals.waiting + totals.running),
        ) + &lags(&look.told),
    ]
}

/// How far each group is behind.
fn lags(told: &Told) -> String {
    let lags = told.groups.iter();
    let lags = lags.map(|group| format!(", {} {} behind", group.group, number(group.lag)));
    lags.collect()
}

fn table_of_groups(told: &Told) -> Vec<String> {
    let row = |cells: [&str; 7]| {
        let [group, lag, done, skipped, retried, dead, manners] = cells;
        format!("{group:<12}{lag:>9}{done:>9}{skipped:>11}{retried:>9}{dead:>7}  {manners}")
    };
    let published = format!("events published: {}", number(told.published));
    let head = [
        "group", "lag", "done", "skipped", "retried", "dead", "manners",
    ];
    let mut lines = vec![String::new(), published, row(head)];
    for (group, follower) in told.groups.iter().zip(&FOLLOWERS) {
        lines.push(row([
            group.group,
            &number(group.lag),
            &number(group.done),
            &number(group.skipped),
            &number(group.retried),
            &number(group.dead),
            follower.manners,
        ]));
    }
    lines
}

/// What became of every event in each group, as an equation each.
fn sums_of_groups(told: &Told) -> String {
    let sum = |group: &Followed| {
        format!(
            "\npublished {} = {} done {} + skipped {} + dead {} + behind {}",
            number(told.published),
            group.group,
            number(group.done),
            number(group.skipped),
            number(group.dead),
            number(group.lag),
        )
    };
    told.groups.iter().map(sum).collect()
}

fn events_json(told: &Told) -> serde_json::Value {
    let groups = told.groups.iter().map(|group| {
        serde_json::json!({
            "group": group.group, "lag": group.lag, "done": group.done, "skipped": group.skipped,
            "retried": group.retried, "dead": group.dead,
        })
    });
    serde_json::json!({"published": told.published, "groups": groups.collect::<Vec<_>>()})
}

fn json(totals: &Totals) -> serde_json::Value {
    serde_json::json!({
        "accepted": totals.accepted, "completed": totals.completed, "dead": totals.dead,
        "cancelled": totals.cancelled, "redriven": totals.redriven,
        "deleted_waiting": totals.deleted_waiting, "waiting": totals.waiting,
        "running": totals.running, "retried": totals.retried, "lapsed": totals.lapsed,
    })
}

/// A number with its thousands apart.
fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        for (plain, written) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(number(plain), written);
        }
    }
}
