//! A projection, a reader who must see his own write, and a second projection that is built beside the
//! first by a shadow group.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use posthaste::event::{Effects, EventCx, ReadFrom};
use posthaste::{Done, Event, HandlerResult, Job, Posthaste, State, TimeUnits};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Event)]
#[event(type = "task.added", topic = "tasks", key = "list")]
struct TaskAdded {
    list: String,
    title: String,
}

#[derive(Serialize, Deserialize, Job)]
struct TellTheTeam {
    title: String,
}

/// How many tasks each list has: made of the events, and of nothing else.
type Counts = Arc<Mutex<BTreeMap<String, u64>>>;

async fn project(event: TaskAdded, cx: EventCx, State(counts): State<Counts>) -> HandlerResult {
    let mut all = counts.lock().expect("nobody panics here");
    *all.entry(event.list).or_default() += 1;
    drop(all);
    cx.commit_with(TellTheTeam { title: event.title })?;
    Done
}

#[tokio::main]
pub(crate) async fn main() -> posthaste::Result<()> {
    let hub = Posthaste::open("memory:").await?;
    let counts = Counts::default();
    let group = hub.group("tasks", "counts");
    let consumer = group.consumer().from(ReadFrom::Earliest);
    let consumer = consumer.state(Arc::clone(&counts)).on(project);
    let consumer = consumer.start().await?;

    for number in 1..=20 {
        let (list, title) = ("home".to_owned(), format!("task {number}"));
        let added = hub.publish(TaskAdded { list, title }).await?;
        // Without this the page that is shown next might lack the task.
        group.reached(added.position).within(30.secs()).await?;
        let seen = counts.lock().expect("nobody panics here")["home"];
        assert_eq!(seen, number);
    }
    consumer.stop().await?;
    assert_eq!(hub.queues().await?[0].totals.enqueued, 20);

    // The projection changes: the new one is built from the beginning by the same handler, beside the
    // old one, and tells nobody of tasks that are long known.
    let next = Counts::default();
    let shadow = hub.group("tasks", "counts-next").consumer();
    let shadow = shadow.from(ReadFrom::Earliest).shadow(Effects::Withheld);
    let did = shadow.state(Arc::clone(&next)).on(project).drain().await?;
    assert_eq!((did.done, did.withheld), (20, 20));
    assert_eq!(hub.queues().await?[0].totals.enqueued, 20);
    let (old, new) = (counts.lock(), next.lock());
    assert_eq!(*old.expect("no panic"), *new.expect("no panic"));
    Ok(())
}
