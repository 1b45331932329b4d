//! Lingering close (RFC 9112, 9.6), so that the last response on a connection reaches the client.
//!
//! Closing a socket with unread bytes resets the connection, and a client that receives a reset may discard a response that it
//! has not read. So only the write half is closed at first, and the bytes that the client still sends are read and discarded
//! for some time.

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

/// Longest time for which a connection lingers.
const LINGER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time for which it lingers without receiving bytes.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes that are discarded.
const MAX_DISCARDED: usize = 256 * 1024 * 1024;
/// Size of one read, in bytes.
const BUFFER_SIZE: usize = 16 * 1024;

/// A listener whose connections close lingeringly until the server stops.
pub(super) struct LingeringListener {
    pub(super) listener: TcpListener,
    pub(super) stop: CancellationToken,
}

impl Listener for LingeringListener {
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

/// A TCP connection that closes lingeringly.
pub(super) struct Connection {
    stream: TcpStream,
    stop: CancellationToken,
    closing: Option<Pin<Box<LingeringClose>>>,
}

/// The state of a lingering close.
struct LingeringClose {
    timeout: Pin<Box<Sleep>>,
    idle: Pin<Box<Sleep>>,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    /// How many more bytes may be discarded.
    budget: usize,
}

impl LingeringClose {
    fn new(stop: CancellationToken) -> Pin<Box<LingeringClose>> {
        Box::pin(LingeringClose {
            timeout: Box::pin(sleep(LINGER_TIMEOUT)),
            idle: Box::pin(sleep(IDLE_TIMEOUT)),
            stop: Box::pin(stop.cancelled_owned()),
            budget: MAX_DISCARDED,
        })
    }

    /// Ready when the client has closed its half, when a limit is reached, or when the server stops.
    fn poll(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let expired = self.timeout.as_mut().poll(cx).is_ready()
                || self.idle.as_mut().poll(cx).is_ready()
                || self.stop.as_mut().poll(cx).is_ready();
            if expired {
                return Poll::Ready(());
            }
            let mut bytes = [std::mem::MaybeUninit::uninit(); BUFFER_SIZE];
            let mut buffer = ReadBuf::uninit(&mut bytes);
            let read =
                ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer)).map(|()| buffer.filled().len());
            match read {
                Ok(read) if (1..self.budget).contains(&read) => self.budget -= read,
                _ => return Poll::Ready(()),
            }
            self.idle.as_mut().reset(Instant::now() + IDLE_TIMEOUT);
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
        let closing = closing.get_or_insert_with(|| LingeringClose::new(stop.clone()));
        closing.poll(stream, cx).map(Ok)
    }
}
