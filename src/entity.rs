//! The SeaORM layer: one file per table, its enums, and the one door to its rows.
//!
//! A read on behalf of a viewer begins at `visible_to`, with what that viewer may see. Functions whose name ends in
//! `_unscoped` read for work that the server does by itself. Plain `Entity::find()` is for this folder and for the worker.

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

use sea_orm::{EntityTrait, FromJsonQueryResult, Select};
use serde::{Deserialize, Serialize};

use crate::access::WorkspaceAccess;
use crate::error::{Code, Refusal};

/// A table whose rows the worker takes up when they are due.
///
/// A claim moves `due_at` into the future, which is the lease, and raises `attempts`, which is the fence: whoever holds an
/// older number can no longer change the row.
pub trait DueEntity: EntityTrait {
    /// Primary key.
    const ID: Self::Column;
    /// When the row is due; null when there is nothing to do.
    const DUE_AT: Self::Column;
    /// How often the row was claimed.
    const ATTEMPTS: Self::Column;
    /// Id and number of attempts of a claimed row.
    fn claim_of(row: &Self::Model) -> (uuid::Uuid, i32);
}

/// Rows of the workspaces a viewer may see, not yet selected by workspace: a list reads one index range for each.
#[derive(Debug, Clone)]
pub struct VisibleRows<E: EntityTrait> {
    /// The rows of every workspace.
    pub all: Select<E>,
    /// The workspaces whose rows are read.
    pub access: WorkspaceAccess,
}

/// A list of texts, a JSON array in the table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
pub struct StringList(pub Vec<String>);

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
