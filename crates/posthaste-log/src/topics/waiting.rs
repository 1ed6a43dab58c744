//! Who waits for the next event of a topic. Bounded; whoever hung up is forgotten when its topic is
//! published to, at its end, or when its place is needed.

use std::collections::{BTreeMap, BTreeSet};

use posthaste_core::{Error, ErrorKind, MonoMs, Result, limits};

#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// By topic and turn: when each stops waiting, and how it is told.
    waiting: BTreeMap<(u32, u64), (MonoMs, oneshot::Sender<()>)>,
    ends: BTreeSet<(MonoMs, u32, u64)>,
    next: u64,
}

impl Waiting {
    /// Has one wait. Says too whether it is the one whose wait is over first.
    pub(super) fn add(
        &mut self,
        topic: u32,
        until: MonoMs,
    ) -> Result<(oneshot::Receiver<()>, bool)> {
        if self.waiting.len() >= limits::WAITS_MAX {
            self.forget_hung_up();
        }
        if self.waiting.len() >= limits::WAITS_MAX {
            return Err(Error::new(
                ErrorKind::Busy,
                format!("{} wait for events already", limits::WAITS_MAX),
            )
            .next("try again later, or read without waiting")
            .retry_after_ms(1_000));
        }
        let (tell, told) = oneshot::channel();
        self.next += 1;
        self.waiting.insert((topic, self.next), (until, tell));
        let nearer = self.ends.first().is_none_or(|(first, ..)| until < *first);
        self.ends.insert((until, topic, self.next));
        Ok((told, nearer))
    }

    /// Wakes whoever waits for this topic.
    pub(super) fn wake(&mut self, topic: u32) {
        while let Some((key, _)) = self.waiting.range((topic, 0)..=(topic, u64::MAX)).next() {
            let key = *key;
            self.tell(key);
        }
    }

    pub(super) fn wake_all(&mut self) {
        while let Some((key, _)) = self.waiting.first_key_value() {
            let key = *key;
            self.tell(key);
        }
    }

    /// Wakes those whose wait is over.
    pub(super) fn end(&mut self, now: MonoMs) {
        while let Some((until, topic, turn)) = self.ends.first().copied()
            && until <= now
        {
            self.tell((topic, turn));
        }
    }

    pub(super) fn next_end_ms(&self, now: MonoMs) -> Option<u64> {
        self.ends.first().map(|(until, ..)| until.since(now))
    }

    fn tell(&mut self, key: (u32, u64)) {
        if let Some((until, tell)) = self.waiting.remove(&key) {
            self.ends.remove(&(until, key.0, key.1));
            let _hung_up = tell.send(());
        }
    }

    fn forget_hung_up(&mut self) {
        let ends = &mut self.ends;
        self.waiting.retain(|(topic, turn), (until, tell)| {
            let gone = tell.is_closed();
            if gone {
                ends.remove(&(*until, *topic, *turn));
            }
            !gone
        });
    }
}
