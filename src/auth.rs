//! Viewers and their rights, bearer tokens, rate limits, and signatures of the server's own URLs.

pub mod editable;

pub mod rate;

pub mod url_signature;

mod credential;

mod viewer;

pub use credential::Credential;
pub use viewer::{Viewer, unauthenticated};
