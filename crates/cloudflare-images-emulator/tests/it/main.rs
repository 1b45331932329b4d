//! One binary for all integration tests of the emulator. They send HTTP requests to emulators on free ports, each with
//! a folder of its own.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failure of the test")]

mod harness;

mod credentials;

mod delivery_host;

mod documents;

mod error_forms;

mod faults;

mod pixels;

mod program;

mod readme;
