//! Connections that stay open: how many a token has, and their common end.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TrackedFuture;

use crate::id::ApiTokenId;

/// How long connections may take to close once the server stops.
const CLOSE_TIME: Duration = Duration::from_secs(5);

/// The open sockets and event streams of a server.
#[derive(Default)]
pub struct Connections {
    /// Cancelled when the server stops.
    pub stop: CancellationToken,
    tasks: TaskTracker,
    open: Arc<Mutex<HashMap<ApiTokenId, usize>>>,
}

/// A place among the connections of a token, until it is dropped.
pub struct Place {
    token: ApiTokenId,
    open: Arc<Mutex<HashMap<ApiTokenId, usize>>>,
}

impl Connections {
    /// Takes one of the `most` places of a token; `None` when all are taken.
    pub fn enter(&self, token: ApiTokenId, most: usize) -> Option<Place> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = open.entry(token).or_default();
        if *taken >= most {
            return None;
        }
        *taken += 1;
        Some(Place { token, open: Arc::clone(&self.open) })
    }

    /// How many are open, all tokens together.
    pub fn count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// Runs what serves a connection. It watches `stop`.
    pub fn serve<C: Future<Output = ()>>(&self, connection: C) -> TrackedFuture<C> {
        self.tasks.track_future(connection)
    }

    /// Asks every connection to close and waits until they have, but not for long.
    pub async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(CLOSE_TIME, self.tasks.wait()).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut taken) = open.entry(self.token) {
            *taken.get_mut() -= 1;
            if *taken.get() == 0 {
                taken.remove();
            }
        }
    }
}
