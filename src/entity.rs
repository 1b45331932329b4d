//! The SeaORM layer: one file per table, its enums, and the one door to its rows.
//!
//! A read on behalf of somebody begins at `visible_to(viewer)`; plain `Entity::find()` is for this folder and for
//! the worker.

pub mod workspace;

pub mod user;

pub mod membership;

pub mod api_token;

pub mod file;

pub mod image;

pub mod direct_upload;

pub mod event;

pub mod idempotency_key;

pub mod secret;

pub mod workspace_usage;

use sea_orm::FromJsonQueryResult;
use serde::{Deserialize, Serialize};

use crate::error::{Code, Refusal};

/// A list of texts, a JSON array in the table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
pub struct Texts(pub Vec<String>);

/// Why something did not work out, kept with the row it happened to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
pub struct Failure {
    /// Published spelling of a [`Code`].
    pub code: String,
    /// English sentence, safe to show.
    pub message: String,
    /// Seconds after which another attempt is made or makes sense.
    pub retry_after: Option<u64>,
    /// Path into the input of the request, as in [`Refusal::field`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<Vec<String>>,
}

impl Failure {
    /// What a client reads of it.
    pub fn refusal(&self) -> Refusal {
        Refusal {
            code: Code::ALL
                .into_iter()
                .find(|code| code.as_str() == self.code)
                .unwrap_or(Code::UpstreamError),
            message: self.message.clone(),
            field: self.field.clone(),
            retry_after: self.retry_after.map(std::time::Duration::from_secs),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Failure {
            code: refusal.code.as_str().to_owned(),
            message: refusal.message,
            field: refusal.field,
            retry_after: refusal.retry_after.map(|delay| delay.as_secs()),
        }
    }
}
