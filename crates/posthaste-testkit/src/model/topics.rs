//! Topics: every event that was ever published, in one list for each, and what of it may be gone.

use posthaste_core::command::Reply;
use posthaste_core::error::{ErrorKind, Result};
use posthaste_core::ids::TopicName;
use posthaste_core::limits;
use posthaste_core::text::Text;
use posthaste_core::time::WallMs;
use posthaste_core::topic::{
    Event, NewEvent, Position, Published, TopicConfig, TopicSettings, TopicView, partition_of,
};

use super::{Model, refusal};

/// The model's history. A store has another, so that places are compared through the topics that
/// they are of.
const EPOCH: u32 = 1;

/// More bytes than an event costs a store beside its texts and its payload, in a file of its own at
/// worst. What is kept is promised in bytes, and not how they are counted.
const BYTES_BESIDE: u64 = 16 * 1024;

/// One topic and everything that was ever published to it.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub(super) name: TopicName,
    /// Never given twice.
    number: u32,
    pub(super) config: TopicConfig,
    created_at: WallMs,
    /// By position.
    pub(super) events: Vec<Kept>,
    remembered: Vec<Remembered>,
    /// What lies before this may have been taken by retention.
    pub(super) sure: u64,
}

/// An event, and whether it must still be there.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) event: Event,
    /// Compaction may have taken it.
    pub(super) may_miss: bool,
}

/// An event whose publisher chose its id.
#[derive(Clone, Debug)]
struct Remembered {
    source: Text,
    id: Text,
    place: Published,
    /// It is not forgotten before.
    at_least: WallMs,
    /// It is forgotten then, whatever was remembered before it.
    at_most: WallMs,
    /// It may be forgotten: the clock has shown `at_least`, and may have been set back since.
    fading: bool,
}

/// What is known of an event that was published before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// It is remembered.
    Sure,
    /// It may be remembered: a clock was set back.
    Open,
    /// It is forgotten, or never was.
    None,
}

impl Topic {
    pub(super) fn zero(&self) -> Position {
        Position {
            epoch: EPOCH,
            topic: self.number,
            sequence: 0,
        }
    }

    pub(super) fn end(&self) -> Position {
        self.zero().plus(self.events.len() as u64)
    }

    pub(super) fn next_offset(&self, partition: u16) -> u64 {
        let there = |kept: &&Kept| kept.event.partition == partition;
        self.events.iter().filter(there).count() as u64
    }

    fn memory(&self, source: &Text, id: &Text, wall: WallMs) -> Option<&Remembered> {
        let mut remembered = self.remembered.iter().rev();
        let found = remembered.find(|it| it.source == *source && it.id == *id)?;
        (wall < found.at_most).then_some(found)
    }

    fn publish(&mut self, new: &NewEvent, wall: WallMs, latest_memory: WallMs) -> Published {
        if new.deduplicate
            && let Some(known) = self.memory(&new.source, &new.id, wall)
        {
            return Published {
                existing: true,
                ..known.place
            };
        }
        let last = self.events.last().map(|kept| kept.event.at);
        let partition = partition_of(new.hash(), self.config.partitions);
        let event = Event {
            position: self.end(),
            partition,
            offset: self.next_offset(partition),
            at: last.unwrap_or(self.created_at).max(wall),
            id: new.id.clone(),
            event_type: new.event_type.clone(),
            source: new.source.clone(),
            key: new.key.clone(),
            headers: new.headers.clone(),
            payload: new.payload.clone(),
        };
        let place = Published {
            partition,
            offset: event.offset,
            position: event.position,
            existing: false,
        };
        if new.deduplicate {
            self.remembered.push(Remembered {
                source: new.source.clone(),
                id: new.id.clone(),
                place,
                at_least: wall.plus(limits::EVENT_MEMORY_MS),
                at_most: latest_memory.plus(limits::EVENT_MEMORY_MS),
                fading: false,
            });
        }
        self.events.push(Kept {
            event,
            may_miss: false,
        });
        place
    }

    /// Marks what the settings let go of by now. What may be gone stays so, whatever the clock or
    /// the settings say later.
    pub(super) fn fade(&mut self, wall: WallMs) {
        for remembered in &mut self.remembered {
            remembered.fading |= remembered.at_least <= wall;
        }
        let mut bytes = 0;
        for (newer, kept) in self.events.iter().rev().enumerate() {
            bytes += size(&kept.event);
            let config = self.config;
            let old = config.kept_ms > 0 && kept.event.at.plus(config.kept_ms) <= wall;
            let far = config.kept_events > 0 && newer as u64 >= config.kept_events;
            let much = config.kept_bytes > 0 && bytes > config.kept_bytes;
            if old || far || much {
                self.sure = self.sure.max(kept.event.position.sequence + 1);
                break;
            }
        }
        if self.config.compacted {
            for index in 0..self.events.len() {
                let may_miss = self.is_replaced(index) || self.is_old_tombstone(index, wall);
                self.events[index].may_miss |= may_miss;
            }
        }
    }

    fn is_replaced(&self, index: usize) -> bool {
        let key = &self.events[index].event.key;
        let mut newer = self.events[index + 1..].iter();
        key.is_some() && newer.any(|kept| kept.event.key == *key)
    }

    fn is_old_tombstone(&self, index: usize, wall: WallMs) -> bool {
        let event = &self.events[index].event;
        event.payload.is_none() && event.at.plus(self.config.tombstones_kept_ms) <= wall
    }

    fn view(&self) -> TopicView {
        let kept = self.events.iter().filter(|kept| {
            let sure = kept.event.position.sequence >= self.sure;
            sure && !kept.may_miss
        });
        TopicView {
            name: self.name.clone(),
            config: self.config,
            created_at: self.created_at,
            earliest: self.zero().at(self.sure),
            end: self.end(),
            next_offsets: (0..self.config.partitions)
                .map(|partition| self.next_offset(partition))
                .collect(),
            events: kept.clone().count() as u64,
            bytes: kept.map(|kept| size(&kept.event)).sum(),
        }
    }
}

fn size(event: &Event) -> u64 {
    let headers = event.headers.iter();
    let texts = headers.map(|(name, value)| name.len() + value.len());
    let texts = texts.sum::<usize>() + event.id.len() + event.event_type.len();
    let texts = texts + event.source.len() + event.key.as_ref().map_or(0, Text::len);
    let payload = event.payload.as_ref().map_or(0, |it| it.bytes.len());
    (texts + payload) as u64 + BYTES_BESIDE
}

impl Model {
    pub(super) fn topic(&self, name: &TopicName) -> Result<&Topic> {
        let found = self.topics.iter().find(|topic| topic.name == *name);
        found.ok_or_else(|| refusal(ErrorKind::NotFound, "there is no such topic"))
    }

    fn make_topic(&mut self, name: &TopicName, config: TopicConfig) {
        self.last_topic += 1;
        self.topics.push(Topic {
            name: name.clone(),
            number: self.last_topic,
            config,
            created_at: self.now.wall,
            events: Vec::new(),
            remembered: Vec::new(),
            sure: 0,
        });
    }

    pub(super) fn publish(&mut self, name: &TopicName, events: &[NewEvent]) -> Result<Reply> {
        if self.topic(name).is_err() {
            self.make_topic(name, TopicConfig::default());
        }
        let wall = self.now.wall;
        self.latest_memory = self.latest_memory.max(wall);
        let latest = self.latest_memory;
        let mut places = Vec::new();
        for topic in self.topics.iter_mut().filter(|topic| topic.name == *name) {
            places.extend(events.iter().map(|it| topic.publish(it, wall, latest)));
            topic.fade(wall);
        }
        Ok(Reply::Published(places.into()))
    }

    pub(super) fn set_topic(
        &mut self,
        name: &TopicName,
        settings: &TopicSettings,
    ) -> Result<Reply> {
        let wall = self.now.wall;
        let Some(topic) = self.topics.iter_mut().find(|topic| topic.name == *name) else {
            self.make_topic(name, settings.over(TopicConfig::default()));
            return Ok(Reply::Configured);
        };
        let config = settings.over(topic.config);
        if config.partitions != topic.config.partitions {
            return Err(refusal(ErrorKind::Conflict, "its partitions are fixed"));
        }
        topic.config = config;
        topic.fade(wall);
        Ok(Reply::Configured)
    }

    pub(super) fn delete_topic(&mut self, name: &TopicName) -> Result<Reply> {
        self.topic(name)?;
        self.topics.retain(|topic| topic.name != *name);
        self.groups.retain(|group| group.topic != *name);
        Ok(Reply::Deleted)
    }

    /// Every topic, by name. What may be gone is not counted.
    #[must_use]
    pub fn topic_views(&self) -> Vec<TopicView> {
        let mut views: Vec<TopicView> = self.topics.iter().map(Topic::view).collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    /// Whether an event of that source and id is remembered.
    #[must_use]
    pub fn memory(&self, name: &TopicName, source: &Text, id: &Text) -> Memory {
        let topic = self.topics.iter().find(|topic| topic.name == *name);
        let found = topic.and_then(|topic| topic.memory(source, id, self.now.wall));
        match found {
            Some(found) if found.fading => Memory::Open,
            Some(_) => Memory::Sure,
            None => Memory::None,
        }
    }
}

pub(super) fn check_settings(settings: &TopicSettings) -> Result<()> {
    let partitions = settings.partitions.unwrap_or(1);
    let ages = [settings.kept_ms, settings.tombstones_kept_ms];
    if partitions == 0 || partitions > limits::PARTITIONS_MAX {
        Err(refusal(ErrorKind::Invalid, "the partitions are 1 to 256"))
    } else if ages.iter().flatten().any(|ms| *ms > limits::DELAY_MS_MAX) {
        Err(refusal(ErrorKind::Invalid, "it is kept too long"))
    } else {
        Ok(())
    }
}

pub(super) fn check_events(events: &[NewEvent]) -> Result<()> {
    if events.is_empty() {
        return Err(refusal(ErrorKind::Invalid, "there is no event"));
    }
    events.iter().try_for_each(check_event)
}

fn check_event(event: &NewEvent) -> Result<()> {
    let texts = [
        Some(&event.id),
        Some(&event.event_type),
        Some(&event.source),
        event.key.as_ref(),
    ];
    let short = |text: &Text| (1..=limits::EVENT_TEXT_BYTES_MAX).contains(&text.len());
    let bytes = event.payload.as_ref().map_or(0, |it| it.bytes.len());
    let headers = &event.headers;
    let twice = |index: usize| headers[..index].iter().any(|it| it.0 == headers[index].0);
    if !texts.into_iter().flatten().all(|it| short(it) && plain(it)) {
        Err(refusal(ErrorKind::Invalid, "a text is not as it should be"))
    } else if event.payload.is_none() && event.key.is_none() {
        Err(refusal(ErrorKind::Invalid, "neither a payload nor a key"))
    } else if bytes > limits::EVENT_BYTES_MAX {
        Err(refusal(ErrorKind::TooLarge, "the payload is too large"))
    } else if headers.len() > limits::HEADERS_MAX || !headers.iter().all(is_header) {
        Err(refusal(
            ErrorKind::Invalid,
            "a header is not as it should be",
        ))
    } else if (0..headers.len()).any(twice) {
        Err(refusal(ErrorKind::Invalid, "a header is there twice"))
    } else {
        Ok(())
    }
}

fn plain(text: &Text) -> bool {
    !text.chars().any(char::is_control)
}

fn is_header((name, value): &(Text, Text)) -> bool {
    let attributes = [
        "specversion",
        "id",
        "source",
        "type",
        "datacontenttype",
        "partitionkey",
        "data",
    ];
    let of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let named = (1..=limits::NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(of_name);
    let own = !attributes.contains(&name.as_str());
    named && own && value.len() <= limits::HEADER_BYTES_MAX && plain(value)
}
