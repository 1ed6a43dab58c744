//! A Posthaste server as a store: the port over HTTP.
//!
//! Each call of the port is one request, but for mixed commits, which are one request each, in
//! order. A dropped call closes its connection; a dropped ask for work hangs up first and gives back
//! what came all the same. Quick calls are made under a policy, which repeats what is safe to repeat:
//! what only looks, settles and heartbeats, and commits under an idempotency key. Of the rest, whether
//! a request that broke off happened is not known, and who asked decides.

mod asking;
mod client;
mod guarded;
mod line;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use posthaste_core::group::{EventAsk, GroupView, KeptPage, LeasedEvents};
use posthaste_core::port::{KeptAsk, LeaseAsk, Leased, PortFuture, TailGroup, TailJob};
use posthaste_core::topic::{TailTopic, TopicRead, TopicView};
use posthaste_core::view::{Health, JobFilter, JobPage, JobView, QueueView};
use posthaste_core::{
    Command, Commit, Committed, Error, ErrorKind, GroupName, JobId, Reply, Result, Store,
    TopicName, check, limits,
};

use self::asking::{Asking, Dropped};
use self::client::{Client, Question};
use crate::policy::Policy;
use crate::wire;

/// Most bytes of items in one request, under the server's limit for a batch.
const BATCH_BYTES_MAX: usize = 6 * 1024 * 1024;

/// A Posthaste server, as a [`Store`].
///
/// What an ask for work or for events brings after its caller has dropped it is given back in the
/// background; closing the store waits for that, ten seconds at most. A program that ends without
/// closing it leaves such jobs and events to their leases, which lapse.
#[derive(Debug)]
pub struct HttpStore {
    client: Client,
    dropped: Dropped,
    closed: AtomicBool,
    /// Told when it is closed.
    closing: tokio::sync::Notify,
}

impl HttpStore {
    /// The server at `http://host:port`, asked for its health once.
    ///
    /// # Errors
    /// `Invalid` for a URL of another form; `Unavailable` where it can't be reached.
    pub async fn connect(url: &str) -> Result<Self> {
        let store = Self {
            client: Client::new(url)?,
            dropped: Dropped::default(),
            closed: AtomicBool::new(false),
            closing: tokio::sync::Notify::new(),
        };
        store.health().await?;
        Ok(store)
    }

    /// The policy that quick calls are made under, named by the server's URL: to look at, or to
    /// [reload](Policy::reload). Asks for work, calls that wait, and [`health`](Store::health) are made
    /// without it.
    ///
    /// Default: 45 s in all; at most three attempts, under a budget of 10 % and five a second, of what is
    /// safe to repeat;
    /// a throttle for each tier against a server that turns calls away; and a breaker that opens after
    /// ten failures in a row, for a quarter of a second.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        self.client.policy()
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        Ok(())
    }

    /// A call that waits, and is given up on when the store is closed.
    async fn until_closed<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let closing = self.closing.notified();
        tokio::pin!(closing);
        closing.as_mut().enable();
        self.check_open()?;
        tokio::select! {
            answer = call => answer,
            () = closing => Err(closed()),
        }
    }

    async fn commit_all(&self, commits: Vec<Commit>) -> Result<Vec<Result<Committed>>> {
        self.check_open()?;
        let mut answers = Vec::with_capacity(commits.len());
        let mut rest = commits.as_slice();
        while let Some(first) = rest.first() {
            let shape = Shape::of(first);
            let most = match shape {
                Shape::Mixed => 1,
                Shape::Settle | Shape::Heartbeat => limits::COMMANDS_PER_COMMIT_MAX,
            };
            let alike = rest
                .iter()
                .take(most)
                .take_while(|commit| Shape::of(commit) == shape);
            let (run, after) = rest.split_at(alike.count());
            match shape {
                Shape::Settle => settle(&self.client, run, &mut answers).await?,
                Shape::Heartbeat => self.heartbeat(run, &mut answers).await?,
                Shape::Mixed => answers.push(mixed(&self.client, first).await?),
            }
            rest = after;
        }
        Ok(answers)
    }

    async fn heartbeat(&self, run: &[Commit], answers: &mut Vec<Result<Committed>>) -> Result<()> {
        let items = run.iter().map(heartbeat_item).collect::<Result<Vec<_>>>()?;
        for body in arrays(&items) {
            let path = "/v1/leases/heartbeat";
            let answer = self
                .client
                .send(Question::post(path, body).vital(true).repeatable())
                .await?;
            let results: wire::HeartbeatResults = answer.read()?;
            answers.extend(results.results.into_iter().map(|result| {
                let cancelled = result.cancelled;
                verdict(result.status, result.problem)
                    .map(|()| committed(vec![Reply::Extended { cancelled }]))
            }));
        }
        Ok(())
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str, wait: Duration) -> Result<T> {
        self.check_open()?;
        self.client
            .send(Question::get(path).waiting(wait))
            .await?
            .read()
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the store is closed").next("open it again")
}

/// One commit as it is. The inner error is the server's refusal.
async fn mixed(client: &Client, commit: &Commit) -> Result<Result<Committed>> {
    // What JSON can't say at all (a name twice, say) is refused as any store refuses it.
    if let Err(error) = check::commit(commit) {
        return Ok(Err(error));
    }
    let body = encode(&wire::Commit::write(commit)?)?;
    let key = commit.key.as_ref().map(|key| &*key.key);
    let path = "/v1/commit";
    let question = Question::post(path, body).keyed(key);
    let answer = client.send(question.vital(commit.commands.iter().any(Command::is_vital)));
    match answer.await?.read::<wire::Committed>() {
        Ok(committed) => committed.read().map(Ok),
        Err(error) if is_refusal(&error) => Ok(Err(error)),
        Err(error) => Err(error),
    }
}

async fn settle(
    client: &Client,
    run: &[Commit],
    answers: &mut Vec<Result<Committed>>,
) -> Result<()> {
    let items = run.iter().map(settle_item).collect::<Result<Vec<_>>>()?;
    for body in arrays(&items) {
        let answer = client
            .send(
                Question::post("/v1/leases/settle", body)
                    .vital(true)
                    .repeatable(),
            )
            .await?;
        let results: wire::SettleResults = answer.read()?;
        answers.extend(results.results.into_iter().map(settled));
    }
    Ok(())
}

const NO_WAIT: Duration = Duration::ZERO;

/// Which route a commit goes by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A settle and what goes with it.
    Settle,
    /// One heartbeat.
    Heartbeat,
    /// Anything else.
    Mixed,
}

impl Shape {
    fn of(commit: &Commit) -> Self {
        match commit.commands.as_slice() {
            _ if commit.key.is_some() => Self::Mixed,
            [Command::Heartbeat { .. }] => Self::Heartbeat,
            [Command::Settle { .. }, ..] => Self::Settle,
            _ => Self::Mixed,
        }
    }
}

/// Whether the server refused the request and did nothing, as opposed to not knowing.
fn is_refusal(error: &Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::Uncertain | ErrorKind::Closed | ErrorKind::Unavailable
    )
}

fn settle_item(commit: &Commit) -> Result<Vec<u8>> {
    let Some((Command::Settle { id, token, outcome }, rest)) = commit.commands.split_first() else {
        return Err(misrouted());
    };
    let with = rest
        .iter()
        .map(wire::Command::write)
        .collect::<Result<_>>()?;
    encode(&wire::Settle::write(*id, *token, outcome, with))
}

fn heartbeat_item(commit: &Commit) -> Result<Vec<u8>> {
    match commit.commands.as_slice() {
        [
            Command::Heartbeat {
                id,
                token,
                progress,
            },
        ] => encode(&wire::Heartbeat::write(*id, *token, progress.as_ref())),
        _ => Err(misrouted()),
    }
}

fn misrouted() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "a commit was sent by the wrong route",
    )
    .next("report this")
}

/// JSON arrays of the items, each of bounded length.
fn arrays(items: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut arrays: Vec<Vec<u8>> = Vec::new();
    for item in items {
        match arrays.last_mut() {
            Some(array) if array.len() + item.len() < BATCH_BYTES_MAX => array.push(b','),
            _ => arrays.push(vec![b'[']),
        }
        if let Some(array) = arrays.last_mut() {
            array.extend_from_slice(item);
        }
    }
    arrays.iter_mut().for_each(|array| array.push(b']'));
    arrays
}

fn committed(replies: Vec<Reply>) -> Committed {
    Committed {
        replies,
        repeated: false,
    }
}

fn settled(result: wire::SettleResult) -> Result<Committed> {
    verdict(result.status, result.problem)?;
    let settle = wire::Reply::Settled(wire::SettledReply {
        state: result.state.unwrap_or_default(),
        repeated: result.repeated,
    });
    let replies = std::iter::once(&settle).chain(&result.replies);
    Ok(committed(
        replies.map(wire::Reply::read).collect::<Result<_>>()?,
    ))
}

fn verdict(status: wire::Status, problem: Option<wire::Problem>) -> Result<()> {
    let kind = match status {
        wire::Status::Ok => return Ok(()),
        wire::Status::Stale => ErrorKind::Stale,
        wire::Status::Unknown => ErrorKind::UnknownLease,
        wire::Status::Refused => ErrorKind::Conflict,
    };
    Err(problem.map_or_else(
        || Error::new(kind, "the server refused it and gave no reason").next("update the server"),
        client::told,
    ))
}

fn encode<T: serde::Serialize>(shape: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(shape).map_err(|error| {
        Error::new(
            ErrorKind::Invalid,
            format!("the request can't be written: {error}"),
        )
        .next("report this")
    })
}

fn list_path(filter: &JobFilter, cursor: Option<u64>, max: u32) -> String {
    let mut path = format!("/v1/jobs?max={max}");
    let mut put = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={value}"));
        }
    };
    put("state", filter.state.map(posthaste_core::JobState::as_str));
    put("queue", filter.queue.as_ref().map(AsRef::as_ref));
    put("kind", filter.kind.as_ref().map(AsRef::as_ref));
    put("tag", filter.tag.as_ref().map(AsRef::as_ref));
    put("cursor", cursor.map(|cursor| cursor.to_string()).as_deref());
    path
}

/// Longest path of a request, under the server's limit for a head.
const PATH_BYTES_MAX: usize = 12 * 1024;

fn read_path(ask: &TailTopic) -> Result<String> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("from", &wire::ReadFrom(ask.from).to_string());
    query.append_pair("max", &ask.max.to_string());
    let wait_ms = ask.wait_ms.min(limits::WAIT_MS_MAX);
    query.append_pair("wait", &wire::Span(wait_ms.into()).to_string());
    if let Some(partition) = ask.partition {
        query.append_pair("partition", &partition.to_string());
    }
    for (name, filters) in [("type", &ask.types), ("key", &ask.keys)] {
        for filter in filters {
            query.append_pair(name, filter);
        }
    }
    // A name has no character that a path could not, but for the slash.
    let topic = ask.topic.as_str().replace('/', "%2F");
    let path = format!("/v1/topics/{topic}/events?{}", query.finish());
    if path.len() > PATH_BYTES_MAX {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "the read's types and keys make a request of {} bytes",
                path.len()
            ),
        )
        .next(format!("name fewer: at most {PATH_BYTES_MAX} bytes")));
    }
    Ok(path)
}

/// The path of a group, and of something at it.
fn group_path(topic: &TopicName, group: &GroupName, of: &str) -> String {
    // A name has no character that a path could not, but for the slash.
    let plain = |name: &str| name.replace('/', "%2F");
    let (topic, group) = (plain(topic.as_str()), plain(group.as_str()));
    format!("/v1/groups/{topic}/{group}{of}")
}

impl Store for HttpStore {
    fn commit(&self, commits: Vec<Commit>) -> PortFuture<'_, Result<Vec<Result<Committed>>>> {
        Box::pin(self.commit_all(commits))
    }

    fn lease(&self, ask: LeaseAsk) -> PortFuture<'_, Result<Vec<Leased>>> {
        Box::pin(async move {
            self.check_open()?;
            Asking::new(&self.client, &self.dropped, ask)?.await
        })
    }

    fn tail(&self, ask: TailJob) -> PortFuture<'_, Result<JobView>> {
        Box::pin(async move {
            let wait_ms = ask.wait_ms.min(limits::WAIT_MS_MAX);
            let path = format!("/v1/jobs/{}?wait={}", ask.id, wire::Span(wait_ms.into()));
            let wait = Duration::from_millis(wait_ms.into());
            self.get::<wire::JobView>(&path, wait).await?.read()
        })
    }

    fn read(&self, ask: TailTopic) -> PortFuture<'_, Result<TopicRead>> {
        Box::pin(async move {
            let wait = Duration::from_millis(ask.wait_ms.min(limits::WAIT_MS_MAX).into());
            let path = read_path(&ask)?;
            let answer = self.client.send(Question::get(&path).waiting(wait));
            Ok(
                match self
                    .until_closed(answer)
                    .await?
                    .read_or_gap::<wire::EventPage>()?
                {
                    Ok(page) => TopicRead::Page(page.read()?),
                    Err(gap) => TopicRead::Gap(gap.read()?),
                },
            )
        })
    }

    fn topics(&self) -> PortFuture<'_, Result<Vec<TopicView>>> {
        Box::pin(async move {
            let topics: wire::Topics = self.get("/v1/topics", NO_WAIT).await?;
            topics.topics.iter().map(wire::TopicView::read).collect()
        })
    }

    fn lease_events(&self, ask: EventAsk) -> PortFuture<'_, Result<LeasedEvents>> {
        Box::pin(async move {
            self.check_open()?;
            let wait_ms = ask.wait_ms.min(limits::WAIT_MS_MAX);
            let ask = EventAsk { wait_ms, ..ask };
            let asking = Asking::new(&self.client, &self.dropped, ask)?;
            self.until_closed(asking).await
        })
    }

    fn tail_group(&self, ask: TailGroup) -> PortFuture<'_, Result<GroupView>> {
        Box::pin(async move {
            let wait_ms = ask.wait_ms.min(limits::WAIT_MS_MAX);
            let mut path = group_path(&ask.topic, &ask.group, "");
            if let Some(position) = ask.passed {
                let wait = wire::Span(wait_ms.into());
                // A cursor says where to read on: behind the event that is to be passed.
                path.push_str(&format!("?passed={}&wait={wait}", position.plus(1)));
            }
            let wait = Duration::from_millis(wait_ms.into());
            let view = self.get::<wire::GroupView>(&path, wait);
            self.until_closed(view).await?.read()
        })
    }

    fn groups(&self) -> PortFuture<'_, Result<Vec<GroupView>>> {
        Box::pin(async move {
            let groups: wire::Groups = self.get("/v1/groups", NO_WAIT).await?;
            let groups = groups.groups.into_iter();
            groups.map(wire::GroupView::read).collect()
        })
    }

    fn kept(&self, ask: KeptAsk) -> PortFuture<'_, Result<KeptPage>> {
        Box::pin(async move {
            let of = if ask.dead { "/dead" } else { "/parked" };
            let mut path = group_path(&ask.topic, &ask.group, of);
            path.push_str(&format!("?max={}", ask.max.clamp(1, limits::PAGE_MAX)));
            if let Some(cursor) = ask.cursor {
                path.push_str(&format!("&cursor={cursor}"));
            }
            self.get::<wire::KeptPage>(&path, NO_WAIT).await?.read()
        })
    }

    fn job(&self, id: JobId) -> PortFuture<'_, Result<Option<JobView>>> {
        Box::pin(async move {
            match self
                .get::<wire::JobView>(&format!("/v1/jobs/{id}"), NO_WAIT)
                .await
            {
                Ok(job) => job.read().map(Some),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn jobs(
        &self,
        filter: JobFilter,
        cursor: Option<u64>,
        max: u32,
    ) -> PortFuture<'_, Result<JobPage>> {
        Box::pin(async move {
            let path = list_path(&filter, cursor, max);
            self.get::<wire::JobPage>(&path, NO_WAIT).await?.read()
        })
    }

    fn queues(&self) -> PortFuture<'_, Result<Vec<QueueView>>> {
        Box::pin(async move {
            let queues: wire::Queues = self.get("/v1/queues", NO_WAIT).await?;
            queues.queues.iter().map(wire::QueueView::read).collect()
        })
    }

    fn health(&self) -> PortFuture<'_, Result<Health>> {
        Box::pin(async move {
            self.check_open()?;
            let answer = self.client.send(Question::get("/readyz").plain()).await?;
            answer.read_any::<wire::Health>().map(wire::Health::read)
        })
    }

    fn close(&self) -> PortFuture<'_, Result<()>> {
        Box::pin(async move {
            self.closed.store(true, Ordering::Release);
            self.closing.notify_waiters();
            self.dropped.none().await;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::arrays;

    #[test]
    fn items_become_arrays_of_bounded_length() {
        assert!(arrays(&[]).is_empty());
        assert_eq!(arrays(&[b"1".to_vec(), b"2".to_vec()]), [b"[1,2]".to_vec()]);
        let large = vec![b'1'; 4 * 1024 * 1024];
        assert_eq!(arrays(&[large.clone(), large]).len(), 2);
    }
}
