//! Whether the index of the groups agrees with what it is of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::machine::audit::{Found, same};
use crate::machine::groups::lines::{Ahead, Lines};
use crate::machine::groups::saved::{EventState, SavedGroup};
use crate::machine::state::Machine;

impl Machine {
    pub(in crate::machine) fn audit_groups(&self) -> Found {
        let mut by_name: BTreeMap<u32, BTreeMap<Arc<str>, u32>> = BTreeMap::new();
        let (mut ends, mut retries) = (BTreeSet::new(), BTreeSet::new());
        let (mut poison, mut local) = (BTreeSet::new(), BTreeSet::new());
        for (group, is) in &self.groups.saved.by_number {
            let named = by_name.entry(is.topic).or_default();
            named.insert(Arc::clone(&is.name), *group);
            let lines = self.groups.lines.get(group);
            let lines = lines.ok_or_else(|| format!("the group {} has no index", is.name))?;
            self.audit_group(*group, is, lines)
                .map_err(|what| format!("group {}: {what}", is.name))?;
            ends.extend(lines.ends.iter().map(|(token, end)| (*end, *group, *token)));
            retries.extend(lines.retries.iter().map(|(at, of)| (*at, *group, *of)));
            let members = is.members.iter().filter(|(_, member)| member.local);
            local.extend(members.map(|(token, _)| (*group, *token)));
            let held = is.unfinished.iter().filter(|(_, event)| {
                event.state == EventState::Held && event.crashes >= crate::limits::CRASHES_MAX
            });
            poison.extend(held.map(|(position, _)| (*group, *position)));
        }
        same("groups by name", &self.groups.by_name, &by_name)?;
        let count = self.groups.saved.by_number.len();
        same("indexes of groups", &self.groups.lines.len(), &count)?;
        same("ends of memberships", &self.groups.ends, &ends)?;
        same("retries of events", &self.groups.retries, &retries)?;
        same("local members", &self.groups.local, &local)?;
        same("poison", &self.groups.poison, &poison)
    }

    fn audit_group(&self, group: u32, is: &SavedGroup, lines: &Lines) -> Found {
        if group == 0 || group > self.groups.saved.last_number {
            return Err("its number was never given out".into());
        }
        let topic = self.topics.by_number.get(&is.topic);
        let end = topic.ok_or("its topic is gone")?.next;
        if is.head > end {
            return Err(format!("the head {} is past the end {end}", is.head));
        }
        if let Some(both) = is.parked.keys().find(|at| is.unfinished.contains_key(at)) {
            return Err(format!("{both} is parked and unfinished"));
        }
        let mut counted = is.clone();
        counted.count_held();
        same("events of members", &is.members, &counted.members)?;
        let ends: BTreeSet<_> = lines.ends.keys().collect();
        same("members", &is.members.keys().collect(), &ends)?;
        if let Some(token) = is.members.keys().find(|token| token.0 > self.last_token) {
            return Err(format!("the token {token} is ahead of the counter"));
        }
        self.audit_lines(group, is, lines)?;
        audit_ahead(is, lines)
    }

    fn audit_lines(&self, group: u32, is: &SavedGroup, lines: &Lines) -> Found {
        let mut anew = Lines::default();
        let mut hashes: BTreeSet<u32> = BTreeSet::new();
        for (position, event) in &is.unfinished {
            anew.link(*position, event);
            hashes.insert(event.hash);
            if let Some(token) = event.holder()
                && !is.members.contains_key(&token)
            {
                return Err(format!("{position} is in the hands of nobody"));
            }
        }
        same("waiting", &lines.waiting, &anew.waiting)?;
        same("leased", &lines.leased, &anew.leased)?;
        if !lines.retries.is_subset(&anew.retries)
            || !lines.to_park.is_subset(&anew.to_park)
            || !lines.to_bury.is_subset(&anew.to_bury)
        {
            return Err("something is timed, or to be kept, that is not there".into());
        }
        for (position, kept) in &is.parked {
            anew.parked.insert((kept.hash, *position));
        }
        same("parked", &lines.parked, &anew.parked)?;
        let dead = is.dead.iter().map(|(position, kept)| (kept.at, *position));
        same("dead", &lines.dead, &dead.collect())?;
        anew.retries = lines.retries.clone();
        for hash in hashes {
            anew.refresh(hash, is);
            let behind = lines.first_behind(hash).is_some();
            let noted = self.groups.behind.contains(&(group, hash));
            same("behind a parked event", &noted, &behind)?;
            let run = lines.leased.range((hash, 0)..=(hash, u64::MAX));
            let mut owners = run.map(|(_, at)| is.unfinished.get(at).and_then(|of| of.holder()));
            let first = owners.next();
            if !owners.all(|owner| Some(owner) == first) {
                return Err(format!("the key {hash} is in the hands of two"));
            }
        }
        same("ready", &lines.ready, &anew.ready)?;
        let keys = |of: &Lines| -> BTreeMap<u32, (u32, Option<_>)> {
            let keys = of.keys.iter();
            keys.map(|(hash, key)| (*hash, (key.leased, key.ready)))
                .collect()
        };
        same("keys", &keys(lines), &keys(&anew))
    }
}

fn audit_ahead(is: &SavedGroup, lines: &Lines) -> Found {
    let mut at = is.head;
    for of in &lines.ahead {
        let next = match of {
            Ahead::Event { position, .. } => position + 1,
            Ahead::Gap { to, .. } => *to,
        };
        if next <= at {
            return Err(format!("{of:?} comes up behind {at}"));
        }
        at = next;
    }
    if lines.loaded < at {
        return Err(format!("{at} comes up, and {} is loaded", lines.loaded));
    }
    if lines.ends.is_empty() && !lines.ahead.is_empty() {
        return Err("something comes up for nobody".into());
    }
    Ok(())
}
