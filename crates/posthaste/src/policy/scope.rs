//! The context that code runs under: put in place around every poll, and taken away after it.
//!
//! One slot for each thread. What runs under a context swaps it in, and swaps back whatever was there,
//! also where it panics; so that contexts nest, and nothing is copied.

use std::cell::RefCell;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context as Polling, Poll};

use pin_project_lite::pin_project;

use super::context::Context;

thread_local! {
    static CURRENT: RefCell<Context> = const { RefCell::new(Context::new()) };
}

impl Context {
    /// The one that this code runs under; an empty one where there is none.
    #[must_use]
    pub fn current() -> Self {
        // A thread that ends has none any more.
        CURRENT
            .try_with(|current| current.borrow().clone())
            .unwrap_or_default()
    }

    /// Runs `work` under this context: [`current`](Self::current) finds it there.
    pub fn scope<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        Scoped {
            context: self,
            work: Some(work),
        }
    }

    /// Does `work` under this context, at once.
    pub(crate) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        under(&mut self.clone(), work)
    }
}

/// Runs `work`, which does not wait, under the context in `slot`, which is there again afterwards.
fn under<T>(slot: &mut Context, work: impl FnOnce() -> T) -> T {
    /// Swaps back when it is dropped.
    struct Back<'s>(&'s mut Context);

    impl Drop for Back<'_> {
        fn drop(&mut self) {
            swap(self.0);
        }
    }

    swap(slot);
    let _back = Back(slot);
    work()
}

fn swap(slot: &mut Context) {
    // Where the thread ends there is no current one, and nothing to swap back later.
    let _ = CURRENT.try_with(|current| mem::swap(&mut *current.borrow_mut(), slot));
}

pin_project! {
    /// Work that runs, and is dropped, under a context.
    pub(super) struct Scoped<F> {
        context: Context,
        #[pin]
        work: Option<F>,
    }

    impl<F> PinnedDrop for Scoped<F> {
        fn drop(this: Pin<&mut Self>) {
            this.stop();
        }
    }
}

impl<F> Scoped<F> {
    /// Nothing to run yet.
    pub(super) const fn idle() -> Self {
        Self {
            context: Context::new(),
            work: None,
        }
    }

    /// Drops the work, if there is any.
    pub(super) fn stop(self: Pin<&mut Self>) {
        let mut this = self.project();
        if this.work.is_some() {
            under(this.context, || this.work.set(None));
        }
    }
}

impl<F: Future> Scoped<F> {
    /// Makes the work, under `context`, and leaves it to be polled.
    pub(super) fn start(self: Pin<&mut Self>, context: Context, make: impl FnOnce() -> F) {
        let mut this = self.project();
        *this.context = context;
        under(this.context, || this.work.set(Some(make())));
    }

    /// Makes the work, under `context`, and polls it, in one.
    pub(super) fn start_and_poll(
        self: Pin<&mut Self>,
        context: Context,
        polling: &mut Polling<'_>,
        make: impl FnOnce() -> F,
    ) -> Poll<F::Output> {
        let mut this = self.project();
        *this.context = context;
        under(this.context, || {
            this.work.set(Some(make()));
            poll(this.work, polling)
        })
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, polling: &mut Polling<'_>) -> Poll<F::Output> {
        let this = self.project();
        under(this.context, || poll(this.work, polling))
    }
}

/// Polls the work, and drops it as soon as it has ended.
fn poll<F: Future>(mut work: Pin<&mut Option<F>>, polling: &mut Polling<'_>) -> Poll<F::Output> {
    let Some(running) = work.as_mut().as_pin_mut() else {
        unreachable!("polled again after it ended");
    };
    let ended = running.poll(polling);
    if ended.is_ready() {
        work.set(None);
    }
    ended
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Waker;

    use posthaste_core::policy::Criticality;

    use super::*;

    /// Pends for ever, and when it is dropped tells under which context.
    struct Tells<'t>(&'t RefCell<Vec<Option<String>>>);

    impl Future for Tells<'_> {
        type Output = ();

        fn poll(self: Pin<&mut Self>, _: &mut Polling<'_>) -> Poll<()> {
            Poll::Pending
        }
    }

    impl Drop for Tells<'_> {
        fn drop(&mut self) {
            let key = Context::current().idempotency_key().map(str::to_owned);
            self.0.borrow_mut().push(key);
        }
    }

    #[test]
    fn what_is_dropped_half_way_is_dropped_under_its_context() {
        let told = RefCell::new(Vec::new());
        let mut polling = Polling::from_waker(Waker::noop());
        let mut started = Box::pin(Scoped::idle());
        let polled = started
            .as_mut()
            .start_and_poll(Context::new().key("a"), &mut polling, || Tells(&told));
        assert!(polled.is_pending());
        drop(started);
        drop(Context::new().key("b").scope(Tells(&told)));
        assert_eq!(told.take(), [Some("a".to_owned()), Some("b".to_owned())]);
    }

    #[test]
    fn a_panic_leaves_the_context_of_the_caller_in_place() {
        let mut polling = Polling::from_waker(Waker::noop());
        let batch = Context::new().criticality(Criticality::Batch);
        let mut outer = pin!(batch.scope(async {
            let mut inner = Box::pin(Context::new().scope(async { panic!("as it should") }));
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let mut polling = Polling::from_waker(Waker::noop());
                inner.as_mut().poll(&mut polling)
            }));
            assert!(panicked.is_err());
            assert_eq!(Context::current().tier(), Criticality::Batch);
        }));
        assert!(outer.as_mut().poll(&mut polling).is_ready());
        assert_eq!(Context::current().tier(), Criticality::Default);
    }
}
