//! The one account an emulator has: who it is and which credentials open it.

use std::fmt;
use std::io::Write;
use std::path::Path;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use chrono::{DateTime, Duration, Utc};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::answer::Refusal;
use super::store::close;
use super::{Emulator, OpenError, hex, random_text};
use crate::cloudflare::wire::BatchToken;

/// Who the emulated account is, and the token that opens it. `Debug` leaves the token out.
#[derive(Clone, Serialize, Deserialize)]
pub struct Credentials {
    /// 32 hexadecimal characters, in management URLs.
    pub account_id: String,
    /// 22 base64url characters, in delivery and upload URLs.
    pub account_hash: String,
    /// Bearer token of the management API.
    pub api_token: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("account_id", &self.account_id)
            .field("account_hash", &self.account_hash)
            .finish_non_exhaustive()
    }
}

/// Lifetime of a batch token; Cloudflare publishes none.
const BATCH_TOKEN_HOURS: i64 = 1;

/// Reads the credentials kept in `data_dir`, making them on the first call; `given` id and token take precedence.
pub(super) fn load(data_dir: &Path, given: Option<(String, String)>) -> Result<Credentials, OpenError> {
    let path = data_dir.join("credentials.json");
    let mut credentials = match std::fs::read(&path) {
        Ok(text) => {
            close(&path, 0o600).map_err(|source| OpenError::Files { path: path.clone(), source })?;
            serde_json::from_slice(&text)
                .map_err(|source| OpenError::Credentials { path: path.clone(), source })?
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let made = Credentials {
                account_id: hex(&rand::random::<[u8; 16]>()),
                account_hash: random_text::<16>(),
                api_token: random_text::<30>(),
            };
            keep(data_dir, &path, &made).map_err(|source| OpenError::Files { path: path.clone(), source })?;
            made
        }
        Err(source) => return Err(OpenError::Files { path, source }),
    };
    if let Some((account_id, api_token)) = given {
        credentials.account_id = account_id;
        credentials.api_token = api_token;
    }
    Ok(credentials)
}

/// Refuses a management call without this account's token, or for another account.
pub(super) fn authorize(emulator: &Emulator, account: &str, headers: &HeaderMap) -> Result<(), Refusal> {
    let credentials = emulator.credentials();
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    // A global API key is any e-mail with the token as its key: an emulator has no users.
    let key = header("x-auth-email").and_then(|_| header("x-auth-key"));
    let known = bearer(headers).or(key).is_some_and(|token| same(token, &credentials.api_token));
    if !known {
        return Err(Refusal::unauthenticated());
    }
    if account != credentials.account_id {
        return Err(Refusal::wrong_account());
    }
    Ok(())
}

/// Refuses a batch call without a batch token that is still valid at `now`.
pub(super) fn authorize_batch(
    emulator: &Emulator,
    headers: &HeaderMap,
    now: DateTime<Utc>,
) -> Result<(), Refusal> {
    let token = bearer(headers).ok_or_else(Refusal::unauthenticated)?;
    let expires = token.split_once('.').and_then(|(expires, _)| expires.parse::<i64>().ok());
    match expires {
        Some(expires) if expires > now.timestamp() && same(token, &sealed(emulator, expires)) => Ok(()),
        _ => Err(Refusal::unauthenticated()),
    }
}

/// Makes a token for the batch host. It carries its own expiry under a seal, so nothing is stored.
pub(super) fn batch_token(emulator: &Emulator, now: DateTime<Utc>) -> BatchToken {
    let expires_at = now + Duration::hours(BATCH_TOKEN_HOURS);
    BatchToken { token: sealed(emulator, expires_at.timestamp()), expires_at }
}

fn sealed(emulator: &Emulator, expires: i64) -> String {
    let seal = mac(emulator.credentials().api_token.as_bytes(), format!("batch.{expires}").as_bytes());
    format!("{expires}.{}", hex(&seal))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Compares secrets by their digests under a fresh key, so that the time taken says nothing about them.
fn same(given: &str, expected: &str) -> bool {
    let key = rand::random::<[u8; 32]>();
    mac(&key, given.as_bytes()) == mac(&key, expected.as_bytes())
}

/// HMAC-SHA256 of `message`.
pub(super) fn mac(key: &[u8], message: &[u8]) -> [u8; 32] {
    // HMAC takes keys of any length: the error is for other algorithms.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// Writes the file whole or not at all, readable by its owner only.
fn keep(data_dir: &Path, path: &Path, credentials: &Credentials) -> std::io::Result<()> {
    // Temporary files are made with mode 0600, which the rename keeps.
    let mut file = tempfile::NamedTempFile::new_in(data_dir)?;
    serde_json::to_writer_pretty(&mut file, credentials)?;
    file.flush()?;
    file.persist(path)?;
    Ok(())
}
