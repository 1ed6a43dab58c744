//! Chance from a seed: the same seed gives the same run.
//!
//! Arrivals, service times and the policies' own draws come from separate streams, so that two
//! policies that are compared meet the same calls. The generator is `SplitMix64` (Steele, Lea and
//! Flood, "Fast Splittable Pseudorandom Number Generators", 2014).

/// One stream of chance.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

/// The step of the generator: the golden ratio in 64 bits.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl Chance {
    /// The stream of this number, of those that belong to a seed.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut chance = Self(seed ^ stream.wrapping_mul(0xD1B5_4A32_D192_ED03));
        // Seeds that lie near one another must not begin alike.
        chance.0 = chance.draw();
        chance
    }

    /// Any number.
    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from 0 to under 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what a float holds")]
    pub(crate) fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Exponentially distributed with mean 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// Normally distributed with mean 0 and deviation 1 (Box and Muller, 1958).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (2.0 * self.exponential()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// A place from 0 to under `count`.
    pub(crate) fn below(&mut self, count: u32) -> u32 {
        let wide = u128::from(self.draw()) * u128::from(count);
        u32::try_from(wide >> 64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and variance of many draws.
    fn moments(mut draw: impl FnMut() -> f64) -> (f64, f64) {
        let count = 200_000;
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..count {
            let x = draw();
            sum += x;
            squares += x * x;
        }
        let mean = sum / f64::from(count);
        (mean, squares / f64::from(count) - mean * mean)
    }

    fn check(name: &str, (mean, variance): (f64, f64), wanted: (f64, f64)) {
        assert!((mean - wanted.0).abs() < 0.01, "{name}: mean {mean}");
        assert!((variance - wanted.1).abs() < 0.03, "{name}: {variance}");
    }

    #[test]
    fn the_distributions_have_their_moments() {
        let mut chance = Chance::new(7, 1);
        check("unit", moments(|| chance.unit()), (0.5, 1.0 / 12.0));
        check("exponential", moments(|| chance.exponential()), (1.0, 1.0));
        check("normal", moments(|| chance.normal()), (0.0, 1.0));
        check("below", moments(|| f64::from(chance.below(2))), (0.5, 0.25));
    }

    #[test]
    fn a_seed_repeats_and_streams_differ() {
        let first = |seed, stream| Chance::new(seed, stream).draw();
        assert_eq!(first(1, 1), first(1, 1));
        assert_ne!(first(1, 1), first(1, 2));
        assert_ne!(first(1, 1), first(2, 1));
    }
}
