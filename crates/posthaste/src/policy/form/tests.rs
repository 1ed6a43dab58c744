//! What forms say, and what is said of those that say nothing.

use std::time::Duration;

use posthaste_core::policy::settings::{
    Breaker, ChaosRule, Concurrency, Fault, Hedge, Jitter, Limit, Rate, Retry, Settings, Trip,
    Window,
};

use super::PolicyForm;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn read(text: &str) -> Settings {
    let form: PolicyForm = serde_json::from_str(text).expect(text);
    form.settings().expect(text)
}

fn check_refused(text: &str, said: &str) {
    let told = match serde_json::from_str::<PolicyForm>(text) {
        Err(error) => error.to_string(),
        Ok(form) => {
            let error = form.settings().expect_err(text);
            format!("{error}; {}", error.next_step().expect("the way out"))
        }
    };
    assert!(told.contains(said), "{text}: {told}");
}

/// Written and read again, it says the same.
fn check_round_trip(settings: &Settings) {
    let text = serde_json::to_string(&PolicyForm::of(settings)).expect("written");
    assert_eq!(&read(&text), settings, "{text}");
}

#[test]
fn every_setting_survives_being_written_and_read() {
    for preset in [
        Settings::default(),
        Settings::calling(),
        Settings::serving(),
        Settings::naive(),
    ] {
        check_round_trip(&preset);
    }
    let rule = |tag: Option<&str>, fault| ChaosRule {
        tag: tag.map(Into::into),
        rate: 0.25,
        fault,
    };
    check_round_trip(&Settings {
        deadline: Some(MS(2_000)),
        retry: Some(Retry {
            attempts: 7,
            base: MS(11),
            max: MS(222),
            jitter: Jitter::Decorrelated,
            retry_after_max: MS(3_333),
            force: true,
        }),
        hedge: Some(Hedge {
            quantile: 0.9,
            delay_min: MS(4),
            warmup: 55,
        }),
        rate: Some(Rate {
            count: 6,
            per: MS(77),
            burst: 8,
        }),
        concurrency: Some(Concurrency {
            limit: Limit::Aimd {
                initial: 9,
                min: 2,
                max: 99,
                decrease: 0.7,
            },
            ..Concurrency::default()
        }),
        breaker: Some(Breaker {
            trip: Trip::Rate {
                window: Window::Count(50),
                failures: 0.4,
                slow: Some((MS(150), 0.3)),
                calls_min: 12,
            },
            ..Breaker::default()
        }),
        attempt_timeout: Some(MS(400)),
        chaos: vec![
            rule(Some("mail"), Fault::Delay(MS(5))),
            rule(None, Fault::Error),
            rule(None, Fault::Abort),
        ],
        ..Settings::default()
    });
    check_round_trip(&Settings {
        concurrency: Some(Concurrency {
            limit: Limit::Static(5),
            ..Concurrency::default()
        }),
        breaker: Some(Breaker {
            trip: Trip::Consecutive(20),
            ..Breaker::default()
        }),
        ..Settings::default()
    });
}

#[test]
fn a_form_changes_what_it_names_and_leaves_the_rest_of_the_preset() {
    let said = read(
        r#"{"policy": "default", "breaker": false, "hedge": true, "attempt_timeout": "250ms",
            "retry": {"attempts": 5}}"#,
    );
    let preset = Settings::calling();
    let wanted = Settings {
        breaker: None,
        hedge: Some(Hedge::default()),
        attempt_timeout: Some(MS(250)),
        retry: preset.retry.map(|retry| Retry {
            attempts: 5,
            ..retry
        }),
        ..preset
    };
    assert_eq!(said, wanted);
}

#[test]
fn an_empty_form_does_nothing() {
    assert_eq!(read("{}"), Settings::default());
}

#[test]
fn what_it_does_not_understand_is_refused_with_the_way_out() {
    check_refused(r#"{"retries": 3}"#, "retries");
    check_refused(r#"{"retry": {"tries": 3}}"#, "tries");
    check_refused(r#"{"policy": "best"}"#, "use default (for callers)");
    check_refused(r#"{"deadline": "1.5s"}"#, "a duration such as");
    check_refused(r#"{"deadline": true}"#, "deadline: no duration is given");
    check_refused(r#"{"retry": 3}"#, "what it is set to, or true or false");
    check_refused(r#"{"retry": {"jitter": "some"}}"#, "use full, equal");
    check_refused(r#"{"rate": {"count": 3}}"#, "per = \"1s\"");
    check_refused(r#"{"rate": true}"#, "per = \"1s\"");
    check_refused(r#"{"concurrency": {"limit": "vegas"}}"#, "\"gradient\"");
    check_refused(
        r#"{"concurrency": {"limit": 5, "max": 9}}"#,
        "a fixed limit does not move",
    );
    check_refused(
        r#"{"breaker": {"consecutive": 5, "failures": 0.5}}"#,
        "give either consecutive",
    );
    check_refused(r#"{"breaker": {"slow_share": 0.5}}"#, "give breaker.slow");
    check_refused(
        r#"{"chaos": [{"rate": 1, "fault": "delay"}]}"#,
        "delay = \"100ms\"",
    );
    check_refused(r#"{"retry": {"attempts": 1}}"#, "which is no retry");
}
