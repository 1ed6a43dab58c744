//! Types that are events.

use posthaste_core::{Error, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::RawEvent;

/// The header that tells which shape an event's payload has, as a whole number.
///
/// Every event that is published from a type has it; one that was published otherwise may not.
pub const DATA_VERSION: &str = "dataversion";

/// A type that is an event: its value is the payload.
///
/// Usually derived, with [`#[derive(Event)]`](derive@crate::Event). A type, a topic or a source that
/// can't be one is refused when the type is compiled, a key that isn't a field or can't be written
/// as text too:
///
/// ```compile_fail
/// # use posthaste::Event;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)]
/// # struct Opaque;
/// #[derive(Serialize, Deserialize, Event)]
/// #[event(key = "order")] // `Opaque` doesn't implement `Display`
/// struct OrderPlaced { order: Opaque }
/// ```
///
/// By hand:
///
/// ```
/// use posthaste::Event;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Moved { region: String, shelf: u32 }
///
/// impl Event for Moved {
///     const TYPE: &'static str = "shelf.moved";
///     const TOPIC: &'static str = "shelves";
///     const SOURCE: &'static str = "warehouse";
///     const VERSION: u32 = 1;
///
///     fn key(&self) -> Option<String> {
///         Some(format!("{}/{}", self.region, self.shelf))
///     }
/// }
/// ```
pub trait Event: Serialize + DeserializeOwned + Send + 'static {
    /// What happened, such as `order.placed`; 1 to 255 bytes.
    const TYPE: &'static str;

    /// Where it is published, unless a publish says otherwise: 1 to 128 letters, digits and
    /// `. _ - : /`.
    const TOPIC: &'static str;

    /// Which shape the payload has, from 1; told in the header [`DATA_VERSION`]. Raise it when the
    /// shape changes. Readers are told of it and decide; nothing is refused for its version.
    const VERSION: u32;

    /// Who tells it; 1 to 255 bytes. A URI reference, in the words of `CloudEvents`.
    const SOURCE: &'static str;

    /// The key: events of one key lie in one partition, and are handled in order. 1 to 255 bytes;
    /// `None` has no order to keep.
    fn key(&self) -> Option<String>;
}

/// An event that was read into its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypedEvent<E> {
    /// What it carries.
    pub data: E,
    /// The event as it was published: where it lies, its key, its headers.
    pub event: RawEvent,
}

impl<E> TypedEvent<E> {
    /// The version of the payload's shape, where its publisher told one: see [`DATA_VERSION`].
    #[must_use]
    pub fn version(&self) -> Option<u32> {
        self.event.header(DATA_VERSION)?.parse().ok()
    }
}

/// Reads a payload into its type.
pub(crate) fn decode<E: Event>(event: &RawEvent) -> Result<E> {
    let read = match &event.payload {
        Some(payload) => match &payload.content_type {
            None => serde_json::from_slice(&payload.bytes).map_err(|error| error.to_string()),
            Some(other) => Err(format!("its payload is {other}, not JSON")),
        },
        None => Err("it has no payload".to_owned()),
    };
    read.map_err(|why| {
        let version = event.header(DATA_VERSION).unwrap_or("none");
        Error::new(
            ErrorKind::Invalid,
            format!(
                "the event {:?} at {} is not a {} of version {}: {why}",
                event.id,
                event.position,
                E::TYPE,
                E::VERSION
            ),
        )
        .next(format!(
            "its version is {version}; read it with the type that published it"
        ))
    })
}
