//! A stream of server-sent events, as it comes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::connect;

/// After so long without a byte the stream is called quiet.
const QUIET: Duration = Duration::from_millis(50);
/// The longest that is kept of what has come and makes no whole block yet.
const KEPT_MAX: usize = 64 * 1024 * 1024;

/// A stream that was answered.
#[derive(Debug)]
pub(crate) struct Stream {
    from: TcpStream,
    /// What came, in chunks.
    raw: Vec<u8>,
    /// What was in the chunks.
    text: Vec<u8>,
    over: bool,
}

/// What a stream tells next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The lines between two empty ones.
    Block(String),
    /// Nothing for a while.
    Quiet,
    /// Nothing any more. What was told in part is not told.
    Over,
}

impl Stream {
    /// Asks for `path`, having been told `last`.
    ///
    /// # Errors
    /// The status, where it is answered with another than 200; 0 where it is not answered.
    pub(crate) fn open(address: SocketAddr, path: &str, last: Option<&str>) -> Result<Self, u16> {
        let asked = || -> io::Result<(u16, Self)> {
            let mut from = connect(address)?;
            let last = last.map(|last| format!("last-event-id: {last}\r\n"));
            let last = last.unwrap_or_default();
            let head = format!(
                "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\n{last}\r\n"
            );
            from.write_all(head.as_bytes())?;
            let mut raw = Vec::new();
            let end = loop {
                match find(&raw, b"\r\n\r\n") {
                    Some(end) => break end,
                    None if more(&mut from, &mut raw)? == 0 => {
                        return Err(ErrorKind::UnexpectedEof.into());
                    }
                    None => {}
                }
            };
            let head = String::from_utf8_lossy(&raw[..end]).into_owned();
            raw.drain(..end + 4);
            let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
            let status = status.ok_or(ErrorKind::InvalidData)?;
            from.set_read_timeout(Some(QUIET))?;
            let (text, over) = (Vec::new(), false);
            let stream = Self {
                from,
                raw,
                text,
                over,
            };
            Ok((status, stream))
        };
        match asked() {
            Ok((200, stream)) => Ok(stream),
            Ok((status, _)) => Err(status),
            Err(_) => Err(0),
        }
    }

    /// What it tells next.
    pub(crate) fn next(&mut self) -> Told {
        loop {
            if let Some(end) = find(&self.text, b"\n\n") {
                let block = self.text.drain(..end + 2).collect::<Vec<_>>();
                return Told::Block(String::from_utf8_lossy(&block).into_owned());
            }
            if self.over || self.raw.len() > KEPT_MAX {
                return Told::Over;
            }
            if self.unpack() {
                continue;
            }
            match more(&mut self.from, &mut self.raw) {
                Ok(0) => self.over = true,
                Ok(_) => {}
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Told::Quiet,
                    ErrorKind::Interrupted => {}
                    _ => self.over = true,
                },
            }
        }
    }

    /// Takes one whole chunk out of what came; false where there is none.
    fn unpack(&mut self) -> bool {
        let Some(end) = find(&self.raw, b"\r\n") else {
            return false;
        };
        let head = String::from_utf8_lossy(&self.raw[..end]);
        let size = head.split(';').next().unwrap_or_default();
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else {
            self.over = true;
            return true;
        };
        let (from, to) = (end + 2, end + 2 + size);
        if self.raw.len() < to + 2 {
            return false;
        }
        self.over = size == 0;
        self.text.extend_from_slice(&self.raw[from..to]);
        self.raw.drain(..to + 2);
        true
    }
}

fn more(from: &mut TcpStream, to: &mut Vec<u8>) -> io::Result<usize> {
    let mut buffer = [0; 16 * 1024];
    let read = from.read(&mut buffer)?;
    to.extend_from_slice(&buffer[..read]);
    Ok(read)
}

fn find(within: &[u8], what: &[u8]) -> Option<usize> {
    within.windows(what.len()).position(|it| it == what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// What a client is told by a server that answers so and closes.
    fn check(answer: &'static str) -> Result<Vec<Told>, u16> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = [0; 1024];
            let read = stream.read(&mut request).expect("a request");
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            stream.write_all(answer.as_bytes()).expect("answered");
            request
        });
        let stream = Stream::open(address, "/v1/topics/t/stream", Some("0-1-7"));
        let request = server.join().expect("no panic");
        assert!(request.contains("last-event-id: 0-1-7\r\n"), "{request}");
        let mut stream = stream?;
        let mut all = Vec::new();
        loop {
            match stream.next() {
                Told::Quiet => {}
                Told::Over => return Ok(all),
                block => all.push(block),
            }
        }
    }

    #[test]
    fn blocks_come_out_of_chunks_however_they_are_cut() {
        let told = check(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
             9\r\nretry: 5\n\r\n1\r\n\n\r\n10\r\nid: a\ndata: 1\n\nid\r\n4\r\n: b\n\r\n0\r\n\r\n",
        );
        let block = |text: &str| Told::Block(text.to_owned());
        assert_eq!(
            told,
            Ok(vec![block("retry: 5\n\n"), block("id: a\ndata: 1\n\n")])
        );
    }

    #[test]
    fn what_is_cut_off_is_not_told() {
        let told = check("HTTP/1.1 200 OK\r\n\r\n10\r\nid: a\ndata: 1\n");
        assert_eq!(told, Ok(Vec::new()));
    }

    #[test]
    fn a_refusal_is_told_by_its_status() {
        assert_eq!(check("HTTP/1.1 410 Gone\r\n\r\n"), Err(410));
    }
}
