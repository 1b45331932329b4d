//! The object, input, enum and scalar types of the schema. A type, its connection and the function that lists it stand in one
//! file; types refer to each other.

#[macro_use]
pub mod connection;

pub mod api_token;

pub mod cloudflare_account;

pub mod direct_upload;

pub mod file;

pub mod filter;

pub mod image;

mod load;

pub mod new_image;

pub mod node;

pub mod photo;

pub mod scalar;

pub mod transform;

pub mod viewer;

pub mod workspace;

pub mod workspace_member;

pub mod workspace_policy;
