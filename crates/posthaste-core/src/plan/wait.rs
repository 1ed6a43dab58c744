//! How long who has to wait waits.
//!
//! With random arrivals and exponential service (M/M/c) the mean is exact. Otherwise it is corrected
//! for the variability that was seen:
//!
//! - up to random arrivals, by T. Kimura's interpolation between M/M/c, M/D/c and D/M/c (*A
//!   two-moment approximation for the mean waiting time in the GI/G/s queue*, Management Science 32,
//!   1986), which is exact for one worker and random arrivals (Pollaczek–Khinchine);
//! - burstier ones wait (ca² − 1)/2 of the mean of M/M/c longer, which is what they add in the formula
//!   of A. O. Allen and J. Cunneen, (ca² + cs²)/2 (A. O. Allen, *Probability, Statistics and Queueing
//!   Theory*, 2nd ed. 1990, ch. 5).
//!
//! M/D/c and D/M/c themselves are by G. P. Cosmetatos (*Some approximate equilibrium results for the
//! multi-server queue (M/G/r)*, Operational Research Quarterly 27, 1976) as W. Whitt bounds them
//! (*Approximations for the GI/G/m queue*, Production and Operations Management 2, 1993).
//!
//! How many wait is Erlang C for random arrivals. Of burstier ones, those wait that would with M/M/c
//! and c and λ divided by the peakedness (ca² + 1)/2, which is Hayward's approximation (A. A. Fredericks,
//! *Congestion in blocking systems: a simple approximation technique*, Bell System Technical Journal
//! 59, 1980); of more even ones, so many as follow from the mean of GI/M/c. Who waits is taken to wait
//! an exponential time of the mean (ca² + cs²)/2 · 1/(cμ − λ), which is exact for M/M/c, and in the limit
//! of heavy load (J. Köllerström, *Heavy traffic theory for queues with several servers*, Journal of
//! Applied Probability 11, 1974).

use super::erlang::Erlang;

/// How variable arrivals and service are, as squared coefficients of variation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Variability {
    pub(super) arrivals: f64,
    pub(super) service: f64,
}

/// The waits in seconds, at less than full utilisation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    /// The part that waits.
    pub(super) chance: f64,
    /// Of all.
    pub(super) mean: f64,
}

impl Waits {
    /// The waits of the load on these workers; `None` where they can't keep up.
    pub(super) fn of(erlang: &Erlang, service_mean: f64, varies: Variability) -> Option<Self> {
        if !erlang.keeps_up() {
            return None;
        }
        let utilisation = erlang.utilisation();
        let workers = f64::from(erlang.workers());
        let busy = busy(erlang, varies.arrivals);
        let exponential = busy * service_mean / (workers * (1.0 - utilisation));
        let even = Variability {
            arrivals: varies.arrivals.min(1.0),
            service: 1.0,
        };
        let fewer =
            corrected(utilisation, workers, even) / f64::midpoint(even.arrivals, even.service);
        Some(Self {
            chance: busy * fewer,
            mean: exponential * corrected(utilisation, workers, varies),
        })
    }

    /// The wait that this part of all arrivals does not exceed.
    pub(super) fn quantile(&self, part: f64) -> f64 {
        let longer = 1.0 - part;
        if self.chance <= longer {
            return 0.0;
        }
        self.mean / self.chance * (self.chance / longer).ln()
    }
}

/// How likely bursts of this variability find all workers busy.
fn busy(erlang: &Erlang, arrivals: f64) -> f64 {
    let peakedness = f64::midpoint(arrivals, 1.0);
    let alike = (f64::from(erlang.workers()) / peakedness).max(1.0);
    if peakedness <= 1.0 {
        return erlang.waits();
    }
    #[expect(clippy::cast_possible_truncation, reason = "fewer than there are")]
    #[expect(clippy::cast_sign_loss, reason = "at least one")]
    let whole = alike as u32;
    let with = |workers| {
        let offered = erlang.utilisation() * f64::from(workers);
        Erlang::with(offered, workers).waits()
    };
    // Between whole numbers of workers, in a straight line.
    let part = alike - f64::from(whole);
    (1.0 - part) * with(whole) + part * with(whole + 1)
}

/// The mean wait over that of M/M/c.
fn corrected(utilisation: f64, workers: f64, varies: Variability) -> f64 {
    let Variability { arrivals, service } = varies;
    if arrivals + service <= 0.0 || utilisation <= 0.0 {
        return 0.0;
    }
    let spread = (1.0 - utilisation) * (workers - 1.0) * ((4.0 + 5.0 * workers).sqrt() - 2.0)
        / (16.0 * utilisation * workers);
    let spread = spread.min(0.24);
    let constant_service = (1.0 + spread) / 2.0;
    let decline = (-2.0 * (1.0 - utilisation) / (3.0 * utilisation)).exp();
    let constant_arrivals = (1.0 - 4.0 * spread) * decline / 2.0;
    let even = arrivals.min(1.0);
    // Where hardly anything is done, `constant_arrivals` is 0 to the last digit.
    let gaps = if even < 1.0 {
        (1.0 - even) / constant_arrivals
    } else {
        0.0
    };
    let between = gaps + (1.0 - service) / constant_service + 2.0 * (even + service - 1.0);
    let bursts = (arrivals - even) / 2.0;
    (even + service) / between + bursts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(offered: f64, workers: u32, arrivals: f64, service: f64, want: f64) {
        let varies = Variability { arrivals, service };
        let waits = Waits::of(&Erlang::with(offered, workers), 1.0, varies);
        let mean = waits.expect("the workers keep up").mean;
        let off = (mean / want - 1.0).abs();
        assert!(off < 1e-9, "{mean} is not {want}");
    }

    /// ρ/(1−ρ) services.
    #[test]
    fn one_worker_waits_as_m_m_1_says() {
        check(0.5, 1, 1.0, 1.0, 1.0);
        check(0.9, 1, 1.0, 1.0, 9.0);
        check(0.999_9, 1, 1.0, 1.0, 9_999.0);
    }

    /// ρ/(1−ρ) · (1 + cs²)/2 services.
    #[test]
    fn one_worker_waits_as_pollaczek_and_khinchine_say() {
        check(0.5, 1, 1.0, 0.0, 0.5);
        check(0.8, 1, 1.0, 4.0, 10.0);
        check(0.9, 1, 1.0, 10.0, 49.5);
    }

    /// aᶜ/c! · c/(c−a) … by hand: C(2, 1) = 1/3, so 1/3 · 1/(2 − 1); C(5, 4) = 128/231.
    #[test]
    fn several_workers_wait_as_m_m_c_says() {
        check(1.0, 2, 1.0, 1.0, 1.0 / 3.0);
        check(4.0, 5, 1.0, 1.0, 128.0 / 231.0);
    }

    /// With ca² = 3 the peakedness is 2: two workers are found busy as one would, C(1, 1/2) = 1/2, and
    /// four as two would, C(2, 1) = 1/3. Who waits, waits (3 + 1)/2 times as long as with M/M/c.
    #[test]
    fn bursts_find_workers_busy_more_often_and_wait_longer() {
        check(1.0, 2, 3.0, 1.0, 1.0 / 2.0 * 2.0);
        check(2.0, 4, 3.0, 1.0, 1.0 / 3.0 * 2.0 / 2.0);
    }

    #[test]
    fn nothing_that_varies_is_no_wait() {
        let varies = Variability {
            arrivals: 0.0,
            service: 0.0,
        };
        let waits = Waits::of(&Erlang::with(8.0, 10), 1.0, varies).expect("they keep up");
        assert!(waits.mean <= 0.0 && waits.quantile(0.99) <= 0.0);
    }

    /// P(W > t) = C · exp(−(cμ − λ)t), exactly, for M/M/c.
    #[test]
    fn the_quantile_of_m_m_c_is_exact() {
        let varies = Variability {
            arrivals: 1.0,
            service: 1.0,
        };
        let waits = Waits::of(&Erlang::with(4.0, 5), 1.0, varies).expect("they keep up");
        let beyond = 128.0 / 231.0 * (-waits.quantile(0.99)).exp();
        assert!((beyond - 0.01).abs() < 1e-12, "{beyond}");
        assert!(
            waits.quantile(0.4) <= 0.0,
            "more than that part waits not at all"
        );
    }
}
