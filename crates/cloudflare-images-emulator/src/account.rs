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
use super::{Emulator, Given, OpenError, hex, random_text};
use cloudflare_images::wire::BatchToken;

/// Who the emulated account is, and the tokens that open it. `Debug` leaves the tokens out.
#[derive(Clone, Serialize, Deserialize)]
pub struct Credentials {
    /// 32 hexadecimal characters, in management URLs.
    pub account_id: String,
    /// 22 base64url characters, in delivery and upload URLs.
    pub account_hash: String,
    /// Bearer token of the management API, with the permissions *Images Read* and *Images Write*.
    pub api_token: String,
    /// Bearer token with the permission *Images Read* alone: every call that changes something is refused with 403.
    #[serde(default)]
    pub read_token: String,
}

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permission {
    /// *Images Read*.
    Read,
    /// *Images Write*, which includes reading.
    Write,
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

/// Reads the credentials kept in `data_dir`, making those that are not there; what is `given` takes precedence.
pub(super) fn load(data_dir: &Path, given: Given) -> Result<Credentials, OpenError> {
    let path = data_dir.join("credentials.json");
    let mut credentials = match std::fs::read(&path) {
        Ok(text) => {
            close(&path, 0o600).map_err(|source| OpenError::Files { path: path.clone(), source })?;
            serde_json::from_slice(&text)
                .map_err(|source| OpenError::Credentials { path: path.clone(), source })?
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Credentials {
            account_id: hex(&rand::random::<[u8; 16]>()),
            account_hash: random_text::<16>(),
            api_token: random_text::<30>(),
            read_token: String::new(),
        },
        Err(source) => return Err(OpenError::Files { path, source }),
    };
    // Neither a new file has it, nor one of a version that knew one token only.
    if credentials.read_token.is_empty() {
        credentials.read_token = random_text::<30>();
        keep(data_dir, &path, &credentials).map_err(|source| OpenError::Files { path, source })?;
    }
    if let Some((account_id, api_token)) = given.account {
        credentials.account_id = account_id;
        credentials.api_token = api_token;
    }
    credentials.read_token = given.read_token.unwrap_or(credentials.read_token);
    Ok(credentials)
}

/// Refuses a management call without a token of this account, or for another account.
pub(super) fn authorize(
    emulator: &Emulator,
    account: &str,
    headers: &HeaderMap,
) -> Result<Permission, Refusal> {
    let credentials = emulator.credentials();
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    // A global API key is any e-mail with the token as its key: an emulator has no users.
    let key = header("x-auth-email").and_then(|_| header("x-auth-key"));
    let permission = match (bearer(headers), key) {
        (Some(token), _) if same(token, &credentials.api_token) => Permission::Write,
        (Some(token), _) if same(token, &credentials.read_token) => Permission::Read,
        (None, Some(key)) if same(key, &credentials.api_token) => Permission::Write,
        _ => return Err(Refusal::unauthenticated()),
    };
    if account != credentials.account_id {
        return Err(Refusal::wrong_account());
    }
    Ok(permission)
}

/// Refuses a batch call without a batch token that is still valid at `now`.
pub(super) fn authorize_batch(
    emulator: &Emulator,
    headers: &HeaderMap,
    now: DateTime<Utc>,
) -> Result<Permission, Refusal> {
    let token = bearer(headers).ok_or_else(Refusal::unauthenticated)?;
    let expires = token.split_once('.').and_then(|(expires, _)| expires.parse::<i64>().ok());
    let expires =
        expires.filter(|expires| *expires > now.timestamp()).ok_or_else(Refusal::unauthenticated)?;
    [Permission::Write, Permission::Read]
        .into_iter()
        .find(|permission| same(token, &sealed(emulator, *permission, expires)))
        .ok_or_else(Refusal::unauthenticated)
}

/// Makes a token for the batch host that may do there what its maker may. It carries its own expiry under a seal, so
/// nothing is stored.
pub(super) fn batch_token(emulator: &Emulator, maker: Permission, now: DateTime<Utc>) -> BatchToken {
    let expires_at = now + Duration::hours(BATCH_TOKEN_HOURS);
    BatchToken { token: sealed(emulator, maker, expires_at.timestamp()), expires_at }
}

fn sealed(emulator: &Emulator, permission: Permission, expires: i64) -> String {
    let message = format!("batch.{permission:?}.{expires}");
    let seal = mac(emulator.credentials().api_token.as_bytes(), message.as_bytes());
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
