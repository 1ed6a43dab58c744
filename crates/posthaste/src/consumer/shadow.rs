//! Shadow groups: replaying history beside the real group.

/// What becomes of the effects of handlers that run in a shadow group: see
/// [`Consumer::shadow`](super::Consumer::shadow).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effects {
    /// What a handler would commit with the settle of its event is left out, and counted as
    /// [`withheld`](super::ConsumerSummary::withheld).
    #[default]
    Withheld,
    /// It is committed as in any other group.
    Committed,
}
