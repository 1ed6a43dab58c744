//! Consumer groups: their settings, what members ask and say, and what is kept.
//!
//! An event is named by its `position`, which is told beside it; the cursor that came with it names
//! it too. (That cursor says where to read on, which is behind the event: here it means the event.)

mod kept;
mod member;
mod settings;
mod settle;
#[cfg(test)]
mod tests;
mod view;

pub use kept::{
    KeptEvent, KeptPage, Moved, Redrive, Unpark, UnparkingWord, Which, WrittenKeptPage,
};
pub use member::{EventAsk, LeasedEvents, MemberRef, MemberToken, WrittenLeasedEvents};
pub use settings::{GroupRef, GroupSettings, Replay, Reset, ResetGroup, SetGroup};
pub use settle::{
    EventEnd, EventOutcomeWord, EventPlace, EventsSettled, SettleEvents, SettledEvents,
    SettledReply as SettledEventsReply,
};
pub use view::{GroupTotals, GroupView, Groups, MemberView};
