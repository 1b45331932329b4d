//! The SeaORM entities: one file per table, with its enums and the queries that start from it.
//!
//! A read on behalf of a viewer begins at `visible_to`, with the access of that viewer. Functions whose name ends in
//! `_unscoped` read for work that the server does by itself. Plain `Entity::find()` is used in this folder and by the worker
//! only.

pub mod columns;

pub mod json_text;

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

/// A table whose rows the worker claims when they are due.
///
/// A claim moves `due_at` into the future, which is the lease, and increments `attempts`, which is the fencing token: a holder
/// of an older value can no longer change the row.
pub trait DueEntity: EntityTrait {
    /// Primary key.
    const ID: Self::Column;
    /// When the row is due; null if there is nothing to do.
    const DUE_AT: Self::Column;
    /// Number of claims of the row.
    const ATTEMPTS: Self::Column;
    /// Id and `attempts` of a claimed row, which together identify the claim.
    fn id_and_attempts(row: &Self::Model) -> (uuid::Uuid, i32);
}

/// The rows of a list. The condition on the workspace is not part of the query yet, because the list reads one index range
/// per workspace.
#[derive(Debug, Clone)]
pub struct VisibleRows<E: EntityTrait> {
    /// Query of the rows of all workspaces.
    pub all: Select<E>,
    /// The workspaces whose rows are read.
    pub access: WorkspaceAccess,
}

/// A list of strings, stored as a JSON array.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
pub struct StringList(pub Vec<String>);

/// Why an operation failed, stored in the row it failed for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
pub struct Failure {
    /// Published spelling of a [`Code`].
    pub code: String,
    /// English sentence for the client.
    pub message: String,
    /// Seconds after which the server, or the client, should try again.
    pub retry_after: Option<u64>,
    /// Path into the input of the request, as in [`Refusal::field`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<Vec<String>>,
}

impl Failure {
    /// The refusal that a client reads. A code that this version does not know becomes `UPSTREAM_ERROR`.
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
