//! The metadata of a form: JSON text, or one field for each value, as Cloudflare's SDKs send it.

use serde_json::{Map, Value};

use super::error::ApiError;
use super::form::Form;
use cloudflare_images::wire::MAX_METADATA_BYTES;

/// Reads `metadata` (JSON text), `metadata[a][b]` (npm) and `metadata.a.b` (PyPI); `None` if there is none.
///
/// Values of single fields stay text, because their type is not sent.
pub(super) fn from_form(form: &Form) -> Result<Option<Map<String, Value>>, ApiError> {
    let mut object = match form.text("metadata") {
        Some(text) => from_text(text)?,
        None => None,
    };
    for (field, value) in &form.fields {
        let Some(path) = key_path(field)? else { continue };
        insert(object.get_or_insert_default(), &path, value)?;
    }
    if let Some(object) = &object {
        check_size(object)?;
    }
    Ok(object)
}

/// 5400 for an object whose JSON is longer than 1,024 bytes.
pub(super) fn check_size(object: &Map<String, Value>) -> Result<(), ApiError> {
    match serde_json::to_string(object) {
        Ok(text) if text.len() <= MAX_METADATA_BYTES => Ok(()),
        Ok(_) => Err(too_long()),
        Err(error) => Err(ApiError::internal(error)),
    }
}

/// Limit of the nesting of keys; filters reach 5 levels.
const MAX_DEPTH: usize = 32;

fn from_text(text: &str) -> Result<Option<Map<String, Value>>, ApiError> {
    // The limit applies to the text as it was sent, including white space.
    if text.len() > MAX_METADATA_BYTES {
        return Err(too_long());
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(Some(object)),
        Ok(Value::Null) => Ok(None),
        Ok(_) => Err(ApiError::bad_request("metadata must be a JSON object").with_pointer(&["metadata"])),
        Err(error) => Err(ApiError::bad_request(format!("metadata must be a JSON object: {error}"))
            .with_pointer(&["metadata"])),
    }
}

/// The keys in a field such as `metadata[a][b]`; `None` for other fields. If the last key is empty, the value is
/// appended to a list.
fn key_path(field: &str) -> Result<Option<Vec<&str>>, ApiError> {
    let Some(rest) = field.strip_prefix("metadata") else { return Ok(None) };
    if !rest.starts_with(['[', '.']) {
        return Ok(None);
    }
    let malformed =
        || ApiError::bad_request(format!("Error parsing form fields: {field}")).with_pointer(&["metadata"]);
    let mut path = Vec::new();
    let mut rest = rest;
    while !rest.is_empty() {
        let key;
        if let Some(bracket) = rest.strip_prefix('[') {
            (key, rest) = bracket.split_once(']').ok_or_else(malformed)?;
        } else if let Some(dotted) = rest.strip_prefix('.') {
            let end = dotted.find(['.', '[']).unwrap_or(dotted.len());
            (key, rest) = dotted.split_at(end);
        } else {
            return Err(malformed());
        }
        path.push(key);
    }
    let (_, parents) = path.split_last().ok_or_else(malformed)?;
    if path.len() > MAX_DEPTH || path[0].is_empty() || parents.iter().any(|key| key.is_empty()) {
        return Err(malformed());
    }
    Ok(Some(path))
}

fn insert(object: &mut Map<String, Value>, path: &[&str], value: &str) -> Result<(), ApiError> {
    let conflict = || {
        ApiError::bad_request(format!("metadata.{} is given twice", path.join(".")))
            .with_pointer(&["metadata"])
    };
    let text = Value::String(value.to_owned());
    match path {
        [key] => match object.insert((*key).to_owned(), text) {
            None => Ok(()),
            Some(_) => Err(conflict()),
        },
        [key, ""] => {
            let list = object.entry(*key).or_insert_with(|| Value::Array(Vec::new()));
            list.as_array_mut().ok_or_else(conflict)?.push(text);
            Ok(())
        }
        [key, rest @ ..] => {
            let inner = object.entry(*key).or_insert_with(|| Value::Object(Map::new()));
            insert(inner.as_object_mut().ok_or_else(conflict)?, rest, value)
        }
        [] => Ok(()),
    }
}

fn too_long() -> ApiError {
    ApiError::bad_request(format!("metadata must not exceed {MAX_METADATA_BYTES} bytes"))
        .with_pointer(&["metadata"])
}
