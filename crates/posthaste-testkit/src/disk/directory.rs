//! One directory: the names that are seen, and those that a power cut leaves.
//!
//! A sync that fails leaves them in doubt until one succeeds: file systems keep names in a journal,
//! and do not forget them as they forget the pages of a file.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::Chance;
use super::tree::{Cut, Node};

type Names = BTreeMap<OsString, Node>;

/// One change of names, atomic: `node` is no longer `gone`, and is `there`.
#[derive(Clone, Debug)]
struct Change {
    gone: Option<OsString>,
    there: Option<OsString>,
    node: Node,
}

/// A directory's names.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    now: Names,
    durable: Names,
    pending: Vec<Change>,
}

impl Directory {
    pub(super) fn names(&self) -> &Names {
        &self.now
    }

    pub(super) fn add(&mut self, name: OsString, node: Node) {
        self.change(None, Some(name), node);
    }

    pub(super) fn remove(&mut self, name: OsString, node: Node) {
        self.change(Some(name), None, node);
    }

    pub(super) fn rename(&mut self, from: OsString, to: OsString, node: Node) {
        self.change(Some(from), Some(to), node);
    }

    fn change(&mut self, gone: Option<OsString>, there: Option<OsString>, node: Node) {
        let change = Change { gone, there, node };
        change.apply(&mut self.now);
        self.pending.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// The directory as a power cut leaves it.
    pub(super) fn cut(&self, cut: Cut, chance: &mut Chance) -> Self {
        let mut names = self.durable.clone();
        let in_order = chance.below(self.pending.len() as u64 + 1);
        for (number, change) in (0_u64..).zip(&self.pending) {
            let kept = match cut {
                Cut::InOrder => number < in_order,
                _ => cut.keeps(chance),
            };
            if kept && change.fits(&names) {
                change.apply(&mut names);
            }
        }
        Self {
            now: names.clone(),
            durable: names,
            ..Self::default()
        }
    }

    /// The same names, all of them durable.
    pub(super) fn settled(&self) -> Self {
        Self {
            now: self.now.clone(),
            durable: self.now.clone(),
            ..Self::default()
        }
    }
}

impl Change {
    fn apply(&self, names: &mut Names) {
        if let Some(gone) = &self.gone
            && names.get(gone) == Some(&self.node)
        {
            names.remove(gone);
        }
        if let Some(there) = &self.there {
            names.insert(there.clone(), self.node);
        }
    }

    /// Whether what it takes away is there: a file has one name at a time.
    fn fits(&self, names: &Names) -> bool {
        self.gone
            .as_ref()
            .is_none_or(|gone| names.get(gone) == Some(&self.node))
    }
}
