//! The pulse of a consumer: signs of life for its membership, an end to attempts that take too long,
//! and giving back what waits for a slot for long.

use std::time::Duration;

use posthaste_core::{Command, Commit, ErrorKind};

use super::ended::Ended;
use super::engine::Engine;

const LOOK_EVERY: Duration = Duration::from_millis(25);
/// Events that waited this long for a slot are given back, for others to take.
const WAIT_MS_MAX: u64 = 1_000;

/// Looks after what is held, for as long as it is polled. An attempt is ended up to 25 ms late.
pub(super) async fn look(engine: &Engine) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        if engine.settler.is_through() {
            engine.some.notified().await;
        }
        looks.tick().await;
        let now_ms = engine.now_ms();
        for watch in &engine.watches {
            watch.look(now_ms, engine.timeout_ms);
        }
        if let Some(since) = now_ms.checked_sub(WAIT_MS_MAX) {
            let overdue = engine.lines.overdue(since);
            let overdue = overdue.iter().filter_map(|line| Ended::release(line));
            engine.settler.settle(overdue);
        }
    }
}

/// Gives signs of life, for as long as it is polled.
pub(super) async fn beat(engine: &Engine) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(engine.heartbeat) => {}
            () = engine.beat_now.notified() => {}
        }
        let Some(member) = engine.membership() else {
            continue;
        };
        let beat = Command::Beat {
            topic: engine.shared.topic.clone(),
            group: engine.shared.group.clone(),
            token: member.token,
        };
        let sent_ms = engine.now_ms();
        match engine.shared.hub.apply(Commit::one(beat)).await {
            Ok(_) => member.heard(sent_ms),
            Err(error) if matches!(error.kind(), ErrorKind::Stale | ErrorKind::NotFound) => {
                engine.lose(&member);
            }
            Err(error) => tracing::warn!(%error, "a heartbeat was not accepted"),
        }
    }
}
