//! Quick calls under a policy: what is repeated, when the server is left alone, and the error that says
//! so.
//!
//! A call that waits for something, an ask for work and a look at the server's health are not made
//! here: they are made once, and who asked decides. This room refuses to repeat what is not safe to
//! repeat; what may have happened stays uncertain, whatever comes of repeating it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use posthaste_core::{Error, ErrorKind, Result};
use serde::de::IgnoredAny;

use super::client::{Answer, Client, Question, Verb};
use crate::policy::settings::{Breaker, Budget, Retry, Throttle, Trip};
use crate::policy::{Context, PolicyError, Refusal, Settings, Stop, Verdict};

/// What quick calls are made under: 45 s in all, at most three attempts where repeating is safe, a
/// throttle for each tier against a server that turns calls away, and a breaker that opens after ten
/// failures in a row and is tried again after a quarter of a second: a server that restarts is met
/// again at once.
pub(super) fn settings() -> Settings {
    Settings {
        deadline: Some(Duration::from_secs(45)),
        retry: Some(Retry {
            retry_after_max: Duration::from_secs(5),
            ..Retry::default()
        }),
        // A client with few calls still has enough for a restart of its server.
        budget: Budget {
            floor_per_second: 5.0,
            ..Budget::default()
        },
        throttle: Some(Throttle::default()),
        breaker: Some(Breaker {
            trip: Trip::Consecutive(10),
            open_for: Duration::from_millis(250),
            probes: 1,
            probe_lease: Duration::from_secs(5),
            ramp: Duration::ZERO,
        }),
        ..Settings::default()
    }
}

/// Sends it, and again where that is safe and may help.
///
/// # Errors
/// As [`Client::send`].
pub(super) async fn send(
    client: &Client,
    question: &Question<'_>,
    context: Context,
) -> Result<Answer> {
    let doubtful = AtomicBool::new(false);
    let sent = client
        .policy()
        .with(context)
        .judge(judge)
        .run(|attempt| {
            let request = client.request(question, attempt.context());
            let doubtful = &doubtful;
            async move {
                let answer = client.exchange(question.verb, request?, Duration::ZERO, || {});
                let answer = answer.await.and_then(Answer::or_fault);
                let answer = match answer {
                    Ok(answer) if doubtful.load(Ordering::Relaxed) => of_all_attempts(answer),
                    answer => answer,
                };
                let unknown = |error: &Error| error.kind() == ErrorKind::Uncertain;
                doubtful.fetch_or(answer.as_ref().is_err_and(unknown), Ordering::Relaxed);
                answer
            }
        })
        .await;
    let doubtful = doubtful.into_inner();
    sent.map_err(|error| explained(error, client.base(), question.verb, doubtful))
}

/// This answer, where it says what became of the earlier attempts too: that of a server that has no
/// room for new work, or that can't be read, may have come before anybody looked at the key.
///
/// # Errors
/// What it says, where that is only of this attempt.
fn of_all_attempts(answer: Answer) -> Result<Answer> {
    match answer.read::<IgnoredAny>() {
        Err(error) if matches!(error.kind(), ErrorKind::Busy | ErrorKind::Unavailable) => {
            Err(error)
        }
        _ => Ok(answer),
    }
}

/// What an answer says of the server. A refusal of one thing is an answer as good as any: a long
/// backlog or a full disk concerns new work alone, and its asker is told when to come back.
fn judge(answer: &Result<Answer>) -> Verdict {
    let Err(error) = answer else {
        return Verdict::Ok;
    };
    match error.kind() {
        ErrorKind::Overloaded => Verdict::Throttled(error.retry_after().map(Duration::from_millis)),
        ErrorKind::Unavailable | ErrorKind::Locked => Verdict::Retry,
        ErrorKind::Uncertain => Verdict::Unknown,
        _ => Verdict::Fatal,
    }
}

/// The error of a call that did not work, with what was decided. `doubtful`: an earlier attempt may
/// have happened.
fn explained(error: PolicyError<Error>, base: &str, verb: Verb, doubtful: bool) -> Error {
    let (inner, attempts, stop, refusal) = match error {
        PolicyError::Refused(refusal) => return not_asked(base, &refusal),
        PolicyError::Failed {
            error,
            attempts,
            stop,
            refusal,
        } => (error, attempts, stop, refusal),
        late => return too_late(base, verb, &late),
    };
    let told_before = matches!(stop, Stop::Fatal | Stop::NoRetry | Stop::NotIdempotent);
    if attempts == 1 && told_before && refusal.is_none() {
        return inner;
    }
    let unsure = doubtful && says_nothing_of_earlier_ones(inner.kind());
    let kind = if unsure {
        ErrorKind::Uncertain
    } else {
        inner.kind()
    };
    let plural = if attempts == 1 { "" } else { "s" };
    let mut message = format!("{} ({attempts} attempt{plural}; {stop}", inner.message());
    if let Some(refusal) = refusal {
        message.push_str(&format!(": {refusal}"));
    }
    message.push(')');
    if unsure {
        message.push_str(": an earlier attempt may have happened");
    }
    let mut error = Error::new(kind, message);
    if let Some(next) = inner.next_step() {
        error = error.next(next);
    }
    if let Some(command) = inner.command() {
        error = error.at_command(command);
    }
    match inner.retry_after() {
        Some(after) => error.retry_after_ms(after),
        None => error,
    }
}

/// Whether an attempt that ended so may have been turned away before anybody looked at its key: it did
/// nothing, and what the ones before it did stands.
const fn says_nothing_of_earlier_ones(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Unavailable
            | ErrorKind::Overloaded
            | ErrorKind::Deadline
            | ErrorKind::Locked
            | ErrorKind::Busy
            | ErrorKind::DiskFull
    )
}

fn not_asked(base: &str, refusal: &Refusal) -> Error {
    let (kind, next) = match refusal {
        Refusal::Deadline { .. } => (ErrorKind::Deadline, "give it more time"),
        Refusal::Throttled { .. } => (
            ErrorKind::Overloaded,
            "try again later: the server turns away most of what is asked",
        ),
        _ => (
            ErrorKind::Unavailable,
            "start it with `posthaste serve`, or see why it does not answer",
        ),
    };
    let error = Error::new(kind, format!("{base} was not asked: {refusal}")).next(next);
    match refusal.retry_after() {
        Some(after) => error.retry_after_ms(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        None => error,
    }
}

fn too_late(base: &str, verb: Verb, late: &PolicyError<Error>) -> Error {
    let said = format!("{base} did not answer in time: {late}");
    match verb {
        Verb::Get => Error::new(ErrorKind::Deadline, said).next("give it more time"),
        Verb::Post => Error::new(ErrorKind::Uncertain, said)
            .next("it may have happened: ask, or repeat it under an idempotency key"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;

    fn failed(kind: ErrorKind, attempts: u32, stop: Stop) -> PolicyError<Error> {
        PolicyError::Failed {
            error: Error::new(kind, "so").next("then").retry_after_ms(7),
            attempts,
            stop,
            refusal: None,
        }
    }

    fn told(error: PolicyError<Error>, doubtful: bool) -> Error {
        explained(error, "http://a:1", Verb::Post, doubtful)
    }

    #[test]
    fn the_settings_make_sense() {
        Policy::new("store", settings()).expect("they are checked");
    }

    #[test]
    fn what_was_tried_once_and_refused_is_told_as_it_came() {
        let error = told(failed(ErrorKind::Conflict, 1, Stop::Fatal), false);
        assert_eq!((error.kind(), error.message()), (ErrorKind::Conflict, "so"));
    }

    #[test]
    fn what_was_repeated_says_how_often_and_keeps_the_advice() {
        let made = Stop::Attempts { made: 3 };
        let error = told(failed(ErrorKind::Unavailable, 3, made), false);
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().starts_with("so (3 attempts; "), "{error}");
        assert_eq!(
            (error.next_step(), error.retry_after()),
            (Some("then"), Some(7))
        );
    }

    #[test]
    fn what_may_have_happened_stays_uncertain() {
        let made = Stop::Attempts { made: 2 };
        let of = |kind| told(failed(kind, 2, made), true).kind();
        assert_eq!(of(ErrorKind::Unavailable), ErrorKind::Uncertain);
        assert_eq!(of(ErrorKind::Overloaded), ErrorKind::Uncertain);
        // The store has looked at this one, and says what it is.
        assert_eq!(of(ErrorKind::KeyReused), ErrorKind::KeyReused);
    }

    #[test]
    fn that_there_is_no_room_for_a_repetition_says_nothing_of_the_first() {
        for kind in [ErrorKind::Busy, ErrorKind::DiskFull] {
            let error = told(failed(kind, 2, Stop::Fatal), true);
            assert_eq!(error.kind(), ErrorKind::Uncertain, "{kind:?}");
            let said = "an earlier attempt may have happened";
            assert!(error.message().ends_with(said), "{error}");
            // When it is worth repeating is still known.
            assert_eq!(error.retry_after(), Some(7));
            let error = told(failed(kind, 2, Stop::Fatal), false);
            assert_eq!(error.kind(), kind);
            assert!(!error.message().contains(said), "{error}");
        }
    }

    #[test]
    fn only_the_server_being_ill_or_turning_calls_away_speaks_against_it() {
        let of = |kind| judge(&Err(Error::new(kind, "so").retry_after_ms(7)));
        let after = Some(Duration::from_millis(7));
        assert_eq!(of(ErrorKind::Overloaded), Verdict::Throttled(after));
        assert_eq!(of(ErrorKind::Unavailable), Verdict::Retry);
        assert_eq!(of(ErrorKind::Uncertain), Verdict::Unknown);
        assert_eq!(of(ErrorKind::DiskFull), Verdict::Fatal);
        assert_eq!(of(ErrorKind::Busy), Verdict::Fatal);
    }
}
