//! Lists that run through a slab: a link in each entry, so that putting in and taking out at any
//! place costs the same and allocates nothing.

/// No entry.
pub(super) const NONE: u32 = u32::MAX;

/// Which of its lists an entry's link belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) enum By {
    /// A tier's, in order of arrival; and the lists of those who are free or have been displaced.
    Age = 0,
    /// One caller's in a tier, in order of arrival.
    Caller = 1,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    before: u32,
    after: u32,
}

impl Link {
    pub(super) const NONE: Self = Self {
        before: NONE,
        after: NONE,
    };
}

/// What has links.
pub(super) trait Linked {
    fn link(&mut self, by: By) -> &mut Link;
}

#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    pub(super) first: u32,
    pub(super) last: u32,
}

impl List {
    pub(super) const EMPTY: Self = Self {
        first: NONE,
        last: NONE,
    };

    pub(super) const fn is_empty(&self) -> bool {
        self.first == NONE
    }

    pub(super) fn push<T: Linked>(&mut self, slab: &mut [T], by: By, at: u32) {
        *slab[at as usize].link(by) = Link {
            before: self.last,
            after: NONE,
        };
        match self.last {
            NONE => self.first = at,
            last => slab[last as usize].link(by).after = at,
        }
        self.last = at;
    }

    pub(super) fn remove<T: Linked>(&mut self, slab: &mut [T], by: By, at: u32) {
        let Link { before, after } = std::mem::replace(slab[at as usize].link(by), Link::NONE);
        match before {
            NONE => self.first = after,
            before => slab[before as usize].link(by).after = after,
        }
        match after {
            NONE => self.last = before,
            after => slab[after as usize].link(by).before = before,
        }
    }

    pub(super) fn pop<T: Linked>(&mut self, slab: &mut [T], by: By) -> Option<u32> {
        let first = self.first;
        if first == NONE {
            return None;
        }
        self.remove(slab, by, first);
        Some(first)
    }
}
