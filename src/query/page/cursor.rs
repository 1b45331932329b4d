//! Cursors: the place of a row in a list, as text that means nothing to clients.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, SecondsFormat, Utc};
use sea_orm::IdenStatic;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Key, KeyKind, Keyed, ListOrder, storable};
use crate::error::{Error, Result};
use crate::spelling::composed;

/// Longest cursor that is looked at, in characters.
const MAX_CURSOR: usize = 2048;

/// A key as a cursor holds it: a time is a text there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Number(i64),
    Text(String),
}

/// A place in a list: what a cursor says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) key: Option<Key>,
    pub(super) id: Uuid,
}

/// Version, list and order, direction, key, id.
type Cursor = (u8, String, bool, Option<Written>, Uuid);

const CURSOR_VERSION: u8 = 1;

pub(super) fn encode<C: IdenStatic>(model: &impl Keyed<C>, order: ListOrder<C>) -> String {
    let Some(column) = order.column else {
        let bytes =
            [creation_prefix(order.name, order.descending).as_bytes(), model.id().as_bytes()].concat();
        return URL_SAFE_NO_PAD.encode(bytes);
    };
    let key = match model.key(column) {
        Key::Number(number) => Written::Number(number),
        Key::Text(text) => Written::Text(text),
        Key::Time(time) => Written::Text(time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
    };
    let cursor: Cursor = (CURSOR_VERSION, order.name.to_owned(), order.descending, Some(key), model.id());
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&cursor).unwrap_or_default())
}

/// What a cursor of a list by creation begins with. The id's 16 bytes follow, whatever they are, so that a pattern can
/// say what is a cursor and what is not; for that the length is a multiple of three.
fn creation_prefix(name: &str, descending: bool) -> String {
    let mut prefix = format!("{name}:{}", if descending { "DESC" } else { "ASC" });
    while prefix.len() % 3 != 0 {
        prefix.push(':');
    }
    prefix
}

/// A regular expression that matches the cursors of a list by creation, and nothing else.
pub fn creation_pattern(name: &str, descending: bool) -> String {
    format!("^{}[0-9A-Za-z_-]{{21}}[AQgw]$", URL_SAFE_NO_PAD.encode(creation_prefix(name, descending)))
}

pub(super) fn decode<C>(text: &str, order: ListOrder<C>, backward: bool) -> Result<Place> {
    let argument = if backward { "before" } else { "after" };
    let nonsense = || Error::invalid(argument, "This is not a cursor; give one back as a page gave it.");
    let bytes = Some(text)
        .filter(|text| text.len() <= MAX_CURSOR)
        .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .ok_or_else(nonsense)?;
    if order.column.is_none()
        && let Some(id) = bytes.strip_prefix(creation_prefix(order.name, order.descending).as_bytes())
    {
        return Ok(Place { key: None, id: Uuid::from_slice(id).map_err(|_| nonsense())? });
    }
    // A cursor of another list by creation is no JSON, and nonsense here all the same.
    let cursor: Cursor = serde_json::from_slice(&bytes)
        .ok()
        .filter(|cursor: &Cursor| cursor.0 == CURSOR_VERSION)
        .ok_or_else(nonsense)?;
    let (_, name, descending, key, id) = cursor;
    if name != order.name || descending != order.descending || key.is_some() != order.column.is_some() {
        return Err(Error::invalid(argument, "This cursor was made for another list or another order."));
    }
    let key = key.map(|key| read_key(key, order.kind).ok_or_else(nonsense)).transpose()?;
    Ok(Place { key, id })
}

/// A key of the right kind.
fn read_key(key: Written, kind: KeyKind) -> Option<Key> {
    match (kind, key) {
        (KeyKind::Number, Written::Number(number)) => Some(Key::Number(number)),
        (KeyKind::Text, Written::Text(text)) => {
            (!text.contains('\0')).then(|| Key::Text(composed(&text).into_owned()))
        }
        (KeyKind::Time, Written::Text(text)) => {
            let time = DateTime::parse_from_rfc3339(&text).ok()?.with_timezone(&Utc);
            storable(time).then_some(Key::Time(time))
        }
        _ => None,
    }
}
