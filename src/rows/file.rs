//! Insertion of files, and a check that several operations make.

use sea_orm::{ActiveModelTrait, ConnectionTrait};

use crate::entity::file::{self, Model};
use crate::error::{Code, Error, Result};

/// Inserts a file row.
pub async fn insert(transaction: &impl ConnectionTrait, file: Model) -> Result<Model> {
    let row: file::ActiveModel = file.into();
    Ok(row.reset_all().insert(transaction).await?)
}

/// Requires that a file is not in the trash.
///
/// # Errors
/// `CONFLICT`.
pub fn require_not_trashed(file: &Model) -> Result<()> {
    if file.deleted_at.is_none() {
        return Ok(());
    }
    Err(Error::refuse(Code::Conflict, "This file is in the trash; restore it first."))
}
