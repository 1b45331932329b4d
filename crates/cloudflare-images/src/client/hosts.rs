//! The hosts of a client, and the choice between them for calls on images.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::call::{Attempts, Call, FailedCall};
use super::failures::Failures;
use super::host::Host;
use super::{Error, Settings};

/// How long the batch host gets no calls that the management API can take, after one failed.
const BATCH_PAUSE: Duration = Duration::from_secs(30);
/// Attempts at the batch host, before the management API is called instead: the second one is for a new token.
const BATCH_ATTEMPTS: u32 = 2;

/// The hosts of a client. Its clones share them.
#[derive(Debug)]
pub(super) struct Hosts {
    /// The management API.
    pub(super) account: Arc<Host>,
    /// The batch host.
    batch: Host,
    /// The host of direct uploads.
    pub(super) upload: Host,
    /// Until when the batch host is not called, because it failed.
    batch_paused_until: Mutex<Option<Instant>>,
}

/// Where calls on images go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// To the management API.
    Account,
    /// To the batch host.
    Batch,
    /// To the management API as long as its rate allows a call at once, and otherwise to the batch host.
    Either,
}

impl Hosts {
    pub(super) fn new(settings: &Settings, failures: &Arc<Failures>) -> Result<Self, Error> {
        let http = settings.http()?;
        let account = Arc::new(Host::account(settings, &http, failures)?);
        Ok(Self {
            batch: Host::batch(settings, &http, Arc::clone(&account), failures),
            upload: Host::upload(settings, &http, failures),
            account,
            batch_paused_until: Mutex::new(None),
        })
    }

    /// Makes a call on images; `None` if its response has no result.
    pub(super) async fn answer<T: DeserializeOwned>(
        &self,
        call: &Call,
        choice: Choice,
        attempts: Attempts,
    ) -> Result<Option<T>, FailedCall> {
        match choice {
            Choice::Account => self.account.answer(call, attempts).await,
            Choice::Batch => self.batch.answer(call, attempts).await,
            Choice::Either => self.answer_by_either(call, attempts).await,
        }
    }

    async fn answer_by_either<T: DeserializeOwned>(
        &self,
        call: &Call,
        attempts: Attempts,
    ) -> Result<Option<T>, FailedCall> {
        if self.account.limiter.try_acquire(attempts.priority) {
            return self.account.answer(call, attempts.admitted()).await;
        }
        if self.is_batch_paused() {
            return self.account.answer(call, attempts).await;
        }
        let answered = self.batch.answer(call, attempts.clone().at_most(BATCH_ATTEMPTS)).await;
        let Err(failed) = answered else { return answered };
        if !failed.error.is_of_host() {
            return Err(failed);
        }
        if !failed.token_renewed || matches!(failed.error, Error::Unauthorized(_)) {
            tracing::warn!(error = %failed.error, "the management API takes the calls of the batch host for a while");
            self.pause_batch();
        }
        if !call.is_safe_after(&failed) {
            return Err(failed);
        }
        if !call.body.can_be_resent() {
            return Err(FailedCall { error: Error::not_carried_out(failed.error.message()), ..failed });
        }
        self.account.answer(call, attempts.after(&failed)).await
    }

    fn is_batch_paused(&self) -> bool {
        let until = *self.batch_paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn pause_batch(&self) {
        let until = Instant::now() + BATCH_PAUSE;
        *self.batch_paused_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }
}
