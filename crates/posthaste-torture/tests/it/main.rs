//! The judge is judged: it must pass sound histories and flag every planted fault.

mod faults;
mod group_faults;
mod sound;
mod story;
mod topic_faults;
mod topic_sound;
mod topic_story;
