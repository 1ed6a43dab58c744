//! A policy as a tower layer.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context as Polling, Poll};

use posthaste_core::policy::Stop;
use tower_layer::Layer;
use tower_service::Service;

use super::call::Policy;
use super::context::Context;
use super::error::PolicyError;
use super::judge::{AnyError, Judge};

type BoxedFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, PolicyError<E>>> + Send>>;

/// Puts a policy around a service whose requests can be cloned; see [`Policy::layer`].
///
/// The service is ready when the inner one is. A request that is refused leaves the inner service ready
/// and uncalled. Each further attempt is made by a clone, which is made ready first, within the time of
/// the attempt. Dropping the future drops what it was waiting for.
///
/// ```
/// use posthaste::policy::{of_status, Policy, Verdict};
///
/// # struct Answer { status: u16 }
/// let layer = Policy::calling("billing").layer().judge(|answer: &Result<Answer, std::io::Error>| {
///     match answer {
///         Ok(answer) => of_status(answer.status, None),
///         Err(_) => Verdict::Unknown,
///     }
/// });
/// ```
#[derive(Clone)]
pub struct PolicyLayer<J = AnyError> {
    policy: Policy,
    judge: J,
}

/// Puts a policy around a service whose requests can be made only once; see [`Policy::layer_once`].
#[derive(Clone)]
pub struct OnceLayer<J = AnyError> {
    policy: Policy,
    judge: J,
}

/// A service under a policy, made by a [`PolicyLayer`].
#[derive(Clone)]
pub struct PolicyService<S, J = AnyError> {
    inner: S,
    policy: Policy,
    judge: J,
}

/// A service under a policy, made by a [`OnceLayer`].
#[derive(Clone)]
pub struct OnceService<S, J = AnyError> {
    inner: S,
    policy: Policy,
    judge: J,
}

impl<J> PolicyLayer<J> {
    pub(super) fn new(policy: Policy, judge: J) -> Self {
        Self { policy, judge }
    }

    /// What results mean.
    #[must_use]
    pub fn judge<K>(self, judge: K) -> PolicyLayer<K> {
        PolicyLayer::new(self.policy, judge)
    }
}

impl<J> OnceLayer<J> {
    pub(super) fn new(policy: Policy, judge: J) -> Self {
        Self { policy, judge }
    }

    /// What results mean.
    #[must_use]
    pub fn judge<K>(self, judge: K) -> OnceLayer<K> {
        OnceLayer::new(self.policy, judge)
    }
}

impl<S, J: Clone> Layer<S> for PolicyLayer<J> {
    type Service = PolicyService<S, J>;

    fn layer(&self, inner: S) -> Self::Service {
        PolicyService {
            inner,
            policy: self.policy.clone(),
            judge: self.judge.clone(),
        }
    }
}

impl<S, J: Clone> Layer<S> for OnceLayer<J> {
    type Service = OnceService<S, J>;

    fn layer(&self, inner: S) -> Self::Service {
        OnceService {
            inner,
            policy: self.policy.clone(),
            judge: self.judge.clone(),
        }
    }
}

/// An error of the inner service before any attempt.
fn unready<E>(error: E) -> PolicyError<E> {
    PolicyError::Failed {
        error,
        attempts: 0,
        stop: Stop::NoRetry,
        refusal: None,
    }
}

impl<S, J, R> Service<R> for PolicyService<S, J>
where
    S: Service<R> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send,
    S::Error: Send,
    R: Clone + Send + 'static,
    J: Judge<S::Response, S::Error> + Clone + Send + Sync + 'static,
{
    type Response = S::Response;
    type Error = PolicyError<S::Error>;
    type Future = BoxedFuture<S::Response, S::Error>;

    fn poll_ready(&mut self, polling: &mut Polling<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(polling).map_err(unready)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let (policy, judge) = (self.policy.clone(), self.judge.clone());
        let context = Context::current();
        // The service that was made ready is the one that is called; a clone of it need not be ready.
        let spare = self.inner.clone();
        let mut ready = Some(std::mem::replace(&mut self.inner, spare.clone()));
        Box::pin(async move {
            let calling = policy.with(context).judge(judge);
            calling
                .run(move |_| {
                    let was_ready = ready.is_some();
                    let mut service = ready.take().unwrap_or_else(|| spare.clone());
                    let request = request.clone();
                    async move {
                        if !was_ready {
                            poll_fn(|polling| service.poll_ready(polling)).await?;
                        }
                        service.call(request).await
                    }
                })
                .await
        })
    }
}

impl<S, J, R> Service<R> for OnceService<S, J>
where
    S: Service<R> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send,
    S::Error: Send,
    R: Send + 'static,
    J: Judge<S::Response, S::Error> + Clone + Send + Sync + 'static,
{
    type Response = S::Response;
    type Error = PolicyError<S::Error>;
    type Future = BoxedFuture<S::Response, S::Error>;

    fn poll_ready(&mut self, polling: &mut Polling<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(polling).map_err(unready)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let (policy, judge) = (self.policy.clone(), self.judge.clone());
        let context = Context::current();
        let spare = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, spare);
        Box::pin(async move {
            let calling = policy.with(context).judge(judge);
            calling.run_once(move |_| ready.call(request)).await
        })
    }
}

impl<J> fmt::Debug for PolicyLayer<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PolicyLayer").field(&self.policy).finish()
    }
}

impl<J> fmt::Debug for OnceLayer<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnceLayer").field(&self.policy).finish()
    }
}

impl<S: fmt::Debug, J> fmt::Debug for PolicyService<S, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyService")
            .field("inner", &self.inner)
            .field("policy", &self.policy)
            .finish()
    }
}

impl<S: fmt::Debug, J> fmt::Debug for OnceService<S, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnceService")
            .field("inner", &self.inner)
            .field("policy", &self.policy)
            .finish()
    }
}
