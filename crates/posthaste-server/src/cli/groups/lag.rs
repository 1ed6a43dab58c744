//! `groups lag`: how far groups are behind, and since when.

use posthaste::event::standing;
use posthaste::wire;
use posthaste_core::group::GroupView;
use posthaste_core::{Store, duration};
use posthaste_server::mint;
use serde::Serialize;

use super::show::paused;
use crate::cli::print;

/// How far one group is behind.
#[derive(Serialize)]
struct Lag {
    topic: String,
    group: String,
    /// Events between its position and the topic's end.
    lag: u64,
    /// When the first event was published that it is not through with, where that can be read.
    oldest: Option<wire::Instant>,
    /// How long that has waited.
    waited: Option<wire::Span>,
    paused_by: Option<&'static str>,
}

pub(super) async fn run(groups: &[GroupView], store: &dyn Store, json: bool) {
    let now = mint::now();
    let (mut lags, mut rows) = (Vec::new(), Vec::new());
    for group in groups {
        let oldest = match standing::oldest(store, group).await {
            Ok(oldest) => oldest,
            Err(error) => {
                print::warning(&format!(
                    "since when {} of {} is behind can't be read: {error}",
                    group.name, group.topic
                ));
                None
            }
        };
        let waited = oldest.map(|oldest| now.since(oldest) / 1_000 * 1_000);
        rows.push(vec![
            group.topic.to_string(),
            group.name.to_string(),
            group.lag.to_string(),
            waited.map_or_else(|| "-".to_owned(), duration::print_ms),
            paused(group).to_owned(),
        ]);
        lags.push(Lag {
            topic: group.topic.to_string(),
            group: group.name.to_string(),
            lag: group.lag,
            oldest: oldest.map(wire::Instant),
            waited: waited.map(wire::Span),
            paused_by: group.paused.map(|by| by.as_str()),
        });
    }
    if json {
        return print::json(&serde_json::json!({"groups": lags}));
    }
    print::table(&["TOPIC", "GROUP", "LAG", "WAITED", "PAUSED"], &rows);
}
