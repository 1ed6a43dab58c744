//! Events that are gone before a group came to them.

use std::collections::BTreeSet;

use posthaste_core::group::GroupSettings;
use posthaste_core::topic::TopicSettings;

use super::member::{Member, ids};
use crate::conformance::Bench;

/// Retention overtakes a group: what is gone is passed and counted, what is there is handed out, in
/// order, and together they are everything.
pub fn what_retention_took_is_counted(bench: &Bench<'_>) {
    let few = TopicSettings {
        kept_events: Some(5),
        kept_ms: Some(60_000),
        ..TopicSettings::default()
    };
    bench.set_topic("orders", few);
    bench.group(GroupSettings::default());
    let words: Vec<String> = (0..30).map(|n| format!("k{}x{n}", n % 3)).collect();
    for part in words[..20].chunks(4) {
        bench.tell(&part.join(" "));
    }
    bench.advance(60_001);
    bench.tell(&words[20..].join(" "));
    let one = Member::joins(bench);
    let mut handed = Vec::new();
    let over = bench.eventually(|| {
        let leased = one.asks(4).expect("it is a member");
        for id in ids(&leased) {
            one.done(&id);
            handed.push(id);
        }
        bench.billing().lag == 0
    });
    assert!(over, "{:?}", bench.billing());
    let view = bench.billing();
    let lost = usize::try_from(view.totals.lost_to_retention).expect("a number");
    assert_eq!(view.totals.done, handed.len() as u64);
    assert_eq!(handed[..], words[lost..], "{lost} were lost");
    assert!(lost <= 25, "five are to be kept");
    one.gets_nothing();
}

/// Compaction may take what a newer event of its key replaced: what is there is handed out, the
/// newest of each key among it, and the group comes to the end.
pub fn what_compaction_took_is_passed(bench: &Bench<'_>) {
    let compacted = TopicSettings {
        compacted: Some(true),
        ..TopicSettings::default()
    };
    bench.set_topic("orders", compacted);
    bench.group(GroupSettings::default());
    let words: Vec<String> = (0..30).map(|n| format!("k{}x{n}", n % 3)).collect();
    for part in words.chunks(7) {
        bench.tell(&part.join(" "));
    }
    bench.advance(3_600_000);
    let one = Member::joins(bench);
    let mut handed = BTreeSet::new();
    let over = bench.eventually(|| {
        for id in ids(&one.asks(10).expect("it is a member")) {
            one.done(&id);
            handed.insert(id);
        }
        bench.billing().lag == 0
    });
    assert!(over, "{:?}", bench.billing());
    for newest in &words[27..] {
        assert!(handed.contains(newest), "{newest} is the newest of its key");
    }
}
