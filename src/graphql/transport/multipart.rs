//! Requests with files: <https://github.com/jaydenseric/graphql-multipart-request-spec>.
//!
//! A body has the part `operations`, then `map`, then one part for each file. Files are written to disk while they arrive,
//! and every limit is checked meanwhile.

use std::collections::HashMap;
use std::path::Path;

use axum::body::{Body, HttpBody};
use futures_util::TryStreamExt;
use multer::{Field, Multipart};
use serde_json::Value;

use crate::config::Config;
use crate::error::{Code, Error};
use crate::graphql::transport::request::{self, RequestBody, RequestRejection};
use crate::graphql::types::scalar::Upload;
use crate::storage::spool::Spool;

/// Largest `map`, in bytes.
const MAX_MAP_SIZE: usize = 64 * 1024;
/// Allowance for the boundary and the headers of a part, in bytes.
const MAX_PART_HEADERS: u64 = 64 * 1024;

/// The received files of a request.
#[derive(Clone, Default)]
pub struct FileParts(HashMap<String, FilePart>);

/// A received file.
#[derive(Clone)]
pub struct FilePart {
    pub spool: Spool,
    /// As the client sent it.
    pub filename: Option<String>,
    /// As the client sent it.
    pub content_type: Option<String>,
}

impl FileParts {
    /// The file of an input field.
    pub fn get(&self, upload: &Upload) -> Option<&FilePart> {
        self.0.get(&upload.0)
    }
}

/// Reads a multipart body, and stores its files in `folder` while they arrive.
pub(super) async fn read(
    config: &Config,
    folder: &Path,
    boundary: String,
    body: Body,
) -> Result<(RequestBody, FileParts), RequestRejection> {
    if body.size_hint().lower() > max_bytes(config) {
        return Err(RequestRejection::too_large(format!(
            "A file has at most {} bytes.",
            config.max_file_size
        )));
    }
    let mut form = Multipart::new(body.into_data_stream(), boundary);
    read_form(config, folder, &mut form).await
}

/// The size of a body whose parts all have their largest size.
fn max_bytes(config: &Config) -> u64 {
    let file = config.max_file_size.saturating_add(MAX_PART_HEADERS);
    let files = file.saturating_mul(config.max_upload_parts as u64);
    files
        .saturating_add(config.max_query_size as u64)
        .saturating_add(MAX_MAP_SIZE as u64 + 4 * MAX_PART_HEADERS)
}

async fn read_form(
    config: &Config,
    folder: &Path,
    form: &mut Multipart<'static>,
) -> Result<(RequestBody, FileParts), RequestRejection> {
    let operations = text_part(form, "operations", config.max_query_size).await?;
    let mut operations = request::parse(&operations, "`operations`")?;
    let map = text_part(form, "map", MAX_MAP_SIZE).await?;
    let paths_by_name = file_paths(&request::parse(&map, "`map`")?, config.max_upload_parts)?;
    // Random for each request, so that the JSON of a client cannot hold the placeholder of a part.
    let nonce: u128 = rand::random();
    for (name, paths) in &paths_by_name {
        for path in paths {
            set_at(&mut operations, path, Upload::placeholder(&format!("{nonce:x}.{name}")))?;
        }
    }
    let mut parts = HashMap::new();
    while let Some(mut field) = form.next_field().await.map_err(|_| malformed())? {
        let PartName { name, filename } = part_name(&field)?;
        if !paths_by_name.iter().any(|(known, _)| *known == name) {
            return Err(RequestRejection::bad_request("A part is not listed in `map`."));
        }
        let content_type = field.content_type().map(ToString::to_string);
        let chunks =
            (&mut field).map_err(|_| Error::refuse(Code::InvalidInput, "The multipart body ended early."));
        let spool = Spool::receive(folder, config.max_file_size, chunks).await.map_err(spool_rejection)?;
        let part = FilePart { spool, filename, content_type };
        if parts.insert(format!("{nonce:x}.{name}"), part).is_some() {
            return Err(RequestRejection::bad_request("Two parts have the same name."));
        }
    }
    if parts.len() != paths_by_name.len() {
        return Err(RequestRejection::bad_request("`map` lists a part that is missing."));
    }
    Ok((request::from_value(operations, config.max_batch)?, FileParts(parts)))
}

fn spool_rejection(problem: Error) -> RequestRejection {
    problem.log();
    let refusal = problem.public();
    let code = if refusal.code == Code::InvalidInput { "BAD_REQUEST" } else { refusal.code.as_str() };
    RequestRejection { status: refusal.code.status(), code, message: refusal.message }
}

/// Name and filename in the headers of a part.
struct PartName {
    name: String,
    filename: Option<String>,
}

/// Reads the headers of a part. A part that is encoded or partial is rejected, because its bytes are stored as they are.
fn part_name(field: &Field<'_>) -> Result<PartName, RequestRejection> {
    let headers = field.headers();
    for (header, allowed) in [
        ("content-transfer-encoding", &["7bit", "8bit", "binary"][..]),
        ("content-encoding", &["identity"]),
        ("content-range", &[]),
    ] {
        let mut values = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
        if values.any(|value| !allowed.iter().any(|allowed| value.trim().eq_ignore_ascii_case(allowed))) {
            return Err(RequestRejection::bad_request(format!(
                "`{header}` is not supported in a part: send the whole file unencoded."
            )));
        }
    }
    let header = headers.get("content-disposition").map_or(&b""[..], |value| value.as_bytes());
    let disposition::Part { name, filename } = disposition::part(header);
    Ok(PartName { name: name.unwrap_or_default(), filename })
}

async fn text_part(
    form: &mut Multipart<'static>,
    name: &str,
    max: usize,
) -> Result<Vec<u8>, RequestRejection> {
    let missing = || {
        RequestRejection::bad_request(format!(
            "The parts are `operations`, `map`, and then the files: `{name}` is missing here."
        ))
    };
    let mut field = form.next_field().await.map_err(|_| malformed())?.ok_or_else(missing)?;
    if part_name(&field)?.name != name {
        return Err(missing());
    }
    let mut text = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(|_| malformed())? {
        if text.len() + chunk.len() > max {
            return Err(RequestRejection::too_large(format!("`{name}` has at most {max} bytes.")));
        }
        text.extend_from_slice(&chunk);
    }
    Ok(text)
}

/// The names of the file parts, and the paths of the variables they are for.
fn file_paths(map: &Value, max: usize) -> Result<Vec<(String, Vec<String>)>, RequestRejection> {
    let shape = || {
        RequestRejection::bad_request(
            "`map` is an object of lists of paths, e.g. {\"0\": [\"variables.input.file\"]}.",
        )
    };
    let map = map.as_object().ok_or_else(shape)?;
    let mut paths_by_name = Vec::new();
    for (name, paths) in map {
        let paths = paths.as_array().filter(|paths| !paths.is_empty()).ok_or_else(shape)?;
        let paths = paths.iter().map(|path| path.as_str().map(str::to_owned).ok_or_else(shape));
        paths_by_name.push((name.clone(), paths.collect::<Result<Vec<_>, _>>()?));
    }
    if paths_by_name.iter().map(|(_, paths)| paths.len()).sum::<usize>() > max {
        return Err(RequestRejection::too_large(format!(
            "A request has at most {max} file parts, and `map` as many paths."
        )));
    }
    Ok(paths_by_name)
}

/// Replaces the null at a path.
fn set_at(operations: &mut Value, path: &str, value: async_graphql::Value) -> Result<(), RequestRejection> {
    let nowhere = || {
        RequestRejection::bad_request(
            "A path in `map` does not lead to a null in the variables of `operations`.",
        )
    };
    if !path.split('.').any(|step| step == "variables") {
        return Err(nowhere());
    }
    let mut place = operations;
    for step in path.split('.') {
        place = match place {
            Value::Object(fields) => fields.get_mut(step),
            Value::Array(items) => step.parse::<usize>().ok().and_then(|index| items.get_mut(index)),
            _ => None,
        }
        .ok_or_else(nowhere)?;
    }
    if !place.is_null() {
        return Err(nowhere());
    }
    *place = value.into_json().map_err(|_| nowhere())?;
    Ok(())
}

fn malformed() -> RequestRejection {
    RequestRejection::bad_request("The multipart body is malformed or ended early.")
}
