//! One binary for all integration tests. They send HTTP requests to real servers on port 0, each with its own
//! database, on SQLite and on PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failure of the test")]
#![expect(clippy::disallowed_methods, reason = "the tests read TEST_DATABASE_URL and CI")]

#[macro_use]
mod harness;

pub(crate) use test_pictures as pictures;

mod seed_rows;

mod upload;

mod outage;

mod rates;

mod reads;

mod lists_below;

mod lifecycle;

mod trash;

mod image_update;

mod workspaces_and_tokens;

mod paging;

mod filter_and_search;

mod unicode_equivalence;

mod delivery;

mod golden;

mod hostile;

mod image_types;

mod heic;

mod svg;

mod mime_types;

mod sheet;
mod transforms;

mod fallback_variants;

mod metadata_privacy;

mod analysis;

mod direct_upload;

mod put_upload;

mod shared_upload_parts;

mod s3;

mod store_faults;

mod durable;

mod secrets;

mod upload_rules;

mod malformed_images;

mod jpeg;

mod profiles;

mod import;

mod download;

mod access;

mod account;

mod answer_forms;

mod client;

mod cynic;

mod docs;

mod rest;
mod rows;

mod over_http;

mod validation;

mod spec;

mod http_semantics;

mod early_answers;

mod cors;

mod compression;

mod revalidation;

mod filenames;

mod limits;
mod live;

mod schema;

mod start;

mod crash;

mod plan;

mod tidy;

mod idempotency;

mod account_errors;

mod direct_upload_faults;
