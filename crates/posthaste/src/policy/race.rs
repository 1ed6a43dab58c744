//! An attempt, and another one beside it where it takes long.
//!
//! The first that works wins; where one fails the other is waited for. The other one is put on the heap
//! when it is made, as it seldom is.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as Polling, Poll};

use pin_project_lite::pin_project;
use posthaste_core::policy::engine::{Call, Next};
use posthaste_core::policy::{Ended, Verdict};
use posthaste_core::time::MonoNs;

use super::clock::Timer;
use super::context::Context;
use super::judge::Judge;
use super::lane::{Came, Lane};
use super::room::{Held, Room};
use super::run::{Attempt, Run};
use super::tell;

pin_project! {
    /// The attempts of a call that run now.
    pub(super) struct Race<'r, Fut> {
        #[pin]
        first: Lane<'r, Fut>,
        beside: Option<Pin<Box<Lane<'r, Fut>>>>,
        hedge_at: Option<MonoNs>,
        timer: Timer,
    }
}

impl<'r, Fut> Race<'r, Fut> {
    /// One in which nothing runs.
    #[inline]
    pub(super) const fn new(room: &'r Room) -> Self {
        Self {
            first: Lane::new(room, false),
            beside: None,
            hedge_at: None,
            timer: Timer::new(),
        }
    }

    /// The leave for the next attempt.
    #[inline]
    pub(super) fn held(self: Pin<&mut Self>) -> &mut Held<'r> {
        self.project().first.held()
    }

    /// One attempt has decided: it ends, and it is decided whether there is a next one.
    #[inline]
    pub(super) fn settle(self: Pin<&mut Self>, call: &mut Call, ended: Ended) -> Next {
        let this = self.project();
        match this.beside.take() {
            Some(mut beside) => beside.as_mut().held().settle(call, ended),
            None => this.first.held().settle(call, ended),
        }
    }

    /// The attempt that there is leave for begins when this is polled. It may get another one beside it
    /// where it is `hedged`.
    #[inline]
    pub(super) fn enter(self: Pin<&mut Self>, number: u32, hedged: bool) {
        let mut this = self.project();
        this.timer.clear();
        *this.hedge_at = this.first.as_mut().held().hedge_at().filter(|_| hedged);
        this.first.enter(number);
    }
}

impl<'r, Fut> Race<'r, Fut> {
    /// Runs them until one has decided, which alone is to be [settled](Self::settle) then.
    pub(super) fn poll<T, E, F, J>(
        self: Pin<&mut Self>,
        polling: &mut Polling<'_>,
        run: &Run<'r, J>,
        context: &Context,
        call: &mut Call,
        work: &mut F,
    ) -> Poll<(Came<T, E>, Ended)>
    where
        F: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        J: Judge<T, E>,
    {
        let mut this = self.project();
        if this.first.is_taken() {
            let first = this.first.as_mut();
            if let Poll::Ready((came, ended)) = first.poll(polling, context, &run.judge, work) {
                if this.beside.is_none() || worked(ended) {
                    *this.beside = None;
                    return Poll::Ready((came, ended));
                }
                this.first.as_mut().held().end(ended);
            }
        }
        if let Some(at) = *this.hedge_at
            && this.timer.poll(at, polling).is_ready()
        {
            *this.hedge_at = None;
            *this.beside = beside(run, call);
        }
        if let Some(beside) = this.beside
            && let Poll::Ready((came, ended)) =
                beside.as_mut().poll(polling, context, &run.judge, work)
        {
            if worked(ended) || !this.first.is_taken() {
                this.first.as_mut().stop();
                this.first.held().end(Ended::Dropped);
                return Poll::Ready((came, ended));
            }
            beside.as_mut().held().end(ended);
            *this.beside = None;
        }
        Poll::Pending
    }
}

/// Another attempt, where there may be one and there is a place for it.
fn beside<'r, J, Fut>(run: &Run<'r, J>, call: &mut Call) -> Option<Pin<Box<Lane<'r, Fut>>>> {
    let mut lane = Box::pin(Lane::new(run.policy.room(), true));
    if !lane.as_mut().held().hedge(call) {
        return None;
    }
    let number = call.made() + 1;
    tell::hedged(run.policy.name(), number);
    lane.as_mut().enter(number);
    Some(lane)
}

const fn worked(ended: Ended) -> bool {
    matches!(ended, Ended::With(Verdict::Ok))
}
