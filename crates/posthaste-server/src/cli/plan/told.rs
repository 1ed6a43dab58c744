//! A plan, for people and as JSON.

use std::time::Duration;

use posthaste_core::duration;
use posthaste_core::plan::{Load, Outlook};
use serde_json::{Value, json};

use super::advice::advice;
use super::{Planned, Told};
use crate::cli::print;

/// Everything about one queue.
pub(super) fn one(planned: &Planned, as_json: bool) {
    if as_json {
        return print::json(&value(planned));
    }
    let Planned {
        queue,
        load,
        plan,
        seen,
    } = planned;
    let seen = if *seen {
        " (the most that ran at once lately; --workers says otherwise)"
    } else {
        ""
    };
    let mut lines = Vec::new();
    lines.extend(queue.as_ref().map(|queue| ("queue", queue.to_string())));
    lines.extend([
        ("arrivals", arrivals(load)),
        ("service", service(load)),
        ("workers", format!("{}{seen}", load.workers)),
        ("utilisation", percent(plan.now.utilisation)),
        ("wait", wait(load, &plan.now)),
        ("backlog", backlog(load, &plan.now)),
        ("headroom", more(plan.headroom_per_second)),
    ]);
    if let (Some(target), Some(needed), Some(more_arrive)) = (
        load.target_wait,
        plan.workers_needed,
        plan.headroom_to_target_per_second,
    ) {
        let met = match plan.now.meets_target {
            Some(true) => "met",
            _ => "missed",
        };
        let (target, more) = (time(target), more(more_arrive));
        lines.push(("target", format!("{target} at {}: {met}, {more}", at(load))));
        lines.push(("needed", needed.to_string()));
    }
    let less = plan.one_less.as_ref().map_or_else(
        || "nothing is done".to_owned(),
        |less| format!("{} busy, {}", percent(less.utilisation), wait(load, less)),
    );
    lines.push(("one less", less));
    lines.push(("advice", advice(load, plan)));
    for (name, value) in lines {
        print::line(&format!("{name:<12} {value}"));
    }
}

/// A line for each queue, and what to do about each.
pub(super) fn all(told: &[Told], as_json: bool) {
    if as_json {
        let plans: Vec<_> = told.iter().map(any_value).collect();
        return print::json(&json!({ "plans": plans }));
    }
    let rows: Vec<_> = told.iter().map(row).collect();
    print::table(
        &[
            "QUEUE", "ARRIVALS", "SERVICE", "WORKERS", "BUSY", "WAIT", "BACKLOG", "NEEDED",
            "ADVICE",
        ],
        &rows,
    );
}

fn row(told: &Told) -> Vec<String> {
    match told {
        Told::Planned(planned) => {
            let Planned {
                queue, load, plan, ..
            } = &**planned;
            vec![
                queue.as_ref().map(ToString::to_string).unwrap_or_default(),
                arrivals(load),
                service(load),
                load.workers.to_string(),
                percent(plan.now.utilisation),
                plan.now.wait.map_or_else(
                    || "grows".to_owned(),
                    |wait| format!("{} at {}", time(wait.at_quantile), at(load)),
                ),
                load.backlog.to_string(),
                plan.workers_needed
                    .unwrap_or(plan.workers_stable)
                    .to_string(),
                advice(load, plan),
            ]
        }
        Told::Unknown(queue, why) => {
            let mut row = vec![queue.to_string()];
            row.resize(8, "-".to_owned());
            row.push(why.message().to_owned());
            row
        }
    }
}

fn any_value(told: &Told) -> Value {
    match told {
        Told::Planned(planned) => value(planned),
        Told::Unknown(queue, why) => json!({
            "queue": queue.as_str(),
            "unknown": why.message(),
            "next": why.next_step(),
        }),
    }
}

fn value(planned: &Planned) -> Value {
    let (load, plan) = (&planned.load, &planned.plan);
    json!({
        "queue": planned.queue.as_ref().map(|queue| queue.as_str()),
        "arrivals_per_second": load.arrivals_per_second,
        "arrival_cv2": load.arrival_cv2,
        "service_ms": ms(load.service_mean),
        "service_cv2": load.service_cv2,
        "backlog": load.backlog,
        "target_wait_ms": load.target_wait.map(ms),
        "quantile": load.quantile,
        "now": outlook(&plan.now),
        "one_less": plan.one_less.as_ref().map(outlook),
        "workers_stable": plan.workers_stable,
        "workers_needed": plan.workers_needed,
        "headroom_per_second": plan.headroom_per_second,
        "headroom_to_target_per_second": plan.headroom_to_target_per_second,
        "advice": advice(load, plan),
    })
}

fn outlook(outlook: &Outlook) -> Value {
    json!({
        "workers": outlook.workers,
        "utilisation": outlook.utilisation,
        "growth_per_second": outlook.growth_per_second,
        "wait_chance": outlook.wait.map(|wait| wait.chance),
        "wait_mean_ms": outlook.wait.map(|wait| ms(wait.mean)),
        "wait_at_quantile_ms": outlook.wait.map(|wait| ms(wait.at_quantile)),
        "drain_ms": outlook.drain.map(ms),
        "meets_target": outlook.meets_target,
    })
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn arrivals(load: &Load) -> String {
    format!(
        "{}/s{}",
        number(load.arrivals_per_second),
        varies(load.arrival_cv2)
    )
}

fn service(load: &Load) -> String {
    format!("{}{}", time(load.service_mean), varies(load.service_cv2))
}

/// How much something varies, by its coefficient: as it is typed in.
fn varies(cv2: f64) -> String {
    format!(" (cv {})", number(cv2.sqrt()))
}

fn wait(load: &Load, outlook: &Outlook) -> String {
    let Some(wait) = outlook.wait else {
        return format!(
            "the backlog grows by {} a second",
            number(outlook.growth_per_second)
        );
    };
    format!(
        "{} at {}, {} on average; {} wait",
        time(wait.at_quantile),
        at(load),
        time(wait.mean),
        percent(wait.chance)
    )
}

fn backlog(load: &Load, outlook: &Outlook) -> String {
    match outlook.drain {
        _ if load.backlog == 0 => "none".to_owned(),
        Some(drain) => format!("{}, gone in {}", load.backlog, time(drain)),
        None => format!("{}, never gone", load.backlog),
    }
}

fn more(headroom: f64) -> String {
    if headroom < 0.0 {
        format!("{} a second too many", number(-headroom))
    } else {
        format!("{} more a second", number(headroom))
    }
}

/// The quantile as people say it: `p99`.
fn at(load: &Load) -> String {
    format!("p{}", number(load.quantile * 100.0))
}

fn percent(part: f64) -> String {
    format!("{} %", number(part * 100.0))
}

/// A number of three digits or more, without zeros at its end.
pub(super) fn number(value: f64) -> String {
    let digits = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A duration of three digits, or to the second where it is long.
pub(super) fn time(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if duration.is_zero() {
        "0s".to_owned()
    } else if seconds < 1e-3 {
        format!("{}us", number(seconds * 1e6))
    } else if seconds < 1.0 {
        format!("{}ms", number(seconds * 1e3))
    } else if seconds < 60.0 {
        format!("{}s", number(seconds))
    } else {
        duration::print(Duration::from_secs(duration.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        for (value, want) in [
            (0.0, "0"),
            (0.123_4, "0.123"),
            (1.5, "1.5"),
            (99.96, "100"),
            (12.34, "12.3"),
            (-12.0, "-12"),
            (1_234.5, "1234"),
        ] {
            assert_eq!(number(value), want);
        }
    }

    #[test]
    fn times_are_told_in_the_unit_that_fits() {
        for (micros, want) in [
            (0, "0s"),
            (250, "250us"),
            (1_250, "1.25ms"),
            (80_000, "80ms"),
            (4_592_000, "4.59s"),
            (333_600_000, "5m33s"),
        ] {
            assert_eq!(time(Duration::from_micros(micros)), want);
        }
    }
}
