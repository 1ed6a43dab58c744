//! A call under a policy: attempts, one after the other or side by side, until one works or nothing
//! further is allowed.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context as Polling, Poll};
use std::time::Duration;

use posthaste_core::policy::engine::{Ask, Call, Next};
use posthaste_core::policy::settings::Fault;
use posthaste_core::policy::{Ended, Refusal, Stop, Verdict};
use posthaste_core::time::MonoNs;
use tokio::time::{Sleep, sleep_until};

use super::clock;
use super::context::Context;
use super::error::PolicyError;
use super::judge::Judge;
use super::room::{Held, Room};
use super::tell;

/// One attempt of a call, as its body is told of it.
#[derive(Clone, Debug)]
pub struct Attempt {
    context: Context,
    hedge: bool,
}

impl Attempt {
    /// The context of the attempt: the call's, its deadline narrowed to what the attempt has. Also
    /// [`Context::current`] inside of it.
    #[must_use]
    pub const fn context(&self) -> &Context {
        &self.context
    }

    /// Which one it is, from 1.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.context.attempt()
    }

    /// Whether it runs beside another one that takes long.
    #[must_use]
    pub const fn is_hedge(&self) -> bool {
        self.hedge
    }

    /// How much time it has left.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.context.remaining()
    }

    /// What to send along over HTTP; see [`Context::headers`].
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.context.headers()
    }
}

/// What came of an attempt.
enum Came<T, E> {
    Result(Result<T, E>),
    TimedOut(Duration),
    Injected(Refusal),
}

impl<T, E> Came<T, E> {
    fn or_error(self, attempts: u32, stop: Stop) -> Result<T, PolicyError<E>> {
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

/// What a call is made with.
pub(super) struct Run<'r, J> {
    pub(super) room: &'r Room,
    pub(super) name: &'r str,
    pub(super) context: Context,
    pub(super) judge: J,
}

impl<J> Run<'_, J> {
    fn ask(&self) -> Ask {
        Ask {
            tier: self.context.tier(),
            caller: self.context.caller_number(),
            deadline: self.context.deadline(),
            idempotent: self.context.is_idempotent(),
            tag: self.context.chaos_tag(),
        }
    }

    fn attempt(&self, must_end: Option<MonoNs>, number: u32, hedge: bool) -> Attempt {
        let context = self.context.clone().attempted(number);
        let context = match must_end {
            Some(end) => context.until(end),
            None => context,
        };
        Attempt { context, hedge }
    }

    /// One attempt and no other, of work that can be started only once.
    pub(super) async fn once<T, E, F, Fut>(self, work: F) -> Result<T, PolicyError<E>>
    where
        F: FnOnce(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        J: Judge<T, E>,
    {
        let (mut call, mut held) = self.begun().await?;
        // There is nothing to put beside it.
        held.never_hedge();
        let mut work = Some(work);
        let mut once = |attempt| match work.take() {
            Some(work) => work(attempt),
            None => unreachable!("one attempt has no other beside it"),
        };
        let (came, ended, held) = self.race(&mut call, held, &mut once).await;
        held.end(ended);
        came.or_error(1, Stop::NoRetry)
    }

    /// Attempts until one works or nothing further is allowed.
    pub(super) async fn all<T, E, F, Fut>(self, mut work: F) -> Result<T, PolicyError<E>>
    where
        F: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        J: Judge<T, E>,
    {
        let (mut call, mut held) = self.begun().await?;
        loop {
            let (came, ended, ending) = self.race(&mut call, held, &mut work).await;
            let at = match self.room.settle(ending, &mut call, ended) {
                Next::Done => return came.or_error(call.made(), Stop::NoRetry),
                Next::Stop(stop) => {
                    tell::stopped(self.name, &stop, call.made());
                    return came.or_error(call.made(), stop);
                }
                Next::Retry { at } => at,
            };
            tell::again(self.name, call.made(), at.since(clock::now()));
            sleep_until(clock::instant(at)).await;
            held = match self.room.admit(&call).await {
                Ok(held) => held,
                Err(refusal) => {
                    tell::refused(self.name, &refusal);
                    let failed = came.or_error(call.made(), Stop::Refused);
                    return failed.map_err(|error| error.refused_next(refusal));
                }
            };
        }
    }

    async fn begun<E>(&self) -> Result<(Call, Held<'_>), PolicyError<E>> {
        let begun = self.room.begin(self.ask()).await;
        begun.map_err(|refusal| {
            tell::refused(self.name, &refusal);
            PolicyError::Refused(refusal)
        })
    }

    /// One attempt, and another one beside it where it takes long. The first that works wins; where one
    /// fails the other is waited for. The leave of the one that decided goes to whoever settles.
    async fn race<'s, T, E, F, Fut>(
        &'s self,
        call: &mut Call,
        held: Held<'s>,
        work: &mut F,
    ) -> (Came<T, E>, Ended, Held<'s>)
    where
        F: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        J: Judge<T, E>,
    {
        let hedge_at = held.hedge_at();
        let mut first = pin!(self.one(&held, call.made() + 1, false, work));
        if let Some((came, ended)) = within(hedge_at, first.as_mut()).await {
            return (came, ended, held);
        }
        let Some(beside) = self.room.hedge(call) else {
            let (came, ended) = first.await;
            return (came, ended, held);
        };
        tell::hedged(self.name, call.made() + 1);
        let mut second = pin!(self.one(&beside, call.made() + 1, true, work));
        let first_won = poll_fn(|polling| {
            if let Poll::Ready(done) = first.as_mut().poll(polling) {
                return Poll::Ready((done, true));
            }
            second.as_mut().poll(polling).map(|done| (done, false))
        });
        match first_won.await {
            ((came, ended @ Ended::With(Verdict::Ok)), true) => (came, ended, held),
            ((came, ended @ Ended::With(Verdict::Ok)), false) => (came, ended, beside),
            ((_, ended), true) => {
                held.end(ended);
                let (came, ended) = second.await;
                (came, ended, beside)
            }
            ((_, ended), false) => {
                beside.end(ended);
                let (came, ended) = first.await;
                (came, ended, held)
            }
        }
    }

    /// One attempt, with what is injected into it, until it has to end. `work` is only called here, and
    /// runs when the future is polled.
    fn one<'s, T, E, F, Fut>(
        &'s self,
        held: &Held<'_>,
        number: u32,
        hedge: bool,
        work: &mut F,
    ) -> impl Future<Output = (Came<T, E>, Ended)> + use<'s, T, E, F, Fut, J>
    where
        F: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        J: Judge<T, E>,
    {
        let (started, must_end, fault) = held.terms();
        let attempt = self.attempt(must_end, number, hedge);
        let work = match fault {
            // It is not made at all.
            Some((_, Fault::Error)) => None,
            _ => {
                let context = attempt.context.clone();
                let work = context.during(|| work(attempt));
                Some(context.over(work))
            }
        };
        async move {
            let Some(work) = work else {
                let rule = fault.map_or(0, |(rule, _)| rule);
                return (
                    Came::Injected(Refusal::Chaos { rule }),
                    Ended::With(Verdict::Retry),
                );
            };
            let work = pin!(async {
                if let Some((_, Fault::Delay(delay))) = fault {
                    tokio::time::sleep(delay).await;
                }
                work.await
            });
            match (within(must_end, work).await, fault) {
                (None, _) => {
                    let had = must_end.map_or(0, |end| end.since(started));
                    (Came::TimedOut(Duration::from_nanos(had)), Ended::TimedOut)
                }
                (Some(_), Some((rule, Fault::Abort))) => (
                    Came::Injected(Refusal::Chaos { rule }),
                    Ended::With(Verdict::Unknown),
                ),
                (Some(result), _) => {
                    let verdict = self.judge.judge(&result);
                    (Came::Result(result), Ended::With(verdict))
                }
            }
        }
    }
}

/// What `work` gives, where it gives it before `end`. A timer is made only for what does not end at once.
async fn within<F: Future>(end: Option<MonoNs>, mut work: Pin<&mut F>) -> Option<F::Output> {
    let Some(end) = end else {
        return Some(work.await);
    };
    let mut timer = pin!(None::<Sleep>);
    poll_fn(|polling: &mut Polling<'_>| {
        if let Poll::Ready(done) = work.as_mut().poll(polling) {
            return Poll::Ready(Some(done));
        }
        if timer.is_none() {
            timer.set(Some(sleep_until(clock::instant(end))));
        }
        match timer.as_mut().as_pin_mut() {
            Some(sleep) => sleep.poll(polling).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}
