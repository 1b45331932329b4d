//! The messages of `graphql-transport-ws`:
//! <https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>.

use async_graphql::{Request, Response, ServerError};
use serde::Serialize;
use serde_json::Value;

use crate::graphql::transport::json;
use crate::graphql::transport::request::{self, PERSISTED_QUERY, RequestRejection};

/// Longest id of an operation, in bytes.
const MAX_ID: usize = 128;

/// A message of a client.
pub(super) enum ClientMessage {
    ConnectionInit(Value),
    Ping(Option<Value>),
    Pong,
    Subscribe {
        id: String,
        request: Box<Request>,
    },
    /// A `subscribe` that is answered with an error, and does not close the socket.
    Rejected {
        id: String,
        rejection: RequestRejection,
    },
    Complete {
        id: String,
    },
}

/// Code and reason of a close frame. A reason has at most 123 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct CloseReason(pub(super) u16, pub(super) &'static str);

pub(super) const STOPPING: CloseReason = CloseReason(1001, "Server is stopping");
pub(super) const TOO_BIG: CloseReason = CloseReason(1009, "Message too big");
pub(super) const TOO_MANY_CONNECTIONS: CloseReason = CloseReason(1013, "Too many connections of this token");
pub(super) const NOT_READING: CloseReason = CloseReason(1013, "Client does not read");
pub(super) const FAULT: CloseReason = CloseReason(1011, "Internal server error");
pub(super) const UNAUTHORIZED: CloseReason = CloseReason(4401, "Unauthorized");
pub(super) const FORBIDDEN: CloseReason = CloseReason(4403, "Forbidden");
pub(super) const INIT_TIMEOUT: CloseReason = CloseReason(4408, "Connection initialisation timeout");
pub(super) const ID_IN_USE: CloseReason = CloseReason(4409, "Subscriber for this id already exists");
pub(super) const TOO_MANY_INITS: CloseReason = CloseReason(4429, "Too many initialisation requests");

const fn invalid(reason: &'static str) -> CloseReason {
    CloseReason(4400, reason)
}

pub(super) const NOT_TEXT: CloseReason = invalid("A message is text");

/// Parses a message.
///
/// # Errors
/// 4400, the code for an invalid message.
pub(super) fn parse(text: &str) -> Result<ClientMessage, CloseReason> {
    let message: Value = json::read(text.as_bytes()).map_err(|_| invalid("A message is JSON"))?;
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
        ("connection_init", _) => Ok(ClientMessage::ConnectionInit(payload.unwrap_or_default())),
        ("ping", _) => Ok(ClientMessage::Ping(payload)),
        ("pong", _) => Ok(ClientMessage::Pong),
        ("complete", Some(id)) => Ok(ClientMessage::Complete { id }),
        ("subscribe", Some(id)) => match request::from_object(payload.unwrap_or_default()) {
            Ok(request) => Ok(ClientMessage::Subscribe { id, request: Box::new(request) }),
            Err(rejection) if rejection.code == PERSISTED_QUERY => {
                Ok(ClientMessage::Rejected { id, rejection })
            }
            Err(_) => Err(invalid("The payload of subscribe is no GraphQL request")),
        },
        ("complete" | "subscribe", None) => Err(invalid("This message has an id")),
        _ => Err(invalid("A client does not send this type of message")),
    }
}

/// A message of the server. Not written through `serde_json::Value`, which sorts the fields of objects.
#[derive(Serialize)]
struct Message<'a, P> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<P>,
}

fn write<P: Serialize>(id: Option<&str>, r#type: &'static str, payload: Option<P>) -> String {
    serde_json::to_string(&Message { id, r#type, payload }).unwrap_or_default()
}

pub(super) fn ack() -> String {
    write(None, "connection_ack", None::<()>)
}

pub(super) fn pong(payload: Option<Value>) -> String {
    write(None, "pong", payload)
}

pub(super) fn next(id: &str, response: &Response) -> String {
    write(Some(id), "next", Some(response))
}

pub(super) fn error(id: &str, errors: &[ServerError]) -> String {
    write(Some(id), "error", Some(errors))
}

pub(super) fn complete(id: &str) -> String {
    write(Some(id), "complete", None::<()>)
}
