//! GraphQL requests out of HTTP: a JSON body, a query string, or the multipart protocol for files.
//!
//! Multipart follows <https://github.com/jaydenseric/graphql-multipart-request-spec>: `operations`, then `map`, then
//! one part per file. Parts are spooled to disk as they arrive, and every limit holds while they do.

use std::collections::HashMap;
use std::path::Path;

use async_graphql::{Request, Variables};
use axum::body::{Body, HttpBody};
use futures_util::{StreamExt, TryStreamExt};
use multer::{Field, Multipart};
use serde_json::{Map, Value};

use crate::config::Config;
use crate::error::{Code, Error};
use crate::graphql::transport::json;
use crate::graphql::types::scalar::Upload;
use crate::storage::spool::Spool;

/// Longest `map` of a multipart request, in bytes.
const MAX_MAP: usize = 64 * 1024;
/// Generous for the boundary and the headers of a part, in bytes.
const MAX_PART_HEAD: u64 = 64 * 1024;

/// One request, or a batch of them.
#[derive(Debug)]
pub enum Asking {
    One(Box<Request>),
    /// Each has its place in the answer, even one that cannot be read.
    Batch(Vec<Result<Request, Unreadable>>),
}

/// Received file parts of a request.
#[derive(Clone, Default)]
pub struct Parts(HashMap<String, Part>);

/// A received file part.
#[derive(Clone)]
pub struct Part {
    pub spool: Spool,
    /// As the client sent it.
    pub filename: Option<String>,
    /// As the client sent it.
    pub content_type: Option<String>,
}

impl Parts {
    /// The part that stands at an input field.
    pub fn get(&self, upload: &Upload) -> Option<&Part> {
        self.0.get(&upload.0)
    }
}

/// Why a request cannot be read: status, code and sentence of the answer. A fault of ours gets the request id, and one that
/// passes the time to wait, where it is answered.
#[derive(Debug)]
pub struct Unreadable {
    pub status: u16,
    pub code: &'static str,
    pub message: String,
}

/// Code of the refusal that tells a client to send whole queries. Apollo Client goes by it, or by the message.
pub const PERSISTED: &str = "PERSISTED_QUERY_NOT_SUPPORTED";

fn bad(message: impl Into<String>) -> Unreadable {
    Unreadable { status: 400, code: "BAD_REQUEST", message: message.into() }
}

/// Reads a request from a query string, as GET sends it.
pub fn from_query_string(query: &str) -> Result<Request, Unreadable> {
    let mut fields = Map::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let value = match &*name {
            "query" | "operationName" => Value::String(value.into_owned()),
            "variables" | "extensions" if value.is_empty() => Value::Null,
            "variables" | "extensions" => json::read(value.as_bytes())
                .map_err(|_| bad(format!("`{name}` in the query string is not JSON.")))?,
            _ => continue,
        };
        if fields.insert(name.to_string(), value).is_some() {
            return Err(bad(format!("`{name}` stands twice in the query string.")));
        }
    }
    request(Value::Object(fields))
}

/// Reads a JSON body.
pub async fn from_json(config: &Config, body: Body) -> Result<Asking, Unreadable> {
    let beyond = || too_large(format!("A request has at most {} bytes.", config.max_query_size));
    // Before a client that waits to be asked for its body is asked.
    if body.size_hint().lower() > config.max_query_size as u64 {
        return Err(beyond());
    }
    let mut received = Vec::new();
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| bad("The body broke off."))?;
        if received.len() + chunk.len() > config.max_query_size {
            return Err(beyond());
        }
        received.extend_from_slice(&chunk);
    }
    asking(parse(&received, "The body")?, config.max_batch)
}

/// Reads a multipart body, spooling its files into `folder`.
pub async fn from_multipart(
    config: &Config,
    folder: &Path,
    boundary: String,
    body: Body,
) -> Result<(Asking, Parts), Unreadable> {
    if body.size_hint().lower() > most_bytes(config) {
        return Err(too_large(format!("A file has at most {} bytes.", config.max_file_size)));
    }
    let mut form = Multipart::new(body.into_data_stream(), boundary);
    read_form(config, folder, &mut form).await
}

/// Above this a body has a part that is too large, whatever its parts are.
fn most_bytes(config: &Config) -> u64 {
    let file = config.max_file_size.saturating_add(MAX_PART_HEAD);
    let files = file.saturating_mul(config.max_upload_parts as u64);
    files.saturating_add(config.max_query_size as u64).saturating_add(MAX_MAP as u64 + 4 * MAX_PART_HEAD)
}

async fn read_form(
    config: &Config,
    folder: &Path,
    form: &mut Multipart<'static>,
) -> Result<(Asking, Parts), Unreadable> {
    let operations = text_part(form, "operations", config.max_query_size).await?;
    let mut operations = parse(&operations, "`operations`")?;
    let map = text_part(form, "map", MAX_MAP).await?;
    let places = places(&parse(&map, "`map`")?, config.max_upload_parts)?;
    // Drawn anew for each request: nobody can write down a reference to a part that is not theirs.
    let nonce: u128 = rand::random();
    for (key, paths) in &places {
        for path in paths {
            put(&mut operations, path, Upload::placeholder(&format!("{nonce:x}.{key}")))?;
        }
    }
    let mut parts = HashMap::new();
    while let Some(mut field) = form.next_field().await.map_err(|_| broken())? {
        let Named { name: key, filename } = named(&field)?;
        if !places.iter().any(|(known, _)| *known == key) {
            return Err(bad("A part is not named in `map`."));
        }
        let content_type = field.content_type().map(ToString::to_string);
        let chunks =
            (&mut field).map_err(|_| Error::refuse(Code::InvalidInput, "The multipart body broke off."));
        let spool = Spool::receive(folder, config.max_file_size, chunks).await.map_err(unspooled)?;
        let part = Part { spool, filename, content_type };
        if parts.insert(format!("{nonce:x}.{key}"), part).is_some() {
            return Err(bad("Two parts have the same name."));
        }
    }
    if parts.len() != places.len() {
        return Err(bad("`map` names a part that is not there."));
    }
    Ok((asking(operations, config.max_batch)?, Parts(parts)))
}

fn unspooled(problem: Error) -> Unreadable {
    problem.log();
    let refusal = problem.public();
    let code = if refusal.code == Code::InvalidInput { "BAD_REQUEST" } else { refusal.code.as_str() };
    Unreadable { status: refusal.code.status(), code, message: refusal.message }
}

/// What a part's headers call it.
struct Named {
    name: String,
    filename: Option<String>,
}

/// Reads the headers of a part. Those that make something else of its bytes are refused, because the bytes are taken as
/// they are.
fn named(field: &Field<'_>) -> Result<Named, Unreadable> {
    let headers = field.headers();
    for (header, plain) in [
        ("content-transfer-encoding", &["7bit", "8bit", "binary"][..]),
        ("content-encoding", &["identity"]),
        ("content-range", &[]),
    ] {
        let mut values = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
        if values.any(|value| !plain.iter().any(|plain| value.trim().eq_ignore_ascii_case(plain))) {
            return Err(bad(format!("A part has its bytes as they are, all of them, and no `{header}`.")));
        }
    }
    let header = headers.get("content-disposition").map_or(&b""[..], |value| value.as_bytes());
    let disposition::Part { name, filename } = disposition::part(header);
    Ok(Named { name: name.unwrap_or_default(), filename })
}

async fn text_part(form: &mut Multipart<'static>, name: &str, max: usize) -> Result<Vec<u8>, Unreadable> {
    let missing =
        || bad(format!("The parts are `operations`, `map`, and then the files: `{name}` is missing here."));
    let mut field = form.next_field().await.map_err(|_| broken())?.ok_or_else(missing)?;
    if named(&field)?.name != name {
        return Err(missing());
    }
    let mut text = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(|_| broken())? {
        if text.len() + chunk.len() > max {
            return Err(too_large(format!("`{name}` has at most {max} bytes.")));
        }
        text.extend_from_slice(&chunk);
    }
    Ok(text)
}

/// Part names and the paths they go to, as `map` lists them.
fn places(map: &Value, max: usize) -> Result<Vec<(String, Vec<String>)>, Unreadable> {
    let shape = || bad("`map` is an object of lists of paths, e.g. {\"0\": [\"variables.input.file\"]}.");
    let map = map.as_object().ok_or_else(shape)?;
    let mut places = Vec::new();
    for (key, paths) in map {
        let paths = paths.as_array().filter(|paths| !paths.is_empty()).ok_or_else(shape)?;
        let paths = paths.iter().map(|path| path.as_str().map(str::to_owned).ok_or_else(shape));
        places.push((key.clone(), paths.collect::<Result<Vec<_>, _>>()?));
    }
    if places.iter().map(|(_, paths)| paths.len()).sum::<usize>() > max {
        return Err(too_large(format!("A request has at most {max} file parts, and `map` as many paths.")));
    }
    Ok(places)
}

/// Puts a value where a path leads to a null.
fn put(operations: &mut Value, path: &str, value: async_graphql::Value) -> Result<(), Unreadable> {
    let nowhere = || bad("A path in `map` does not lead to a null in the variables of `operations`.");
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

fn asking(value: Value, max_batch: usize) -> Result<Asking, Unreadable> {
    match value {
        Value::Array(requests) if requests.is_empty() => Err(bad("A batch has at least one request.")),
        Value::Array(requests) if requests.len() > max_batch => {
            Err(bad(format!("A batch has at most {max_batch} requests.")))
        }
        Value::Array(requests) => Ok(Asking::Batch(requests.into_iter().map(request).collect())),
        single => request(single).map(|request| Asking::One(Box::new(request))),
    }
}

/// A request out of its JSON object.
pub(super) fn request(value: Value) -> Result<Request, Unreadable> {
    let Value::Object(mut fields) = value else {
        return Err(bad("A request is an object with the field `query`."));
    };
    let query = match fields.remove("query") {
        Some(Value::String(query)) if !query.trim().is_empty() => query,
        None | Some(Value::Null | Value::String(_)) if persisted(&fields) => {
            let message = "PersistedQueryNotSupported".to_owned();
            return Err(Unreadable { status: 200, code: PERSISTED, message });
        }
        _ => return Err(bad("`query` is missing: it holds the text of the operation.")),
    };
    let mut request = Request::new(query);
    match fields.remove("operationName") {
        None | Some(Value::Null) => {}
        Some(Value::String(name)) if name.is_empty() => {}
        Some(Value::String(name)) => request = request.operation_name(name),
        Some(_) => return Err(bad("`operationName` is a string.")),
    }
    match fields.remove("variables") {
        None | Some(Value::Null) => {}
        Some(variables @ Value::Object(_)) => request = request.variables(Variables::from_json(variables)),
        Some(_) => return Err(bad("`variables` is an object.")),
    }
    match fields.remove("extensions") {
        None | Some(Value::Null | Value::Object(_)) => Ok(request),
        Some(_) => Err(bad("`extensions` is an object.")),
    }
}

/// Whether a request names its query by a hash.
fn persisted(fields: &Map<String, Value>) -> bool {
    fields.get("extensions").is_some_and(|extensions| !extensions["persistedQuery"].is_null())
}

fn parse(text: &[u8], what: &str) -> Result<Value, Unreadable> {
    json::read(text).map_err(|_| bad(format!("{what} is not JSON.")))
}

fn broken() -> Unreadable {
    bad("The multipart body is damaged or broke off.")
}

fn too_large(message: String) -> Unreadable {
    Unreadable { status: 413, code: "PAYLOAD_TOO_LARGE", message }
}
