//! One topic, by its name: settings, reading on, and being forgotten.

use posthaste_core::{Command, Commit, Result, TopicName};

use super::{Event, Tail, TailOf, TopicSettings, TopicView};
use crate::hub::Posthaste;

/// A topic of a hub, by its name; whether it is there is asked when something is done with it. Cheap
/// to clone.
///
/// A name that can't be one is reported then too.
#[derive(Clone, Debug)]
pub struct Topic {
    pub(super) hub: Posthaste,
    pub(super) name: Result<TopicName>,
}

impl Posthaste {
    /// The topic of this name: 1 to 128 letters, digits and `. _ - : /`.
    ///
    /// ```
    /// # use posthaste::event::{Compression, TopicSettings};
    /// # use posthaste::Posthaste;
    /// # async fn set_up(hub: &Posthaste) -> posthaste::Result<()> {
    /// let settings = TopicSettings {
    ///     partitions: Some(16),
    ///     kept_ms: Some(30 * 24 * 3_600_000),
    ///     compression: Some(Compression::Lz4),
    ///     ..TopicSettings::default()
    /// };
    /// hub.topic("orders").set(settings).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn topic(&self, name: &str) -> Topic {
        Topic {
            hub: self.clone(),
            name: TopicName::new(name),
        }
    }

    /// The topic of an event's type: see [`topic`](Self::topic).
    #[must_use]
    pub fn topic_of<E: Event>(&self) -> Topic {
        self.topic(E::TOPIC)
    }

    /// Reads a type's events on from a position of its topic: short for [`topic_of`](Self::topic_of)
    /// and [`Topic::tail_of`].
    pub fn tail_of<E: Event>(&self) -> TailOf<E> {
        self.topic_of::<E>().tail_of()
    }

    /// Every topic, by name, with its settings and what it holds.
    ///
    /// # Errors
    /// What the store says: `Closed`, `Unavailable`.
    pub async fn topics(&self) -> Result<Vec<TopicView>> {
        self.store().topics().await
    }
}

impl Topic {
    /// Sets what is given of the topic's settings; makes the topic where there is none. How many
    /// partitions it has is fixed once it is there, for keys would move.
    ///
    /// # Errors
    /// `Invalid` for a name or a number that can't be one; `Conflict` for another number of
    /// partitions than it has; `Busy` where there are 10,000 topics; what the store adds. Safe to
    /// repeat.
    pub async fn set(&self, settings: TopicSettings) -> Result<()> {
        let topic = self.name.clone()?;
        let command = Command::SetTopic { topic, settings };
        self.hub.apply(Commit::one(command)).await.map(drop)
    }

    /// Forgets the topic and every event of it. A topic of the same name that is made later is
    /// another one: cursors into this one then tell a [`Gap`](super::Gap).
    ///
    /// # Errors
    /// `NotFound` where there is none; what the store adds.
    pub async fn delete(&self) -> Result<()> {
        let command = Command::DeleteTopic(self.name.clone()?);
        self.hub.apply(Commit::one(command)).await.map(drop)
    }

    /// The topic's settings and what it holds. `None` where there is none.
    ///
    /// # Errors
    /// `Invalid` for a name that can't be one; what the store says: `Closed`, `Unavailable`.
    pub async fn view(&self) -> Result<Option<TopicView>> {
        let name = self.name.clone()?;
        let topics = self.hub.topics().await?;
        Ok(topics.into_iter().find(|topic| topic.name == name))
    }

    /// Reads the topic on from a position: see [`Tail`].
    pub fn tail(&self) -> Tail {
        Tail::new(&self.hub, self.name.clone())
    }

    /// Reads events of a type on from a position: see [`TailOf`].
    pub fn tail_of<E: Event>(&self) -> TailOf<E> {
        TailOf::new(self.tail())
    }
}
