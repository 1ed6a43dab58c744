//! From an async function to something that takes jobs.

use std::marker::PhantomData;
use std::sync::Arc;

use posthaste_core::{Outcome, Payload, Result};

use crate::context::{Cx, JobRequest, RawJob, State, States};
use crate::enqueue::BoxFuture;
use crate::job::Job;
use crate::outcome::{BoxError, HandlerError, IntoOutcome};

mod sealed {
    use crate::context::{Cx, States};

    /// What can be had from a context.
    pub trait FromContext: Sized + Send + 'static {
        /// The value.
        fn from_context(cx: &Cx, states: &Shared<'_>) -> posthaste_core::Result<Self>;
        /// Whether it can be had at all.
        fn check(states: &Shared<'_>) -> posthaste_core::Result<()>;
    }

    /// The values that handlers share.
    pub struct Shared<'a>(pub(crate) &'a States);
}

use sealed::{FromContext, Shared};

impl FromContext for Cx {
    fn from_context(cx: &Cx, _states: &Shared<'_>) -> Result<Self> {
        Ok(cx.clone())
    }

    fn check(_states: &Shared<'_>) -> Result<()> {
        Ok(())
    }
}

impl<T: Clone + Send + Sync + 'static> FromContext for State<T> {
    fn from_context(_cx: &Cx, states: &Shared<'_>) -> Result<Self> {
        states.0.get().map(State)
    }

    fn check(states: &Shared<'_>) -> Result<()> {
        states.0.get::<T>().map(drop)
    }
}

/// What a handler's first argument can be: a [`Job`], or a [`RawJob`] for any payload.
pub trait FromPayload: Sized + Send + 'static {
    /// Reads the payload.
    ///
    /// # Errors
    /// Where it is not of this shape: the job is given back, for a worker that knows it.
    fn from_payload(payload: &Payload) -> Result<Self, BoxError>;
}

impl<J: Job> FromPayload for J {
    fn from_payload(payload: &Payload) -> Result<Self, BoxError> {
        match &payload.content_type {
            None => serde_json::from_slice(&payload.bytes).map_err(Into::into),
            Some(other) => Err(format!("the payload is {other}, not JSON").into()),
        }
    }
}

impl FromPayload for RawJob {
    fn from_payload(payload: &Payload) -> Result<Self, BoxError> {
        Ok(Self(payload.clone()))
    }
}

/// An async function that takes a job, and after it [`Cx`] and [`State`]s in any order, at most
/// six, and returns something that is [`IntoOutcome`].
///
/// Implemented for closures and functions; not to be implemented by hand.
pub trait Handler<Arguments>: Send + Sync + 'static {
    /// What it takes first.
    type Input: FromPayload;

    /// Whether the worker has everything that it takes.
    ///
    /// # Errors
    /// `Invalid`, naming the state that is missing.
    #[doc(hidden)]
    fn check(states: &Shared<'_>) -> Result<()>;

    /// Runs it.
    ///
    /// # Errors
    /// Where the worker lacks a state.
    #[doc(hidden)]
    fn call(
        &self,
        input: Self::Input,
        cx: &Cx,
        states: &Shared<'_>,
    ) -> Result<impl Future<Output = Outcome> + Send + use<Self, Arguments>>;
}

macro_rules! handler {
    ($($extract:ident),*) => {
        impl<F, Fut, R, I, $($extract),*> Handler<(I, $($extract,)*)> for F
        where
            F: Fn(I, $($extract),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = R> + Send + 'static,
            R: IntoOutcome + 'static,
            I: FromPayload,
            $($extract: FromContext,)*
        {
            type Input = I;

            fn check(states: &Shared<'_>) -> Result<()> {
                let _taken_by_few = states;
                $($extract::check(states)?;)*
                Ok(())
            }

            fn call(
                &self,
                input: I,
                cx: &Cx,
                states: &Shared<'_>,
            ) -> Result<impl Future<Output = Outcome> + Send + use<F, Fut, R, I, $($extract),*>> {
                let _taken_by_few = (cx, states);
                let future = self(input, $($extract::from_context(cx, states)?),*);
                Ok(async move { future.await.into_outcome() })
            }
        }
    };
}

handler!();
handler!(A);
handler!(A, B);
handler!(A, B, C);
handler!(A, B, C, D);
handler!(A, B, C, D, E);
handler!(A, B, C, D, E, G);

/// A handler of any type.
pub(crate) trait AnyHandler: Send + Sync {
    fn check(&self, states: &States) -> Result<()>;
    fn call(&self, request: JobRequest, states: &States) -> BoxFuture<Result<Outcome, BoxError>>;
}

struct Typed<H, A>(H, PhantomData<fn(A)>);

pub(crate) fn erase<A: 'static, H: Handler<A>>(handler: H) -> Arc<dyn AnyHandler> {
    Arc::new(Typed::<H, A>(handler, PhantomData))
}

impl<A: 'static, H: Handler<A>> AnyHandler for Typed<H, A> {
    fn check(&self, states: &States) -> Result<()> {
        H::check(&Shared(states))
    }

    fn call(&self, request: JobRequest, states: &States) -> BoxFuture<Result<Outcome, BoxError>> {
        let input = match H::Input::from_payload(&request.payload) {
            Ok(input) => input,
            Err(error) => {
                let error = HandlerError::undecodable(error);
                return Box::pin(std::future::ready(Err(error.into_error())));
            }
        };
        match self.0.call(input, &request.cx, &Shared(states)) {
            Ok(future) => Box::pin(async move { Ok(future.await) }),
            Err(error) => Box::pin(std::future::ready(Err(error.into()))),
        }
    }
}
