//! How much it matters that a call is answered, and so who goes first under pressure.

use std::fmt;

/// How much it matters that a call is answered. Under pressure the lower tiers are refused first.
///
/// Four tiers, from the highest: `critical`, `default`, `batch`, `best-effort`. A call inherits the
/// tier of what it works for. Criticality decides what is refused or paused; the order in which jobs
/// are claimed stays with their priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Criticality {
    /// A person is waiting, and the business stops without it.
    Critical = 0,
    /// Everything that was not given a tier.
    #[default]
    Default = 1,
    /// Nobody waits for it now; it has to be done some time today.
    Batch = 2,
    /// Nice to have: dropping it is normal.
    BestEffort = 3,
}

impl Criticality {
    /// Every tier, the highest first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::Default, Self::Batch, Self::BestEffort];

    /// The stable word: `critical`, `default`, `batch`, `best-effort`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Default => "default",
            Self::Batch => "batch",
            Self::BestEffort => "best-effort",
        }
    }

    /// The tier whose [`word`](Self::word) this is.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.word() == word)
    }

    /// Its place in [`ALL`](Self::ALL): 0 for the highest.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Criticality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tier_is_found_by_its_word_and_its_place() {
        for (place, tier) in Criticality::ALL.into_iter().enumerate() {
            assert_eq!(Criticality::from_word(tier.word()), Some(tier));
            assert_eq!(tier.index(), place);
        }
        assert_eq!(Criticality::from_word("Critical"), None);
        assert!(Criticality::Critical < Criticality::BestEffort);
    }
}
