//! What resolvers need of their context, of ids and of rights.

use std::str::FromStr;
use std::sync::Arc;

use async_graphql::{Context, ID};

use crate::app::App;
use crate::auth::Viewer;
use crate::entity;
use crate::entity::api_token::Scope;
use crate::error::{Error, Result};
use crate::graphql::loader::Loaders;
use crate::graphql::types::file::File;
use crate::graphql::types::image::Image;
use crate::id::ParseIdError;
use crate::query::page::MAX_PAGE;

/// What every resolver asks its context for.
pub trait ContextExt {
    /// The running server.
    fn app(&self) -> &App;
    /// Who is asking.
    fn viewer(&self) -> &Arc<Viewer>;
    /// This request's loaders.
    fn loaders(&self) -> &Loaders;
}

impl ContextExt for Context<'_> {
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

/// An id as an argument or input field gives it.
pub fn parse<T: FromStr<Err = ParseIdError>>(id: &ID, field: &str) -> Result<T> {
    id.parse().map_err(|problem| Error::from(problem).at(field))
}

/// Ids as an argument gives them, at most a page of them.
pub fn parse_all<T: FromStr<Err = ParseIdError>>(ids: Option<Vec<ID>>) -> Result<Option<Vec<T>>> {
    let Some(ids) = ids else { return Ok(None) };
    if ids.len() as u64 > MAX_PAGE {
        return Err(Error::invalid("ids", format!("At most {MAX_PAGE} ids are given at once.")));
    }
    ids.iter().map(|id| parse(id, "ids")).collect::<Result<_>>().map(Some)
}

/// A file of an answer, as far as the token may read files: what it did is done all the same.
pub fn readable_file(ctx: &Context<'_>, row: Option<entity::file::Model>) -> Option<File> {
    row.filter(|_| ctx.viewer().require(Scope::FilesRead).is_ok()).map(File)
}

/// An image of an answer, as far as the token may read images.
pub fn readable_image(ctx: &Context<'_>, row: Option<entity::image::Model>) -> Option<Image> {
    row.filter(|_| ctx.viewer().require(Scope::ImagesRead).is_ok()).map(Image)
}
