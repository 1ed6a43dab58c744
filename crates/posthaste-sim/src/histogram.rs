//! Durations by size: 64 buckets for each doubling, so that a quantile is right to about 1 %.

/// How many durations of which size.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    buckets: Vec<u32>,
    count: u64,
}

/// Buckets for each doubling, as a power of two.
const FINE: u32 = 6;

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            buckets: vec![0; 64 << FINE],
            count: 0,
        }
    }

    /// Counts one.
    pub(crate) fn add(&mut self, ns: u64) {
        self.buckets[place(ns)] += 1;
        self.count += 1;
    }

    /// The duration that this part of them does not exceed, in nanoseconds; none of none.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts are far under 2⁵³, and a rank is not negative"
    )]
    pub(crate) fn quantile(&self, part: f64) -> Option<u64> {
        let rank = ((self.count as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        self.buckets.iter().enumerate().find_map(|(place, held)| {
            seen += u64::from(*held);
            (seen >= rank).then(|| middle(place))
        })
    }
}

fn place(ns: u64) -> usize {
    let ns = ns.max(1 << FINE);
    let octave = 63 - ns.leading_zeros() - FINE;
    ((octave as usize) << FINE) + usize::try_from(ns >> octave).unwrap_or(0) - (1 << FINE)
}

fn middle(place: usize) -> u64 {
    let (octave, part) = (place >> FINE, place & ((1 << FINE) - 1));
    let low = (part as u64 + (1 << FINE)) << octave;
    low + ((1 << octave) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_about_one_percent() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile(0.5), None);
        for us in 1..=10_000_u64 {
            histogram.add(us * 1_000);
        }
        for (part, wanted) in [(0.01, 100e3), (0.5, 5e6), (0.99, 9.9e6), (1.0, 1e7)] {
            let got = histogram.quantile(part).expect("counted") as f64;
            assert!((got / wanted - 1.0).abs() < 0.012, "{part}: {got}");
        }
    }

    #[test]
    fn every_duration_has_a_bucket() {
        for ns in [0, 1, 63, 64, 65, 1_000, 1 << 40, u64::MAX] {
            assert!(place(ns) < 64 << FINE, "{ns}");
        }
    }
}
