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

/// Pages up to which settles are forgotten as soon as something else happens.
const FEW_PAGES: usize = 16;

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

/// A page, and when the oldest settle on it was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    page: SettlePage,
    oldest: WallMs,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settles {
    pages: BTreeMap<u64, Kept>,
    count: u64,
    /// No settle that is kept is older. `None` where none is kept.
    oldest: Option<WallMs>,
}

/// What there was before a settle was noted.
#[derive(Clone, Copy, Debug)]
pub(super) struct SettleBefore {
    token: Token,
    digest: u32,
    after_ms: u32,
    /// When the newest and the oldest of its page were applied.
    page: Option<(WallMs, WallMs)>,
    oldest: Option<WallMs>,
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

    fn oldest(&self) -> Option<WallMs> {
        let settled = (0..self.digests.len()).filter(|within| self.digests[*within] != 0);
        settled.map(|within| self.at(within)).min()
    }

    /// Takes out what was applied before that instant.
    fn forget(&mut self, before: WallMs) {
        for within in 0..self.digests.len() {
            if self.digests[within] != 0 && self.at(within) < before {
                (self.digests[within], self.after_ms[within]) = (0, 0);
                self.count -= 1;
            }
        }
    }
}

impl Settles {
    /// The digest of the outcome that `token` was settled with, where that is remembered at `now`.
    #[must_use]
    pub fn get(&self, token: Token, now: WallMs) -> Option<u32> {
        let (number, within) = spot(token);
        let page = &self.pages.get(&number)?.page;
        let (digest, at) = (page.digests[within], page.at(within));
        (digest != 0 && at.plus(SETTLE_MEMORY_MS) > now).then_some(digest)
    }

    /// Settles that are kept, some of them perhaps over.
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
        let known = self.pages.get(&number);
        let known = known.map(|kept| (kept.page.newest, kept.oldest));
        let Kept { page, oldest } = self.pages.entry(number).or_insert_with(|| Kept {
            page: SettlePage::new(at),
            oldest: at,
        });
        let after_ms = u32::try_from(at.since(page.base)).unwrap_or(u32::MAX);
        let digest = std::mem::replace(&mut page.digests[within], digest);
        let after_ms = std::mem::replace(&mut page.after_ms[within], after_ms);
        let fresh = u32::from(digest == 0);
        page.count += fresh;
        page.newest = page.newest.max(at);
        *oldest = (*oldest).min(page.at(within));
        self.count += u64::from(fresh);
        let before = SettleBefore {
            token,
            digest,
            after_ms,
            page: known,
            oldest: self.oldest,
        };
        self.oldest = self.oldest.min(Some(*oldest)).or(Some(*oldest));
        before
    }

    pub(super) fn undo(&mut self, before: &SettleBefore) {
        let (number, within) = spot(before.token);
        self.oldest = before.oldest;
        let Some(Kept { page, oldest }) = self.pages.get_mut(&number) else {
            return;
        };
        let fresh = u32::from(before.digest == 0);
        page.digests[within] = before.digest;
        page.after_ms[within] = before.after_ms;
        page.count -= fresh;
        self.count -= u64::from(fresh);
        match before.page {
            Some(known) => (page.newest, *oldest) = known,
            None => drop(self.pages.remove(&number)),
        }
    }

    /// Forgets what was applied before that instant.
    pub fn forget(&mut self, before: WallMs) {
        self.pages.retain(|_, kept| {
            if kept.oldest < before {
                if kept.page.newest < before {
                    return false;
                }
                kept.page.forget(before);
                kept.oldest = kept.page.oldest().unwrap_or(kept.page.newest);
            }
            kept.page.count > 0
        });
        self.count = self
            .pages
            .values()
            .map(|kept| u64::from(kept.page.count))
            .sum();
        self.oldest = self.pages.values().map(|kept| kept.oldest).min();
    }

    /// Whether more are kept than may be.
    pub(super) fn too_many(&self) -> bool {
        self.count > SETTLE_MEMORY_MAX
    }

    /// When to wake up to forget by age, if nothing else happens before.
    pub(super) fn next_over(&self) -> Option<WallMs> {
        Some(self.oldest?.plus(SETTLE_MEMORY_MS + SLACK_MS))
    }

    /// Up to which instant settles are to be forgotten now, if any are: by age, or a sixteenth of
    /// them where there are too many.
    pub(super) fn over(&self, now: WallMs) -> Option<WallMs> {
        if self.too_many() {
            let mut newest: Vec<WallMs> =
                self.pages.values().map(|kept| kept.page.newest).collect();
            let rank = newest.len() / 16;
            let (_, limit, _) = newest.select_nth_unstable(rank);
            return Some(limit.plus(1));
        }
        // What was applied at this very instant ten minutes ago is over, too.
        let before = WallMs((now.0 + 1).saturating_sub(SETTLE_MEMORY_MS));
        let few = self.pages.len() <= FEW_PAGES;
        let slack = if few { 0 } else { SLACK_MS };
        let over = self.oldest?.plus(SETTLE_MEMORY_MS + slack) <= now;
        over.then_some(before)
    }

    /// Every page with its number, lowest first. Page n holds the tokens from n × [`SETTLE_PAGE`].
    pub fn pages(&self) -> impl Iterator<Item = (u64, &SettlePage)> {
        self.pages
            .iter()
            .map(|(number, kept)| (*number, &kept.page))
    }

    /// Puts a page back as [`Settles::pages`] showed it.
    pub fn load(&mut self, number: u64, page: SettlePage) {
        let oldest = page.oldest().unwrap_or(page.newest);
        self.count += u64::from(page.count);
        self.oldest = self.oldest.min(Some(oldest)).or(Some(oldest));
        self.pages.insert(number, Kept { page, oldest });
    }
}
