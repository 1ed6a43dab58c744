//! What scripts say of topics.

use posthaste_core::machine::{Action, Hashes};
use posthaste_core::time::WallMs;
use posthaste_core::topic::{Compression, TopicSettings};

use super::{EPOCH, Story, Words, join};

impl Story {
    /// Every topic: its number, the next offset of each partition, when it was made and last
    /// published to.
    pub(super) fn topics(&self) -> String {
        let topics = self.machine.topics();
        join(topics.by_number.iter().map(|(number, is)| {
            assert_eq!(self.machine.topic(&is.name).map(|of| of.0), Some(*number));
            let next: Vec<_> = is.offsets.iter().map(u64::to_string).collect();
            let made = is.created_at.since(WallMs(EPOCH));
            let last = is.last_at.since(WallMs(EPOCH));
            let next = next.join(" ");
            format!("{}#{number} {next} from {made} to {last}", is.name)
        }))
    }

    /// `publish orders to=0 to=3`: two events, whose hashes are 0 and 3. `id=x`: its publisher chose
    /// the id.
    pub(super) fn publish(&mut self, words: &Words<'_>) -> Action<'static> {
        let hashes = words.0.iter().filter_map(|word| word.strip_prefix("to="));
        let hashes = hashes.flat_map(|hash| hash.parse::<u32>().expect("a hash").to_le_bytes());
        let topic = words.name();
        Action::Publish {
            topic,
            place: self.place(),
            hashes: Hashes(hashes.collect::<Vec<_>>().leak()),
            seen: words.text("id").map(|id| {
                let mut digest = [id.as_bytes()[0]; 12];
                digest[0] = topic.as_bytes()[0];
                digest
            }),
        }
    }

    pub(super) fn set_topic(words: &Words<'_>) -> Action<'static> {
        Action::SetTopic {
            topic: words.name(),
            settings: Box::leak(Box::new(TopicSettings {
                partitions: words
                    .number("partitions")
                    .map(|n| u16::try_from(n).expect("small")),
                kept_events: words.number("kept"),
                compression: words.has("lz4").then_some(Compression::Lz4),
                ..TopicSettings::default()
            })),
        }
    }
}
