//! The GraphQL face: schema, and what every resolver is given. It contains no rule: decode, call one domain function,
//! encode.

pub mod request;

pub mod json;

pub mod limits;

pub mod document;

pub mod cost;

pub mod handler;

pub mod order;

pub mod filter;

pub mod operation;

pub mod socket;

pub mod sse;

pub mod query;

pub mod mutation;

pub mod edit;

pub mod workspace_mutation;

pub mod subscription;

pub mod connection;

pub mod workspace;

pub mod policy;

pub mod member;

pub mod api_token;

pub mod file;

pub mod image;

pub mod transform;

pub mod photo;

pub mod direct_upload;

pub mod new_image;

pub mod upload;

pub mod account;

pub mod scalar;

pub mod error;

pub mod loader;

use std::str::FromStr;
use std::sync::Arc;

use async_graphql::{Context, Enum, ID, SDLExportOptions, TypeDirective, ValidationMode};

use crate::app::App;
use crate::auth::Viewer;
use crate::config::Config;
use crate::entity;
use crate::entity::api_token::Scope;
use crate::error::{Error, Result};
use crate::graphql::connection::{Counted, FileConnection, ImageConnection, Total, wants_both_ends};
use crate::graphql::file::{FileOrder, FileOrderField};
use crate::graphql::filter::{FileFilter, ImageFilter};
use crate::graphql::image::{ImageOrder, ImageOrderField};
use crate::graphql::loader::Loaders;
use crate::graphql::mutation::{Afresh, Mutation};
use crate::graphql::operation::PerDelivery;
use crate::graphql::query::Query;
use crate::graphql::subscription::Subscription;
use crate::id::{ParseIdError, WorkspaceId};
use crate::query::page::{ListOrder, MAX_PAGE, PageArgs};
use crate::{file as files, image as images};

/// The schema with its roots.
pub type Schema = async_graphql::Schema<Query, Afresh<Mutation>, Subscription>;

/// The executable schema of a running server.
pub fn schema(app: &App) -> Schema {
    limited(app).finish()
}

/// The same for subscriptions. An extension costs something at every field, so queries are run without it.
pub fn live_schema(app: &App) -> Schema {
    limited(app).extension(PerDelivery).finish()
}

fn limited(app: &App) -> async_graphql::SchemaBuilder<Query, Afresh<Mutation>, Subscription> {
    let config = &app.config;
    builder()
        .limit_depth(config.max_depth)
        .limit_complexity(config.highest_cost())
        .limit_directives(config.max_directives)
        .disable_suggestions()
        // Documents are validated before the executor sees them.
        .validation_mode(ValidationMode::Fast)
        .extension(cost::Costs)
        .data(app.clone())
}

/// The schema as text: `schema.graphql`.
pub fn sdl() -> String {
    let options = SDLExportOptions::new().include_specified_by().prefer_single_line_descriptions();
    builder().finish().sdl_with_options(options)
}

fn builder() -> async_graphql::SchemaBuilder<Query, Afresh<Mutation>, Subscription> {
    Schema::build(Query, Afresh(Mutation::default()), Subscription)
}

/// The field is null only if it failed, and then `errors` has an entry for its path.
/// Clients that do error handling (Relay, Apollo Kotlin, ...) may treat it as non-null;
/// all others see an ordinary nullable field.
#[TypeDirective(location = "FieldDefinition")]
#[expect(non_snake_case, reason = "the name of the directive")]
pub fn semanticNonNull(
    #[graphql(desc = "Levels of lists that are never null.", default_with = "Some(vec![0])")] levels: Option<
        Vec<i32>,
    >,
) {
}

/// What every resolver asks its context for.
pub trait Asked {
    /// The running server.
    fn app(&self) -> &App;
    /// Who is asking.
    fn viewer(&self) -> &Arc<Viewer>;
    /// This request's loaders.
    fn loaders(&self) -> &Loaders;
}

impl Asked for Context<'_> {
    fn app(&self) -> &App {
        self.data_unchecked()
    }

    fn viewer(&self) -> &Arc<Viewer> {
        self.data_unchecked()
    }

    fn loaders(&self) -> &Loaders {
        self.data_unchecked::<Arc<Loaders>>()
    }
}

/// Direction of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum OrderDirection {
    /// Smallest first.
    Asc,
    /// Largest first.
    Desc,
}

/// An id as an argument or input field gives it.
pub fn parse<T: FromStr<Err = ParseIdError>>(id: &ID, field: &str) -> Result<T> {
    id.parse().map_err(|problem| Error::from(problem).at(field))
}

/// A file of an answer, as far as the token may read files: what it did is done all the same.
fn readable_file(ctx: &Context<'_>, row: Option<entity::file::Model>) -> Option<file::File> {
    row.filter(|_| ctx.viewer().require(Scope::FilesRead).is_ok()).map(file::File)
}

/// An image of an answer, as far as the token may read images.
fn readable_image(ctx: &Context<'_>, row: Option<entity::image::Model>) -> Option<image::Image> {
    row.filter(|_| ctx.viewer().require(Scope::ImagesRead).is_ok()).map(image::Image)
}

/// A page of files.
pub async fn list_files(
    ctx: &Context<'_>,
    workspace_id: Option<WorkspaceId>,
    ids: Option<Vec<ID>>,
    filter: Option<FileFilter>,
    page: PageArgs,
    order: Option<FileOrder>,
) -> Result<FileConnection> {
    let order = order.unwrap_or_default();
    let by = match order.field {
        FileOrderField::CreatedAt => files::BY_CREATION,
        FileOrderField::UpdatedAt => files::BY_UPDATE,
        FileOrderField::Filename => files::BY_FILENAME,
        FileOrderField::Size => files::BY_SIZE,
    };
    let list = files::FileList {
        workspace_id,
        ids: parse_all(ids)?,
        filter: filter.unwrap_or_default().decode()?,
        page,
        order: ListOrder { descending: order.direction == OrderDirection::Desc, ..by },
        both_ends: wants_both_ends(ctx),
    };
    let page = files::list(ctx.app(), ctx.viewer(), list.clone()).await?;
    Ok(FileConnection::new(page, Total::of(ctx.app(), ctx.viewer(), Counted::Files(list))))
}

/// A page of images.
pub async fn list_images(
    ctx: &Context<'_>,
    workspace_id: Option<WorkspaceId>,
    ids: Option<Vec<ID>>,
    filter: Option<ImageFilter>,
    page: PageArgs,
    order: Option<ImageOrder>,
) -> Result<ImageConnection> {
    let order = order.unwrap_or_default();
    let by = match order.field {
        ImageOrderField::CreatedAt => images::BY_CREATION,
        ImageOrderField::UpdatedAt => images::BY_UPDATE,
        ImageOrderField::Filename => images::BY_FILENAME,
        ImageOrderField::Size => images::BY_SIZE,
        ImageOrderField::Width => images::BY_WIDTH,
        ImageOrderField::Height => images::BY_HEIGHT,
        ImageOrderField::TakenAt => images::BY_TAKEN,
    };
    let list = images::ImageList {
        workspace_id,
        ids: parse_all(ids)?,
        filter: filter.unwrap_or_default().decode()?,
        page,
        order: ListOrder { descending: order.direction == OrderDirection::Desc, ..by },
        both_ends: wants_both_ends(ctx),
    };
    let page = images::list(ctx.app(), ctx.viewer(), list.clone()).await?;
    Ok(ImageConnection::new(page, Total::of(ctx.app(), ctx.viewer(), Counted::Images(list))))
}

fn parse_all<T: FromStr<Err = ParseIdError>>(ids: Option<Vec<ID>>) -> Result<Option<Vec<T>>> {
    let Some(ids) = ids else { return Ok(None) };
    if ids.len() as u64 > MAX_PAGE {
        return Err(Error::invalid("ids", format!("At most {MAX_PAGE} ids are given at once.")));
    }
    ids.iter().map(|id| parse(id, "ids")).collect::<Result<_>>().map(Some)
}

/// Limits of one request, as the settings have them.
pub fn limits(config: &Config) -> limits::Limits {
    limits::Limits {
        tokens: config.max_tokens,
        selections: config.max_selections,
        aliases: config.max_aliases,
        directives: config.max_directives,
    }
}
