//! Closes connections so that the last answer arrives (RFC 9112, 9.6).
//!
//! A socket that is closed while bytes it was sent lie unread resets the connection, and with a reset the client may
//! lose the answer that came before. So this side stops writing first, and reads on for a while before it closes.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// How long a closing connection is read on: in all, and while nothing comes.
const LINGER_TIME: Duration = Duration::from_secs(30);
const LINGER_SILENCE: Duration = Duration::from_secs(5);
/// And for how many bytes.
const MAX_LINGERED: usize = 256 * 1024 * 1024;
/// Read at a time, and nothing is kept of it.
const SCRATCH: usize = 16 * 1024;

/// A listener whose connections linger when they are closed, until the server stops.
pub(super) struct Lingering {
    pub(super) listener: TcpListener,
    pub(super) stop: CancellationToken,
}

impl Listener for Lingering {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        (Connection { stream, stop: self.stop.clone(), closing: None }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One connection.
pub(super) struct Connection {
    stream: TcpStream,
    stop: CancellationToken,
    closing: Option<Pin<Box<Closing>>>,
}

/// What ends the reading on.
struct Closing {
    whole: Pin<Box<Sleep>>,
    silence: Pin<Box<Sleep>>,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    left: usize,
}

impl Closing {
    fn new(stop: CancellationToken) -> Pin<Box<Closing>> {
        Box::pin(Closing {
            whole: Box::pin(sleep(LINGER_TIME)),
            silence: Box::pin(sleep(LINGER_SILENCE)),
            stop: Box::pin(stop.cancelled_owned()),
            left: MAX_LINGERED,
        })
    }

    /// Reads until the client closes too, or for as long as this lasts.
    fn poll(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let over = self.whole.as_mut().poll(cx).is_ready()
                || self.silence.as_mut().poll(cx).is_ready()
                || self.stop.as_mut().poll(cx).is_ready();
            if over {
                return Poll::Ready(());
            }
            let mut scratch = [std::mem::MaybeUninit::uninit(); SCRATCH];
            let mut buffer = ReadBuf::uninit(&mut scratch);
            let read =
                ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer)).map(|()| buffer.filled().len());
            match read {
                Ok(read) if (1..self.left).contains(&read) => self.left -= read,
                _ => return Poll::Ready(()),
            }
            self.silence.as_mut().reset(Instant::now() + LINGER_SILENCE);
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Connection { stream, stop, closing } = &mut *self;
        if closing.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
        }
        let closing = closing.get_or_insert_with(|| Closing::new(stop.clone()));
        closing.poll(stream, cx).map(Ok)
    }
}
