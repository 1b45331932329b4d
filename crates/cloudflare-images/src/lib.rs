//! Cloudflare Images: its wire types, a client for its HTTP API, and its signed delivery URLs.
//!
//! - [`wire`]: the JSON of the API as serde types, for clients and servers alike;
//! - [`client`]: a [`Client`] for the management API, the batch host and the upload host, with retries and a rate limit;
//! - [`signing`]: delivery URLs, plain and signed, as pure functions.
//!
//! The feature `client`, on by default, contains the client and the signatures.
//! Without it the crate is the wire types alone and depends on serde and chrono only.
//!
//! The crate reads no environment variables and keeps no global state.
//! A [`Client`] gets its base URLs and credentials from its [`Settings`](client::Settings), so it works with Cloudflare as
//! well as with any other server that has the same API.
//!
//! # TLS
//!
//! TLS is rustls without a cryptography provider: the program chooses one.
//! It has to install it before the first [`Client::new`], which panics otherwise, even where all URLs are `http`:
//! `rustls::crypto::ring::default_provider().install_default()`.

#![warn(missing_docs)]

#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "client")]
pub mod signing;
pub mod wire;

#[cfg(feature = "client")]
pub use client::{Client, Error};

/// Compiles the example of the README.
#[cfg(all(doctest, feature = "client"))]
#[doc = include_str!("../README.md")]
struct Readme;
