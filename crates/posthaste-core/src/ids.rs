//! Names and numbers, each of its own type so that none is taken for another.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

use crate::error::{Error, ErrorKind};
use crate::limits;

/// The id of a job: a UUIDv7, minted by whoever accepts the job and a plain value to the core.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(Uuid);

impl JobId {
    /// An id for a job accepted at `unix_ms`, with `random` to tell it from its neighbours.
    #[must_use]
    pub fn new(unix_ms: u64, random: [u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid())
    }

    /// The id whose bytes these are.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The sixteen bytes of the id, in the order of its text form.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for JobId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Uuid::try_parse(text).map(Self).map_err(|_| {
            Error::new(ErrorKind::Invalid, format!("{text:?} is not a job id")).next(
                "give the UUID that enqueue answered, such as 01890a5d-ac96-774b-bcce-b302099a8057",
            )
        })
    }
}

/// Fences a lease off from every earlier one. One counter for the store; only rises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

macro_rules! name {
    ($type:ident, $word:literal, $doc:literal) => {
        #[doc = $doc]
        ///
        /// One to 128 bytes of letters, digits and `. _ - : /`. Cheap to clone.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks and wraps `name`.
            ///
            /// # Errors
            /// [`ErrorKind::Invalid`] when it is empty, too long, or has a character that a name
            /// may not have.
            pub fn new(name: &str) -> Result<Self, Error> {
                check_name($word, name)?;
                Ok(Self(Arc::from(name)))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl FromStr for $type {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(QueueName, "queue", "The name of a queue.");
name!(
    KindName,
    "kind",
    "The kind of a job: which handler it is for."
);
name!(TopicName, "topic", "The name of a topic of events.");
name!(
    GroupName,
    "group",
    "The name of a consumer group of a topic."
);
name!(WorkerName, "worker", "The name a worker gives itself.");
name!(Tag, "tag", "A word on a job, to find it by.");

fn check_name(word: &str, name: &str) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '/');
    let problem = if name.is_empty() {
        format!("the {word} is empty")
    } else if name.len() > limits::NAME_BYTES_MAX {
        format!("the {word} is {} bytes long", name.len())
    } else if let Some(bad) = name.chars().find(|c| !allowed(*c)) {
        format!("the {word} {name:?} has the character {bad:?}")
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Invalid, problem).next(format!(
        "use 1 to {} letters, digits and . _ - : /",
        limits::NAME_BYTES_MAX
    )))
}
