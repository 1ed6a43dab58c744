//! Over HTTP: 64 clients on kept-alive connections, server and clients in this process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use posthaste_core::{Error, ErrorKind, Result, Store};
use posthaste_server::{Served, router, server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Bench;
use super::report::{Goal, Row};

const CLIENTS: usize = 64;

pub(super) async fn enqueue(bench: &mut Bench) -> Result<()> {
    let store = bench.store("http", 6)?;
    let listener = server::listen(([127, 0, 0, 1], 0).into()).await?;
    let address = listener.local_addr().map_err(|error| failed(&error))?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = router(Served::new(Arc::clone(&store) as Arc<dyn Store>));
    let serving = tokio::spawn(server::serve(
        listener,
        served,
        server::Limits::default(),
        async {
            drop(stopped.await);
        },
    ));
    let payload = String::from_utf8_lossy(&bench.payload).into_owned();
    let job = format!("{{\"kind\":\"bench\",\"queue\":\"bench\",\"payload\":{payload}}}");
    let many = format!("[{}]", vec![job.as_str(); 100].join(","));
    for (what, batch, body, requests, goal) in [
        ("enqueue over HTTP, 64 clients", 1, job, 100_000, 20_000.0),
        (
            "enqueue over HTTP, 64 clients, 100 a request",
            100,
            many,
            10_000,
            200_000.0,
        ),
    ] {
        let figure = clients(address, &body, requests).await? * f64::from(batch);
        bench.report.add(Row {
            what,
            durability: "sync",
            batch,
            figure,
            unit: "jobs/s",
            yardstick: None,
            goal: Goal::AtLeast(goal),
        });
    }
    drop(stop);
    drop(serving.await);
    store.close().await
}

/// Requests a second.
async fn clients(address: SocketAddr, body: &str, requests: u64) -> Result<f64> {
    let request: Arc<[u8]> = format!(
        "POST /v1/jobs HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
    .into();
    let left = Arc::new(AtomicU64::new(requests));
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (request, left) = (Arc::clone(&request), Arc::clone(&left));
        tasks.spawn(async move {
            let mut connection = TcpStream::connect(address).await?;
            connection.set_nodelay(true)?;
            let mut buffer = vec![0; 64 * 1024];
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(1)
                })
                .is_ok()
            {
                connection.write_all(&request).await?;
                answer(&mut connection, &mut buffer).await?;
            }
            Ok::<_, std::io::Error>(())
        });
    }
    for done in tasks.join_all().await {
        done.map_err(|error| failed(&error))?;
    }
    Ok(super::rate(requests, start.elapsed()))
}

/// Reads one answer, which must be 201.
async fn answer(connection: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<()> {
    let mut read = 0;
    loop {
        let more = connection.read(&mut buffer[read..]).await?;
        if more == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        read += more;
        let Some(head) = buffer[..read]
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
        else {
            continue;
        };
        let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
        if !text.starts_with("http/1.1 201") {
            return Err(std::io::Error::other(text));
        }
        let length = text
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.lines().next());
        let length: usize = length
            .and_then(|length| length.trim().parse().ok())
            .unwrap_or(0);
        if read >= head + 4 + length {
            return Ok(());
        }
    }
}

fn failed(error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("the clients failed: {error}"))
        .next("see whether this user may open 200 sockets")
}
