//! imagegraph: a GraphQL API server over a unified file and image model, in front of Cloudflare Images.
//!
//! Modules in the order in which a newcomer may want to read them.

/// Every setting.
pub mod config;

/// What every operation is given.
pub mod app;

/// The cryptography under TLS.
pub mod tls;

/// Folders and files into which nobody else may look.
pub mod folder;

/// Typed ids.
pub mod id;

/// Refusals and faults.
pub mod error;

/// Who is asking, and what they may.
pub mod viewer;

/// How much a token may ask for per minute.
pub mod rate;

/// The SeaORM layer.
pub mod entity;

/// Files.
pub mod file;

/// Images.
pub mod image;

/// Direct uploads.
pub mod direct_upload;

/// Files fetched from elsewhere.
pub mod import;

/// Signed URLs of the original bytes.
pub mod download;

/// Keys that tell a repeated request from a new one.
pub mod idempotency;

/// What the server signs its own URLs with.
pub mod secret;

/// The Cloudflare account, for admins.
pub mod account;

/// Workspaces.
pub mod workspace;

/// API tokens.
pub mod api_token;

/// What happened.
pub mod event;

/// Connections that stay open.
pub mod connections;

/// Keyset pages.
pub mod page;

/// Conditions on lists.
pub mod find;

/// Canonically equivalent texts.
pub mod spelling;

/// Bytes by key.
pub mod blob;

/// What is finished later.
pub mod worker;

/// What both faces stand on in HTTP.
pub mod http;

/// The GraphQL face.
pub mod graphql;

/// The REST face.
pub mod rest;

/// What a first start makes.
pub mod setup;

/// The router, start and stop.
pub mod server;
