//! Policies by name, to find, reload and count them together.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use posthaste_core::policy::engine::Counts;
use posthaste_core::policy::{Refusal, Settings, Stop};
use posthaste_core::{Error, ErrorKind, Result, suggest};

use super::call::{Places, Policy};

/// Policies by name. Cheap to clone; clones hold the same.
///
/// ```
/// use posthaste::policy::{Policies, Policy, Settings};
///
/// # fn main() -> posthaste::Result<()> {
/// let policies = Policies::new();
/// policies.add(Policy::calling("billing"))?;
/// let billing = policies.get("billing")?;
/// policies.reload("billing", Settings { retry: None, ..Settings::calling() })?;
/// assert!(billing.settings().retry.is_none());
/// assert!(policies.get("biling").unwrap_err().to_string().contains("billing"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Policies(Arc<RwLock<BTreeMap<Box<str>, Policy>>>);

impl Policies {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    ///
    /// # Errors
    /// `Conflict` where there is one of this name.
    pub fn add(&self, policy: Policy) -> Result<Policy> {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.contains_key(policy.name()) {
            let said = format!("there is a policy {:?} already", policy.name());
            return Err(Error::new(ErrorKind::Conflict, said)
                .next("get it, reload it, or choose another name"));
        }
        known.insert(policy.name().into(), policy.clone());
        Ok(policy)
    }

    /// The one of this name.
    ///
    /// # Errors
    /// `NotFound`, with the nearest name.
    pub fn get(&self, name: &str) -> Result<Policy> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.get(name).cloned().ok_or_else(|| {
            let error = Error::new(ErrorKind::NotFound, format!("there is no policy {name:?}"));
            match suggest::nearest(name, known.keys().map(|known| &**known)) {
                Some(near) => error.next(format!("did you mean {near:?}?")),
                None => error.next("add it first"),
            }
        })
    }

    /// Gives the one of this name other settings.
    ///
    /// # Errors
    /// As [`get`](Self::get) and [`Policy::reload`].
    pub fn reload(&self, name: &str, settings: Settings) -> Result<()> {
        self.get(name)?.reload(settings)
    }

    /// All of them, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Policy> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.values().cloned().collect()
    }

    /// What they decided, as text for Prometheus.
    #[must_use]
    pub fn metrics(&self) -> String {
        let all: Vec<(Policy, Counts)> = self
            .all()
            .into_iter()
            .map(|policy| (policy.clone(), policy.counts()))
            .collect();
        let mut text = Metrics::default();
        text.family("calls_total", "counter", "Calls that began.");
        for (policy, counts) in &all {
            text.sample("calls_total", policy.name(), &[], counts.calls);
        }
        text.family("attempts_total", "counter", "Attempts, by how they ended.");
        for (policy, counts) in &all {
            for (ended, count) in [
                ("ok", counts.ok),
                ("failed", counts.failed),
                ("throttled", counts.throttled),
                ("timed-out", counts.timed_out),
                ("dropped", counts.dropped),
            ] {
                text.sample("attempts_total", policy.name(), &[("ended", ended)], count);
            }
        }
        text.family(
            "again_total",
            "counter",
            "Attempts after the first, by why.",
        );
        for (policy, counts) in &all {
            text.sample(
                "again_total",
                policy.name(),
                &[("why", "retry")],
                counts.retries,
            );
            text.sample(
                "again_total",
                policy.name(),
                &[("why", "hedge")],
                counts.hedges,
            );
        }
        text.family(
            "refused_total",
            "counter",
            "Attempts that were not made, by the reason.",
        );
        for (policy, counts) in &all {
            for (reason, count) in Refusal::SLUGS.into_iter().zip(counts.refused) {
                text.sample("refused_total", policy.name(), &[("reason", reason)], count);
            }
        }
        text.family(
            "stopped_total",
            "counter",
            "Failed calls that were not repeated, by the reason.",
        );
        for (policy, counts) in &all {
            for (reason, count) in Stop::SLUGS.into_iter().zip(counts.stopped) {
                text.sample("stopped_total", policy.name(), &[("reason", reason)], count);
            }
        }
        let places: Vec<(&Policy, Places)> = all
            .iter()
            .filter_map(|(policy, _)| Some((policy, policy.places()?)))
            .collect();
        for (name, help, which) in GAUGES {
            text.family(name, "gauge", help);
            for (policy, places) in &places {
                text.sample(name, policy.name(), &[], which(places).into());
            }
        }
        text.0
    }
}

type Gauge = (&'static str, &'static str, fn(&Places) -> u32);

const GAUGES: [Gauge; 3] = [
    (
        "limit",
        "How many attempts may run at once now.",
        |places| places.limit,
    ),
    ("in_flight", "How many attempts run.", |places| {
        places.in_flight
    }),
    ("waiting", "How many calls wait for a place.", |places| {
        places.waiting
    }),
];

/// Prometheus' text format, by hand: families of samples, all of policies.
#[derive(Default)]
struct Metrics(String);

impl Metrics {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.0.push_str(&format!(
            "# HELP posthaste_policy_{name} {help}\n# TYPE posthaste_policy_{name} {kind}\n"
        ));
    }

    fn sample(&mut self, name: &str, policy: &str, labels: &[(&str, &str)], value: u64) {
        let policy = policy
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let labels: String = labels
            .iter()
            .map(|(label, said)| format!(",{label}=\"{said}\""))
            .collect();
        self.0.push_str(&format!(
            "posthaste_policy_{name}{{policy=\"{policy}\"{labels}}} {value}\n"
        ));
    }
}
