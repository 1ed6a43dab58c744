//! Faults that are injected on purpose, to see what a service does with them.
//!
//! A rule says for which calls, how often and what; the first rule that hits decides. One switch turns
//! them all off. It refuses to inject anything by itself: it says what is to be injected.

use super::settings::{ChaosRule, Fault};

/// The rules of a policy, and their switch.
#[derive(Clone, Debug)]
pub struct Chaos {
    on: bool,
    rules: Box<[Rule]>,
}

#[derive(Clone, Debug)]
struct Rule {
    tag: Option<Box<str>>,
    /// Hits where chance is below this: a 64-bit fraction, of which one whole does not fit.
    below: u128,
    fault: Fault,
}

impl Chaos {
    /// Switched on. Rules after the 65,536th are never drawn.
    #[must_use]
    pub fn new(rules: &[ChaosRule]) -> Self {
        let rules = rules
            .iter()
            .take(usize::from(u16::MAX) + 1)
            .map(|rule| Rule {
                tag: rule.tag.clone(),
                below: fraction(rule.rate),
                fault: rule.fault,
            });
        Self {
            on: true,
            rules: rules.collect(),
        }
    }

    /// Switches every rule on or off.
    pub const fn set_on(&mut self, on: bool) {
        self.on = on;
    }

    /// Whether the switch is on.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.on
    }

    /// What is to be injected into a call with this tag, and by which rule, counted from 0. A rule
    /// without a tag is for every call. Equal chance gives equal faults; each rule has a draw of its
    /// own, made of it, so that rules of a half and a half hit three quarters.
    #[inline]
    #[must_use]
    pub fn draw(&self, tag: Option<&str>, chance: u64) -> Option<(u16, Fault)> {
        if !self.on {
            return None;
        }
        let mut drawn = chance;
        for (place, rule) in (0u16..=u16::MAX).zip(&self.rules) {
            drawn = drawn.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let for_it = rule.tag.is_none() || rule.tag.as_deref() == tag;
            if for_it && u128::from(mix(drawn)) < rule.below {
                return Some((place, rule.fault));
            }
        }
        None
    }
}

/// A probability as a 64-bit fraction. What is no number never happens.
#[expect(clippy::cast_possible_truncation, reason = "at most one whole, 2⁶⁴")]
fn fraction(rate: f64) -> u128 {
    (rate.clamp(0.0, 1.0) * 2f64.powi(64)) as u128
}

/// The next number of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
/// Generators", 2014).
const fn mix(state: u64) -> u64 {
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    const DELAY: Fault = Fault::Delay(Duration::from_millis(7));

    fn rule(tag: Option<&str>, rate: f64, fault: Fault) -> ChaosRule {
        ChaosRule {
            tag: tag.map(Into::into),
            rate,
            fault,
        }
    }

    /// How many of ten thousand calls each rule hits.
    fn hits(chaos: &Chaos, tag: Option<&str>) -> [u32; 3] {
        let mut hits = [0; 3];
        for chance in 0..10_000u64 {
            if let Some((place, _)) = chaos.draw(tag, chance.wrapping_mul(0x0123_4567_89ab_cdef)) {
                hits[usize::from(place)] += 1;
            }
        }
        hits
    }

    fn check(rules: &[ChaosRule], tag: Option<&str>, expected: [u32; 3]) {
        let hits = hits(&Chaos::new(rules), tag);
        for (hit, expected) in hits.into_iter().zip(expected) {
            // Five standard deviations of 10,000 draws, and exact where nothing is left to chance.
            let slack = if [0, 10_000].contains(&expected) {
                0
            } else {
                250
            };
            assert!(hit.abs_diff(expected) <= slack, "{hits:?}");
        }
    }

    #[test]
    fn a_rule_hits_as_often_as_it_says_and_each_draws_for_itself() {
        check(&[rule(None, 0.2, DELAY)], None, [2_000, 0, 0]);
        let halves = [
            rule(None, 0.5, DELAY),
            rule(None, 0.5, Fault::Error),
            rule(None, 1.0, Fault::Abort),
        ];
        check(&halves, None, [5_000, 2_500, 2_500]);
        check(&[rule(None, 1.0, DELAY)], None, [10_000, 0, 0]);
        check(
            &[rule(None, 0.0, DELAY), rule(None, f64::NAN, DELAY)],
            None,
            [0; 3],
        );
    }

    #[test]
    fn a_rule_with_a_tag_is_for_calls_with_it() {
        let rules = [
            rule(Some("payments"), 1.0, Fault::Error),
            rule(None, 0.3, DELAY),
        ];
        check(&rules, Some("payments"), [10_000, 0, 0]);
        check(&rules, Some("mail"), [0, 3_000, 0]);
        check(&rules, None, [0, 3_000, 0]);
    }

    #[test]
    fn the_fault_is_that_of_the_rule() {
        let rules = [
            rule(Some("a"), 1.0, DELAY),
            rule(Some("b"), 1.0, Fault::Abort),
        ];
        let chaos = Chaos::new(&rules);
        assert_eq!(chaos.draw(Some("a"), 3), Some((0, DELAY)));
        assert_eq!(chaos.draw(Some("b"), 3), Some((1, Fault::Abort)));
        assert_eq!(chaos.draw(Some("c"), 3), None);
    }

    #[test]
    fn one_switch_turns_everything_off_and_on() {
        let mut chaos = Chaos::new(&[rule(None, 1.0, Fault::Error)]);
        chaos.set_on(false);
        assert!(!chaos.is_on());
        assert_eq!(hits(&chaos, None), [0; 3]);
        chaos.set_on(true);
        assert_eq!(hits(&chaos, None), [10_000, 0, 0]);
    }

    proptest! {
        #[test]
        fn the_first_rule_that_is_sure_to_hit_hides_those_after_it(
            tags in vec(0u8..4, 1..20),
            asked in 0u8..4,
            chance in any::<u64>(),
        ) {
            let names = [None, Some("a"), Some("b"), Some("c")];
            let rules: Vec<_> = tags
                .iter()
                .map(|tag| rule(names[usize::from(*tag)], 1.0, Fault::Error))
                .collect();
            let expected = tags.iter().position(|tag| *tag == 0 || *tag == asked);
            let drawn = Chaos::new(&rules).draw(names[usize::from(asked)], chance);
            prop_assert_eq!(drawn.map(|(place, _)| usize::from(place)), expected);
            prop_assert!(Chaos::new(&[]).draw(None, chance).is_none());
        }
    }
}
