//! The memory of applied settles, apart from the jobs: which token ended with which outcome.
//!
//! Tokens rise, so that they are kept in pages of a thousand, eight bytes each, and a page is
//! dropped as one.

use std::collections::BTreeMap;

use crate::ids::Token;
use crate::limits::{SETTLE_MEMORY_MAX, SETTLE_MEMORY_MS};
use crate::time::WallMs;

/// Tokens of one page.
pub const SETTLE_PAGE: usize = 1024;

/// How much later than due settles may be forgotten where nothing else happens, or where there are
/// many: few facts then forget many. Nobody sees it: whoever asks is told by the age.
const SLACK_MS: u64 = 10_000;

/// Pages up to which the oldest settle is looked for; beyond, a lower bound will do.
const SEARCHED_PAGES: usize = 16;

/// The applied settles of neighbouring tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettlePage {
    /// From which instant `after_ms` counts.
    pub base: WallMs,
    /// When the newest of them was applied.
    pub newest: WallMs,
    /// How many there are.
    pub count: u32,
    /// A digest of each outcome; 0 where the token was not settled.
    pub digests: Box<[u32]>,
    /// When each was applied, in milliseconds after `base`.
    pub after_ms: Box<[u32]>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Settles {
    pages: BTreeMap<u64, SettlePage>,
    count: u64,
    /// What was applied before is forgotten.
    forgotten: WallMs,
    /// No remembered settle is older.
    oldest: WallMs,
}

impl PartialEq for Settles {
    fn eq(&self, other: &Self) -> bool {
        self.pages == other.pages && self.forgotten == other.forgotten
    }
}

impl Default for Settles {
    fn default() -> Self {
        Self {
            pages: BTreeMap::new(),
            count: 0,
            forgotten: WallMs(0),
            oldest: WallMs(u64::MAX),
        }
    }
}

/// What there was before a settle was noted.
#[derive(Clone, Copy, Debug)]
pub(super) struct SettleBefore {
    token: Token,
    digest: u32,
    after_ms: u32,
    newest: Option<WallMs>,
    oldest: WallMs,
}

fn spot(token: Token) -> (u64, usize) {
    let page = token.0 / SETTLE_PAGE as u64;
    let within = usize::try_from(token.0 % SETTLE_PAGE as u64).unwrap_or(0);
    (page, within)
}

impl SettlePage {
    fn new(at: WallMs) -> Self {
        Self {
            // The clock may go back by 24 days without a settle's age being lost.
            base: WallMs(at.0.saturating_sub(1 << 31)),
            newest: at,
            count: 0,
            digests: vec![0; SETTLE_PAGE].into_boxed_slice(),
            after_ms: vec![0; SETTLE_PAGE].into_boxed_slice(),
        }
    }

    fn at(&self, within: usize) -> WallMs {
        self.base.plus(u64::from(self.after_ms[within]))
    }

    fn oldest(&self, forgotten: WallMs) -> Option<WallMs> {
        let settled = (0..SETTLE_PAGE).filter(|within| self.digests[*within] != 0);
        let times = settled.map(|within| self.at(within));
        times.filter(|at| *at >= forgotten).min()
    }
}

impl Settles {
    /// The digest of the outcome that `token` was settled with, where that is remembered at `now`.
    #[must_use]
    pub fn get(&self, token: Token, now: WallMs) -> Option<u32> {
        let (number, within) = spot(token);
        let page = self.pages.get(&number)?;
        let (digest, at) = (page.digests[within], page.at(within));
        let remembered = at >= self.forgotten && at.plus(SETTLE_MEMORY_MS) > now;
        (digest != 0 && remembered).then_some(digest)
    }

    /// Settles that are kept, some of them perhaps forgotten.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Remembers one.
    pub fn note(&mut self, token: Token, digest: u32, at: WallMs) {
        self.note_with(token, digest, at);
    }

    pub(super) fn note_with(&mut self, token: Token, digest: u32, at: WallMs) -> SettleBefore {
        let (number, within) = spot(token);
        // Where the clock went back, a settle is no older than what was forgotten already.
        let at = at.max(self.forgotten);
        let known = self.pages.get(&number).map(|page| page.newest);
        let page = self
            .pages
            .entry(number)
            .or_insert_with(|| SettlePage::new(at));
        let after_ms = u32::try_from(at.since(page.base)).unwrap_or(u32::MAX);
        let digest = std::mem::replace(&mut page.digests[within], digest);
        let after_ms = std::mem::replace(&mut page.after_ms[within], after_ms);
        let fresh = u32::from(digest == 0);
        page.count += fresh;
        page.newest = page.newest.max(at);
        self.count += u64::from(fresh);
        let before = SettleBefore {
            token,
            digest,
            after_ms,
            newest: known,
            oldest: self.oldest,
        };
        self.oldest = self.oldest.min(at);
        before
    }

    pub(super) fn undo(&mut self, before: &SettleBefore) {
        let (number, within) = spot(before.token);
        self.oldest = before.oldest;
        let Some(page) = self.pages.get_mut(&number) else {
            return;
        };
        let fresh = u32::from(before.digest == 0);
        page.digests[within] = before.digest;
        page.after_ms[within] = before.after_ms;
        page.count -= fresh;
        self.count -= u64::from(fresh);
        match before.newest {
            Some(newest) => page.newest = newest,
            None => drop(self.pages.remove(&number)),
        }
    }

    /// Forgets what was applied before that instant.
    pub fn forget(&mut self, before: WallMs) {
        self.forgotten = self.forgotten.max(before);
        self.pages.retain(|_, page| page.newest >= before);
        self.count = self.pages.values().map(|page| u64::from(page.count)).sum();
        self.oldest = self.look_for_oldest();
    }

    /// The oldest settle that is remembered, or an instant before it.
    fn look_for_oldest(&self) -> WallMs {
        if self.pages.len() > SEARCHED_PAGES {
            return self.forgotten;
        }
        let oldest = self.pages.values().filter_map(|p| p.oldest(self.forgotten));
        oldest.min().unwrap_or(WallMs(u64::MAX))
    }

    /// Whether more are kept than may be.
    pub(super) fn too_many(&self) -> bool {
        self.count > SETTLE_MEMORY_MAX
    }

    /// When to wake up to forget by age, if nothing else happens before.
    pub(super) fn next_over(&self) -> Option<WallMs> {
        let known = self.oldest < WallMs(u64::MAX);
        known.then(|| self.oldest.plus(SETTLE_MEMORY_MS + SLACK_MS))
    }

    /// Up to which instant settles are to be forgotten now, if any are: by age, or a sixteenth of
    /// them where there are too many.
    pub(super) fn over(&self, now: WallMs) -> Option<WallMs> {
        if self.too_many() {
            let mut newest: Vec<WallMs> = self.pages.values().map(|page| page.newest).collect();
            let rank = newest.len() / 16;
            let (_, limit, _) = newest.select_nth_unstable(rank);
            return Some(limit.plus(1));
        }
        // What was applied at this very instant ten minutes ago is over, too.
        let before = WallMs((now.0 + 1).saturating_sub(SETTLE_MEMORY_MS));
        let few = self.pages.len() <= SEARCHED_PAGES;
        let slack = if few { 0 } else { SLACK_MS };
        let known = self.oldest < WallMs(u64::MAX);
        let over = known && self.oldest.plus(SETTLE_MEMORY_MS + slack) <= now;
        over.then_some(before)
    }

    /// Before which instant everything is forgotten.
    #[must_use]
    pub fn forgotten(&self) -> WallMs {
        self.forgotten
    }

    /// Every page with its number, lowest first. Page n holds the tokens from n × [`SETTLE_PAGE`].
    pub fn pages(&self) -> impl Iterator<Item = (u64, &SettlePage)> {
        self.pages.iter().map(|(number, page)| (*number, page))
    }

    /// A memory in which what was applied before `forgotten` is forgotten, to load pages into.
    #[must_use]
    pub fn from(forgotten: WallMs) -> Self {
        Self {
            forgotten,
            ..Self::default()
        }
    }

    /// Puts a page back as [`Settles::pages`] showed it.
    pub fn load(&mut self, number: u64, page: SettlePage) {
        self.count += u64::from(page.count);
        let oldest = page.oldest(self.forgotten);
        self.oldest = oldest.map_or(self.oldest, |oldest| self.oldest.min(oldest));
        self.pages.insert(number, page);
    }
}
