//! The client against the emulator, and against a server that follows a script of faults.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failure of the test")]

mod account;
mod batch;
mod direct_uploads;
mod faults;
mod harness;
mod images;
mod lists;
mod pictures;
mod retries;
mod signed_urls;
