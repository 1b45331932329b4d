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

mod spelling;

mod delivery;

mod delivery_host;

mod golden;

mod hostile;

mod kinds;

mod heic;

mod svg;

mod types;

mod sheet;
mod transforms;

mod stand_ins;

mod let_out;

mod looks;

mod direct_upload;

mod put_upload;

mod shared_parts;

mod s3;

mod store_faults;

mod durable;

mod secrets;

mod arrivals;

mod first_picture;

mod jpeg;

mod profiles;

mod import;

mod download;

mod access;

mod account;

mod answer_forms;

mod client;

mod client_faults;

mod cynic;

mod docs;

mod documents;

mod faults;

mod rest;

mod over_http;

mod validation;

mod spec;

mod http_semantics;

mod early_answers;

mod cors;

mod filenames;

mod limits;
mod live;

mod schema;

mod start;

mod crash;

mod plan;

mod tidy;

mod repeats;

mod trouble;

mod doubt;
