//! Whether a store hands out what it may, and whether its groups look as they should.

use posthaste_core::command::{Command, Commit};
use posthaste_core::group::{EventAsk, GroupView, KeptEvent, LeasedEvents};
use posthaste_core::ids::{GroupName, TopicName};
use posthaste_core::port::KeptAsk;
use posthaste_core::topic::ReadFrom;

use super::groups::Handed;
use super::judge::same;
use super::{Life, Verdict};
use crate::block_on;

impl Life<'_> {
    /// Asks for events, as often as it takes until what there is has come: a store may have to read
    /// them first.
    pub(super) fn lease_events(&mut self) -> Verdict {
        let mut ask = self.draw_event_ask();
        self.trace.push(format!("{ask:?}"));
        let got = block_on(self.bench.store().lease_events(ask.clone()));
        let want = self.model.check_event_ask(&ask);
        let mut leased = match (got, want) {
            (Ok(leased), Ok(())) => leased,
            (Err(got), Err(want)) => {
                self.reached
                    .note(&format!("event ask refused {}", want.kind().slug()));
                return same("the refusal", &got.kind(), &want.kind());
            }
            (got, want) => return Err(format!("the ask:\n   store {got:?}\n   model {want:?}")),
        };
        if ask.token.is_none() {
            if leased.token <= self.last_token {
                return Err(format!("{} after {}", leased.token, self.last_token));
            }
            self.last_token = leased.token;
            let member = (ask.group.clone(), leased.token);
            self.parties.members.push(member);
            self.reached.note("joined");
        }
        let mut tries = 0;
        loop {
            self.handed(&ask, &leased)?;
            let count = u32::try_from(leased.events.len()).unwrap_or(u32::MAX);
            let more = self.model.next_event(&ask.topic, &ask.group, leased.token);
            ask.max -= count;
            let Some(more) = more.filter(|_| ask.max > 0) else {
                return Ok(());
            };
            tries += 1;
            if tries > 200_000 {
                return Err(format!("it never comes: {more:?}"));
            }
            ask.token = Some(leased.token);
            std::thread::yield_now();
            let again = block_on(self.bench.store().lease_events(ask.clone()));
            leased = again.map_err(|error| format!("no more: {error}"))?;
        }
    }

    /// What was handed out is what comes next, and the group has looked on as far as it says.
    fn handed(&mut self, ask: &EventAsk, leased: &LeasedEvents) -> Verdict {
        if ask.token.is_some_and(|token| token != leased.token) {
            return Err(format!("another token: {}", leased.token));
        }
        if leased.events.len() > ask.max as usize {
            return Err(format!("{} events", leased.events.len()));
        }
        if ask.token.is_none() || !leased.events.is_empty() {
            self.trace.push(format!("    {leased:?}"));
        }
        let (topic, group, token) = (&ask.topic, &ask.group, leased.token);
        self.model.take_part(ask, token);
        for got in &leased.events {
            let want = self.model.next_event(topic, group, token);
            let Some(want) = want else {
                return Err(format!("handed out {got:?}\n   where there is nothing"));
            };
            let mut got = got.clone();
            got.event.position = self.places.ours(got.event.position, want.event.position);
            same("what is handed out", &got, &want)?;
            let at = want.event.position.sequence;
            let again = want.attempt > 1 || want.crashes > 0;
            self.reached.note(match again {
                true => "handed out again",
                false => "handed out",
            });
            self.model.hand_out(topic, group, token, at);
            self.parties.handed.push(Handed {
                group: group.clone(),
                token,
                at,
            });
        }
        let views = block_on(self.bench.store().groups());
        let views = views.map_err(|error| format!("no groups: {error}"))?;
        let view = views.iter().find(|it| it.name == *group);
        let head = view.map_or(0, |view| view.head.sequence);
        self.model.look_on(topic, group, head);
        self.model.keep_what_is_given_up();
        self.parties.forget();
        self.adopt_parked();
        Ok(())
    }

    /// Takes over which of too many given up events a store has parked.
    pub(super) fn adopt_parked(&mut self) {
        for (topic, group) in self.model.crowded() {
            let mut parked = Vec::new();
            let most = self.model.kept_of(&topic, &group, false).len();
            self.bench.eventually(|| {
                let kept = self.kept_of(&topic, &group, false).unwrap_or_default();
                parked = kept.iter().map(|it| it.event.position.sequence).collect();
                parked.len() == most
            });
            self.model.adopt_parked(&topic, &group, &parked);
        }
    }

    fn kept_of(
        &self,
        topic: &TopicName,
        group: &GroupName,
        dead: bool,
    ) -> Result<Vec<KeptEvent>, String> {
        let ask = KeptAsk {
            topic: topic.clone(),
            group: group.clone(),
            dead,
            cursor: None,
            max: 1_000,
        };
        let page = block_on(self.bench.store().kept(ask.clone()));
        page.map(|page| page.events)
            .map_err(|error| format!("{ask:?}: {error}"))
    }

    /// Every group, and what it keeps, looks the same in both.
    pub(super) fn same_groups(&mut self) -> Verdict {
        let want = self.model.group_views();
        let got = block_on(self.bench.store().groups());
        let got = got.map_err(|error| format!("no groups: {error}"))?;
        same("how many groups", &got.len(), &want.len())?;
        for (got, want) in got.into_iter().zip(&want) {
            let got = self.places.our_group(got, want);
            same("the group", &got, want)?;
        }
        if !self.looks_closer {
            return Ok(());
        }
        for view in &want {
            for dead in [false, true] {
                self.same_kept(view, dead)?;
            }
        }
        Ok(())
    }

    fn same_kept(&mut self, view: &GroupView, dead: bool) -> Verdict {
        let mut got = self.kept_of(&view.topic, &view.name, dead)?;
        for kept in &mut got {
            let position = kept.event.position;
            kept.event.position = self.places.ours(position, view.position);
        }
        let ask = KeptAsk {
            topic: view.topic.clone(),
            group: view.name.clone(),
            dead,
            cursor: None,
            max: 1_000,
        };
        let want = self.model.kept_events(&ask);
        let want = want.map_err(|error| error.to_string())?.events;
        for kept in &want {
            let reason = kept.reason.as_str();
            self.reached.note(&format!("kept as {reason}"));
        }
        same("what is kept", &got, &want)
    }

    /// The same commit, to the store: places that it names are told as the store tells them. `None`
    /// where the store has never told that place.
    pub(super) fn their_commit(&self, commit: &Commit) -> Option<Commit> {
        let mut commit = commit.clone();
        for command in &mut commit.commands {
            let place = match command {
                Command::ResetGroup { to, .. } => Some(to),
                Command::SetGroup { from, .. } => from.as_mut(),
                _ => None,
            };
            if let Some(ReadFrom::Position(position)) = place {
                *position = self.places.theirs(*position)?;
            }
        }
        Some(commit)
    }
}
