//! What time, and a restart, do to groups.

use posthaste_core::group::{KeptReason, OnExhausted};
use posthaste_core::ids::Token;
use posthaste_core::limits;

use super::{Group, Model, State};

impl Model {
    /// Retries are due, memberships are over, and what took too many members down is given up on.
    pub(in crate::model) fn pass_groups(&mut self) {
        let now = self.now;
        for group in &mut self.groups {
            for open in &mut group.open {
                if let State::Fails { until, due } = &mut open.state {
                    *due |= *until <= now.wall;
                }
            }
            let over = group.members.iter().filter(|it| it.end <= now.mono);
            let over: Vec<Token> = over.map(|it| it.token).collect();
            over.into_iter().for_each(|token| group.part(token, true));
            group.give_up_poison();
        }
        self.keep_what_is_given_up();
    }

    /// Memberships start afresh, but for those inside the process, which are over.
    pub(in crate::model) fn restart_groups(&mut self, clean: bool) {
        let now = self.now;
        for group in &mut self.groups {
            for member in &mut group.members {
                member.end = now.mono.plus(u64::from(member.lease_ms));
            }
            for open in &mut group.open {
                if let State::Fails { until, due } = &mut open.state {
                    *due = *until <= now.wall;
                }
            }
            let local = group.members.iter().filter(|it| it.local);
            let local: Vec<Token> = local.map(|it| it.token).collect();
            local
                .into_iter()
                .for_each(|token| group.part(token, !clean));
        }
    }
}

impl Group {
    /// A member is one no longer. What it had waits for its turn; where it was lost, the first of
    /// each key may be what took it down.
    pub(super) fn part(&mut self, token: Token, lost: bool) {
        let mut begun = Vec::new();
        for open in self.open.iter_mut().filter(|it| it.holder() == Some(token)) {
            let key = open.key();
            open.state = State::Waits;
            if lost {
                self.totals.lapsed += 1;
                if !begun.contains(&key) {
                    open.crashes += 1;
                }
            }
            begun.push(key);
        }
        self.members.retain(|member| member.token != token);
    }

    fn give_up_poison(&mut self) {
        let dead = self.config.on_exhausted == OnExhausted::Dead;
        let poison = self.open.iter().filter(|it| it.state == State::Waits);
        let poison = poison.filter(|it| it.crashes >= limits::CRASHES_MAX);
        let poison: Vec<(u64, u16)> = poison.map(|it| (it.at(), it.attempts)).collect();
        for (at, attempts) in poison {
            self.give_up(at, dead, KeptReason::Poison, attempts, None);
        }
    }
}
