//! The figures as tables, and as JSON.

use std::ops::Range;
use std::time::Duration;

use posthaste_core::policy::Criticality;

use super::play::{Point, Report, Series};
use crate::cli::print;

/// Prints the tables.
pub(super) fn tables(report: &Report) {
    if !report.sweep.is_empty() {
        let mut heads = vec!["POLICY", "LOAD", "GOODPUT", "P50", "P99", "CALL P99"];
        heads.extend(["ATTEMPTS", "REFUSED"]);
        let tiers = Criticality::ALL.map(|tier| tier.word().to_uppercase());
        heads.extend(tiers.iter().map(String::as_str));
        print::table(&heads, &rows(&report.sweep, by_load));
        print::line("");
    }
    if !report.recoveries.is_empty() {
        let heads = ["POLICY", "LOAD", "TRIGGER", "BEFORE", "DURING", "RECOVERED"];
        print::table(&heads, &rows(&report.recoveries, by_trigger));
        print::line("");
    }
}

fn rows(series: &[Series], row: fn(&Series, &Point) -> Vec<String>) -> Vec<Vec<String>> {
    let each = |of| move |point| row(of, point);
    series
        .iter()
        .flat_map(|of| of.points.iter().map(each(of)))
        .collect()
}

fn by_load(of: &Series, point: &Point) -> Vec<String> {
    let mut row = vec![
        of.name.clone(),
        format!("{}x", point.load),
        format!("{:.2}", point.goodput),
        time(point.p50),
        time(point.p99),
        time(point.call_p99),
        format!("{:.2}", point.amplification),
        percent(point.shed),
    ];
    row.extend(point.tiers.map(percent));
    row
}

fn by_trigger(of: &Series, point: &Point) -> Vec<String> {
    let (before, during) = point.before_and_during.unwrap_or_default();
    vec![
        of.name.clone(),
        format!("{}x", point.load),
        triggers(of),
        percent(before),
        percent(during),
        point.recovered.map_or_else(
            || "never".to_owned(),
            |after| format!("{:.1} s", after.as_secs_f64()),
        ),
    ]
}

/// What went wrong, in words.
pub(super) fn triggers(of: &Series) -> String {
    let each = of.triggers.iter().map(|(kind, factor, _, lasts)| {
        let lasts = posthaste_core::duration::print(*lasts);
        format!("{} {factor} for {lasts}", kind.word())
    });
    each.collect::<Vec<_>>().join(", ")
}

fn time(time: Option<Duration>) -> String {
    time.map_or_else(
        || "-".to_owned(),
        |time| format!("{:.0} ms", time.as_secs_f64() * 1e3),
    )
}

fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

/// All figures.
pub(super) fn as_json(report: &Report, seeds: &Range<u64>) -> serde_json::Value {
    serde_json::json!({
        "seeds": [seeds.start, seeds.end - 1],
        "by_load": report.sweep.iter().map(series_as_json).collect::<Vec<_>>(),
        "by_trigger": report.recoveries.iter().map(series_as_json).collect::<Vec<_>>(),
    })
}

fn series_as_json(of: &Series) -> serde_json::Value {
    let triggers = of.triggers.iter().map(|(kind, factor, at, lasts)| {
        serde_json::json!({
            "kind": kind.word(),
            "factor": factor,
            "at": posthaste_core::duration::print(*at),
            "lasts": posthaste_core::duration::print(*lasts),
        })
    });
    serde_json::json!({
        "policy": of.name,
        "triggers": triggers.collect::<Vec<_>>(),
        "points": of.points.iter().map(point_as_json).collect::<Vec<_>>(),
    })
}

fn point_as_json(point: &Point) -> serde_json::Value {
    let ms = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1e3);
    let tiers: serde_json::Map<String, serde_json::Value> = Criticality::ALL
        .iter()
        .map(|tier| (tier.word().to_owned(), point.tiers[tier.index()].into()))
        .collect();
    let mut told = serde_json::json!({
        "load": point.load,
        "goodput": point.goodput,
        "p50_ms": ms(point.p50),
        "p99_ms": ms(point.p99),
        "call_p99_ms": ms(point.call_p99),
        "amplification": point.amplification,
        "refused": point.shed,
        "success": tiers,
    });
    if let Some((before, during)) = point.before_and_during {
        told["before"] = before.into();
        told["during"] = during.into();
        told["recovered"] = point.recovered.is_some().into();
        told["recovered_ms"] = ms(point.recovered).into();
    }
    told
}
