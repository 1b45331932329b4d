//! From bytes to an operation and back: GraphQL over HTTP, multipart requests, WebSocket and server-sent events.

pub mod handler;

pub mod json;

pub mod operation;

pub mod request;

mod sse;

mod websocket;
