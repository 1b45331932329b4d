//! Who is asking, what they may do, and how much: above the entities that a viewer is made of.

pub mod editable;

pub mod rate;

pub mod url_signature;

mod credential;

mod viewer;

pub use credential::Credential;
pub use viewer::{Viewer, unauthenticated};
