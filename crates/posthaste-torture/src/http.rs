//! A small HTTP/1.1 client of our own: one connection, one request at a time, no retries.

mod stream;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

pub(crate) use stream::{Stream, Told};

/// After so long without an answer nobody knows.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest body that is read.
const BODY_MAX: u64 = 64 * 1024 * 1024;

/// What became of one request.
#[derive(Debug)]
pub(crate) enum Sent {
    /// It was answered.
    Answered {
        /// The HTTP status.
        status: u16,
        /// The body; null where it is not JSON.
        body: Value,
    },
    /// No connection: nothing was sent.
    Unsent,
    /// It was sent, in part at least, and the answer did not come.
    Unknown,
}

/// One connection, made when it is needed.
#[derive(Debug, Default)]
pub(crate) struct Connection(Option<(SocketAddr, BufReader<TcpStream>)>);

impl Connection {
    /// Sends one request to `address`, and waits for its answer.
    pub(crate) fn send(
        &mut self,
        address: SocketAddr,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> Sent {
        if self.0.as_ref().is_none_or(|(to, _)| *to != address) {
            match connect(address) {
                Ok(stream) => self.0 = Some((address, BufReader::new(stream))),
                Err(_) => return Sent::Unsent,
            }
        }
        let Some((_, stream)) = &mut self.0 else {
            return Sent::Unsent;
        };
        let request = render(method, path, key, body);
        match exchange(stream, request.as_bytes()) {
            Ok((status, body)) => Sent::Answered { status, body },
            Err(_) => {
                self.0 = None;
                Sent::Unknown
            }
        }
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn render(method: &str, path: &str, key: Option<&str>, body: Option<&Value>) -> String {
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n");
    if let Some(key) = key {
        request.push_str(&format!("idempotency-key: {key}\r\n"));
    }
    match body.map(Value::to_string) {
        Some(body) => {
            let length = body.len();
            request.push_str(&format!(
                "content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
            ));
        }
        None => request.push_str("\r\n"),
    }
    request
}

fn exchange(stream: &mut BufReader<TcpStream>, request: &[u8]) -> io::Result<(u16, Value)> {
    stream.get_mut().write_all(request)?;
    let status = line(stream)?;
    let status = status.split(' ').nth(1).and_then(|it| it.parse().ok());
    let status = status.ok_or(io::ErrorKind::InvalidData)?;
    let (mut length, mut chunked) = (0, false);
    loop {
        let header = line(stream)?.to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value
                .trim()
                .parse()
                .map_err(|_| io::ErrorKind::InvalidData)?;
        } else if header.starts_with("transfer-encoding:") {
            chunked = header.contains("chunked");
        }
    }
    let mut body = Vec::new();
    if chunked {
        while chunk(stream, &mut body)? {}
    } else {
        exactly(stream, length, &mut body)?;
    }
    Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
}

/// Reads one chunk onto `body`; false at the last.
fn chunk(stream: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> io::Result<bool> {
    let head = line(stream)?;
    let size = head.split(';').next().unwrap_or_default();
    let size = u64::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
    exactly(stream, size, body)?;
    line(stream)?;
    Ok(size > 0)
}

fn exactly(stream: &mut BufReader<TcpStream>, count: u64, to: &mut Vec<u8>) -> io::Result<()> {
    if count > BODY_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let read = stream.by_ref().take(count).read_to_end(to)?;
    if read as u64 == count {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if stream.by_ref().take(64 * 1024).read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// A server that reads one request and answers `answer`.
    fn check(answer: &'static str) -> Sent {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).expect("a request");
            stream.write_all(answer.as_bytes()).expect("answered");
        });
        let body = serde_json::json!({"kind": "work"});
        let sent = Connection::default().send(address, "POST", "/v1/jobs", Some("k"), Some(&body));
        server.join().expect("no panic");
        sent
    }

    #[test]
    fn an_answer_of_known_length_is_read() {
        let sent = check("HTTP/1.1 201 Created\r\nContent-Length: 8\r\n\r\n{\"a\": 1}");
        let expected = serde_json::json!({"a": 1});
        assert!(
            matches!(&sent, Sent::Answered { status: 201, body } if *body == expected),
            "{sent:?}"
        );
    }

    #[test]
    fn an_answer_in_chunks_is_read() {
        let sent = check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n5\r\n\": 1}\r\n0\r\n\r\n",
        );
        let expected = serde_json::json!({"a": 1});
        assert!(
            matches!(&sent, Sent::Answered { status: 200, body } if *body == expected),
            "{sent:?}"
        );
    }

    #[test]
    fn half_an_answer_is_none() {
        let sent = check("HTTP/1.1 200 OK\r\nContent-Length: 80\r\n\r\n{\"a\": 1}");
        assert!(matches!(sent, Sent::Unknown), "{sent:?}");
    }

    #[test]
    fn without_a_server_nothing_is_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let sent = Connection::default().send(address, "GET", "/livez", None, None);
        assert!(matches!(sent, Sent::Unsent), "{sent:?}");
    }
}
