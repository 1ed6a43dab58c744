//! Groups, for people and as JSON.

use posthaste::wire;
use posthaste_core::duration;
use posthaste_core::group::{GroupView, PausedBy};

use crate::cli::print;

pub(super) fn list(groups: &[GroupView], json: bool) {
    if json {
        let groups = groups.iter().map(wire::GroupView::write).collect();
        return print::json(&wire::Groups { groups });
    }
    let row = |group: &GroupView| {
        vec![
            group.topic.to_string(),
            group.name.to_string(),
            group.position.sequence.to_string(),
            group.lag.to_string(),
            group.leased.to_string(),
            group.retrying.to_string(),
            group.parked.to_string(),
            group.dead.to_string(),
            group.members.len().to_string(),
            paused(group).to_owned(),
        ]
    };
    print::table(
        &[
            "TOPIC", "GROUP", "POSITION", "LAG", "LEASED", "RETRYING", "PARKED", "DEAD", "MEMBERS",
            "PAUSED",
        ],
        &groups.iter().map(row).collect::<Vec<_>>(),
    );
}

/// Why a group hands out nothing, in words.
pub(super) fn paused(group: &GroupView) -> &'static str {
    match group.paused {
        None => "",
        Some(PausedBy::Person) => "yes",
        Some(PausedBy::ParkedFull) => "too many are parked",
    }
}

pub(super) fn one(group: &GroupView, json: bool) {
    if json {
        return print::json(&wire::GroupView::write(group));
    }
    let (config, totals) = (&group.config, &group.totals);
    let ms = |ms: u32| duration::print_ms(ms.into());
    let backoff = config.backoff;
    let members = group.members.iter();
    let members: Vec<String> = members
        .map(|member| format!("{} ({})", member.name, member.leased))
        .collect();
    for (name, value) in [
        ("topic", group.topic.to_string()),
        ("group", group.name.to_string()),
        ("made", wire::Instant(group.created_at).to_string()),
        ("position", group.position.to_string()),
        ("head", group.head.to_string()),
        ("end", group.end.to_string()),
        ("lag", group.lag.to_string()),
        ("unfinished", group.unfinished.to_string()),
        (
            "leased",
            format!("{} of {}", group.leased, config.in_flight),
        ),
        ("retrying", group.retrying.to_string()),
        (
            "parked",
            format!("{} of {}", group.parked, config.parked_max),
        ),
        ("dead", group.dead.to_string()),
        ("members", members.join(", ")),
        (
            "paused",
            match paused(group) {
                "" => "no".to_owned(),
                why => why.to_owned(),
            },
        ),
        (
            "attempts",
            format!(
                "{}, then {}",
                config.max_attempts,
                config.on_exhausted.as_str()
            ),
        ),
        (
            "backoff",
            format!(
                "base={},factor={},max={},jitter={}",
                ms(backoff.base_ms),
                backoff.factor,
                ms(backoff.max_ms),
                backoff.jitter_percent
            ),
        ),
        (
            "so far",
            format!(
                "{} done, {} retried, {} parked, {} dead, {} skipped, {} lapsed, {} handed out \
                 again, {} lost to retention",
                totals.done,
                totals.retried,
                totals.parked,
                totals.dead,
                totals.skipped,
                totals.lapsed,
                totals.redelivered,
                totals.lost_to_retention
            ),
        ),
    ] {
        print::line(format!("{name:<12}{value}").trim_end());
    }
}
