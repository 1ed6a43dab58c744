//! The machine through its public face.

mod script;
