use sea_orm_migration::prelude::*;

// Attempts at provisioning are limited in number and time, counted from when it was asked for: `attempts` itself only
// grows, because it also tells who holds a row.

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
