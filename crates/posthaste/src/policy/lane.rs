//! One attempt under way: its leave, its work under its context, and the timers that end it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as Polling, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use posthaste_core::policy::settings::Fault;
use posthaste_core::policy::{Ended, Refusal, Stop, Verdict};
use posthaste_core::time::MonoNs;

use super::clock::Timer;
use super::context::Context;
use super::error::PolicyError;
use super::judge::Judge;
use super::room::{Held, Room};
use super::run::Attempt;
use super::scope::Scoped;

/// What came of an attempt.
pub(super) enum Came<T, E> {
    Result(Result<T, E>),
    TimedOut(Duration),
    Injected(Refusal),
}

impl<T, E> Came<T, E> {
    pub(super) fn or_error(self, attempts: u32, stop: Stop) -> Result<T, PolicyError<E>> {
        match self {
            Self::Result(Ok(value)) => Ok(value),
            Self::Result(Err(error)) => Err(PolicyError::Failed {
                error,
                attempts,
                stop,
                refusal: None,
            }),
            Self::TimedOut(after) => Err(PolicyError::TimedOut {
                after,
                attempts,
                stop,
                refusal: None,
            }),
            Self::Injected(refusal) => Err(PolicyError::Refused(refusal)),
        }
    }
}

pin_project! {
    /// Where attempts run, one after the other. Dropped, the work is dropped before its place is free.
    pub(super) struct Lane<'r, Fut> {
        #[pin]
        work: Scoped<Fut>,
        held: Held<'r>,
        number: u32,
        hedge: bool,
        begun: bool,
        delay: Timer,
        timeout: Timer,
    }
}

impl<'r, Fut> Lane<'r, Fut> {
    /// One in which nothing runs.
    #[inline]
    pub(super) const fn new(room: &'r Room, hedge: bool) -> Self {
        Self {
            work: Scoped::idle(),
            held: Held::none(room),
            number: 0,
            hedge,
            begun: false,
            delay: Timer::new(),
            timeout: Timer::new(),
        }
    }

    /// The leave for the attempt that runs here, or for the next one. It is to be ended here.
    #[inline]
    pub(super) fn held(self: Pin<&mut Self>) -> &mut Held<'r> {
        self.project().held
    }

    /// The attempt that there is leave for begins when this is polled.
    #[inline]
    pub(super) fn enter(self: Pin<&mut Self>, number: u32) {
        let this = self.project();
        *this.number = number;
        *this.begun = false;
        this.delay.clear();
        this.timeout.clear();
    }

    /// Whether an attempt is in it that has not been ended.
    #[inline]
    pub(super) const fn is_taken(&self) -> bool {
        self.held.is_some()
    }

    /// Drops the work, where it still runs.
    #[inline]
    pub(super) fn stop(self: Pin<&mut Self>) {
        self.project().work.stop();
    }
}

impl<Fut> Lane<'_, Fut> {
    /// Runs the attempt until it ends or has to.
    pub(super) fn poll<T, E, F, J>(
        mut self: Pin<&mut Self>,
        polling: &mut Polling<'_>,
        context: &Context,
        judge: &J,
        work: &mut F,
    ) -> Poll<(Came<T, E>, Ended)>
    where
        F: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        J: Judge<T, E>,
    {
        let (started, must_end, fault) = self.held.terms();
        if let Some((rule, Fault::Error)) = fault {
            // It is not made at all.
            let injected = Came::Injected(Refusal::Chaos { rule });
            return Poll::Ready((injected, Ended::With(Verdict::Retry)));
        }
        let delayed_until = match fault {
            Some((_, Fault::Delay(delay))) => Some(started.after(delay)),
            _ => None,
        };
        let polled = if self.begun {
            self.as_mut().go_on(polling, delayed_until)
        } else {
            let attempt = Attempt::new(context, must_end, self.number, self.hedge);
            self.as_mut().begin(polling, delayed_until, attempt, work)
        };
        let this = self.project();
        match (polled, fault) {
            (Poll::Pending, _) => {
                let Some(end) = must_end else {
                    return Poll::Pending;
                };
                ready!(this.timeout.poll(end, polling));
                this.work.stop();
                let had = Duration::from_nanos(end.since(started));
                Poll::Ready((Came::TimedOut(had), Ended::TimedOut))
            }
            (Poll::Ready(_), Some((rule, Fault::Abort))) => {
                let injected = Came::Injected(Refusal::Chaos { rule });
                Poll::Ready((injected, Ended::With(Verdict::Unknown)))
            }
            (Poll::Ready(result), _) => {
                let verdict = judge.judge(&result);
                Poll::Ready((Came::Result(result), Ended::With(verdict)))
            }
        }
    }

    /// Calls `work`, and polls what it gives, where that is not delayed.
    fn begin<F>(
        self: Pin<&mut Self>,
        polling: &mut Polling<'_>,
        delayed_until: Option<MonoNs>,
        attempt: Attempt,
        work: &mut F,
    ) -> Poll<Fut::Output>
    where
        F: FnMut(Attempt) -> Fut,
        Fut: Future,
    {
        let mut this = self.project();
        *this.begun = true;
        let context = attempt.context().clone();
        if delayed_until.is_none() {
            return this.work.start_and_poll(context, polling, || work(attempt));
        }
        this.work.as_mut().start(context, || work(attempt));
        go_on(this.work, this.delay, polling, delayed_until)
    }

    fn go_on(
        self: Pin<&mut Self>,
        polling: &mut Polling<'_>,
        delayed_until: Option<MonoNs>,
    ) -> Poll<Fut::Output>
    where
        Fut: Future,
    {
        let this = self.project();
        go_on(this.work, this.delay, polling, delayed_until)
    }
}

fn go_on<Fut: Future>(
    work: Pin<&mut Scoped<Fut>>,
    delay: &mut Timer,
    polling: &mut Polling<'_>,
    delayed_until: Option<MonoNs>,
) -> Poll<Fut::Output> {
    if let Some(at) = delayed_until {
        ready!(delay.poll(at, polling));
    }
    work.poll(polling)
}
