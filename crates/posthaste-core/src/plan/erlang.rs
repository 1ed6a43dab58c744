//! The Erlang formulas: how likely it is that all workers are busy.
//!
//! Erlang B by its recursion in the number of workers (A. K. Erlang, 1917; the recursion as in
//! R. B. Cooper, *Introduction to Queueing Theory*, 2nd ed. 1981, ch. 3), and Erlang C from it. Every
//! term of it is between 0 and 1, so that it neither overflows nor cancels, for as many workers as
//! there may be.

/// Workers with less to do than this keep up; at more, the figures that were given have no digits
/// left to tell it from full utilisation.
pub(super) const KEEPS_UP: f64 = 1.0 - 1e-9;

/// The probability that a caller finds all workers busy, for one worker after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Erlang {
    offered: f64,
    workers: u32,
    blocked: f64,
}

impl Erlang {
    /// No worker yet. `offered` is the load: arrivals in the time of one service.
    pub(super) fn new(offered: f64) -> Self {
        Self {
            offered,
            workers: 0,
            blocked: 1.0,
        }
    }

    /// The load on so many workers.
    pub(super) fn with(offered: f64, workers: u32) -> Self {
        let mut erlang = Self::new(offered);
        while erlang.workers < workers {
            erlang.add();
        }
        erlang
    }

    /// One worker more.
    pub(super) fn add(&mut self) {
        self.workers += 1;
        let met = self.offered * self.blocked;
        self.blocked = met / (f64::from(self.workers) + met);
    }

    pub(super) fn workers(&self) -> u32 {
        self.workers
    }

    pub(super) fn utilisation(&self) -> f64 {
        self.offered / f64::from(self.workers.max(1))
    }

    /// Whether the workers finish what arrives.
    pub(super) fn keeps_up(&self) -> bool {
        self.workers > 0 && self.utilisation() < KEEPS_UP
    }

    /// Erlang B: the part that is lost where nobody may wait.
    #[cfg(test)]
    pub(super) fn blocked(&self) -> f64 {
        self.blocked
    }

    /// Erlang C: the part that has to wait; all of them where the workers can't keep up.
    pub(super) fn waits(&self) -> f64 {
        if !self.keeps_up() {
            return 1.0;
        }
        self.blocked / (1.0 - self.utilisation() * (1.0 - self.blocked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kept: f64, want: f64, within: f64) {
        let off = (kept - want).abs();
        assert!(off <= within, "{kept} is not {want} to within {within}");
    }

    /// The load that the tables of Erlang B print for one call lost in a hundred.
    #[test]
    fn erlang_b_is_that_of_the_printed_tables() {
        for (workers, offered) in [(5, 1.36), (10, 4.46), (20, 12.0), (50, 37.9), (100, 84.1)] {
            let blocked = Erlang::with(offered, workers).blocked();
            check(blocked, 0.01, 0.0003);
        }
    }

    /// Fractions by hand from the definition: aᶜ/c! · c/(c−a) over that and the sum of aᵏ/k!, k < c.
    #[test]
    fn erlang_c_is_exact_where_it_can_be_reckoned_by_hand() {
        for (workers, offered, want) in [
            (1, 0.25, 0.25),
            (1, 0.9, 0.9),
            (2, 1.0, 1.0 / 3.0),
            (3, 2.0, 4.0 / 9.0),
            (5, 4.0, 128.0 / 231.0),
        ] {
            check(Erlang::with(offered, workers).waits(), want, 1e-14);
        }
    }

    /// S. Halfin and W. Whitt, *Heavy-traffic limits for queues with many exponential servers*,
    /// Operations Research 29 (1981): with β√c workers to spare, 1/(1 + βΦ(β)/φ(β)) wait.
    #[test]
    fn erlang_c_of_ten_thousand_workers_is_near_its_limit() {
        for (spare, want) in [(0.5, 0.504_5), (1.0, 0.223_36), (2.0, 0.026_89)] {
            let offered = 10_000.0 - spare * 100.0;
            check(Erlang::with(offered, 10_000).waits(), want, 0.004);
        }
        let nearly = Erlang::with(9_999.0, 10_000).waits();
        assert!(nearly > 0.98 && nearly < 1.0, "{nearly}");
    }

    #[test]
    fn nobody_waits_where_workers_are_plenty_and_all_do_where_they_are_too_few() {
        assert!(Erlang::with(0.001, 10_000).waits() >= 0.0);
        check(Erlang::with(0.001, 10_000).waits(), 0.0, 0.0);
        check(Erlang::with(10.0, 10).waits(), 1.0, 0.0);
        check(Erlang::with(3.0, 0).waits(), 1.0, 0.0);
    }
}
