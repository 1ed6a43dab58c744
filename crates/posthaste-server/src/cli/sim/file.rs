//! What a file of `sim` may say, and how loads and triggers are written.

use std::path::Path;
use std::time::Duration;

use posthaste::policy::form::{PolicyForm, Wait};
use posthaste_core::{Error, ErrorKind, Result, duration};
use posthaste_sim::{Order, Rig, Scenario, Service, Trigger, TriggerKind};
use serde::Deserialize;

/// The reference rig of the built-in scenarios.
const DEFAULT: &str = include_str!("../../../../../docs/policies/default.toml");
const NAIVE: &str = include_str!("../../../../../docs/policies/naive.toml");

/// Steps of a range of loads.
const STEPS: i32 = 9;
/// Most loads of one run.
const LOADS_MAX: usize = 64;

/// A file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Option<String>,
    #[serde(default)]
    client: PolicyForm,
    server: Option<PolicyForm>,
    #[serde(default)]
    rig: RigForm,
    #[serde(default)]
    trigger: Vec<TriggerForm>,
}

/// As [`Rig`].
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RigForm {
    workers: Option<u32>,
    service: Option<ServiceForm>,
    refusal_cost: Option<f64>,
    network: Option<Wait>,
    clients: Option<u32>,
    mix: Option<[f64; 4]>,
    deadline: Option<Wait>,
    order: Option<OrderForm>,
    drop_expired: Option<bool>,
    warmup: Option<Wait>,
    measured: Option<Wait>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OrderForm {
    Fifo,
    Lifo,
}

/// As [`Service`].
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum ServiceForm {
    Constant { mean: Wait },
    Exponential { mean: Wait },
    Lognormal { mean: Wait, cv: f64 },
    Bimodal { fast: Wait, slow: Wait, share: f64 },
}

/// As [`Trigger`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TriggerForm {
    kind: String,
    factor: f64,
    at: Option<Wait>,
    lasts: Wait,
}

/// A scenario that needs no file.
pub(super) fn built_in(name: &str) -> Result<Scenario> {
    let text = if name == "naive" { NAIVE } else { DEFAULT };
    parse(text, name)
}

/// The scenario of a file.
///
/// # Errors
/// `Invalid` where it can't be read, says something unknown, or makes no sense, naming the file.
pub(super) fn read(path: &Path) -> Result<Scenario> {
    let name = path.file_stem().unwrap_or(path.as_os_str());
    std::fs::read_to_string(path)
        .map_err(|error| Error::new(ErrorKind::Invalid, error.to_string()))
        .and_then(|text| parse(&text, &name.to_string_lossy()))
        .map_err(|error| {
            let next = error
                .next_step()
                .unwrap_or("see docs/policies/gallery.md for what such a file says");
            let what = format!("{}: {}", path.display(), error.message());
            Error::new(ErrorKind::Invalid, what).next(next.to_owned())
        })
}

fn parse(text: &str, name: &str) -> Result<Scenario> {
    let file: File = toml::from_str(text)
        .map_err(|error| Error::new(ErrorKind::Invalid, error.to_string().trim_end()))?;
    let named = |part: &'static str| {
        move |error: Error| {
            let next = error.next_step().unwrap_or("see docs/policies/gallery.md");
            let what = format!("[{part}] {}", error.message());
            Error::new(ErrorKind::Invalid, what).next(next.to_owned())
        }
    };
    let server = file.server.as_ref().map(PolicyForm::settings).transpose();
    Ok(Scenario {
        name: file.name.unwrap_or_else(|| name.to_owned()),
        rig: file.rig.rig(),
        client: file.client.settings().map_err(named("client"))?,
        server: server.map_err(named("server"))?,
        triggers: file
            .trigger
            .iter()
            .map(TriggerForm::trigger)
            .collect::<Result<_>>()?,
    })
}

impl RigForm {
    fn rig(self) -> Rig {
        let base = Rig::default();
        let or = |said: Option<Wait>, base: Duration| said.map_or(base, |wait| wait.0);
        Rig {
            workers: self.workers.unwrap_or(base.workers),
            service: self.service.map_or(base.service, ServiceForm::service),
            refusal_cost: self.refusal_cost.unwrap_or(base.refusal_cost),
            network: or(self.network, base.network),
            clients: self.clients.unwrap_or(base.clients),
            mix: self.mix.unwrap_or(base.mix),
            deadline: or(self.deadline, base.deadline),
            order: match self.order {
                Some(OrderForm::Lifo) => Order::Lifo,
                Some(OrderForm::Fifo) => Order::Fifo,
                None => base.order,
            },
            drop_expired: self.drop_expired.unwrap_or(base.drop_expired),
            warmup: or(self.warmup, base.warmup),
            measured: or(self.measured, base.measured),
        }
    }
}

impl ServiceForm {
    fn service(self) -> Service {
        match self {
            Self::Constant { mean } => Service::Constant(mean.0),
            Self::Exponential { mean } => Service::Exponential(mean.0),
            Self::Lognormal { mean, cv } => Service::Lognormal { mean: mean.0, cv },
            Self::Bimodal { fast, slow, share } => Service::Bimodal {
                fast: fast.0,
                slow: slow.0,
                share,
            },
        }
    }
}

impl TriggerForm {
    fn trigger(&self) -> Result<Trigger> {
        Ok(Trigger {
            kind: kind(&self.kind)?,
            factor: self.factor,
            at: self.at.map_or(BEFORE, |at| at.0),
            lasts: self.lasts.0,
        })
    }
}

/// How long it is measured before a trigger begins.
const BEFORE: Duration = Duration::from_secs(5);

fn kind(word: &str) -> Result<TriggerKind> {
    TriggerKind::from_word(word).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, format!("{word:?} is no trigger"))
            .next("use capacity, latency, errors, load or storm")
    })
}

/// A trigger as flags write it: `capacity:0.4:10s`.
///
/// # Errors
/// `Invalid`, with how it is written.
pub(super) fn trigger(text: &str) -> Result<Trigger> {
    let wrong = || {
        Error::new(ErrorKind::Invalid, format!("{text:?} is no trigger"))
            .next("write it as capacity:0.4:10s, or latency, errors, load or storm")
    };
    let [word, factor, lasts] = text.split(':').collect::<Vec<_>>()[..] else {
        return Err(wrong());
    };
    Ok(Trigger {
        kind: kind(word)?,
        factor: factor.parse().map_err(|_| wrong())?,
        at: BEFORE,
        lasts: duration::parse(lasts)?,
    })
}

/// Loads as flags write them: `0.5..10` in equal factors, or `0.5,1,2`.
///
/// # Errors
/// `Invalid`, with how they are written.
pub(super) fn loads(text: &str) -> Result<Vec<f64>> {
    let wrong = || {
        Error::new(ErrorKind::Invalid, format!("{text:?} are no loads"))
            .next("write them as 0.5..10 or 0.5,1,2")
    };
    let number = |text: &str| text.trim().parse::<f64>().map_err(|_| wrong());
    let mut loads = match text.split_once("..") {
        Some((from, to)) => {
            let (from, to) = (number(from)?, number(to)?);
            if from <= 0.0 || to <= from || !to.is_finite() {
                return Err(wrong());
            }
            let step = (to / from).powf(1.0 / f64::from(STEPS));
            (0..=STEPS)
                .map(|count| (from * step.powi(count) * 100.0).round() / 100.0)
                .collect()
        }
        None => text.split(',').map(number).collect::<Result<Vec<_>>>()?,
    };
    loads.sort_by(f64::total_cmp);
    loads.dedup();
    match loads.len() {
        1..=LOADS_MAX => Ok(loads),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_and_triggers_are_read_as_flags_write_them() {
        assert_eq!(loads("2,0.5"), Ok(vec![0.5, 2.0]));
        let range = loads("0.5..8").expect("a range");
        assert_eq!((range[0], range[range.len() - 1]), (0.5, 8.0));
        let read = trigger("latency:3:2s").expect("a trigger");
        assert_eq!((read.kind, read.factor), (TriggerKind::Latency, 3.0));
        assert_eq!(read.lasts, Duration::from_secs(2));
    }

    #[test]
    fn what_they_do_not_say_is_refused_with_the_way_out() {
        for text in ["", "5..1", "0..3", "a,b", "1..", "1..inf"] {
            let error = loads(text).expect_err(text);
            assert!(
                error
                    .next_step()
                    .is_some_and(|next| next.contains("0.5..10"))
            );
        }
        for text in ["", "capacity", "capacity:x:1s", "flood:2:1s", "load:2:1"] {
            trigger(text).expect_err(text);
        }
    }

    #[test]
    fn a_file_says_everything_that_can_be_set() {
        let scenario = parse(
            "name = \"mine\"
             [client]
             policy = \"default\"
             [server]
             policy = \"server\"
             [rig]
             workers = 8
             service.bimodal = { fast = \"1ms\", slow = \"100ms\", share = 0.1 }
             order = \"lifo\"
             mix = [1, 0, 0, 0]
             [[trigger]]
             kind = \"errors\"
             factor = 0.5
             lasts = \"2s\"",
            "x",
        )
        .expect("a scenario");
        assert_eq!((scenario.name.as_str(), scenario.rig.workers), ("mine", 8));
        assert_eq!(scenario.rig.order, Order::Lifo);
        assert_eq!(scenario.triggers.len(), 1);
        let error = parse("[client]\nretry = { attempts = 1 }", "x").expect_err("no retry");
        assert!(error.message().starts_with("[client] "), "{error}");
        let error = parse("[rig]\nworker = 1", "x").expect_err("unknown");
        assert!(error.message().contains("worker"), "{error}");
    }
}
