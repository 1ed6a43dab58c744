//! The judge is judged: it must pass sound histories and flag every planted fault.

mod faults;
mod sound;
mod story;
