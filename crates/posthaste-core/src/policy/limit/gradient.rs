//! The limit that follows durations. It refuses to know who is in flight and to keep the limit
//! itself: it is told both, and says the next one.

use crate::time::MonoNs;

/// A window has ten durations for each place, but at least and at most so many.
const SAMPLES_MIN: f64 = 100.0;
/// With so many, the mean of exponentially distributed durations is known to a tenth.
const SAMPLES_MAX: f64 = 250.0;
/// While the limit ramps up, a window has two for each place, and at least so many.
const SAMPLES_RAMP: f64 = 40.0;
/// What is usual is learned from so many.
const LEARNED: f64 = 300.0;
/// A window that has gathered too little in so long is thrown away: calls are too rare to say
/// anything of load.
const RARE_NS: u64 = 10_000_000_000;
/// A window may close after so long with few samples.
const LONG_NS: u64 = 1_000_000_000;
const SAMPLES_FEW: f64 = 20.0;
/// The first look at what is usual lets so many run at once, takes so many durations, and ends after
/// so long with what it has, or with nothing where that is too little: of calls that take longer than
/// about 300 ms it learns nothing. Fewer places would leave a single worker without work while the
/// next call is on its way.
const LOOK_PLACES: f64 = 3.0;
const LOOK_SAMPLES: f64 = 80.0;
const LOOK_SAMPLES_FEW: f64 = 10.0;
const LOOK_NS: u64 = 1_000_000_000;
/// What the window after the first look leaves of the limit at least.
const FALL_FIRST: f64 = 0.05;
/// Losses below this share are an everyday matter.
const LOSS: f64 = 0.02;
/// What a window with losses, or one that is too slow, leaves of the limit at least.
const FALL: f64 = 0.8;
/// What is usual is looked for again after so long under pressure, for the first time.
const PRESSED_FIRST_NS: u64 = 1_000_000_000;
/// And so long after that.
const PRESSED_NS: u64 = 10_000_000_000;
/// And sooner, where it has moved and no look has found it to be so since.
const PRESSED_AGAIN_NS: u64 = 1_000_000_000;
/// Above this a window does not confirm what is usual.
const CONFIRMS: f64 = 1.2;
/// The logarithm by which durations must have followed a halved limit, so that they are believed to
/// depend on it: less than half's, because a fall begins at a window that was slow by chance, too.
const FOLLOWED: f64 = 0.5;
/// How many windows at the lowest limit it takes to believe that calls take so long.
const AT_MIN: u32 = 20;

/// One attempt, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) took_ns: u64,
    pub(super) lost: bool,
    pub(super) in_flight: u32,
    pub(super) used: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Gradient {
    tolerance: f64,
    window: Window,
    /// The logarithm of what a call usually takes without load.
    usual: f64,
    /// From how many durations that was learned; none until the first window was thrown away, in
    /// which only those had ended that were short.
    learned: Option<f64>,
    /// The last windows' logarithms, smoothed.
    smooth: f64,
    /// Since the start the limit has never been too high.
    ramping: bool,
    /// What is usual is looked for once before anything is learned under load.
    look: Look,
    /// Where the limit and the durations were when it began to fall.
    falling: Option<Fall>,
    at_min: u32,
    /// When a window last confirmed what is usual, or when it was looked for.
    confirmed: MonoNs,
    pressed_max: u64,
    /// What part of the limit is in force, and the durations before the dip.
    dip: Option<(f64, f64)>,
}

/// The first look: a server that is much smaller than the initial limit is loaded from its first
/// call on, so that what is usual cannot be learned while the whole limit is in force.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Look {
    /// There was none yet.
    Never,
    /// Under way.
    Now { began: MonoNs, count: f64, sum: f64 },
    /// It has just ended: the next window shows whether the limit is too high, and by how much.
    Fresh,
    /// It is over.
    Past,
}

#[derive(Clone, Copy, Debug)]
struct Fall {
    limit: f64,
    short: f64,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    opened: MonoNs,
    /// What ends before this belongs to the limit before.
    counts_from: MonoNs,
    count: f64,
    lost: f64,
    sum: f64,
    peak: u32,
    used: bool,
}

impl Window {
    fn open(now: MonoNs, settle_ns: u64) -> Self {
        Self {
            opened: now,
            counts_from: now.plus(settle_ns),
            count: 0.0,
            lost: 0.0,
            sum: 0.0,
            peak: 0,
            used: false,
        }
    }

    fn add(&mut self, seen: Seen) {
        self.peak = self.peak.max(seen.in_flight);
        self.used |= seen.used;
        if seen.lost {
            self.lost += 1.0;
        } else {
            self.count += 1.0;
            self.sum += log(seen.took_ns);
        }
    }

    fn is_lossy(&self) -> bool {
        self.lost > (self.lost + self.count) * LOSS
    }

    fn is_full(&self, now: MonoNs, wanted: f64) -> bool {
        let all = self.count + self.lost;
        all >= wanted
            || (all >= SAMPLES_FEW && now.since(self.opened) >= LONG_NS)
            || (self.lost >= 5.0 && self.lost * 4.0 > all)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a logarithm needs no 64 bits")]
fn log(took_ns: u64) -> f64 {
    (took_ns.max(1) as f64).ln()
}

/// Two mean durations, as nanoseconds: how long until what runs now has ended, mostly.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "cut to a second first"
)]
fn settle_ns(log: f64) -> u64 {
    (2.0 * log.exp()).min(1e9) as u64
}

impl Gradient {
    pub(super) fn new(tolerance: f64, now: MonoNs) -> Self {
        Self {
            tolerance: tolerance.ln(),
            window: Window::open(now, 0),
            usual: 0.0,
            learned: None,
            smooth: 0.0,
            ramping: true,
            look: Look::Never,
            falling: None,
            at_min: 0,
            confirmed: now,
            pressed_max: PRESSED_FIRST_NS,
            dip: None,
        }
    }

    pub(super) fn tolerate(&mut self, as_in: &Self) {
        self.tolerance = as_in.tolerance;
    }

    /// What of the limit is in force.
    pub(super) fn in_force(&self, limit: f64) -> f64 {
        match self.look {
            Look::Now { .. } => limit.min(LOOK_PLACES),
            _ => match self.dip {
                Some((part, _)) => (limit * part).max(limit.min(LOOK_PLACES)),
                None => limit,
            },
        }
    }

    /// Whether the first look is under way, which nobody may disturb.
    pub(super) fn is_looking_first(&self) -> bool {
        matches!(self.look, Look::Now { .. })
    }

    /// Takes a sample, and says the next limit where a window is full.
    pub(super) fn sample(&mut self, now: MonoNs, seen: Seen, limit: f64, min: f64) -> Option<f64> {
        if self.looks(now, seen) || now < self.window.counts_from {
            return None;
        }
        // What started before the places were full again would say that they do no harm.
        if self.look == Look::Fresh && !seen.used && now.since(self.window.opened) < LONG_NS {
            return None;
        }
        self.window.add(seen);
        let (per_place, least) = if self.ramping {
            (2.0, SAMPLES_RAMP)
        } else {
            (10.0, SAMPLES_MIN)
        };
        let wanted = (limit * per_place).clamp(least, SAMPLES_MAX);
        if !self.window.is_full(now, wanted) {
            if now.since(self.window.opened) >= RARE_NS {
                self.window = Window::open(now, 0);
            }
            return None;
        }
        let next = self.close(now, limit, min);
        self.window = Window::open(now, settle_ns(self.smooth));
        Some(next)
    }

    /// Whether the first look is under way. It begins when the limit is reached for the first time,
    /// and counts only what started while no more than its few places were taken.
    fn looks(&mut self, now: MonoNs, seen: Seen) -> bool {
        if self.look == Look::Never && self.learned.is_none() && seen.used && !seen.lost {
            self.look = Look::Now {
                began: now,
                count: 0.0,
                sum: 0.0,
            };
        }
        let Look::Now { began, count, sum } = &mut self.look else {
            return false;
        };
        if seen.lost {
            self.look = Look::Past;
            return false;
        }
        if f64::from(seen.in_flight) <= LOOK_PLACES {
            *count += 1.0;
            *sum += log(seen.took_ns);
        }
        let late = now.since(*began) >= LOOK_NS;
        if *count < LOOK_SAMPLES && !late {
            return true;
        }
        let (count, short) = (*count, *sum / count.max(1.0));
        self.look = Look::Past;
        if count >= LOOK_SAMPLES_FEW {
            self.look = Look::Fresh;
            (self.usual, self.smooth, self.confirmed) = (short, short, now);
            self.learned = Some(count);
        }
        self.window = Window::open(now, settle_ns(short));
        true
    }

    fn close(&mut self, now: MonoNs, limit: f64, min: f64) -> f64 {
        let window = self.window;
        let fresh = self.look == Look::Fresh;
        if fresh {
            self.look = Look::Past;
        }
        if window.is_lossy() {
            self.ramping = false;
            self.dip = None;
            return limit * FALL;
        }
        let short = window.sum / window.count.max(1.0);
        if !self.learn(now, &window, short) {
            return limit;
        }
        if let Some((part, before)) = self.dip.take() {
            self.looked(now, short, part, before);
            return limit;
        }
        self.confirm(now, &window);
        let over = short - self.usual;
        if over <= self.tolerance {
            // A fall is over where it began: one window that is well may be chance.
            self.falling = self.falling.filter(|fall| limit < fall.limit);
            self.at_min = 0;
            if now.since(self.confirmed) >= self.pressed_max && window.used {
                let part = (self.usual - self.smooth).exp() * 0.85;
                self.dip = Some((part.clamp(0.5, 0.85), self.smooth));
            }
            return self.grown(&window, limit, over);
        }
        self.ramping = false;
        let least = if fresh { FALL_FIRST } else { FALL };
        limit * self.fallen(now, limit, min, short, over).max(least)
    }

    /// The first windows say what is usual. False until one has.
    fn learn(&mut self, now: MonoNs, window: &Window, short: f64) -> bool {
        let Some(learned) = self.learned else {
            self.learned = Some(0.0);
            self.smooth = short;
            return false;
        };
        if learned <= 0.0 {
            (self.usual, self.smooth, self.confirmed) = (short, short, now);
        }
        // Once the limit was too high, every window is loaded.
        if self.ramping && learned < LEARNED && short - self.usual <= self.tolerance {
            let sum = learned + window.count;
            self.usual += (short - self.usual) * window.count / sum;
            self.learned = Some(sum);
        }
        self.smooth += 0.3 * (short - self.smooth);
        true
    }

    /// What a window says of the usual time: that it is so, or that it is less.
    fn confirm(&mut self, now: MonoNs, window: &Window) {
        let usual = self.usual;
        if self.smooth < usual + CONFIRMS.ln() {
            self.confirmed = now;
        }
        // A tenth less is chance. And a few cheap calls say nothing of what the others take.
        let few = window.peak <= 1 && !window.used;
        if self.smooth < usual - 0.1 && !few {
            self.usual += 0.3 * (self.smooth - usual);
            self.pressed_max = PRESSED_AGAIN_NS;
        }
    }

    /// The end of a dip. `part` of the limit was in force; `before` is what calls took before it.
    fn looked(&mut self, now: MonoNs, short: f64, part: f64, before: f64) {
        self.confirmed = now;
        let usual = self.usual;
        let followed = short < before + part.ln() / 2.0;
        // A shorter time was seen with more running than there will be; a longer one may be chance.
        if short < usual - 0.1 {
            self.usual = short;
        } else if short < usual || !followed {
            self.usual = (usual + short) / 2.0;
        }
        self.pressed_max = if short < usual - 0.15 {
            PRESSED_AGAIN_NS
        } else {
            PRESSED_NS
        };
    }

    fn grown(&self, window: &Window, limit: f64, over: f64) -> f64 {
        if !window.used {
            return limit;
        }
        let room = (1.0 - over / self.tolerance).clamp(0.0, 1.0);
        let step = if self.ramping { limit } else { limit.sqrt() };
        limit + step * room
    }

    /// Calls take longer than is well. Where half the limit does not make them shorter, that many
    /// calls are not the reason, and what they take now is usual. What to leave of the limit.
    fn fallen(&mut self, now: MonoNs, limit: f64, min: f64, short: f64, over: f64) -> f64 {
        let fall = self.falling.get_or_insert(Fall { limit, short });
        fall.short = fall.short.max(self.smooth);
        let fall = *fall;
        self.at_min = if limit <= min { self.at_min + 1 } else { 0 };
        let halved = limit <= fall.limit / 2.0;
        let in_vain = short > fall.short - FOLLOWED;
        if (halved && in_vain) || self.at_min >= AT_MIN {
            self.usual = (short + self.smooth) / 2.0;
            self.smooth = self.usual;
            self.falling = None;
            self.at_min = 0;
            self.confirmed = now;
            self.pressed_max = PRESSED_AGAIN_NS;
            return 1.0;
        }
        if halved {
            self.falling = Some(Fall { limit, short });
        }
        (self.tolerance - over).exp()
    }
}
