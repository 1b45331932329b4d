//! Cloudflare Images: its wire format, a client for it and its signed delivery URLs.
//!
//! Nothing here knows the product. `Client` gets base URLs and credentials as arguments, so a
//! test or an embedded server can point it anywhere; `signing` is pure.

#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "client")]
pub mod signing;
pub mod wire;

#[cfg(feature = "client")]
pub use client::{Client, Error};
