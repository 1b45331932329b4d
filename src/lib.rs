//! imagegraph: a GraphQL API server over a unified file and image model, in front of Cloudflare Images.
//!
//! Modules by layer, from the bottom to the top: each imports only from those before it in this list. `ARCHITECTURE.md`
//! has the reasons, and a test looks for circles.

/// Typed ids.
pub mod id;

/// Refusals and faults.
pub mod error;

/// Every setting.
pub mod config;

/// Folders and files into which nobody else may look.
pub mod folder;

/// The cryptography under TLS.
pub mod tls;

/// Canonically equivalent texts.
pub mod spelling;

/// What a viewer may see, as a value.
pub mod access;

/// Bytes by key, and received bytes on their way there.
pub mod storage;

/// Connections that stay open.
pub mod connections;

/// The parts of a running server: what every operation is given.
pub mod app;

/// The SeaORM entities: one file per table.
pub mod entity;

/// Background work: backoff, due rows, operations that outlive their request.
pub mod job;

/// Viewer, credential, rate limit, signatures of the server's own URLs.
pub mod auth;

/// What received bytes are.
pub mod content;

/// Delivery URLs and the pixel sizes behind them.
pub mod delivery;

/// How lists are read.
pub mod query;

/// Changes of rows that several operations make.
pub mod rows;

/// Copies images into the Cloudflare account and removes them from it.
pub mod provision;

/// Keys that tell a repeated request from a new one.
pub mod idempotency;

/// Makes a file of received bytes.
pub mod ingest;

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

/// The Cloudflare account, for admins.
pub mod account;

/// Workspaces.
pub mod workspace;

/// API tokens.
pub mod api_token;

/// Following what happens in a workspace.
pub mod event;

/// The first start, and tokens created by command.
pub mod bootstrap;

/// Claims rows that are due and runs their steps.
pub mod worker;

/// What both faces stand on.
pub mod http;

/// The GraphQL face.
pub mod graphql;

/// The REST face.
pub mod rest;

/// The router, the account, the start and the stop of a server.
pub mod server;
