//! How lists are read: keyset pages, filters, full-text search, and the counters of what workspaces use.

pub mod filter;

pub mod page;

pub mod search;

pub mod usage;
