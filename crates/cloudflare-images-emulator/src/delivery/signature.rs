//! Signatures of delivery URLs.

use chrono::{DateTime, Utc};

use super::access_denied;
use crate::Emulator;
use crate::account::hmac_sha256;
use crate::error::ApiError;
use crate::route::DeliveryPath;
use crate::store::signing_key;

/// Checks `exp` and `sig` of a private image's URL. Returns when the signature expires, if it does.
///
/// The signature may be made with any current key. It signs the path and the query without `sig`. The path is either the
/// requested one or the one on Cloudflare's delivery host; without further parameters, the `?` may be signed or not.
pub(super) async fn verify(
    emulator: &Emulator,
    path: &DeliveryPath,
    query: &str,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, ApiError> {
    let mut signature = None;
    let mut rest = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.strip_prefix("sig=") {
            Some(value) if signature.is_none() => signature = Some(value),
            _ => rest.push(pair),
        }
    }
    let signature = signature.ok_or_else(|| access_denied("This image requires a signature"))?;
    let expires = rest.iter().find_map(|pair| pair.strip_prefix("exp=")).map(expiry).transpose()?;
    let rest = rest.join("&");
    let keys = signing_key::all(&emulator.0.store.db).await?;
    let messages: Vec<String> = signed_paths(emulator, path)
        .iter()
        .flat_map(|path| match rest.as_str() {
            "" => vec![path.clone(), format!("{path}?")],
            rest => vec![format!("{path}?{rest}")],
        })
        .collect();
    // All candidates are computed and compared completely, so that the time reveals nothing about the keys.
    let valid = keys.iter().fold(false, |valid, key| {
        messages.iter().fold(valid, |valid, message| valid | signs(key, message, signature))
    });
    if !valid {
        return Err(access_denied("Signature is invalid"));
    }
    match expires {
        Some(expires) if expires <= now => Err(access_denied("Signature has expired")),
        expires => Ok(expires),
    }
}

/// The path on Cloudflare's delivery host, and on this emulator.
fn signed_paths(emulator: &Emulator, path: &DeliveryPath) -> Vec<String> {
    let canonical = &path.canonical;
    let base_path =
        url::Url::parse(&emulator.0.public_url).map(|url| url.path().trim_end_matches('/').to_owned());
    let mut paths = vec![
        canonical.clone(),
        format!("/imagedelivery{canonical}"),
        format!("/cdn-cgi/imagedelivery{canonical}"),
    ];
    if let Ok(prefix) = base_path.as_deref()
        && !prefix.is_empty()
    {
        paths.push(format!("{prefix}/imagedelivery{canonical}"));
        paths.push(format!("{prefix}/cdn-cgi/imagedelivery{canonical}"));
    }
    paths
}

fn signs(key: &signing_key::Model, message: &str, signature: &str) -> bool {
    let expected = hex::encode(hmac_sha256(key.value.0.as_bytes(), message.as_bytes()));
    let differences =
        expected.bytes().zip(signature.bytes()).fold(0, |all, (left, right)| all | (left ^ right));
    expected.len() == signature.len() && differences == 0
}

fn expiry(text: &str) -> Result<DateTime<Utc>, ApiError> {
    let seconds = text.parse().ok().and_then(DateTime::from_timestamp_secs);
    seconds.ok_or_else(|| access_denied("exp is not a Unix timestamp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_the_text_and_the_message_path_and_query() {
        let value = "Oix0bbNaT8Rge9PuyxUBrjI6zrgnsyJ5=".to_owned();
        let key = signing_key::Model {
            name: "default".to_owned(),
            value: signing_key::Secret(value),
            created_ms: 0,
        };
        let path = "/cheeW4oKsx5ljh8e8BoL2A/bc27a117-9509-446b-8c69-c81bfeac0a01/mobile";
        let with_expiry = "72411885ee02134d38662f3e70ac8ff694f408e9d14b05125f6b022c3f403efa";
        let without = "f650d16a54309cc5560ccf74ba805cd33c92ba5edaa7f09abeebfaf7e3f5895e";
        assert!(signs(&key, &format!("{path}?exp=1631289275"), with_expiry));
        assert!(signs(&key, path, without));
        assert!(!signs(&key, path, with_expiry));
        assert!(!signs(&key, path, ""));
    }
}
