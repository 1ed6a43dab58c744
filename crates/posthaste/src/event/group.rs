//! One consumer group, by its topic and its name: how far it is, what it keeps, and what people do
//! with it.

use std::time::Duration;

use posthaste_core::group::{GroupSettings, GroupView, KeptPage, Unparking, Which};
use posthaste_core::port::{KeptAsk, TailGroup};
use posthaste_core::topic::hash_of;
use posthaste_core::{
    Command, Commit, Error, ErrorKind, GroupName, Position, Reply, Result, TopicName, WallMs,
};

use super::reached::Reached;
use super::reset::ResetGroup;
use super::standing::oldest;
use super::{Event, ReadFrom, Topic};
use crate::consumer::Consumer;
use crate::hub::Posthaste;

/// A consumer group of a topic, by its name; whether it is there is asked when something is done with
/// it. Cheap to clone.
///
/// A group handles each event of its topic once, whoever of its members does it; every group handles
/// all events. Names that can't be are reported when something is done.
///
/// ```
/// use posthaste::event::{GroupSettings, OnExhausted, ReadFrom};
/// # use posthaste::{Posthaste, TimeUnits};
/// # async fn operate(hub: &Posthaste) -> posthaste::Result<()> {
/// # hub.topic("orders").set(Default::default()).await?;
/// let billing = hub.group("orders", "billing");
/// let settings = GroupSettings {
///     max_attempts: Some(10),
///     on_exhausted: Some(OnExhausted::Dead),
///     ..GroupSettings::default()
/// };
/// billing.make(Some(ReadFrom::Earliest), settings).await?;
///
/// let lag = billing.lag().await?;
/// println!("{} events behind, for {:?}", lag.events, lag.behind);
/// println!("{:?}", billing.reset(ReadFrom::Earliest).dry_run().await?);
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
/// #     .block_on(async { operate(&Posthaste::open("memory:").await.unwrap()).await }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Group {
    hub: Posthaste,
    topic: Result<TopicName>,
    name: Result<GroupName>,
}

/// How far a group is behind its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupLag {
    /// Events between its position and the end of the topic.
    pub events: u64,
    /// When the first of them was published that is still there.
    pub oldest: Option<WallMs>,
    /// How long ago that is, by the clock of this hub: zero where the group is through.
    pub behind: Duration,
}

impl Posthaste {
    /// The group of this name on this topic: see [`Group`]. The name has 1 to 128 letters, digits and
    /// `. _ - : /`.
    #[must_use]
    pub fn group(&self, topic: &str, group: &str) -> Group {
        Group::new(self, topic, group)
    }

    /// The group of this name on the topic of an event's type.
    #[must_use]
    pub fn group_of<E: Event>(&self, group: &str) -> Group {
        self.group(E::TOPIC, group)
    }

    /// Every group, by topic and name, with its settings, its members and how far it is.
    ///
    /// # Errors
    /// What the store says: `Closed`, `Unavailable`.
    pub async fn groups(&self) -> Result<Vec<GroupView>> {
        self.store().groups().await
    }
}

impl Topic {
    /// The group of this name on the topic.
    #[must_use]
    pub fn group(&self, group: &str) -> Group {
        Group {
            hub: self.hub.clone(),
            topic: self.name.clone(),
            name: GroupName::new(group),
        }
    }
}

/// The events of this key, among those that a group keeps: for [`Group::release`], [`Group::skip`] and
/// [`Group::redrive`]. Keys are told apart by 32 bits: one that shares them comes along.
#[must_use]
pub fn of_key(key: &str) -> Which {
    Which::Key(hash_of(key.as_bytes()))
}

impl Group {
    pub(crate) fn new(hub: &Posthaste, topic: &str, group: &str) -> Self {
        Self {
            hub: hub.clone(),
            topic: TopicName::new(topic),
            name: GroupName::new(group),
        }
    }

    pub(crate) fn hub(&self) -> &Posthaste {
        &self.hub
    }

    pub(crate) fn names(&self) -> Result<(TopicName, GroupName)> {
        Ok((self.topic.clone()?, self.name.clone()?))
    }

    /// Begins a consumer: a member of the group that handles its events.
    pub fn consumer(&self) -> Consumer {
        Consumer::new(self.clone())
    }

    async fn apply(
        &self,
        command: impl FnOnce(TopicName, GroupName) -> Command,
    ) -> Result<Vec<Reply>> {
        let (topic, group) = self.names()?;
        self.hub.apply(Commit::one(command(topic, group))).await
    }

    /// Makes the group where there is none, to begin at `from` (`None` is the latest); sets what is
    /// given of its settings. `from` has no effect on a group that is there.
    ///
    /// # Errors
    /// `NotFound` where there is no such topic; `Invalid` for a name or a number that can't be one, and
    /// for a place past the end; `Busy` where there are 10,000 groups; what the store adds. Safe to
    /// repeat.
    pub async fn make(&self, from: Option<ReadFrom>, settings: GroupSettings) -> Result<()> {
        let make = |topic, group| Command::SetGroup {
            topic,
            group,
            settings,
            from,
        };
        self.apply(make).await.map(drop)
    }

    /// Sets what is given of the group's settings.
    ///
    /// # Errors
    /// `NotFound` where there is no such group; `Invalid` for a number that can't be one; what the
    /// store adds.
    pub async fn set(&self, settings: GroupSettings) -> Result<()> {
        // Setting makes a group where there is none; whoever sets one means one that is there.
        self.look().await?;
        self.make(None, settings).await
    }

    /// Has the group hand out nothing until it is resumed. What members have goes on.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub async fn pause(&self) -> Result<()> {
        self.set_paused(true).await
    }

    /// Has a paused group go on.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub async fn resume(&self) -> Result<()> {
        self.set_paused(false).await
    }

    async fn set_paused(&self, paused: bool) -> Result<()> {
        let settings = GroupSettings {
            paused: Some(paused),
            ..GroupSettings::default()
        };
        self.set(settings).await
    }

    /// Forgets the group, its parked events and its dead letters.
    ///
    /// # Errors
    /// `NotFound` where there is none; what the store adds.
    pub async fn delete(&self) -> Result<()> {
        let delete = |topic, group| Command::DeleteGroup { topic, group };
        self.apply(delete).await.map(drop)
    }

    /// The group's settings, its members and how far it is. `None` where there is none.
    ///
    /// # Errors
    /// `Invalid` for a name that can't be one; what the store says: `Closed`, `Unavailable`.
    pub async fn view(&self) -> Result<Option<GroupView>> {
        match self.look().await {
            Ok(view) => Ok(Some(view)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn look(&self) -> Result<GroupView> {
        self.tail(None, 0).await
    }

    pub(super) async fn tail(&self, passed: Option<Position>, wait_ms: u32) -> Result<GroupView> {
        let (topic, group) = self.names()?;
        let ask = TailGroup {
            topic,
            group,
            passed,
            wait_ms,
        };
        self.hub.store().tail_group(ask).await
    }

    /// How far the group is behind its topic, in events and in time. Reads one event.
    ///
    /// # Errors
    /// `NotFound` where there is no such group; what the store says.
    pub async fn lag(&self) -> Result<GroupLag> {
        let view = self.look().await?;
        let oldest = oldest(&**self.hub.store(), &view).await?;
        let ms = oldest.map_or(0, |at| self.hub.now().0.saturating_sub(at.0));
        Ok(GroupLag {
            events: view.lag,
            oldest,
            behind: Duration::from_millis(ms),
        })
    }

    /// Waits until the group has passed the event at `position`: see [`Reached`].
    pub fn reached(&self, position: Position) -> Reached {
        Reached::new(self, position)
    }

    /// Has the group go on elsewhere: see [`ResetGroup`]. Parked events and dead letters stay.
    pub fn reset(&self, to: ReadFrom) -> ResetGroup {
        ResetGroup::new(self, to)
    }

    /// One page of the parked events, in the order of publication, going on from `cursor`, at most
    /// `max` (1000).
    ///
    /// # Errors
    /// `NotFound` where there is no such group; `Corrupt`, `Closed`, `Unavailable`.
    pub async fn parked(&self, cursor: Option<u64>, max: u32) -> Result<KeptPage> {
        self.kept(false, cursor, max).await
    }

    /// One page of the dead letters: see [`parked`](Self::parked).
    ///
    /// # Errors
    /// As [`parked`](Self::parked).
    pub async fn dead(&self, cursor: Option<u64>, max: u32) -> Result<KeptPage> {
        self.kept(true, cursor, max).await
    }

    async fn kept(&self, dead: bool, cursor: Option<u64>, max: u32) -> Result<KeptPage> {
        let (topic, group) = self.names()?;
        let ask = KeptAsk {
            topic,
            group,
            dead,
            cursor,
            max,
        };
        self.hub.store().kept(ask).await
    }

    /// Has parked events handled again, in order and with all their attempts; tells how many. Those
    /// that wait behind one that stays parked stay too.
    ///
    /// # Errors
    /// `NotFound` where there is no such group, or none at that position; what the store adds. Where it
    /// breaks off, some were released: it goes by 500.
    pub async fn release(&self, which: Which) -> Result<u64> {
        self.move_all(which, |topic, group| Command::Unpark {
            topic,
            group,
            which,
            how: Unparking::Release,
        })
        .await
    }

    /// Forgets parked events; tells how many.
    ///
    /// # Errors
    /// As [`release`](Self::release).
    pub async fn skip(&self, which: Which) -> Result<u64> {
        self.move_all(which, |topic, group| Command::Unpark {
            topic,
            group,
            which,
            how: Unparking::Skip,
        })
        .await
    }

    /// Has dead letters handled again, with all their attempts; tells how many. Their keys have moved
    /// on: they come after what was handled since.
    ///
    /// # Errors
    /// As [`release`](Self::release).
    pub async fn redrive(&self, which: Which) -> Result<u64> {
        self.move_all(which, |topic, group| Command::Redrive {
            topic,
            group,
            which,
        })
        .await
    }

    async fn move_all(
        &self,
        which: Which,
        command: impl Fn(TopicName, GroupName) -> Command,
    ) -> Result<u64> {
        // What is parked while this runs does not keep it going for ever.
        let mut most = None;
        let mut moved = 0;
        loop {
            let replies = self.apply(&command).await?;
            let Some(Reply::EventsMoved { events, left }) = replies.first() else {
                return Err(Error::new(
                    ErrorKind::Uncertain,
                    "the store did not say how many events it moved",
                )
                .next("list them to see whether they are still there"));
            };
            moved += u64::from(*events);
            let most = *most.get_or_insert(u64::from(*events) + u64::from(*left));
            if *left == 0 || *events == 0 || moved >= most || matches!(which, Which::At(_)) {
                return Ok(moved);
            }
        }
    }
}
