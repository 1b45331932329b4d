//! Users who were made with an e-mail address as their name: colleagues see names, and not addresses.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::execute(manager, r#"UPDATE "user" SET name = 'User' WHERE name = substr(email, 1, 100)"#).await
    }

    /// The former names are not brought back.
    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Ok(())
    }
}
