//! The GraphQL face: schema, resolvers and transport. It contains no rule: it decodes, calls one domain function and
//! encodes.

pub mod schema;

pub mod context;

pub mod query;

pub mod mutations;

pub mod subscription;

pub mod types;

pub mod rows;

pub mod cost;

pub mod limits;

pub mod document;

pub mod error;

pub mod loader;

pub mod transport;

pub use context::{ContextExt, parse_id};
pub use schema::{Schema, schema, sdl, semanticNonNull, subscription_schema};
