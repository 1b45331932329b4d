//! Helpers of resolvers: the data of their context, ids in arguments, and objects that the token may not read.

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

/// The data that every resolver has in its context.
pub trait ContextExt {
    /// The running server.
    fn app(&self) -> &App;
    /// The authenticated caller.
    fn viewer(&self) -> &Arc<Viewer>;
    /// The data loaders of the request.
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

/// Parses the id in an argument or input field.
pub fn parse_id<T: FromStr<Err = ParseIdError>>(id: &ID, field: &str) -> Result<T> {
    id.parse().map_err(|problem| Error::from(problem).at(field))
}

/// Parses the argument `ids`, which has at most as many ids as a page has items.
pub fn parse_ids<T: FromStr<Err = ParseIdError>>(ids: Option<Vec<ID>>) -> Result<Option<Vec<T>>> {
    let Some(ids) = ids else { return Ok(None) };
    if ids.len() as u64 > MAX_PAGE {
        return Err(Error::invalid("ids", format!("At most {MAX_PAGE} ids are accepted.")));
    }
    ids.iter().map(|id| parse_id(id, "ids")).collect::<Result<_>>().map(Some)
}

/// The file of a payload; `None` if the token may write files and not read them.
pub fn readable_file(ctx: &Context<'_>, row: Option<entity::file::Model>) -> Option<File> {
    row.filter(|_| ctx.viewer().require(Scope::FilesRead).is_ok()).map(File)
}

/// The image of a payload; `None` if the token may write images and not read them.
pub fn readable_image(ctx: &Context<'_>, row: Option<entity::image::Model>) -> Option<Image> {
    row.filter(|_| ctx.viewer().require(Scope::ImagesRead).is_ok()).map(Image)
}
