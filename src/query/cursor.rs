//! The text form of cursors: base64url without padding, of JSON that begins with a version or of other bytes. Clients
//! return a cursor as they received it and rely on nothing in it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Longest cursor that is decoded, in characters.
const MAX_LENGTH: usize = 4096;

/// Version of the JSON in a cursor; its first element. Any other number is rejected when a cursor is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct CursorVersion;

impl From<CursorVersion> for u8 {
    fn from(_: CursorVersion) -> u8 {
        1
    }
}

impl TryFrom<u8> for CursorVersion {
    type Error = &'static str;

    fn try_from(version: u8) -> Result<Self, Self::Error> {
        if version == 1 { Ok(CursorVersion) } else { Err("unknown version of a cursor") }
    }
}

/// A cursor of JSON: a tuple whose first element is a [`CursorVersion`].
pub fn encode(payload: &impl Serialize) -> String {
    encode_bytes(&serde_json::to_vec(payload).unwrap_or_default())
}

/// The JSON of a cursor; `None` for any other text.
pub fn decode<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_slice(&decode_bytes(text)?).ok()
}

/// A cursor of any bytes.
pub(super) fn encode_bytes(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes of a cursor; `None` for what is too long or not base64url.
pub(super) fn decode_bytes(text: &str) -> Option<Vec<u8>> {
    if text.len() > MAX_LENGTH { None } else { URL_SAFE_NO_PAD.decode(text).ok() }
}

/// `BAD_USER_INPUT` for an argument that holds no cursor.
pub fn malformed(argument: &str) -> Error {
    Error::invalid(argument, "This is not a cursor. Send a cursor exactly as the API returned it.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_known_version_is_decoded() {
        let cursor = encode(&(CursorVersion, "a", 7));
        assert_eq!(cursor, URL_SAFE_NO_PAD.encode(r#"[1,"a",7]"#));
        assert_eq!(decode(&cursor), Some((CursorVersion, "a".to_owned(), 7)));
        for text in [r#"[2,"a",7]"#, r#"["a",7]"#, "null", ""] {
            assert_eq!(decode::<(CursorVersion, String, i32)>(&URL_SAFE_NO_PAD.encode(text)), None, "{text}");
        }
        for text in ["!", "W zE", &"A".repeat(MAX_LENGTH + 4)] {
            assert_eq!(decode::<(CursorVersion, String, i32)>(text), None, "{text}");
        }
    }
}
