use sea_orm_migration::prelude::*;

// Users that were created with their e-mail address as name get the name "User": names are visible to other members of a
// workspace, e-mail addresses are not.

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::execute(manager, r#"UPDATE "user" SET name = 'User' WHERE name = substr(email, 1, 100)"#).await
    }

    /// Does nothing: the former names are not restored.
    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Ok(())
    }
}
