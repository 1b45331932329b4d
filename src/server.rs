//! The server: opens database, byte store and account, serves the router with both faces, and stops gracefully.

mod account;

mod bundle;

mod graphiql;

mod health;

mod metrics;

mod router;

mod start;

pub use account::{Account, AccountError};
pub use router::router;
pub use start::{Running, StartError, open_database, own_url, start};
