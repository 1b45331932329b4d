//! Typed ids such as `img_01j…`: a prefix and a UUIDv7 in 26 characters, as in the TypeID specification.
//!
//! The same string is used as Relay id, in REST and in logs; the database stores the 16 bytes of the UUID.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use sea_orm::DeriveValueType;
use uuid::Uuid;

/// Number of characters after the prefix.
const SUFFIX: usize = 26;

/// Crockford's base 32 in lower case, as TypeID uses it.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Why a string is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// The prefix is not the one of the expected type.
    #[error("an id that begins with `{0}_` is expected")]
    Prefix(&'static str),
    /// The prefix is unknown.
    #[error("a known prefix such as `img_`, `fil_` or `wsp_` is expected")]
    UnknownPrefix,
    /// The suffix is not a number below 2^128 in 26 characters of lower-case base 32.
    #[error("26 characters of lower-case base 32 are expected after the prefix")]
    Suffix,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal),+ $(,)?) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, DeriveValueType)]
            pub struct $name(pub Uuid);

            impl $name {
                /// The prefix of the id's text, without the underscore.
                pub const PREFIX: &'static str = $prefix;

                /// A new id. Ids sort by their `now`, in milliseconds.
                pub fn new(now: DateTime<Utc>) -> Self {
                    Self(uuid_v7(now))
                }

                /// The text in ASCII.
                pub fn ascii(self) -> [u8; $prefix.len() + 1 + SUFFIX] {
                    let mut text = [0; $prefix.len() + 1 + SUFFIX];
                    let (prefix, suffix) = text.split_at_mut($prefix.len() + 1);
                    prefix.copy_from_slice(concat!($prefix, "_").as_bytes());
                    encode(self.0, suffix);
                    text
                }
            }

            impl sea_orm::TryFromU64 for $name {
                fn try_from_u64(_: u64) -> Result<Self, sea_orm::DbErr> {
                    Err(sea_orm::DbErr::ConvertFromU64(stringify!($name)))
                }
            }

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    // Characters of the prefix and of the alphabet are ASCII.
                    f.write_str(std::str::from_utf8(&self.ascii()).map_err(|_| fmt::Error)?)
                }
            }

            impl FromStr for $name {
                type Err = ParseIdError;

                fn from_str(text: &str) -> Result<Self, ParseIdError> {
                    let suffix = text
                        .strip_prefix($prefix)
                        .and_then(|rest| rest.strip_prefix('_'))
                        .ok_or(ParseIdError::Prefix($prefix))?;
                    decode(suffix).map(Self)
                }
            }
        )+

        /// An id of any kind, for `node(id:)`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum AnyId {
            $($(#[$doc])* $name($name)),+
        }

        impl FromStr for AnyId {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                match text.split_once('_') {
                    $(Some(($prefix, suffix)) => decode(suffix).map(|uuid| Self::$name($name(uuid))),)+
                    _ => Err(ParseIdError::UnknownPrefix),
                }
            }
        }
    };
}

ids! {
    /// A workspace.
    WorkspaceId = "wsp",
    /// A user or service account.
    UserId = "usr",
    /// A user's membership of a workspace.
    MembershipId = "mem",
    /// An API token.
    ApiTokenId = "tok",
    /// A file.
    FileId = "fil",
    /// An image.
    ImageId = "img",
    /// A direct upload.
    DirectUploadId = "upl",
}

/// A new UUIDv7 with the given time in milliseconds; its other bits are random.
pub fn uuid_v7(now: DateTime<Utc>) -> Uuid {
    let millis = u64::try_from(now.timestamp_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid()
}

/// Writes the suffix: two characters, and two halves of twelve.
fn encode(uuid: Uuid, suffix: &mut [u8]) {
    let bits = uuid.as_u128();
    // An id is written for almost every field of a page of them, so it is not shifted as a number of 128 bits each time.
    let parts = [(bits >> 120) as u64, (bits >> 60) as u64, bits as u64];
    for (index, digit) in suffix.iter_mut().enumerate() {
        let (part, place) =
            if index < 2 { (0, 1 - index) } else { (1 + (index - 2) / 12, 11 - (index - 2) % 12) };
        *digit = ALPHABET[((parts[part] >> (5 * place)) & 31) as usize];
    }
}

fn decode(suffix: &str) -> Result<Uuid, ParseIdError> {
    // 26 × 5 = 130 bits: with a first character above 7 the value would not fit into 128.
    if suffix.len() != 26 || suffix.as_bytes()[0] > b'7' {
        return Err(ParseIdError::Suffix);
    }
    let mut bits = 0u128;
    for byte in suffix.bytes() {
        let digit = ALPHABET.iter().position(|c| *c == byte).ok_or(ParseIdError::Suffix)?;
        bits = (bits << 5) | digit as u128;
    }
    Ok(Uuid::from_u128(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of the TypeID specification's `valid.yml`, with the prefix `img`.
    #[test]
    fn encodes_as_the_specification_says() {
        for (uuid, suffix) in [
            ("00000000-0000-0000-0000-000000000000", "00000000000000000000000000"),
            ("00000000-0000-0000-0000-000000000001", "00000000000000000000000001"),
            ("00000000-0000-0000-0000-00000000000a", "0000000000000000000000000a"),
            ("00000000-0000-0000-0000-000000000010", "0000000000000000000000000g"),
            ("00000000-0000-0000-0000-000000000020", "00000000000000000000000010"),
            ("ffffffff-ffff-ffff-ffff-ffffffffffff", "7zzzzzzzzzzzzzzzzzzzzzzzzz"),
            ("0110c853-1d09-52d8-d73e-1194e95b5f19", "0123456789abcdefghjkmnpqrs"),
            ("01890a5d-ac96-774b-bcce-b302099a8057", "01h455vb4pex5vsknk084sn02q"),
        ] {
            let id = ImageId(Uuid::parse_str(uuid).unwrap());
            assert_eq!(id.to_string(), format!("img_{suffix}"));
            assert_eq!(format!("img_{suffix}").parse(), Ok(id));
            assert_eq!(format!("img_{suffix}").parse(), Ok(AnyId::ImageId(id)));
        }
    }

    /// The specification's `invalid.yml`, where it applies to a fixed prefix.
    #[test]
    fn refuses_what_the_specification_refuses() {
        for text in [
            "",
            "img",
            "img_",
            "IMG_00000000000000000000000000",
            "img-00000000000000000000000000",
            "_00000000000000000000000000",
            "img__00000000000000000000000000",
            "fil_00000000000000000000000000",
            "imgs_00000000000000000000000000",
            "img_1234567890123456789012345",
            "img_123456789012345678901234567",
            "img_1234567890123456789012345 ",
            "img_0123456789ABCDEFGHJKMNPQRS",
            "img_123456789-123456789-123456",
            "img_ooooooiiiiiiuuuuuuulllllll",
            "img_i23456789ol23456789oi23456",
            "img_8zzzzzzzzzzzzzzzzzzzzzzzzz",
            "img_ééééééééééééééééééééééééé",
        ] {
            assert!(text.parse::<ImageId>().is_err(), "{text}");
        }
        assert_eq!("xyz_00000000000000000000000000".parse::<AnyId>(), Err(ParseIdError::UnknownPrefix));
    }

    #[test]
    fn ids_sort_by_time() {
        let early = DateTime::from_timestamp_millis(1_700_000_000_000).unwrap();
        let late = DateTime::from_timestamp_millis(1_700_000_000_001).unwrap();
        assert!(FileId::new(early) < FileId::new(late));
        assert!(FileId::new(early).to_string() < FileId::new(late).to_string());
    }
}
