//! Being a member: joining, asking for events, and joining again where the membership is lost.

use std::sync::Arc;
use std::time::Duration;

use posthaste_core::group::{EventAsk, LeasedEvents};
use posthaste_core::{ErrorKind, Result, Token};
use tokio::sync::watch;

use super::engine::Engine;
use super::held::{Batch, Membership};
use super::settler;
use crate::worker::batch::lock;

/// Pause after an ask that failed: doubled each time, to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// How long one ask waits for events.
const WAIT_MS: u32 = 10_000;

/// What an ask came to.
pub(super) enum Took {
    /// The consumer is a member now, or lost its membership: ask again.
    Joined,
    /// So many events.
    Events(u64),
    /// Nothing is ready.
    Nothing,
}

/// Asks for events until told to stop, or until the store gives up.
pub(super) async fn fetch(engine: Arc<Engine>, mut stop: watch::Receiver<bool>) -> Result<()> {
    let (mut pause, longest) = PAUSES;
    loop {
        let taken = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            taken = take(&engine, WAIT_MS) => taken,
        };
        match taken {
            Ok(_) => pause = PAUSES.0,
            Err(error) if error.is_retryable() && error.kind() != ErrorKind::Closed => {
                tracing::warn!(%error, "asking for events again in a moment");
                tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => return Ok(()),
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(longest);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Joins where the consumer is no member; otherwise asks for as many events as there is room for,
/// waiting for room, and puts them into their lines.
pub(super) async fn take(engine: &Engine, wait_ms: u32) -> Result<Took> {
    let Some(member) = engine.membership() else {
        return join(engine).await;
    };
    if member.is_doubted() {
        return Ok(renew(engine, &member).await);
    }
    let mut max = engine.lines.wanted();
    while max == 0 {
        engine.lines.room.notified().await;
        max = engine.lines.wanted();
    }
    let strays = engine.lines.take_strays();
    if !strays.is_empty() {
        settler::give_back(engine, strays).await;
    }
    let (ask, asked_ms) = (engine.lines.asking(), engine.now_ms());
    let asking = ask_for(engine, Some(member.token), max, wait_ms);
    let leased = tokio::select! {
        leased = asking => leased,
        () = lost(engine, &member) => return Ok(Took::Joined),
    };
    match leased {
        Ok(leased) => {
            member.heard(asked_ms);
            Ok(put(engine, &member, leased, ask))
        }
        Err(error) if error.kind() == ErrorKind::Stale => {
            engine.lose(&member);
            Ok(Took::Joined)
        }
        Err(error) => {
            if matches!(error.kind(), ErrorKind::Uncertain | ErrorKind::Unavailable) {
                member.doubt();
            }
            Err(error)
        }
    }
}

/// Ends a membership under which events may be held that were in an answer which got lost: heartbeats
/// would keep them from everybody, for ever. What is known of is finished first, for as long as a lease
/// takes; whatever else it holds comes again once it has left.
async fn renew(engine: &Engine, member: &Membership) -> Took {
    let strays = engine.lines.take_strays();
    if !strays.is_empty() {
        settler::give_back(engine, strays).await;
    }
    let lease = Duration::from_millis(member.lease_ms.into());
    tokio::select! {
        _ = tokio::time::timeout(lease, engine.settler.through()) => {}
        () = lost(engine, member) => return Took::Joined,
    }
    engine.quit(member).await;
    Took::Joined
}

/// Waits until a membership is lost.
async fn lost(engine: &Engine, member: &Membership) {
    loop {
        let changed = engine.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if member.is_lost() {
            return;
        }
        changed.await;
    }
}

/// Joins without waiting: nobody can keep a membership alive whose token he was not told.
async fn join(engine: &Engine) -> Result<Took> {
    let (ask, asked_ms) = (engine.lines.asking(), engine.now_ms());
    let leased = ask_for(engine, None, 1, 0).await?;
    let member = Membership::new(leased.token, engine.lease_ms, engine.start, asked_ms);
    let member = Arc::new(member);
    *lock(&engine.member) = Some(Arc::clone(&member));
    tracing::debug!(
        topic = %engine.shared.topic,
        group = %engine.shared.group,
        token = member.token.0,
        "joined the group"
    );
    Ok(match put(engine, &member, leased, ask) {
        Took::Nothing => Took::Joined,
        took => took,
    })
}

async fn ask_for(
    engine: &Engine,
    token: Option<Token>,
    max: u32,
    wait_ms: u32,
) -> Result<LeasedEvents> {
    let ask = EventAsk {
        topic: engine.shared.topic.clone(),
        group: engine.shared.group.clone(),
        member: engine.name.clone(),
        token,
        max,
        lease_ms: engine.lease_ms,
        wait_ms,
        local: engine.local,
    };
    engine.shared.hub.store().lease_events(ask).await
}

fn put(engine: &Engine, member: &Arc<Membership>, leased: LeasedEvents, ask: u64) -> Took {
    let count = leased.events.len();
    if count > 0 {
        engine.settler.leased(count);
    }
    let batch = Batch::new(&engine.shared, member, leased.events);
    let strays = engine.lines.put(batch.held(), ask, engine.now_ms());
    engine.settler.over(strays);
    if member.is_lost() {
        // Lost while they were put there.
        engine.settler.lost(engine.lines.forget());
    }
    if count == 0 {
        return Took::Nothing;
    }
    engine.some.notify_one();
    Took::Events(count as u64)
}
