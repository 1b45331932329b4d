//! Open WebSockets and event streams: their number per token, and their shutdown.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TrackedFuture;

use crate::id::ApiTokenId;

/// How long connections may take to close when the server stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The open WebSockets and event streams of a server.
#[derive(Default)]
pub struct Connections {
    /// Cancelled when the server stops.
    pub stop: CancellationToken,
    tasks: TaskTracker,
    open: Arc<Mutex<HashMap<ApiTokenId, usize>>>,
}

/// Permission to hold one connection open. Dropping it releases the connection.
pub struct ConnectionPermit {
    token: ApiTokenId,
    open: Arc<Mutex<HashMap<ApiTokenId, usize>>>,
}

impl Connections {
    /// Acquires one of the `max` connections of a token; `None` if all are in use.
    pub fn acquire(&self, token: ApiTokenId, max: usize) -> Option<ConnectionPermit> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(token).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(ConnectionPermit { token, open: Arc::clone(&self.open) })
    }

    /// The number of open connections of all tokens.
    pub fn count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// Tracks the task of a connection, so that [`Connections::shut_down`] waits for it. The task must end when `stop` is
    /// cancelled.
    pub fn serve<C: Future<Output = ()>>(&self, connection: C) -> TrackedFuture<C> {
        self.tasks.track_future(connection)
    }

    /// Cancels `stop`, and waits until all connections are closed, for five seconds at most.
    pub async fn shut_down(&self) {
        self.stop.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.tasks.wait()).await;
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = open.entry(self.token) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}
