//! What scripts say of groups.

use posthaste_core::backoff::Backoff;
use posthaste_core::group::{GroupSettings, OnExhausted, Unparking, Which};
use posthaste_core::ids::Token;
use posthaste_core::machine::{
    Action, EventClaim, EventEnding, EventState, Fact, Feed, Keep, Place, SavedGroup, SavedKept,
    TopicChange, Unfinished,
};
use posthaste_core::time::WallMs;

use super::{EPOCH, Story, Words, join};

fn small(number: u64) -> u32 {
    u32::try_from(number).expect("small")
}

/// The number behind a `#`.
fn token(word: &str) -> Option<Token> {
    let number = word.strip_prefix('#')?;
    Some(Token(number.parse().expect("a token")))
}

impl Words<'_> {
    fn member(&self) -> Option<Token> {
        self.0.iter().find_map(|word| token(word))
    }

    fn spot(&self) -> (&'static str, &'static str) {
        let leak = |word: &str| -> &'static str { Box::leak(word.to_owned().into_boxed_str()) };
        (leak(self.0[1]), leak(self.0[2]))
    }

    fn which(&self) -> Which {
        match (self.number("at"), self.number("key")) {
            (Some(position), _) => Which::At(position),
            (_, Some(hash)) => Which::Key(small(hash)),
            _ => Which::All,
        }
    }
}

impl Story {
    /// `take orders billing #5 max=3`: what a member is handed.
    pub(super) fn take(&mut self, words: &Words<'_>) -> String {
        self.read_on(None);
        let (topic, group) = words.spot();
        let claim = EventClaim {
            topic,
            group,
            token: words.member(),
            member: words.text("name").unwrap_or("m"),
            max: words.number("max").map_or(10, small),
            lease_ms: words.number("for").map_or(100, small),
            local: words.has("local"),
        };
        let (before, mut grants) = (self.facts.len(), Vec::new());
        let told = self
            .machine
            .lease_events(&claim, self.moment, &mut self.facts, &mut grants);
        let token = match told {
            Ok(token) => {
                // What comes up is read for who has joined, and waits.
                self.read_on(None);
                let claim = EventClaim {
                    token: Some(token),
                    max: claim.max - small(grants.len() as u64),
                    ..claim
                };
                let again =
                    self.machine
                        .lease_events(&claim, self.moment, &mut self.facts, &mut grants);
                again.expect("a member may ask again")
            }
            Err(refusal) => {
                assert_eq!(self.facts.len(), before, "refused, and yet true");
                return format!("{refusal:?}");
            }
        };
        let told = grants.iter().map(|grant| {
            let mut told = grant.position.to_string();
            if grant.attempt > 1 {
                told = format!("{told} attempt {}", grant.attempt);
            }
            if grant.crashes > 0 {
                told = format!("{told} crashes {}", grant.crashes);
            }
            if grant.place.is_some() {
                told += " copy";
            }
            told
        });
        format!("#{token}: {}", join(told))
    }

    /// `join orders billing`: asks for nothing.
    pub(super) fn join(&mut self, words: &Words<'_>) -> String {
        let (topic, group) = words.spot();
        let claim = EventClaim {
            topic,
            group,
            token: words.member(),
            member: "m",
            max: 0,
            lease_ms: 100,
            local: false,
        };
        let token =
            self.machine
                .lease_events(&claim, self.moment, &mut self.facts, &mut Vec::new());
        format!("#{}", token.expect("there is room"))
    }

    /// Reads what groups are to be fed with; of one group only, where that is said.
    fn read_on(&mut self, most: Option<u64>) -> Vec<Feed> {
        self.machine.drain_topics(&mut Vec::new());
        let mut feeds = Vec::new();
        self.machine.drain_feeds(&mut feeds);
        for feed in &feeds {
            let log = self.log.get(&feed.topic).cloned().unwrap_or_default();
            let most = most.unwrap_or(u64::from(feed.max)).min(u64::from(feed.max));
            let to = (feed.from + most).min(log.len() as u64);
            let events: Vec<(u64, u32)> = (feed.from..to)
                .filter_map(|at| {
                    let hash = log.get(usize::try_from(at).expect("small"))?;
                    Some((at, (*hash)?))
                })
                .collect();
            let gone = self.gone.get(&feed.topic).copied().unwrap_or_default();
            let lost = gone.saturating_sub(feed.from);
            self.machine.feed(feed.group, feed.from, &events, to, lost);
        }
        feeds
    }

    /// `feed`: tells what groups are to be fed with, and feeds them.
    pub(super) fn feed(&mut self, words: &Words<'_>) -> String {
        let feeds = self.read_on(words.number("most"));
        let told = feeds.iter();
        join(told.map(|feed| format!("{} from {} +{}", feed.group, feed.from, feed.max)))
    }

    /// `compacted orders 3 5` takes events out of the log; `expired orders to=4` all below.
    pub(super) fn lose(&mut self, words: &Words<'_>) -> String {
        let (topic, _) = self.machine.topic(words.0[1]).expect("a topic");
        let log = self.log.entry(topic).or_default();
        let to = words.number("to").unwrap_or(0);
        let named = words.0[2..].iter().filter_map(|word| word.parse().ok());
        for at in named.chain(0..to) {
            log[usize::try_from(at).expect("small")] = None;
        }
        if to > 0 {
            self.gone.insert(topic, to);
        }
        "gone".into()
    }

    /// `keep`: copies what has to be copied.
    pub(super) fn keep(&mut self) -> String {
        let mut keeps: Vec<Keep> = Vec::new();
        self.machine.drain_keeps(&mut keeps);
        for keep in &keeps {
            let place = match keep.place {
                Place::NONE => self.place(),
                place => place,
            };
            let action = Action::KeepEvent {
                group: keep.group,
                position: keep.position,
                place,
            };
            self.machine
                .commit(&[action], self.moment, &mut self.facts, &mut Vec::new())
                .expect("a copy is taken");
        }
        join(keeps.iter().map(|keep| keep.position.to_string()))
    }

    /// What a script's facts say was published.
    pub(super) fn note_published(&mut self, from: usize) {
        for fact in &self.facts[from..] {
            if let Fact::Published { topic, hashes, .. } = fact {
                let log = self.log.entry(*topic).or_default();
                log.extend(hashes.iter().map(Some));
            }
        }
        self.machine.drain_topics(&mut Vec::<TopicChange>::new());
    }

    /// `waiting`: the groups in which something became claimable.
    pub(super) fn claimable(&mut self) -> String {
        let mut told = Vec::new();
        self.machine
            .drain_ready_groups(|group| told.push(group.to_string()));
        join(told.into_iter())
    }

    /// `group orders billing`: all about a group.
    pub(super) fn show_group(&self, words: &Words<'_>) -> String {
        let (topic, name) = words.spot();
        let Some((number, is)) = self.machine.group(topic, name) else {
            return "nobody".into();
        };
        let view = self.machine.group_view(7, number).expect("it is there");
        assert_eq!(view.position.sequence, is.position());
        assert_eq!(self.machine.group_position(number), Some(is.position()));
        assert_eq!(view.lag, view.end.sequence - is.position());
        let mut told = vec![format!("at {} of {}", is.position(), is.head)];
        told.extend(is.unfinished.iter().map(|(at, event)| shown(*at, event)));
        told.extend(kept(is, false));
        told.extend(kept(is, true));
        told.extend(view.paused.map(|why| format!("paused {}", why.as_str())));
        join(told.into_iter())
    }

    pub(super) fn counted(&self, words: &Words<'_>) -> String {
        let (topic, name) = words.spot();
        let (_, is) = self.machine.group(topic, name).expect("a group");
        let t = is.totals;
        let all = [
            (t.done, "done"),
            (t.retried, "retried"),
            (t.parked, "parked"),
            (t.dead, "dead"),
            (t.skipped, "skipped"),
            (t.lapsed, "lapsed"),
            (t.redelivered, "redelivered"),
            (t.lost_to_retention, "lost"),
        ];
        let told = all.iter().filter(|(count, _)| *count > 0);
        join(told.map(|(count, what)| format!("{count} {what}")))
    }

    pub(super) fn untaken_events(&mut self, words: &Words<'_>) -> String {
        let (topic, name) = words.spot();
        let (group, _) = self.machine.group(topic, name).expect("a group");
        let member = words.member().expect("a member");
        let positions: Vec<u64> = words.0[4..].iter().flat_map(|w| w.parse()).collect();
        let (machine, facts) = (&mut self.machine, &mut self.facts);
        match positions.is_empty() {
            true => machine.untaken_member(group, member, self.moment, facts),
            false => machine.untaken_events(group, member, &positions, self.moment, facts),
        }
        "given back".into()
    }

    pub(super) fn group_action(&mut self, words: &Words<'_>) -> Option<Action<'static>> {
        if !words.0[0].ends_with("group") && words.0.len() < 3 {
            return None;
        }
        let (topic, group) = match words.0.len() {
            0..3 => ("", ""),
            _ => words.spot(),
        };
        let member = || words.member().expect("a member");
        Some(match words.0[0] {
            "set-group" => Action::SetGroup {
                topic,
                group,
                settings: Box::leak(Box::new(settings(words))),
                start: words.number("from"),
            },
            "delete-group" => Action::DeleteGroup { topic, group },
            "end" => Action::SettleEvents {
                topic,
                group,
                token: member(),
                ends: self.ends(words).leak(),
            },
            "alive" => Action::MemberBeat {
                topic,
                group,
                token: member(),
            },
            "leave" => Action::MemberLeave {
                topic,
                group,
                token: member(),
            },
            "reset-group" => Action::ResetGroup {
                topic,
                group,
                head: words.number("to"),
                force: words.has("force"),
            },
            "unpark" => Action::Unpark {
                topic,
                group,
                which: words.which(),
                how: match words.has("skip") {
                    true => Unparking::Skip,
                    false => Unparking::Release,
                },
            },
            "redrive" => Action::Redrive {
                topic,
                group,
                which: words.which(),
            },
            "lose" => Action::LoseEvent {
                group: self.machine.group(topic, group).expect("a group").0,
                position: words.number("at").expect("which"),
            },
            "move" => {
                let (number, is) = self.machine.group(topic, group).expect("a group");
                let position = words.number("at").expect("which");
                let kept = is.parked.get(&position).or(is.dead.get(&position));
                let kept = kept.map(|kept| match words.has("note") {
                    true => kept.note,
                    false => kept.place,
                });
                let copy = is.unfinished.get(&position).map(|event| event.place);
                let from = kept.or(copy).expect("something is kept");
                assert!(self.machine.keeps(number, position, from));
                Action::CopyKept {
                    group: number,
                    position,
                    from,
                    to: self.place(),
                }
            }
            _ => return None,
        })
    }

    /// `3=done 4=retry 5=retry:50`.
    fn ends(&mut self, words: &Words<'_>) -> Vec<(u64, EventEnding, Place)> {
        let ends = words.0.iter().filter_map(|word| word.split_once('='));
        let ends: Vec<_> = ends.collect();
        let mut told = Vec::new();
        for (at, how) in ends {
            let (how, delay) = how.split_once(':').unwrap_or((how, ""));
            let ending = match how {
                "done" => EventEnding::Done,
                "retry" => EventEnding::Retry {
                    delay_ms: delay.parse().ok(),
                },
                "park" => EventEnding::Park,
                "dead" => EventEnding::Dead,
                "skip" => EventEnding::Skip,
                "release" => EventEnding::Release,
                other => panic!("no ending {other}"),
            };
            let note = match ending {
                EventEnding::Park | EventEnding::Dead | EventEnding::Retry { .. } => self.place(),
                _ => Place::NONE,
            };
            told.push((at.parse().expect("a position"), ending, note));
        }
        told
    }
}

fn settings(words: &Words<'_>) -> GroupSettings {
    GroupSettings {
        in_flight: words.number("in-flight").map(small),
        max_attempts: words
            .number("attempts")
            .map(|n| u16::try_from(n).expect("small")),
        backoff: words.number("delay").map(|ms| Backoff::fixed(small(ms))),
        on_exhausted: words.has("dead").then_some(OnExhausted::Dead),
        parked_max: words.number("parked").map(small),
        paused: words
            .has("paused")
            .then_some(true)
            .or(words.has("resumed").then_some(false)),
    }
}

fn shown(at: u64, event: &Unfinished) -> String {
    match event.state {
        EventState::Held if event.crashes > 0 => format!("{at} held crashes {}", event.crashes),
        EventState::Held => format!("{at} held"),
        EventState::Leased(token) => format!("{at} #{token}"),
        EventState::Retrying { until } => format!("{at} until {}", until.since(WallMs(EPOCH))),
        EventState::Ending { dead: true, .. } => format!("{at} dying"),
        EventState::Ending { dead: false, .. } => format!("{at} parking"),
    }
}

fn kept(is: &SavedGroup, dead: bool) -> impl Iterator<Item = String> {
    let (kept, word) = match dead {
        true => (&is.dead, "dead"),
        false => (&is.parked, "parked"),
    };
    let told = move |(at, kept): (&u64, &SavedKept)| format!("{at} {word} {}", kept.why.as_str());
    kept.iter().map(told)
}
