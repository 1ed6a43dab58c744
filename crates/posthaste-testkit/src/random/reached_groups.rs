//! What the random lives came past of groups.

use posthaste_core::command::{Command, Reply};
use posthaste_core::error::{Error, ErrorKind};
use posthaste_core::group::{GroupView, PausedBy, Unparking};

use super::reached::Reached;

/// Everything of groups that must be reached by a campaign.
pub(super) const OF_GROUPS: [&str; 53] = [
    "set group",
    "delete group",
    "end done",
    "end retry",
    "end park",
    "end dead",
    "end skip",
    "end release",
    "beat",
    "leave",
    "reset group",
    "reset group by force",
    "unpark release",
    "unpark skip",
    "redrive",
    "moved",
    "moved nothing",
    "events settled repeated",
    "set group refused invalid",
    "set group refused not-found",
    "delete group refused not-found",
    "end refused stale",
    "end refused conflict",
    "end refused not-found",
    "end refused invalid",
    "beat refused stale",
    "leave refused stale",
    "reset group refused conflict",
    "reset group refused invalid",
    "reset group refused not-found",
    "unpark refused not-found",
    "redrive refused not-found",
    "groups undone",
    "joined",
    "handed out",
    "handed out again",
    "event ask refused invalid",
    "event ask refused stale",
    "event ask refused not-found",
    "group passed",
    "group not passed",
    "kept as failed",
    "kept as exhausted",
    "kept as behind",
    "new group",
    "group > gone",
    "member lost",
    "position back",
    "paused by a person",
    "parked",
    "dead letter",
    "released or redriven",
    "all is handled",
];

/// What it takes many lives to come past.
pub(super) const RARE_OF_GROUPS: [&str; 6] = [
    "paused for the parked",
    "publish repeated with events",
    "unpark refused conflict",
    "kept as poison",
    "more given up on than may be parked",
    "redrive refused conflict",
];

fn word(command: &Command) -> Option<&'static str> {
    Some(match command {
        Command::SetGroup { .. } => "set group",
        Command::DeleteGroup { .. } => "delete group",
        Command::SettleEvents { .. } => "end",
        Command::Beat { .. } => "beat",
        Command::Leave { .. } => "leave",
        Command::ResetGroup { .. } => "reset group",
        Command::Unpark { .. } => "unpark",
        Command::Redrive { .. } => "redrive",
        _ => return None,
    })
}

pub(super) fn is_of_groups(command: &Command) -> bool {
    word(command).is_some()
}

impl Reached {
    pub(super) fn group_command(&mut self, command: &Command) {
        match command {
            Command::SettleEvents { ends, .. } => {
                for (_, outcome) in ends {
                    self.note(&format!("end {}", outcome.word()));
                }
            }
            Command::Unpark { how, .. } => self.note(match how {
                Unparking::Release => "unpark release",
                Unparking::Skip => "unpark skip",
            }),
            Command::ResetGroup { force: true, .. } => {
                self.note("reset group");
                self.note("reset group by force");
            }
            other => match word(other) {
                Some(word) => self.note(word),
                None => panic!("{other:?} is not among what must be reached"),
            },
        }
    }

    pub(super) fn group_reply(&mut self, reply: &Reply) {
        match reply {
            Reply::EventsSettled { repeated: true } => self.note("events settled repeated"),
            Reply::EventsMoved { events: 0, .. } => self.note("moved nothing"),
            Reply::EventsMoved { .. } => self.note("moved"),
            _ => {}
        }
    }

    pub(super) fn group_refused(&mut self, command: &Command, before: &[Command], error: &Error) {
        if let Some(word) = word(command) {
            self.note(&format!("{word} refused {}", error.kind().slug()));
        }
        if error.kind() != ErrorKind::Invalid && before.iter().any(is_of_groups) {
            self.note("groups undone");
        }
    }

    /// What became of groups in one step.
    pub(super) fn group_changes(&mut self, before: &[GroupView], after: &[GroupView]) {
        let same = |a: &GroupView, b: &GroupView| {
            a.name == b.name && a.end.is_of(b.end) && a.created_at == b.created_at
        };
        for new in after {
            let Some(old) = before.iter().find(|old| same(old, new)) else {
                self.note("new group");
                continue;
            };
            let each = [
                (new.totals.lapsed > old.totals.lapsed, "member lost"),
                (new.position < old.position, "position back"),
                (new.parked > old.parked, "parked"),
                (new.dead > old.dead, "dead letter"),
                (
                    new.parked + new.dead < old.parked + old.dead,
                    "released or redriven",
                ),
                (new.lag == 0 && old.lag > 0, "all is handled"),
                (
                    new.parked >= u64::from(new.config.parked_max)
                        && new.unfinished > new.leased + new.retrying,
                    "more given up on than may be parked",
                ),
            ];
            for (_, what) in each.into_iter().filter(|it| it.0) {
                self.note(what);
            }
            match new.paused {
                Some(PausedBy::Person) => self.note("paused by a person"),
                Some(PausedBy::ParkedFull) => self.note("paused for the parked"),
                None => {}
            }
        }
        if before
            .iter()
            .any(|old| !after.iter().any(|new| same(old, new)))
        {
            self.note("group > gone");
        }
    }
}
