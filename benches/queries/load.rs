//! A bounded load: so many connections that send one request again and again for a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Where a request goes, and its bytes.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) request: Arc<[u8]>,
}

pub(crate) struct Load {
    pub(crate) endpoint: Endpoint,
    pub(crate) connections: usize,
    pub(crate) time: Duration,
}

pub(crate) struct Outcome {
    pub(crate) requests: usize,
    pub(crate) elapsed: Duration,
    /// Sorted.
    latencies: Vec<Duration>,
}

impl Load {
    pub(crate) async fn run(self) -> Outcome {
        let began = Instant::now();
        let end = began + self.time;
        let connections: Vec<_> = (0..self.connections)
            .map(|_| {
                let endpoint = self.endpoint.clone();
                tokio::spawn(async move {
                    let (mut latencies, mut connection) =
                        (Vec::new(), Connection::open(endpoint.address).await);
                    while Instant::now() < end {
                        let sent = Instant::now();
                        connection.send(&endpoint.request).await;
                        latencies.push(sent.elapsed());
                    }
                    latencies
                })
            })
            .collect();
        let mut latencies = Vec::new();
        for connection in connections {
            latencies.extend(connection.await.unwrap());
        }
        latencies.sort_unstable();
        Outcome { requests: latencies.len(), elapsed: began.elapsed(), latencies }
    }
}

impl Outcome {
    /// Milliseconds within which this part of the requests was answered.
    pub(crate) fn percentile(&self, part: f64) -> f64 {
        let at = (self.latencies.len() as f64 * part) as usize;
        self.latencies[at.min(self.latencies.len() - 1)].as_secs_f64() * 1000.0
    }
}

/// Sends one request on a connection of its own, and returns the body of its response.
pub(crate) async fn exchange(endpoint: &Endpoint) -> Vec<u8> {
    let mut connection = Connection::open(endpoint.address).await;
    connection.send(&endpoint.request).await;
    connection.body
}

/// A connection that is kept alive. It reads what the two servers send, a body with its length, and costs next to nothing:
/// a full HTTP client would take the processor from what it measures.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    line: String,
    pub(crate) body: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Connection {
            stream: BufReader::with_capacity(1 << 16, stream),
            line: String::new(),
            body: Vec::new(),
        }
    }

    /// Sends a request and reads its response, whose status must be 200.
    pub(crate) async fn send(&mut self, request: &[u8]) {
        self.stream.get_mut().write_all(request).await.unwrap();
        let (mut status, mut length) = (String::new(), None);
        loop {
            self.line.clear();
            self.stream.read_line(&mut self.line).await.unwrap();
            let line = self.line.trim_end();
            if line.is_empty() {
                break;
            }
            if status.is_empty() {
                line.clone_into(&mut status);
            } else if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse::<usize>().ok();
            }
        }
        self.body.resize(length.unwrap_or_else(|| panic!("{status}: no length")), 0);
        self.stream.read_exact(&mut self.body).await.unwrap();
        assert!(status.contains(" 200 "), "{status}: {}", String::from_utf8_lossy(&self.body));
    }
}
