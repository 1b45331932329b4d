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

/// Folders and files that only the server's own user may access.
pub mod folder;

/// The cryptography provider of TLS.
pub mod tls;

/// Unicode normalization of names, tags and searches.
pub mod normalization;

/// The workspaces and API tokens that a viewer may see.
pub mod access;

/// The byte store, and temporary files of received bytes.
pub mod storage;

/// Open WebSockets and event streams.
pub mod connections;

/// The state of a running server, which every operation receives.
pub mod app;

/// The SeaORM entities: one file per table.
pub mod entity;

/// Background work: backoff, due rows, operations that outlive their request.
pub mod job;

/// Viewers and their rights, bearer tokens, rate limits, signatures of the server's own URLs.
pub mod auth;

/// Detection and analysis of received bytes: MIME type, dimensions, EXIF, colours, placeholders.
pub mod content;

/// Delivery URLs of images, and the pixel size of what they deliver.
pub mod delivery;

/// Keyset pagination, filters, text search, usage counters.
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

/// HTTP handling that GraphQL and REST share.
pub mod http;

/// The GraphQL face.
pub mod graphql;

/// The REST face.
pub mod rest;

/// The router, the account, the start and the stop of a server.
pub mod server;
