//! Values of fields as JSON.

use std::borrow::Cow;

use async_graphql::{EnumType, Value};
use serde::Serialize;

use crate::graphql::error::UserErrorCode;
use crate::graphql::rows::raw_text;
use crate::graphql::types::connection::CountPrecision;
use crate::graphql::types::direct_upload::{DirectUploadStatus, UploadTransport};
use crate::graphql::types::file::{FileStatus, ImageProvisionStatus};
use crate::graphql::types::image::ImageFormat;
use crate::graphql::types::scalar::{ByteSize, DateTime, Id, Json, JsonRef, Url, UrlText};
use crate::graphql::types::viewer::{TokenScope, UserRole};
use crate::graphql::types::workspace::WorkspaceRole;
use crate::graphql::types::workspace_policy::{DuplicatePolicy, ExifPolicy};
use crate::id::{ApiTokenId, DirectUploadId, FileId, ImageId, MembershipId, UserId, WorkspaceId};

/// A value that can be appended to a JSON text.
pub trait WriteJson {
    /// Appends the value.
    fn write_json(&self, json: &mut Vec<u8>);
}

/// Appends what serde_json serialises, without raw values. It fails for maps without text keys only, which no value here is.
pub fn serialize(value: &(impl Serialize + ?Sized), json: &mut Vec<u8>) {
    let before = json.len();
    if serde_json::to_writer(&mut *json, value).is_err() {
        json.truncate(before);
        json.extend_from_slice(b"null");
    }
}

/// Appends a string. Most have no character that JSON escapes, which is found out many bytes at a time.
fn write_text(text: &str, json: &mut Vec<u8>) {
    let escaped = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    if text.bytes().fold(false, |any, byte| any | escaped(byte)) {
        serialize(text, json);
        return;
    }
    json.reserve(text.len() + 2);
    json.push(b'"');
    json.extend_from_slice(text.as_bytes());
    json.push(b'"');
}

macro_rules! by_serde {
    ($($type:ty),+) => {
        $(
            impl WriteJson for $type {
                fn write_json(&self, json: &mut Vec<u8>) {
                    serialize(self, json);
                }
            }
        )+
    };
}

by_serde!(bool, i32, u64, f64);

macro_rules! texts {
    ($($type:ty),+) => {
        $(
            impl WriteJson for $type {
                fn write_json(&self, json: &mut Vec<u8>) {
                    write_text(self, json);
                }
            }
        )+
    };
}

texts!(str, String, Cow<'_, str>);

macro_rules! enums {
    ($($type:ty),+ $(,)?) => {
        $(
            impl WriteJson for $type {
                fn write_json(&self, json: &mut Vec<u8>) {
                    let item = Self::items().iter().find(|item| item.value == *self);
                    item.map(|item| item.name).write_json(json);
                }
            }
        )+
    };
}

enums!(
    CountPrecision,
    DirectUploadStatus,
    DuplicatePolicy,
    ExifPolicy,
    FileStatus,
    ImageFormat,
    ImageProvisionStatus,
    TokenScope,
    UploadTransport,
    UserErrorCode,
    UserRole,
    WorkspaceRole,
);

macro_rules! ids {
    ($($id:ty),+ $(,)?) => {
        $(
            impl WriteJson for Id<$id> {
                fn write_json(&self, json: &mut Vec<u8>) {
                    let text = self.0.ascii();
                    json.reserve(text.len() + 2);
                    json.push(b'"');
                    json.extend_from_slice(&text);
                    json.push(b'"');
                }
            }
        )+
    };
}

ids!(ApiTokenId, DirectUploadId, FileId, ImageId, MembershipId, UserId, WorkspaceId);

impl WriteJson for DateTime {
    fn write_json(&self, json: &mut Vec<u8>) {
        write_text(&self.text(), json);
    }
}

impl WriteJson for ByteSize {
    fn write_json(&self, json: &mut Vec<u8>) {
        self.number().write_json(json);
    }
}

impl WriteJson for Url {
    fn write_json(&self, json: &mut Vec<u8>) {
        write_text(self.0.as_str(), json);
    }
}

impl WriteJson for UrlText {
    fn write_json(&self, json: &mut Vec<u8>) {
        write_text(&self.0, json);
    }
}

impl WriteJson for Json {
    fn write_json(&self, json: &mut Vec<u8>) {
        serialize(&self.0, json);
    }
}

impl WriteJson for JsonRef<'_> {
    fn write_json(&self, json: &mut Vec<u8>) {
        json.extend_from_slice(self.0.as_str().as_bytes());
    }
}

impl WriteJson for Value {
    fn write_json(&self, json: &mut Vec<u8>) {
        match self {
            Value::List(items) => items.write_json(json),
            Value::Object(fields) => match raw_text(self) {
                Some(text) => json.extend_from_slice(text.as_bytes()),
                None => {
                    json.push(b'{');
                    for (index, (key, value)) in fields.iter().enumerate() {
                        if index > 0 {
                            json.push(b',');
                        }
                        serialize(key.as_str(), json);
                        json.push(b':');
                        value.write_json(json);
                    }
                    json.push(b'}');
                }
            },
            value => serialize(value, json),
        }
    }
}

impl<T: WriteJson> WriteJson for Option<T> {
    fn write_json(&self, json: &mut Vec<u8>) {
        match self {
            Some(value) => value.write_json(json),
            None => json.extend_from_slice(b"null"),
        }
    }
}

impl<T: WriteJson + ?Sized> WriteJson for &T {
    fn write_json(&self, json: &mut Vec<u8>) {
        (**self).write_json(json);
    }
}

impl<T: WriteJson> WriteJson for [T] {
    fn write_json(&self, json: &mut Vec<u8>) {
        json.push(b'[');
        for (index, item) in self.iter().enumerate() {
            if index > 0 {
                json.push(b',');
            }
            item.write_json(json);
        }
        json.push(b']');
    }
}

impl<T: WriteJson> WriteJson for Vec<T> {
    fn write_json(&self, json: &mut Vec<u8>) {
        self.as_slice().write_json(json);
    }
}
