//! Notifications of new events, for the subscriptions of this process. A notification carries no events: subscriptions read
//! them from the database.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::id::WorkspaceId;

/// The sequence number of the newest known event in each workspace with subscribers.
#[derive(Default)]
pub struct EventNotifier {
    newest: Mutex<HashMap<WorkspaceId, watch::Sender<i64>>>,
    /// Whether the database sends its notifications to this process.
    pub listening: AtomicBool,
}

impl EventNotifier {
    /// Follows the newest sequence number of a workspace; 0 if none is known yet.
    pub fn subscribe(&self, workspace: WorkspaceId) -> watch::Receiver<i64> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.entry(workspace).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// The number of subscriptions.
    pub fn subscriber_count(&self) -> usize {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.values().map(watch::Sender::receiver_count).sum()
    }

    /// Notifies the subscribers of a workspace of an event, unless it is older than one they were notified of.
    pub fn notify(&self, workspace: WorkspaceId, seq: i64) {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = newest.get(&workspace) {
            known.send_if_modified(|known| {
                let is_newer = seq > *known;
                *known = seq.max(*known);
                is_newer
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
