//! The server: everything opened in order, both faces on one router, and a clean stop.

mod account;

mod graphiql;

mod health;

mod metrics;

mod router;

mod start;

pub use account::{Account, AccountError};
pub use router::router;
pub use start::{Running, StartError, open_database, own_url, start};
