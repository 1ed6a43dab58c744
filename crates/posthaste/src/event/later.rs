//! Publishing later: the event waits in a job, which publishes it in the commit that completes it.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posthaste_core::{Error, ErrorKind, JobId, NewEvent, Payload, Result, Text, TopicName, check};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::draft::{EventDraft, Parts};
use crate::context::Cx;
use crate::draft::Draft;
use crate::job::{Job, JobRule};
use crate::outcome::{Done, HandlerError, HandlerResult};

/// An event that waits to be published, in the words of `CloudEvents`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Later {
    topic: String,
    #[serde(rename = "type")]
    event_type: String,
    source: String,
    /// Where its publisher chose one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partitionkey: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, String)>,
    /// A payload in JSON.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "also_null"
    )]
    data: Option<Box<RawValue>>,
    /// Any other payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    datacontenttype: Option<String>,
}

/// The JSON `null` is a payload, and its absence is none.
fn also_null<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(from).map(Some)
}

impl Job for Later {
    const KIND: &'static str = "posthaste.publish";

    fn rule() -> &'static JobRule {
        static RULE: OnceLock<JobRule> = OnceLock::new();
        RULE.get_or_init(|| {
            JobRule::new(Self::KIND)
                .queue(Self::KIND)
                .keep_result(false)
        })
    }
}

/// Publishes what waited: the handler of a worker that [`publishes`](crate::Worker::publishes).
pub(crate) async fn publish_now(later: Later, cx: Cx) -> HandlerResult {
    let draft = later.into_draft(cx.id());
    let published = draft.and_then(|draft| cx.publish_with(draft));
    published.map_err(|error| HandlerError::new(error).dead())?;
    Done
}

impl EventDraft {
    /// The job that publishes this event: what [`Publish::after`](super::Publish::after) enqueues,
    /// to be given a delay and enqueued in a commit with others. It needs a worker that was built
    /// with [`publishes`](crate::Worker::publishes).
    ///
    /// ```
    /// # use posthaste::event::EventDraft;
    /// # use posthaste::{Event, Job, Posthaste, TimeUnits};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize, Job)]
    /// # struct Greet { user: u64 }
    /// # #[derive(Serialize, Deserialize, Event)]
    /// # struct TrialEnded { user: u64 }
    /// # async fn sign_up(hub: &Posthaste) -> posthaste::Result<()> {
    /// let ended = EventDraft::new(TrialEnded { user: 7 }).into_job().after(14.days());
    /// hub.commit().enqueue(Greet { user: 7 }).enqueue(ended).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_job(self) -> Draft {
        match self.0.and_then(Later::of) {
            Ok(later) => Draft::new(later),
            Err(error) => Draft::refused(error),
        }
    }
}

impl Later {
    fn of(parts: Parts) -> Result<Self> {
        let Parts { topic, mut event } = parts;
        let id = event.deduplicate.then(|| event.id.to_string());
        if id.is_none() {
            // It gets the job's, which is there when the job is.
            event.id = Text::from_static("later");
        }
        check::new_event(&event)?;
        let (data, data_base64, datacontenttype) = match event.payload {
            None => (None, None, None),
            Some(payload) => match payload.content_type {
                None => (Some(raw(&payload.bytes)?), None, None),
                Some(name) => (
                    None,
                    Some(STANDARD.encode(&payload.bytes)),
                    Some(name.to_string()),
                ),
            },
        };
        let headers = event.headers.iter();
        Ok(Self {
            topic: topic.to_string(),
            event_type: event.event_type.to_string(),
            source: event.source.to_string(),
            id,
            partitionkey: event.key.as_ref().map(ToString::to_string),
            headers: headers
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            data,
            data_base64,
            datacontenttype,
        })
    }

    fn into_draft(self, job: JobId) -> Result<EventDraft> {
        let payload = match (self.data, self.data_base64) {
            (Some(data), _) => Some(Payload::json(String::from(Box::<str>::from(data)))),
            (None, Some(data)) => {
                let bytes = STANDARD
                    .decode(data)
                    .map_err(|error| unreadable(&format!("data_base64 is not base64: {error}")))?;
                let name = self.datacontenttype.as_deref();
                Some(Payload::bytes(
                    name.unwrap_or("application/octet-stream"),
                    bytes,
                ))
            }
            (None, None) => None,
        };
        let event = NewEvent {
            deduplicate: self.id.is_some(),
            id: self.id.unwrap_or_else(|| job.to_string()).into(),
            event_type: self.event_type.into(),
            source: self.source.into(),
            key: self.partitionkey.map(Text::from),
            headers: self
                .headers
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            payload,
        };
        let topic = TopicName::new(&self.topic)?;
        Ok(EventDraft(Ok(Parts { topic, event })))
    }
}

fn raw(json: &[u8]) -> Result<Box<RawValue>> {
    serde_json::from_slice(json)
        .map_err(|error| unreadable(&format!("its payload is not JSON: {error}")))
}

fn unreadable(why: &str) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!("an event that waits to be published can't be read: {why}"),
    )
    .next("edit the job's payload, and redrive it")
}
