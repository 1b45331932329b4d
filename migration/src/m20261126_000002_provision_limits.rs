use sea_orm_migration::prelude::*;

// Provisioning is limited in attempts and in time, counted from the request for it (`wanted_at`, `wanted_attempts`). The column
// `attempts` is never reset, because its value also identifies the claim of the worker that holds a row.

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::execute(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::execute(manager, DOWN).await
    }
}

const UP: &str = "
ALTER TABLE image ADD COLUMN wanted_at {time};
ALTER TABLE image ADD COLUMN wanted_attempts integer NOT NULL DEFAULT 0";

const DOWN: &str = "
ALTER TABLE image DROP COLUMN wanted_attempts;
ALTER TABLE image DROP COLUMN wanted_at";
