//! From an async function to something that takes events.

use std::marker::PhantomData;
use std::sync::Arc;

use posthaste_core::Result;
use posthaste_core::group::EventOutcome;

use super::context::{EventCx, EventRequest};
use super::outcome::IntoEventOutcome;
use crate::context::{State, States};
use crate::enqueue::BoxFuture;
use crate::event::{Event, RawEvent, TypedEvent, decode};
use crate::outcome::{BoxError, HandlerError};

mod sealed {
    use super::EventCx;
    use crate::context::States;

    /// What can be had from the context of an event.
    pub trait FromEventContext: Sized + Send + 'static {
        /// The value.
        fn from_context(cx: &EventCx, states: &Shared<'_>) -> posthaste_core::Result<Self>;
        /// Whether it can be had at all.
        fn check(states: &Shared<'_>) -> posthaste_core::Result<()>;
    }

    /// The values that handlers share.
    pub struct Shared<'a>(pub(crate) &'a States);
}

use sealed::{FromEventContext, Shared};

impl FromEventContext for EventCx {
    fn from_context(cx: &EventCx, _states: &Shared<'_>) -> Result<Self> {
        Ok(cx.clone())
    }

    fn check(_states: &Shared<'_>) -> Result<()> {
        Ok(())
    }
}

impl<T: Clone + Send + Sync + 'static> FromEventContext for State<T> {
    fn from_context(_cx: &EventCx, states: &Shared<'_>) -> Result<Self> {
        states.0.get().map(State)
    }

    fn check(states: &Shared<'_>) -> Result<()> {
        states.0.get::<T>().map(drop)
    }
}

/// What the first argument of a handler can be: an [`Event`], a [`TypedEvent`] to see more of it, or
/// a [`RawEvent`] for any.
pub trait FromEvent: Sized + Send + 'static {
    /// Reads the event.
    ///
    /// # Errors
    /// Where it is not of this shape: it is tried again later, by whoever knows it then.
    fn from_event(event: &RawEvent) -> Result<Self, BoxError>;
}

impl<E: Event> FromEvent for E {
    fn from_event(event: &RawEvent) -> Result<Self, BoxError> {
        decode(event).map_err(Into::into)
    }
}

impl<E: Event> FromEvent for TypedEvent<E> {
    fn from_event(event: &RawEvent) -> Result<Self, BoxError> {
        let (data, event) = (decode(event)?, event.clone());
        Ok(Self { data, event })
    }
}

impl FromEvent for RawEvent {
    fn from_event(event: &RawEvent) -> Result<Self, BoxError> {
        Ok(event.clone())
    }
}

/// What can be read of one type of events only.
pub trait OfType: FromEvent {
    /// Which.
    type Event: Event;
}

impl<E: Event> OfType for E {
    type Event = E;
}

impl<E: Event> OfType for TypedEvent<E> {
    type Event = E;
}

/// An async function that takes an event, and after it [`EventCx`] and [`State`]s in any order, at
/// most six, and returns something that is [`IntoEventOutcome`].
///
/// Implemented for closures and functions; not to be implemented by hand.
pub trait EventHandler<Arguments>: Send + Sync + 'static {
    /// What it takes first.
    type Input: FromEvent;

    /// Whether the consumer has everything that it takes.
    ///
    /// # Errors
    /// `Invalid`, naming the state that is missing.
    #[doc(hidden)]
    fn check(states: &Shared<'_>) -> Result<()>;

    /// Runs it.
    ///
    /// # Errors
    /// Where the consumer lacks a state.
    #[doc(hidden)]
    fn call(
        &self,
        input: Self::Input,
        cx: &EventCx,
        states: &Shared<'_>,
    ) -> Result<impl Future<Output = EventOutcome> + Send + use<Self, Arguments>>;
}

macro_rules! handler {
    ($($extract:ident),*) => {
        impl<F, Fut, R, I, $($extract),*> EventHandler<(I, $($extract,)*)> for F
        where
            F: Fn(I, $($extract),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = R> + Send + 'static,
            R: IntoEventOutcome + 'static,
            I: FromEvent,
            $($extract: FromEventContext,)*
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
                cx: &EventCx,
                states: &Shared<'_>,
            ) -> Result<impl Future<Output = EventOutcome> + Send + use<F, Fut, R, I, $($extract),*>> {
                let _taken_by_few = (cx, states);
                let future = self(input, $($extract::from_context(cx, states)?),*);
                Ok(async move { future.await.into_event_outcome() })
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
pub(super) trait AnyEventHandler: Send + Sync {
    fn check(&self, states: &States) -> Result<()>;
    fn call(
        &self,
        request: EventRequest,
        states: &States,
    ) -> BoxFuture<Result<EventOutcome, BoxError>>;
}

struct Typed<H, A>(H, PhantomData<fn(A)>);

pub(super) fn erase<A: 'static, H: EventHandler<A>>(handler: H) -> Arc<dyn AnyEventHandler> {
    Arc::new(Typed::<H, A>(handler, PhantomData))
}

impl<A: 'static, H: EventHandler<A>> AnyEventHandler for Typed<H, A> {
    fn check(&self, states: &States) -> Result<()> {
        H::check(&Shared(states))
    }

    fn call(
        &self,
        request: EventRequest,
        states: &States,
    ) -> BoxFuture<Result<EventOutcome, BoxError>> {
        let input = match H::Input::from_event(request.cx.event()) {
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
