//! One binary for all integration tests: they speak HTTP to real servers on port 0, each with its own database, on
//! SQLite and on PostgreSQL alike.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]
#![expect(clippy::disallowed_methods, reason = "TEST_DATABASE_URL and CI are settings of the tests")]

#[macro_use]
mod harness;

mod pictures;

mod filled;

mod upload;

mod outage;

mod reads;

mod lifecycle;

mod paging;

mod delivery;

mod golden;

mod direct_upload;

mod access;

mod account;

mod client;

mod client_faults;

mod rest;

mod over_http;

mod live;

mod schema;

mod start;

mod crash;

mod plan;

mod tidy;
