//! From bytes to an operation and back: GraphQL over HTTP, multipart requests, WebSocket and server-sent events.

pub mod handler;

mod json;

pub mod multipart;

mod negotiation;

mod operation;

mod request;

mod response;

pub mod service;

mod sse;

mod websocket;
