//! A call under a policy: attempts, one after the other or side by side, until one works or nothing
//! further is allowed.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;

use posthaste_core::policy::engine::{Ask, Call, Next};
use posthaste_core::policy::{Refusal, Stop};
use posthaste_core::time::MonoNs;

use super::call::Policy;
use super::clock::{self, Timer};
use super::context::Context;
use super::error::PolicyError;
use super::judge::Judge;
use super::lane::Came;
use super::race::Race;
use super::tell;

/// One attempt of a call, as its body is told of it.
#[derive(Clone, Debug)]
pub struct Attempt {
    context: Context,
    hedge: bool,
}

impl Attempt {
    pub(super) fn new(call: &Context, must_end: Option<MonoNs>, number: u32, hedge: bool) -> Self {
        let context = call.of_attempt(number, must_end);
        Self { context, hedge }
    }

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

/// What a call is made with.
pub(super) struct Run<'r, J> {
    pub(super) policy: &'r Policy,
    /// None for the one that is current when the call is first polled.
    pub(super) context: Option<Context>,
    pub(super) judge: J,
}

#[inline]
fn ask(context: &Context) -> Ask {
    Ask {
        tier: context.tier(),
        caller: context.caller_number(),
        deadline: context.deadline(),
        idempotent: context.is_idempotent(),
        tag: context.chaos_tag(),
    }
}

impl<J> Run<'_, J> {
    /// One attempt and no other, of work that can be started only once.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async function moves its arguments once more"
    )]
    pub(super) fn once<T, E, F, Fut>(
        mut self,
        work: F,
    ) -> impl Future<Output = Result<T, PolicyError<E>>>
    where
        F: FnOnce(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        J: Judge<T, E>,
    {
        async move {
            let context = self.context.take().unwrap_or_else(Context::current);
            let mut work = Some(work);
            let mut once = |attempt| match work.take() {
                Some(work) => work(attempt),
                None => unreachable!("one attempt has no other beside it"),
            };
            let mut race = pin!(Race::new(self.policy.room()));
            let mut call = Call::new(ask(&context));
            let waiting = race.as_mut().held().begin(&mut call);
            let waiting = waiting.map_err(|refusal| self.refused(refusal))?;
            if let Some(mut waiting) = waiting {
                poll_fn(|polling| waiting.poll(polling, &call, race.as_mut().held()))
                    .await
                    .map_err(|refusal| self.refused(refusal))?;
            }
            // There is nothing to put beside it.
            race.as_mut().enter(1, false);
            let (came, ended) = poll_fn(|polling| {
                race.as_mut()
                    .poll(polling, &self, &context, &mut call, &mut once)
            })
            .await;
            race.held().end(ended);
            came.or_error(1, Stop::NoRetry)
        }
    }

    /// Attempts until one works or nothing further is allowed.
    ///
    /// One flat future, and nothing on the heap, where the attempt is admitted at once and does not
    /// wait: what waits has its timers and the attempt beside it there.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async function moves its arguments once more"
    )]
    pub(super) fn all<T, E, F, Fut>(
        mut self,
        mut work: F,
    ) -> impl Future<Output = Result<T, PolicyError<E>>>
    where
        F: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        J: Judge<T, E>,
    {
        async move {
            let context = self.context.take().unwrap_or_else(Context::current);
            let mut race = pin!(Race::new(self.policy.room()));
            let mut failed = None;
            let mut call = Call::new(ask(&context));
            let mut asked = race.as_mut().held().begin(&mut call);
            loop {
                let granted = match asked {
                    Ok(None) => Ok(()),
                    Ok(Some(mut waiting)) => {
                        poll_fn(|polling| waiting.poll(polling, &call, race.as_mut().held())).await
                    }
                    Err(refusal) => Err(refusal),
                };
                if let Err(refusal) = granted {
                    return self.refused_next(failed, &call, refusal);
                }
                race.as_mut().enter(call.made() + 1, true);
                let (came, ended) = poll_fn(|polling| {
                    race.as_mut()
                        .poll(polling, &self, &context, &mut call, &mut work)
                })
                .await;
                let next = race.as_mut().settle(&mut call, ended);
                let at = match next {
                    Next::Done => return came.or_error(call.made(), Stop::NoRetry),
                    Next::Stop(stop) => {
                        tell::stopped(self.policy.name(), &stop, call.made());
                        return came.or_error(call.made(), stop);
                    }
                    Next::Retry { at } => at,
                };
                tell::again(self.policy.name(), call.made(), at.since(clock::now()));
                let mut pause = Timer::new();
                poll_fn(|polling| pause.poll(at, polling)).await;
                asked = race.as_mut().held().admit(&call);
                failed = Some(came);
            }
        }
    }

    #[cold]
    fn refused<E>(&self, refusal: Refusal) -> PolicyError<E> {
        tell::refused(self.policy.name(), &refusal);
        PolicyError::Refused(refusal)
    }

    /// An attempt was refused, after one that failed, if there was any.
    #[cold]
    fn refused_next<T, E>(
        &self,
        failed: Option<Came<T, E>>,
        call: &Call,
        refusal: Refusal,
    ) -> Result<T, PolicyError<E>> {
        let refused = self.refused(refusal);
        match failed {
            None => Err(refused),
            Some(came) => came
                .or_error(call.made(), Stop::Refused)
                .map_err(|error| error.refused_next(refusal)),
        }
    }
}
