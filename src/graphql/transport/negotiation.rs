//! The media type of a response, from `Accept`.

use async_graphql::Request;
use async_graphql::parser::types::OperationType;
use axum::http::{HeaderMap, header};

use crate::content::mime;
use crate::graphql::document::Documents;
use crate::graphql::transport::service::operation_type;

/// The media type of GraphQL over HTTP.
pub(super) const GRAPHQL_RESPONSE: &str = "application/graphql-response+json";
/// The older media type, whose status is 200 for request errors too.
pub(super) const JSON: &str = "application/json";
pub(super) const EVENT_STREAM: &str = "text/event-stream";

/// What a client accepts.
pub(super) struct Accepted {
    /// The type it prefers.
    pub(super) media_type: &'static str,
    /// Whether it accepts `text/event-stream`, preferred or not.
    events: bool,
}

impl Accepted {
    /// Reads `Accept`. JSON without it; `None` when the client accepts none of our types.
    pub(super) fn negotiate(headers: &HeaderMap) -> Option<Accepted> {
        let ranges: Vec<&str> = headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .collect();
        if ranges.iter().all(|range| range.trim().is_empty()) {
            return Some(Accepted { media_type: JSON, events: false });
        }
        let (mut best, mut events): (Option<(&'static str, f32)>, bool) = (None, false);
        for (media_type, weight) in ranges.into_iter().filter_map(weighted) {
            events |= media_type == EVENT_STREAM && weight > 0.0;
            if weight > 0.0 && best.is_none_or(|(_, highest)| weight > highest) {
                best = Some((media_type, weight));
            }
        }
        best.map(|(media_type, _)| Accepted { media_type, events })
    }

    /// Whether a request is answered with an event stream: if the client prefers one, and for a subscription if the client
    /// accepts one.
    pub(super) fn is_event_stream(&self, documents: &Documents, request: &Request) -> bool {
        self.media_type == EVENT_STREAM
            || self.events
                && documents.find(&request.query).is_ok_and(|document| {
                    operation_type(&document.executable, request.operation_name.as_deref())
                        == Some(OperationType::Subscription)
                })
    }
}

/// Our type for a media range, with its weight; `None` for a range that covers none.
fn weighted(range: &str) -> Option<(&'static str, f32)> {
    let media_type = match mime::essence(range).as_str() {
        GRAPHQL_RESPONSE => GRAPHQL_RESPONSE,
        EVENT_STREAM => EVENT_STREAM,
        JSON | "application/*" | "*/*" => JSON,
        _ => return None,
    };
    Some((media_type, mime::quality(range)))
}
