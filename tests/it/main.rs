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

mod trash;

mod image_update;

mod people;

mod paging;

mod find;

mod delivery;

mod delivery_host;

mod golden;

mod hostile;

mod kinds;

mod sheet;
mod transforms;

mod looks;

mod direct_upload;

mod put_upload;

mod arrivals;

mod import;

mod download;

mod access;

mod account;

mod answer_forms;

mod client;

mod client_faults;

mod cynic;

mod documents;

mod faults;

mod rest;

mod over_http;

mod limits;
mod live;

mod schema;

mod start;

mod crash;

mod plan;

mod tidy;
