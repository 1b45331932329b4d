//! The messages of `graphql-transport-ws`:
//! <https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>.

use async_graphql::{Request, Response, ServerError};
use serde_json::{Value, json};

use crate::graphql::request;

/// Longest id of an operation, in bytes.
const MAX_ID: usize = 128;

/// What a client says.
pub(super) enum Received {
    Init(Value),
    Ping(Option<Value>),
    Pong,
    Subscribe { id: String, request: Box<Request> },
    Complete { id: String },
}

/// Why a socket closes: code and reason. A reason has at most 123 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Closing(pub(super) u16, pub(super) &'static str);

pub(super) const STOPPING: Closing = Closing(1001, "Server is stopping");
pub(super) const TOO_BIG: Closing = Closing(1009, "Message too big");
pub(super) const TOO_MANY_CONNECTIONS: Closing = Closing(1013, "Too many connections of this token");
pub(super) const NOT_READING: Closing = Closing(1013, "Client does not read");
pub(super) const FAULT: Closing = Closing(1011, "Internal server error");
pub(super) const UNAUTHORIZED: Closing = Closing(4401, "Unauthorized");
pub(super) const FORBIDDEN: Closing = Closing(4403, "Forbidden");
pub(super) const INIT_TIMEOUT: Closing = Closing(4408, "Connection initialisation timeout");
pub(super) const ID_IN_USE: Closing = Closing(4409, "Subscriber for this id already exists");
pub(super) const TOO_MANY_INITS: Closing = Closing(4429, "Too many initialisation requests");

const fn invalid(reason: &'static str) -> Closing {
    Closing(4400, reason)
}

pub(super) const NOT_TEXT: Closing = invalid("A message is text");

/// Reads a message.
///
/// # Errors
/// 4400.
pub(super) fn read(text: &str) -> Result<Received, Closing> {
    let message: Value = serde_json::from_str(text).map_err(|_| invalid("A message is JSON"))?;
    let Value::Object(mut message) = message else { return Err(invalid("A message is an object")) };
    let payload = message.remove("payload").filter(|payload| !payload.is_null());
    let payload_is_object = payload.as_ref().is_none_or(Value::is_object);
    let id = match message.remove("id") {
        Some(Value::String(id)) if !id.is_empty() && id.len() <= MAX_ID => Some(id),
        None => None,
        Some(_) => return Err(invalid("An id is a string of 1 to 128 bytes")),
    };
    let Some(Value::String(kind)) = message.remove("type") else {
        return Err(invalid("A message has a type"));
    };
    if !payload_is_object {
        return Err(invalid("A payload is an object"));
    }
    match (kind.as_str(), id) {
        ("connection_init", _) => Ok(Received::Init(payload.unwrap_or_default())),
        ("ping", _) => Ok(Received::Ping(payload)),
        ("pong", _) => Ok(Received::Pong),
        ("complete", Some(id)) => Ok(Received::Complete { id }),
        ("subscribe", Some(id)) => {
            let request = request::request(payload.unwrap_or_default());
            let request = request.map_err(|_| invalid("The payload of subscribe is no GraphQL request"))?;
            Ok(Received::Subscribe { id, request: Box::new(request) })
        }
        ("complete" | "subscribe", None) => Err(invalid("This message has an id")),
        _ => Err(invalid("A client does not send this type of message")),
    }
}

pub(super) fn ack() -> String {
    json!({ "type": "connection_ack" }).to_string()
}

pub(super) fn pong(payload: Option<Value>) -> String {
    match payload {
        Some(payload) => json!({ "type": "pong", "payload": payload }).to_string(),
        None => json!({ "type": "pong" }).to_string(),
    }
}

pub(super) fn next(id: &str, answer: &Response) -> String {
    json!({ "id": id, "type": "next", "payload": answer }).to_string()
}

pub(super) fn error(id: &str, errors: &[ServerError]) -> String {
    json!({ "id": id, "type": "error", "payload": errors }).to_string()
}

pub(super) fn complete(id: &str) -> String {
    json!({ "id": id, "type": "complete" }).to_string()
}
