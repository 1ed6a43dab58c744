//! stub
use super::settings::{ChaosRule, Fault};
#[derive(Debug)]
pub struct Chaos;
impl Chaos {
    pub fn new(_: &[ChaosRule]) -> Self {
        Self
    }
    pub fn set_on(&mut self, _: bool) {}
    pub fn draw(&self, _: Option<&str>, _: u64) -> Option<(u16, Fault)> {
        None
    }
}
