//! Connections that can be hung up on before they have answered.
//!
//! Hanging up says that nothing more will be sent, as a client does that is going; what the server
//! had said by then can still be read to its end. Simply closing would throw that away, and nobody
//! would know what was in it. A line never hangs up by itself.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

/// The means to hang up one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct HangUp(Arc<Mutex<Asked>>);

#[derive(Debug, Default)]
struct Asked {
    asked: bool,
    /// Who reads the connection, and so keeps it going.
    reader: Option<Waker>,
}

impl HangUp {
    /// Hangs up. Done twice, it does nothing more.
    pub(super) fn now(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked = true;
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Whether that was asked for; if not, the reader is woken once it is.
    fn is_asked(&self, context: &Context<'_>) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.asked {
            state.reader = Some(context.waker().clone());
        }
        state.asked
    }
}

/// A connection to a server.
#[derive(Debug)]
pub(super) struct Line {
    stream: TokioIo<TcpStream>,
    hang_up: HangUp,
    hung_up: bool,
}

impl Connection for Line {
    fn connected(&self) -> Connected {
        self.stream.connected().extra(self.hang_up.clone())
    }
}

impl Read for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.hung_up && self.hang_up.is_asked(context) {
            // Where that fails the connection is gone, which reading it will say.
            self.hung_up = Pin::new(&mut self.stream).poll_shutdown(context).is_ready();
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Makes lines.
#[derive(Clone, Debug)]
pub(super) struct Lines(pub(super) HttpConnector);

impl Service<Uri> for Lines {
    type Response = Line;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Line, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            Ok(Line {
                stream: connecting.await?,
                hang_up: HangUp::default(),
                hung_up: false,
            })
        })
    }
}
