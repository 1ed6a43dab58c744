//! The memory of applied settles, apart from the jobs: which token ended with which outcome.
//!
//! Tokens rise, so that a page of a thousand of them is forgotten as one, once the newest settle
//! on it is old enough.

use std::collections::BTreeMap;

use crate::ids::Token;
use crate::limits::{SETTLE_MEMORY_MAX, SETTLE_MEMORY_MS};
use crate::time::WallMs;

/// Tokens of one page.
pub const SETTLE_PAGE: usize = 1024;

/// How much later than due a page may be forgotten, so that few scans forget many pages.
const SLACK_MS: u64 = 10_000;

/// The applied settles of neighbouring tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettlePage {
    /// When the newest of them was applied.
    pub newest: WallMs,
    /// How many there are.
    pub count: u32,
    /// A digest of each outcome; 0 where the token was not settled.
    pub digests: Box<[u32]>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Settles {
    pages: BTreeMap<u64, SettlePage>,
    count: u64,
    /// No page is older.
    oldest: WallMs,
}

impl PartialEq for Settles {
    fn eq(&self, other: &Self) -> bool {
        self.pages == other.pages
    }
}

impl Default for Settles {
    fn default() -> Self {
        Self {
            pages: BTreeMap::new(),
            count: 0,
            oldest: WallMs(u64::MAX),
        }
    }
}

/// What there was before a settle was noted.
#[derive(Clone, Copy, Debug)]
pub(super) struct SettleBefore {
    token: Token,
    digest: u32,
    newest: Option<WallMs>,
    oldest: WallMs,
}

fn spot(token: Token) -> (u64, usize) {
    let page = token.0 / SETTLE_PAGE as u64;
    let within = usize::try_from(token.0 % SETTLE_PAGE as u64).unwrap_or(0);
    (page, within)
}

impl Settles {
    /// The digest of the outcome that `token` was settled with, where that is remembered.
    #[must_use]
    pub fn get(&self, token: Token) -> Option<u32> {
        let (page, within) = spot(token);
        let digest = self.pages.get(&page)?.digests[within];
        (digest != 0).then_some(digest)
    }

    /// Settles that are remembered.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether none is remembered.
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
        let known = self.pages.get(&number).map(|page| page.newest);
        let page = self.pages.entry(number).or_insert_with(|| SettlePage {
            newest: at,
            count: 0,
            digests: vec![0; SETTLE_PAGE].into_boxed_slice(),
        });
        let was = std::mem::replace(&mut page.digests[within], digest);
        let fresh = u32::from(was == 0);
        page.count += fresh;
        page.newest = page.newest.max(at);
        self.count += u64::from(fresh);
        let before = SettleBefore {
            token,
            digest: was,
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
        page.count -= fresh;
        self.count -= u64::from(fresh);
        match before.newest {
            Some(newest) => page.newest = newest,
            None => drop(self.pages.remove(&number)),
        }
    }

    /// Forgets the pages on which nothing was applied at or after `before`.
    pub fn forget(&mut self, before: WallMs) {
        self.pages.retain(|_, page| page.newest >= before);
        self.count = self.pages.values().map(|page| u64::from(page.count)).sum();
        let oldest = self.pages.values().map(|page| page.newest).min();
        self.oldest = oldest.unwrap_or(WallMs(u64::MAX));
    }

    /// Whether more are remembered than may be.
    pub(super) fn too_many(&self) -> bool {
        self.count > SETTLE_MEMORY_MAX
    }

    /// From when on there is something to forget by age.
    pub(super) fn next_over(&self) -> Option<WallMs> {
        (!self.pages.is_empty()).then(|| self.oldest.plus(SETTLE_MEMORY_MS + SLACK_MS))
    }

    /// Up to which instant settles are to be forgotten now, if any are: by age, or a sixteenth of
    /// them where there are too many.
    pub(super) fn over(&mut self, now: WallMs) -> Option<WallMs> {
        if self.too_many() {
            let mut newest: Vec<WallMs> = self.pages.values().map(|page| page.newest).collect();
            let rank = newest.len() / 16;
            let (_, limit, _) = newest.select_nth_unstable(rank);
            return Some(limit.plus(1));
        }
        if self.next_over()? > now {
            return None;
        }
        let oldest = self.pages.values().map(|page| page.newest).min()?;
        self.oldest = oldest;
        let before = WallMs(now.0.saturating_sub(SETTLE_MEMORY_MS));
        (oldest < before).then_some(before)
    }

    /// Every page with its number, lowest first. Page n holds the tokens from n × [`SETTLE_PAGE`].
    pub fn pages(&self) -> impl Iterator<Item = (u64, &SettlePage)> {
        self.pages.iter().map(|(number, page)| (*number, page))
    }

    /// Puts a page back as [`Settles::pages`] showed it.
    pub fn load(&mut self, number: u64, page: SettlePage) {
        self.count += u64::from(page.count);
        self.oldest = self.oldest.min(page.newest);
        self.pages.insert(number, page);
    }
}
