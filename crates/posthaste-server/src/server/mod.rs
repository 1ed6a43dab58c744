//! Accepting connections and serving them within limits: the only room that touches a socket.
//!
//! A connection is closed when its head takes too long, when it says nothing for too long, when a
//! response isn't read, or when it is idle and another needs its slot. It refuses to listen anywhere but on the loopback, because nobody
//! is asked for a key yet.

mod clocked;
mod connection;
mod open;

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use posthaste_core::{Error, ErrorKind, Result};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use open::Open;

/// What a connection may cost.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most connections at once. A further one takes the place of the one that has been idle for
    /// longest; where none is, it is answered 503 and closed. Default 12,288: a stream
    /// keeps its connection, and there may be 10,000 of them.
    pub connections_max: u32,
    /// Longest time for a request's head, from its first byte. Default 10 s.
    pub head_timeout: Duration,
    /// Longest silence between requests, and longest stall of a client that doesn't read its
    /// response. Default 60 s.
    pub idle_timeout: Duration,
    /// How long a drain waits for the requests under way. Default 30 s.
    pub grace: Duration,
}

/// Longest head of a request, in bytes. Longer: 431.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most headers of a request. More: 431.
pub const HEADERS_MAX: usize = 64;
/// Pause after the operating system refused to accept a connection, so that a full table of
/// descriptors isn't asked again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What a connection over the limit is told.
const TOO_MANY_CONNECTIONS: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/problem+json\r\nretry-after: 1\r\nconnection: close\r\n\
    content-length: 108\r\n\r\n\
    {\"type\":\"busy\",\"title\":\"too many connections\",\"status\":503,\
    \"detail\":\"reuse connections, or try again in 1s\"}";

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 12_288,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            grace: Duration::from_secs(30),
        }
    }
}

/// Takes the port.
///
/// # Errors
/// `Unsupported` for an address that isn't of the loopback; `Locked` where the port is taken; `Io`
/// where the operating system refuses.
pub async fn listen(address: SocketAddr) -> Result<TcpListener> {
    if !is_loopback(address.ip()) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("{address} is not a loopback address, and requests need no key yet"),
        )
        .next("listen on 127.0.0.1 or [::1], and put a proxy that authenticates before it"));
    }
    TcpListener::bind(address)
        .await
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                Error::new(ErrorKind::Locked, format!("port taken: {address} is in use"))
                    .next("stop what listens there, or choose another with --listen 127.0.0.1:PORT (0 finds a free one)")
            }
            _ => Error::new(ErrorKind::Io, format!("cannot listen on {address}: {error}"))
                .next("choose another address with --listen 127.0.0.1:PORT"),
        })
}

fn is_loopback(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback(),
    }
}

/// Serves until `shutdown` is ready, then drains: accepts no more, lets the requests under way
/// finish within the grace, and cuts what is left. Answers how many connections were cut.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> u32 {
    let slots = Arc::new(Semaphore::new(limits.connections_max as usize));
    let open = Open::default();
    let (drain, draining) = watch::channel(false);
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let slot = Arc::clone(&slots).try_acquire_owned().ok();
        let place = slot.map(|slot| open.enter(slot));
        if place.is_none() && !open.let_one_go() {
            tokio::spawn(turn_away(stream));
            continue;
        }
        let (router, limits) = (router.clone(), limits.clone());
        let (slots, open, draining) = (Arc::clone(&slots), open.clone(), draining.clone());
        tokio::spawn(async move {
            let place = match place {
                Some(place) => Some(place),
                // Whoever was let go may have begun with a request.
                None => {
                    let slot = wait_for_slot(slots, limits.head_timeout).await;
                    slot.map(|slot| open.enter(slot))
                }
            };
            match place {
                Some(entry) => {
                    connection::serve(stream, router, limits, Arc::new(entry), draining).await;
                }
                None => turn_away(stream).await,
            }
        });
    }
    drop(listener);
    drain.send_replace(true);
    let all = slots.acquire_many(limits.connections_max);
    if tokio::time::timeout(limits.grace, all).await.is_ok() {
        return 0;
    }
    let free = u32::try_from(slots.available_permits()).unwrap_or(limits.connections_max);
    limits.connections_max - free
}

async fn wait_for_slot(slots: Arc<Semaphore>, most: Duration) -> Option<OwnedSemaphorePermit> {
    let slot = tokio::time::timeout(most, slots.acquire_owned()).await;
    slot.ok().and_then(Result::ok)
}

async fn turn_away(mut stream: TcpStream) {
    let told = stream.write_all(TOO_MANY_CONNECTIONS);
    if matches!(
        tokio::time::timeout(Duration::from_secs(1), told).await,
        Ok(Ok(()))
    ) {
        // The client may already have hung up, which is what we want of it.
        drop(stream.shutdown().await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_of_a_connection_is_well_formed() {
        let text = std::str::from_utf8(TOO_MANY_CONNECTIONS).expect("ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(
            head.ends_with(&format!("content-length: {}", body.len())),
            "{}",
            body.len()
        );
        serde_json::from_str::<serde_json::Value>(body).expect("JSON");
    }
}
