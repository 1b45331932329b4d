//! The account of an emulator: its id and hash, and the credentials that are accepted.

use std::fmt;
use std::io::Write;
use std::path::Path;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use chrono::{DateTime, Duration, Utc};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::error::ApiError;
use super::store::restrict_permissions;
use super::{Emulator, OpenError, Settings, random_text};
use cloudflare_images::wire::BatchToken;

/// Id and hash of the emulated account, and its API tokens. `Debug` leaves the tokens out.
#[derive(Clone, Serialize, Deserialize)]
pub struct Credentials {
    /// 32 hexadecimal characters, in management URLs.
    pub account_id: String,
    /// 22 base64url characters, in delivery and upload URLs.
    pub account_hash: String,
    /// Bearer token of the management API, with the permissions *Images Read* and *Images Write*.
    pub api_token: String,
    /// Bearer token with the permission *Images Read* only. With it, calls that change something are answered with 403.
    #[serde(default)]
    pub read_token: String,
}

/// The permission of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permission {
    /// *Images Read*.
    Read,
    /// *Images Write*, which includes *Images Read*.
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

/// Lifetime of a batch token. Cloudflare does not document its own.
const BATCH_TOKEN_HOURS: i64 = 1;

/// Reads the credentials kept in the data folder and creates those that are missing. Those of the settings take
/// precedence, and are not written to the folder.
pub(super) fn load(settings: &Settings) -> Result<Credentials, OpenError> {
    let data_dir = &settings.data_dir;
    let path = data_dir.join("credentials.json");
    let mut credentials = match std::fs::read(&path) {
        Ok(text) => {
            restrict_permissions(&path, 0o600)
                .map_err(|source| OpenError::Files { path: path.clone(), source })?;
            serde_json::from_slice(&text)
                .map_err(|source| OpenError::Credentials { path: path.clone(), source })?
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Credentials {
            account_id: hex::encode(rand::random::<[u8; 16]>()),
            account_hash: random_text::<16>(),
            api_token: random_text::<30>(),
            read_token: String::new(),
        },
        Err(source) => return Err(OpenError::Files { path, source }),
    };
    // True for new credentials, and for a file of a version that had only one token.
    if credentials.read_token.is_empty() {
        credentials.read_token = random_text::<30>();
        write_atomically(data_dir, &path, &credentials)
            .map_err(|source| OpenError::Files { path, source })?;
    }
    if let Some((account_id, api_token)) = settings.account.clone() {
        credentials.account_id = account_id;
        credentials.api_token = api_token;
    }
    credentials.read_token = settings.read_token.clone().unwrap_or(credentials.read_token);
    Ok(credentials)
}

/// The permission that the credentials of a management call have. An error without a token of this account, or for
/// another account.
pub(super) fn authorize(
    emulator: &Emulator,
    account: &str,
    headers: &HeaderMap,
) -> Result<Permission, ApiError> {
    let credentials = emulator.credentials();
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    // The API token is also accepted as a global API key, with any e-mail address, because an emulator has no users.
    let key = header("x-auth-email").and_then(|_| header("x-auth-key"));
    let permission = match (bearer(headers), key) {
        (Some(token), _) if secrets_equal(token, &credentials.api_token) => Permission::Write,
        (Some(token), _) if secrets_equal(token, &credentials.read_token) => Permission::Read,
        (None, Some(key)) if secrets_equal(key, &credentials.api_token) => Permission::Write,
        _ => return Err(ApiError::unauthenticated()),
    };
    if account != credentials.account_id {
        return Err(ApiError::wrong_account());
    }
    Ok(permission)
}

/// The permission of a batch token that is valid at `now`.
pub(super) fn authorize_batch(
    emulator: &Emulator,
    headers: &HeaderMap,
    now: DateTime<Utc>,
) -> Result<Permission, ApiError> {
    let token = bearer(headers).ok_or_else(ApiError::unauthenticated)?;
    let expires = token.split_once('.').and_then(|(expires, _)| expires.parse::<i64>().ok());
    let expires =
        expires.filter(|expires| *expires > now.timestamp()).ok_or_else(ApiError::unauthenticated)?;
    [Permission::Write, Permission::Read]
        .into_iter()
        .find(|permission| secrets_equal(token, &sign_batch_token(emulator, *permission, expires)))
        .ok_or_else(ApiError::unauthenticated)
}

/// Creates a batch token with the permission of the token that asked for it. The batch token contains its expiry and a
/// signature, so it need not be stored.
pub(super) fn batch_token(emulator: &Emulator, permission: Permission, now: DateTime<Utc>) -> BatchToken {
    let expires_at = now + Duration::hours(BATCH_TOKEN_HOURS);
    BatchToken { token: sign_batch_token(emulator, permission, expires_at.timestamp()), expires_at }
}

fn sign_batch_token(emulator: &Emulator, permission: Permission, expires: i64) -> String {
    let message = format!("batch.{permission:?}.{expires}");
    let signature = hmac_sha256(emulator.credentials().api_token.as_bytes(), message.as_bytes());
    format!("{expires}.{}", hex::encode(signature))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Compares secrets by their digests under a random key, so that the time it takes reveals nothing about them.
fn secrets_equal(given: &str, expected: &str) -> bool {
    let key = rand::random::<[u8; 32]>();
    hmac_sha256(&key, given.as_bytes()) == hmac_sha256(&key, expected.as_bytes())
}

/// HMAC-SHA256 of `message`.
pub(super) fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    // HMAC accepts keys of any length, so this does not fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// Writes the file completely or not at all, readable by its owner only.
fn write_atomically(data_dir: &Path, path: &Path, credentials: &Credentials) -> std::io::Result<()> {
    // Temporary files have the mode 0600, which the rename keeps.
    let mut file = tempfile::NamedTempFile::new_in(data_dir)?;
    serde_json::to_writer_pretty(&mut file, credentials)?;
    file.flush()?;
    file.persist(path)?;
    Ok(())
}
