//! The position of a row in a list, and the cursor that holds it.

use chrono::{DateTime, SecondsFormat, Utc};
use sea_orm::IdenStatic;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{KeysetRow, ListOrder, SortKey, SortKeyType, is_storable};
use crate::error::{Error, Result};
use crate::normalization::to_nfc;
use crate::query::cursor::{self, CursorVersion};

/// A position in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    /// `None` in a list that is ordered by creation.
    pub(super) key: Option<SortKey>,
    pub(super) id: Uuid,
}

/// A sort key in a cursor: times are RFC 3339 text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum JsonKey {
    Number(i64),
    Text(String),
}

/// Version, name of list and order, whether the order is descending, sort key, id.
type PositionCursor = (CursorVersion, String, bool, Option<JsonKey>, Uuid);

/// The cursor of a row.
pub(super) fn encode<C: IdenStatic>(model: &impl KeysetRow<C>, order: ListOrder<C>) -> String {
    let Some(column) = order.column else {
        let prefix = creation_prefix(order.name, order.descending);
        return cursor::encode_bytes(&[prefix.as_bytes(), model.id().as_bytes()].concat());
    };
    let key = match model.sort_key(column) {
        SortKey::Number(number) => JsonKey::Number(number),
        SortKey::Text(text) => JsonKey::Text(text),
        SortKey::Time(time) => JsonKey::Text(time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
    };
    let position: PositionCursor =
        (CursorVersion, order.name.to_owned(), order.descending, Some(key), model.id());
    cursor::encode(&position)
}

/// The prefix of a cursor in a list ordered by creation; the 16 bytes of the id follow. Its length is a multiple of three,
/// so that base64 encodes it to whole characters and [`creation_pattern`] can describe such cursors.
fn creation_prefix(name: &str, descending: bool) -> String {
    let mut prefix = format!("{name}:{}", if descending { "DESC" } else { "ASC" });
    while prefix.len() % 3 != 0 {
        prefix.push(':');
    }
    prefix
}

/// A regular expression that matches exactly the cursors of a list ordered by creation.
pub fn creation_pattern(name: &str, descending: bool) -> String {
    let prefix = cursor::encode_bytes(creation_prefix(name, descending).as_bytes());
    format!("^{prefix}[0-9A-Za-z_-]{{21}}[AQgw]$")
}

/// The position in the cursor of an argument.
///
/// # Errors
/// `BAD_USER_INPUT` for text that is not a cursor, and for a cursor of another list or order.
pub(super) fn decode<C>(text: &str, order: ListOrder<C>, argument: &str) -> Result<Position> {
    let malformed = || cursor::malformed(argument);
    if order.column.is_none() {
        let bytes = cursor::decode_bytes(text).ok_or_else(malformed)?;
        if let Some(id) = bytes.strip_prefix(creation_prefix(order.name, order.descending).as_bytes()) {
            return Ok(Position { key: None, id: Uuid::from_slice(id).map_err(|_| malformed())? });
        }
    }
    // The cursor of another list ordered by creation is not JSON, so it is reported as malformed.
    let position: PositionCursor = cursor::decode(text).ok_or_else(malformed)?;
    let (_, name, descending, key, id) = position;
    if name != order.name || descending != order.descending || key.is_some() != order.column.is_some() {
        let message =
            "This cursor belongs to another list or another order. Use a cursor of this list and order.";
        return Err(Error::invalid(argument, message));
    }
    let key = key.map(|key| parse_key(key, order.key_type).ok_or_else(malformed)).transpose()?;
    Ok(Position { key, id })
}

/// A sort key of the expected type; `None` for another type and for values that the databases cannot store.
fn parse_key(key: JsonKey, key_type: SortKeyType) -> Option<SortKey> {
    match (key_type, key) {
        (SortKeyType::Number, JsonKey::Number(number)) => Some(SortKey::Number(number)),
        (SortKeyType::Text, JsonKey::Text(text)) => {
            (!text.contains('\0')).then(|| SortKey::Text(to_nfc(&text).into_owned()))
        }
        (SortKeyType::Time, JsonKey::Text(text)) => {
            let time = DateTime::parse_from_rfc3339(&text).ok()?.with_timezone(&Utc);
            is_storable(time).then_some(SortKey::Time(time))
        }
        _ => None,
    }
}
