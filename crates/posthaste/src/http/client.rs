//! One request, one answer.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::Extensions;
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::{CaptureConnection, HttpConnector, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use posthaste_core::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;

use super::guarded;
use super::line::{HangUp, Lines};
use crate::policy::{Context, Criticality, IDEMPOTENCY_KEY_HEADER, Policy};
use crate::wire;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take, beyond what it was asked to wait.
const ANSWER: Duration = Duration::from_secs(30);
/// How long an idle connection is kept: less than the server does.
const IDLE: Duration = Duration::from_secs(45);
/// Longest answer: a thousand jobs with their payloads.
const ANSWER_BYTES_MAX: usize = 1_100 * 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
}

/// A request, and what is known of repeating it.
#[derive(Clone, Debug)]
pub(super) struct Question<'a> {
    pub(super) verb: Verb,
    path: &'a str,
    body: Option<Bytes>,
    key: Option<&'a str>,
    wait: Duration,
    vital: bool,
    repeatable: bool,
    plain: bool,
}

impl<'a> Question<'a> {
    /// A look at something.
    pub(super) const fn get(path: &'a str) -> Self {
        Self {
            verb: Verb::Get,
            path,
            body: None,
            key: None,
            wait: Duration::ZERO,
            vital: false,
            repeatable: true,
            plain: false,
        }
    }

    /// Something to be done.
    pub(super) fn post(path: &'a str, body: Vec<u8>) -> Self {
        Self {
            verb: Verb::Post,
            body: Some(Bytes::from(body)),
            repeatable: false,
            ..Self::get(path)
        }
    }

    /// Under an idempotency key, where there is one.
    pub(super) fn keyed(self, key: Option<&'a str>) -> Self {
        Self {
            repeatable: self.repeatable || key.is_some(),
            key,
            ..self
        }
    }

    /// The answer is waited for so long; it is asked for once, and who asked decides.
    pub(super) const fn waiting(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// It ends work or keeps it alive, and is critical whatever it works for.
    pub(super) const fn vital(mut self, vital: bool) -> Self {
        self.vital = vital;
        self
    }

    /// Repeating it is safe without a key.
    pub(super) const fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    /// It is asked under no policy.
    pub(super) const fn plain(mut self) -> Self {
        self.plain = true;
        self
    }

    /// Whose time it has, how much it matters, and whether it may be repeated. A key that the caller
    /// works under is not this request's.
    fn context(&self) -> Context {
        let mut context = Context::current().fresh();
        if self.vital {
            context = context.criticality(Criticality::Critical);
        }
        if self.repeatable {
            context = context.safe();
        }
        context
    }
}

/// A server and the connections to it.
#[derive(Clone, Debug)]
pub(super) struct Client {
    base: String,
    pool: Pool<Lines, Full<Bytes>>,
    policy: Policy,
}

/// What the server said.
pub(super) struct Answer {
    status: StatusCode,
    body: Bytes,
}

/// A request that is under way, by whichever connection it went.
#[derive(Clone, Debug)]
pub(super) struct Call {
    connection: CaptureConnection,
    /// The head of the answer is there. From then on others may use the connection.
    answered: Arc<AtomicBool>,
}

impl Call {
    /// Hangs up, where the answer has not begun. Says whether one may come.
    pub(super) fn hang_up(&self) -> bool {
        if self.answered.load(Ordering::Acquire) {
            return true;
        }
        let connection = self.connection.connection_metadata();
        let Some(connection) = connection.as_ref() else {
            return false; // the request was not sent yet
        };
        connection.poison();
        let mut extras = Extensions::new();
        connection.get_extras(&mut extras);
        if let Some(line) = extras.get::<HangUp>() {
            line.now();
        }
        true
    }
}

impl Client {
    pub(super) fn new(url: &str) -> Result<Self> {
        let malformed = || {
            Error::new(ErrorKind::Invalid, format!("{url:?} names no server"))
                .next("write it as http://host:port")
        };
        let uri: Uri = url.parse().map_err(|_| malformed())?;
        let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        let authority = uri
            .authority()
            .filter(|_| uri.scheme_str() == Some("http") && bare);
        let base = format!("http://{}", authority.ok_or_else(malformed)?);
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(Lines(connector));
        let policy = Policy::new(base.clone(), guarded::settings())?;
        Ok(Self { base, pool, policy })
    }

    /// The policy of quick calls.
    pub(super) const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Where the server is.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request and takes the whole answer, waiting for it half a minute longer than it asks
    /// to wait. What waits is sent once, the rest under the policy.
    ///
    /// # Errors
    /// `Unavailable` where nothing was sent, or nothing is changed by a repetition; `Uncertain`
    /// where it may have happened; `Deadline` and `Overloaded` where it was not asked.
    pub(super) async fn send(&self, question: Question<'_>) -> Result<Answer> {
        let context = question.context();
        if !question.plain && question.wait.is_zero() {
            return guarded::send(self, &question, context).await;
        }
        check_time(&context)?;
        let request = self.request(&question, &context)?;
        self.exchange(question.verb, request, question.wait, || {})
            .await
    }

    /// The same as a POST that can be hung up on while it waits for its answer.
    ///
    /// # Errors
    /// `Invalid` where the request can't be made; the exchange has those of [`Client::send`].
    pub(super) fn call(
        &self,
        path: &str,
        body: Vec<u8>,
        wait: Duration,
    ) -> Result<(impl Future<Output = Result<Answer>> + Send + use<>, Call)> {
        let question = Question::post(path, body);
        let context = question.context();
        check_time(&context)?;
        let mut request = self.request(&question, &context)?;
        let call = Call {
            connection: capture_connection(&mut request),
            answered: Arc::default(),
        };
        let (client, answered) = (self.clone(), Arc::clone(&call.answered));
        let exchange = async move {
            let answered = || answered.store(true, Ordering::Release);
            client.exchange(Verb::Post, request, wait, answered).await
        };
        Ok((exchange, call))
    }

    pub(super) async fn exchange(
        &self,
        verb: Verb,
        request: Request<Full<Bytes>>,
        wait: Duration,
        answered: impl FnOnce() + Send,
    ) -> Result<Answer> {
        let exchange = async {
            let response = self.pool.request(request).await.map_err(|error| {
                let sent = !error.is_connect();
                self.broken(verb, sent, &error)
            })?;
            answered();
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
            let body = body
                .collect()
                .await
                .map_err(|error| self.broken(verb, true, &*error))?;
            Ok(Answer {
                status,
                body: body.to_bytes(),
            })
        };
        match tokio::time::timeout(wait + ANSWER, exchange).await {
            Ok(answer) => answer,
            Err(late) => Err(self.broken(verb, true, &late)),
        }
    }

    pub(super) fn request(
        &self,
        question: &Question<'_>,
        context: &Context,
    ) -> Result<Request<Full<Bytes>>> {
        let Question {
            path, body, key, ..
        } = question;
        let method = match question.verb {
            Verb::Get => Method::GET,
            Verb::Post => Method::POST,
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base));
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(key) = key {
            request = request.header(HeaderName::from_static("idempotency-key"), key.as_bytes());
        }
        for (name, value) in context.headers() {
            // A request has a key of its own, or none.
            if name != IDEMPOTENCY_KEY_HEADER
                && let Ok(value) = HeaderValue::try_from(value)
            {
                request = request.header(name, value);
            }
        }
        let body = Full::new(body.clone().unwrap_or_default());
        request.body(body).map_err(|error| {
            Error::new(
                ErrorKind::Invalid,
                format!("the request can't be made: {error}"),
            )
            .next("keep control characters out of idempotency keys")
        })
    }

    fn broken(&self, verb: Verb, sent: bool, error: &dyn std::error::Error) -> Error {
        let mut said = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            said = format!("{said}: {inner}");
            source = inner.source();
        }
        let base = &self.base;
        if sent && verb == Verb::Post {
            return Error::new(
                ErrorKind::Uncertain,
                format!("the connection to {base} broke off: {said}"),
            )
            .next("it may have happened: ask, or repeat it under an idempotency key");
        }
        Error::new(
            ErrorKind::Unavailable,
            format!("{base} can't be reached: {said}"),
        )
        .next("start it with `posthaste serve`, or check host and port")
    }
}

/// What has no time left is not started.
fn check_time(context: &Context) -> Result<()> {
    if !context.is_over() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Deadline,
        "the time for it was over before the server was asked",
    )
    .next("give it more time"))
}

/// What a server says is wrong. Its store may be closed and open again with its next process, to be
/// waited for like a server that can't be reached; `Closed` is for this end alone, and for ever.
pub(super) fn told(problem: wire::Problem) -> Error {
    let error = problem.read();
    if error.kind() != ErrorKind::Closed {
        return error;
    }
    Error::new(
        ErrorKind::Unavailable,
        format!("the server says: {}", error.message()),
    )
    .next("it is being restarted, or has to be: see its log")
}

impl Answer {
    /// The shape that a success carries.
    ///
    /// # Errors
    /// What the server says is wrong.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T> {
        if self.status.is_success() {
            return wire::parse(&self.body).map_err(|error| self.foreign(&error));
        }
        Err(self.problem())
    }

    /// The shape that a success carries, or the gap that it ran into.
    ///
    /// # Errors
    /// What the server says is wrong.
    pub(super) fn read_or_gap<T: DeserializeOwned>(&self) -> Result<Result<T, wire::Gap>> {
        if self.status == StatusCode::GONE {
            let gap = wire::parse(&self.body).map_err(|error| self.foreign(&error));
            return gap.map(Err);
        }
        self.read().map(Ok)
    }

    /// A shape that comes with any status.
    ///
    /// # Errors
    /// What the server says is wrong, where it doesn't say `T`.
    pub(super) fn read_any<T: DeserializeOwned>(&self) -> Result<T> {
        wire::parse(&self.body).map_err(|error| {
            if self.status.is_success() {
                self.foreign(&error)
            } else {
                self.problem()
            }
        })
    }

    /// This answer, where the server could give one: a status of 500 and more is its fault.
    ///
    /// # Errors
    /// What it says of that.
    pub(super) fn or_fault(self) -> Result<Self> {
        if self.status.is_server_error() {
            return Err(self.problem());
        }
        Ok(self)
    }

    fn problem(&self) -> Error {
        match wire::parse::<wire::Problem>(&self.body) {
            Ok(problem) => told(problem),
            Err(error) => self.foreign(&error),
        }
    }

    /// Not the answer of a Posthaste server.
    fn foreign(&self, error: &Error) -> Error {
        Error::new(
            ErrorKind::Unavailable,
            format!(
                "the answer, status {}, can't be read: {}",
                self.status,
                error.message()
            ),
        )
        .next("check that a Posthaste server of this version listens there")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_whose_store_is_closed_is_one_to_wait_for() {
        let closed = Error::new(ErrorKind::Closed, "the store is closed").next("open it again");
        let body = serde_json::to_vec(&wire::Problem::write(&closed)).expect("written");
        let answer = Answer {
            status: StatusCode::SERVICE_UNAVAILABLE,
            body: body.into(),
        };
        let error = answer.read::<wire::Queues>().expect_err("a problem");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.message().contains("the store is closed"), "{error}");
    }
}
