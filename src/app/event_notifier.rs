//! Which workspaces have new events, for the subscriptions of this process. The event table is the truth: a notification
//! only says that it is worth reading.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::id::WorkspaceId;

/// The newest number known of each workspace that has subscribers.
#[derive(Default)]
pub struct EventNotifier {
    newest: Mutex<HashMap<WorkspaceId, watch::Sender<i64>>>,
    /// Whether the database notifies this process.
    pub listening: AtomicBool,
}

impl EventNotifier {
    /// The newest number known of a workspace, 0 at first, and every one after it.
    pub fn subscribe(&self, workspace: WorkspaceId) -> watch::Receiver<i64> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.entry(workspace).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// How many subscriptions there are.
    pub fn subscriber_count(&self) -> usize {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.values().map(watch::Sender::receiver_count).sum()
    }

    /// EventNotifier those who have not read up to this number of a workspace.
    pub fn notify(&self, workspace: WorkspaceId, seq: i64) {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = newest.get(&workspace) {
            known.send_if_modified(|known| {
                let news = seq > *known;
                *known = seq.max(*known);
                news
            });
        }
    }

    /// The workspaces with subscribers.
    pub fn subscribed_workspaces(&self) -> Vec<WorkspaceId> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.retain(|_, known| known.receiver_count() > 0);
        newest.keys().copied().collect()
    }
}
