//! Changes of rows that several operations make, each in the transaction of its caller.

pub mod api_token;

pub mod direct_upload;

pub mod event;

pub mod file;

pub mod image;

pub mod revision;

pub mod stored_bytes;

pub mod workspace;
