//! One connection from its first byte to its last.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tower_service::Service;

use super::clocked::{Clocked, Deadline, Phase, Pulse};
use super::open::Entry;
use super::{HEAD_BYTES_MAX, HEADERS_MAX, Limits};
use crate::http::{Held, Line, Streamed};

/// Bytes read at once. A body passes through it piece by piece.
const BUFFER_BYTES: usize = 64 * 1024;
/// How long an idle connection is kept open once the server drains: a request may be on its way.
const DRAIN_QUIET: Duration = Duration::from_secs(1);

/// Serves the requests of one connection, until it is closed by either side. A client that hangs
/// up while its request is worked on has the request's future dropped. Whoever takes the connection
/// over, as a WebSocket does, holds on to `held`.
pub(super) async fn serve(
    stream: TcpStream,
    router: Router,
    limits: Limits,
    held: Arc<Entry>,
    mut draining: watch::Receiver<bool>,
) {
    // Small answers are not held back for company; where that fails they are merely later.
    drop(stream.set_nodelay(true));
    let pulse = held.pulse();
    let stream = TokioIo::new(Clocked {
        stream,
        pulse: Arc::clone(pulse),
    });
    let line = Line::default();
    let service = service_fn(|mut request: Request<Incoming>| {
        pulse.set(Phase::Handling);
        request.extensions_mut().insert(line.clone());
        request
            .extensions_mut()
            .insert(Held::new(Arc::clone(&held) as _));
        let pulse = Arc::clone(pulse);
        let response = router.clone().call(request);
        async move {
            let response = response.await;
            pulse.set(match &response {
                Ok(response) if is_stream(response) => Phase::Streaming,
                _ => Phase::Answering,
            });
            response
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .max_buf_size(BUFFER_BYTES)
            .max_header_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            // An answer's bytes are let go when they are written and not when they are copied.
            .writev(true)
            .serve_connection(stream, service)
            .with_upgrades()
    );
    // Dropped before the connection, and with it what was not written.
    let _cut = CutAtEnd(line.clone());
    let mut told_to_drain = false;
    loop {
        tokio::select! {
            // However it ended, there is nobody left to tell.
            _ended = connection.as_mut() => return,
            () = watch_over(pulse, &limits, told_to_drain) => return,
            _ = draining.wait_for(|draining| *draining), if !told_to_drain => {
                told_to_drain = true;
                connection.as_mut().graceful_shutdown();
            }
            () = pulse.was_let_go() => connection.as_mut().graceful_shutdown(),
        }
    }
}

/// Whether its connection is for a stream from now on.
fn is_stream<B>(response: &Response<B>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS
        || response.extensions().get::<Streamed>().is_some()
}

/// Tells a line that it is over, however it ends.
struct CutAtEnd(Line);

impl Drop for CutAtEnd {
    fn drop(&mut self) {
        self.0.cut();
    }
}

/// Ready when the connection is to be cut.
async fn watch_over(pulse: &Pulse, limits: &Limits, draining: bool) {
    let quiet = if draining {
        DRAIN_QUIET
    } else {
        limits.idle_timeout
    };
    loop {
        match pulse.deadline(quiet, limits.head_timeout) {
            Deadline::LookAgainIn(wait) => tokio::time::sleep(wait.min(quiet)).await,
            Deadline::CloseAt(at) if at <= tokio::time::Instant::now() => return,
            Deadline::CloseAt(at) => tokio::time::sleep_until(at).await,
        }
    }
}
