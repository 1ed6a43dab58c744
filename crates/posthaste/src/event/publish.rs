//! Publishing: one event, many, with other commands, and later.

use std::future::IntoFuture;
use std::time::{Duration, SystemTime};

use posthaste_core::{
    Command, Commit, Error, ErrorKind, NewEvent, Published, Reply, Result, TopicName,
};

use super::draft::{EventDraft, IntoEvent};
use crate::enqueue::{BoxFuture, Enqueue};
use crate::hub::Posthaste;
use crate::policy::Context;

/// A publish that is being put together; `.await` it.
///
/// Published from inside a [`Context`] (a handler, a request), the event inherits how much it matters
/// and the trace, where it says nothing of its own.
///
/// The answer comes once the event is durable, and tells where it lies. Dropping the future gives up
/// the answer, not the effect: choose an [`id`](Self::id) to be able to ask again.
///
/// # Errors
/// `Invalid` or `TooLarge` for what can't be said of an event; `NotFound` where there is no such
/// topic and the store was told not to make any; `Busy`, `DiskFull`, and what the store adds:
/// `Uncertain`, `Closed`, `Unavailable`.
#[derive(Debug)]
#[must_use = "a publish does nothing until it is awaited"]
pub struct Publish {
    pub(super) hub: Posthaste,
    pub(super) draft: EventDraft,
}

impl IntoFuture for Publish {
    type Output = Result<Published>;
    type IntoFuture = BoxFuture<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let context = Context::current();
        Box::pin(async move {
            let mut command = command(&self.hub, self.draft)?;
            context.inherited_by(&mut command);
            let replies = self.hub.apply(Commit::one(command)).await?;
            places(replies)?.first().copied().ok_or_else(no_answer)
        })
    }
}

impl Publish {
    /// Publishes it so much later, at most ten years: enqueues a job that does it, and gives that
    /// job. `posthaste serve` runs it, and any worker that was built with
    /// [`publishes`](crate::Worker::publishes): published in the commit that completes the job, it is
    /// there exactly once.
    ///
    /// Until then the event has no place, and a job of kind `posthaste.publish` can be looked at,
    /// edited and cancelled. The job carries the event, so that its payload may be a little shorter
    /// than the 1 MiB of an event. An [`id`](Self::id) counts from when it is published; to enqueue
    /// once, give an [`idempotency_key`](Enqueue::idempotency_key).
    ///
    /// ```
    /// # use posthaste::{Event, Posthaste, TimeUnits};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize, Event)]
    /// # struct TrialEnded { user: u64 }
    /// # async fn sign_up(hub: &Posthaste) -> posthaste::Result<()> {
    /// let job = hub.publish(TrialEnded { user: 7 }).after(14.days()).await?;
    /// // They subscribe:
    /// hub.cancel(job.id).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn after(self, delay: Duration) -> Enqueue {
        self.hub.enqueue(self.draft.into_job()).after(delay)
    }

    /// Publishes it at this instant, or at once where that has passed: see [`after`](Self::after).
    pub fn at(self, instant: SystemTime) -> Enqueue {
        self.hub.enqueue(self.draft.into_job()).at(instant)
    }
}

impl Posthaste {
    /// Publishes an event: say more of it, then `.await`. Its topic is made with the defaults where
    /// there is none, unless the store was told not to.
    ///
    /// ```
    /// # use posthaste::{Event, Posthaste};
    /// # use serde::{Deserialize, Serialize};
    /// #[derive(Serialize, Deserialize, Event)]
    /// #[event(type = "order.placed", topic = "orders", key = "order")]
    /// struct OrderPlaced { order: u64, total: u64 }
    ///
    /// # async fn sell(hub: &Posthaste) -> posthaste::Result<()> {
    /// let placed = hub.publish(OrderPlaced { order: 7, total: 1999 }).id("order 7 was placed").await?;
    /// println!("it is number {} of partition {}", placed.offset, placed.partition);
    /// # Ok(())
    /// # }
    /// ```
    pub fn publish(&self, event: impl IntoEvent) -> Publish {
        Publish {
            hub: self.clone(),
            draft: event.into_event(),
        }
    }

    /// Publishes many events in one commit: all of them durably, or none. They may be of different
    /// topics. The answers are in order.
    ///
    /// # Errors
    /// As [`Publish`]; `TooLarge` for more than 1000 events or 8 MiB. Those that follow one another
    /// in one topic are one command, and the error names the command.
    ///
    /// ```
    /// # use posthaste::{Event, Posthaste};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize, Event)]
    /// # struct Measured { celsius: f64 }
    /// # async fn measure(hub: &Posthaste) -> posthaste::Result<()> {
    /// let places = hub.publish_all([17.5, 17.6].map(|celsius| Measured { celsius })).await?;
    /// assert_eq!(places.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn publish_all<I>(&self, events: I) -> Result<Vec<Published>>
    where
        I: IntoIterator,
        I::Item: IntoEvent,
    {
        let mut commands = commands(self, events)?;
        let context = Context::current();
        commands
            .iter_mut()
            .for_each(|command| context.inherited_by(command));
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        places(self.apply(Commit::of(commands)).await?)
    }
}

/// The command that publishes one event.
pub(crate) fn command(hub: &Posthaste, draft: EventDraft) -> Result<Command> {
    let (topic, event) = draft.build(|| hub.mint_id())?;
    let events = vec![event];
    Ok(Command::Publish { topic, events })
}

/// The commands that publish many, in order: one for each run of one topic.
fn commands<I>(hub: &Posthaste, events: I) -> Result<Vec<Command>>
where
    I: IntoIterator,
    I::Item: IntoEvent,
{
    let mut runs: Vec<(TopicName, Vec<NewEvent>)> = Vec::new();
    for event in events {
        let built = event.into_event().build(|| hub.mint_id());
        let (topic, event) = built.map_err(|error| error.at_command(runs.len()))?;
        match runs.last_mut() {
            Some((of, events)) if *of == topic => events.push(event),
            _ => runs.push((topic, vec![event])),
        }
    }
    let commands = runs
        .into_iter()
        .map(|(topic, events)| Command::Publish { topic, events });
    Ok(commands.collect())
}

/// Where everything is that was published, in order.
fn places(replies: Vec<Reply>) -> Result<Vec<Published>> {
    let mut places = Vec::new();
    for reply in replies {
        match reply {
            Reply::Published(run) => places.extend_from_slice(&run),
            _ => return Err(no_answer()),
        }
    }
    Ok(places)
}

fn no_answer() -> Error {
    Error::new(
        ErrorKind::Uncertain,
        "the store gave no answer to a publish",
    )
    .next("publish again under an id of your own")
}
