//! How lists are read: keyset pages and their cursors, filters, text search, and usage counters of workspaces.

pub mod cursor;

pub mod filter;

pub mod page;

pub mod search;

pub mod usage;
