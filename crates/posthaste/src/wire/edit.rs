//! Changing a job that waits or is dead.

use posthaste_core::{Error, ErrorKind, JobId, Result, command};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Instant;
use super::job::read_priority;
use super::payload::{self, Written, present};

/// What to change of a waiting or dead job: `PATCH /v1/jobs/{id}`. What is absent stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// Another payload, as JSON.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub payload: Option<Box<RawValue>>,
    /// Another payload, as bytes in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// What the bytes are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Another rank, 1 to 9.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Another start (waiting jobs only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Instant>,
}

/// An [`Edit`] in a commit, with the job's id.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditJob {
    /// Which job.
    pub id: String,
    /// Another payload, as JSON.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub payload: Option<Box<RawValue>>,
    /// Another payload, as bytes in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// What the bytes are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Another rank, 1 to 9.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Another start (waiting jobs only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Instant>,
}

impl Edit {
    /// The port's edit.
    ///
    /// # Errors
    /// `Invalid`, naming the field; an edit that changes nothing is refused too.
    pub fn read(self) -> Result<command::Edit> {
        let written = Written {
            json: self.payload,
            base64: self.payload_base64,
            content_type: self.content_type,
        };
        let edit = command::Edit {
            payload: written.read("payload")?,
            priority: self.priority.map(read_priority).transpose()?,
            run_at: self.run_at.map(|at| at.0),
        };
        if edit == command::Edit::default() {
            return Err(Error::new(ErrorKind::Invalid, "the edit changes nothing")
                .next("give a payload, a priority or a run_at"));
        }
        Ok(edit)
    }
}

impl EditJob {
    pub(super) fn write(id: JobId, edit: &command::Edit) -> Self {
        let payload = edit
            .payload
            .as_ref()
            .map(payload::write)
            .unwrap_or_default();
        Self {
            id: id.to_string(),
            payload: payload.json,
            payload_base64: payload.base64,
            content_type: payload.content_type,
            priority: edit.priority.map(|priority| priority.get()),
            run_at: edit.run_at.map(Instant),
        }
    }
}
