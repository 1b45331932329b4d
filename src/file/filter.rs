//! Conditions on files.

use sea_orm::sea_query::{Condition, Expr, ExprTrait};
use sea_orm::{ColumnTrait, DbBackend};

use crate::content::mime;
use crate::entity::file::{self, Column, ImageStatus, Status};
use crate::error::{Error, Result};
use crate::id::UserId;
use crate::ingest::description::check_sha256;
use crate::query::filter::{NumberRange, TagFilter, TextFilter, TimeRange, check_max_values, column};

/// Conditions on files. All that are given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileFilter {
    /// Words in filename and tags.
    pub search: Option<String>,
    pub filename: Option<TextFilter>,
    /// MIME types; wildcards such as `image/*` are allowed.
    pub mime_types: Option<Vec<String>>,
    pub statuses: Option<Vec<Status>>,
    pub image_statuses: Option<Vec<ImageStatus>>,
    /// Whether the image of the file is provisioned.
    pub has_image: Option<bool>,
    pub tags: Option<TagFilter>,
    /// In bytes.
    pub size: Option<NumberRange>,
    /// Lower-case hex.
    pub sha256: Option<String>,
    pub created_at: Option<TimeRange>,
    pub created_by: Option<UserId>,
    /// Match files in the trash instead of those outside it.
    pub trashed: bool,
}

impl FileFilter {
    /// Whether no condition is set, apart from the choice of `trashed`.
    pub fn is_open(&self) -> bool {
        *self == FileFilter { trashed: self.trashed, ..FileFilter::default() }
    }

    /// The SQL condition of all fields except `search` and `trashed`, which choose the rows to read.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` at the field of the filter.
    pub fn condition(&self, backend: DbBackend) -> Result<Condition> {
        let column = |name| column("file", name);
        let mut all = Condition::all();
        if let Some(filename) = &self.filename {
            let condition = filename.condition(backend, &column(Column::Filename));
            all = all.add(condition.map_err(|e| e.under("filename"))?);
        }
        if let Some(types) = &self.mime_types {
            all = all.add(mime_types(&column(Column::MimeType), types)?);
        }
        if let Some(statuses) = &self.statuses {
            all = all.add(Column::Status.is_in(check_max_values(statuses, "status")?.iter().copied()));
        }
        if let Some(statuses) = &self.image_statuses {
            all = all
                .add(Column::ImageStatus.is_in(check_max_values(statuses, "imageStatus")?.iter().copied()));
        }
        all = all.add_option(self.has_image.map(|has| match has {
            true => Column::ImageStatus.eq(ImageStatus::Ready),
            false => Column::ImageStatus.ne(ImageStatus::Ready),
        }));
        if let Some(tags) = &self.tags {
            all = all.add(tags.condition(backend, &column(Column::Tags)).map_err(|e| e.under("tags"))?);
        }
        if let Some(size) = &self.size {
            all = all.add(size.condition(backend, &column(Column::Size)).map_err(|e| e.under("size"))?);
        }
        if let Some(hash) = &self.sha256 {
            all = all.add(column(Column::Sha256).eq(check_sha256(hash)?.to_vec()));
        }
        if let Some(period) = &self.created_at {
            all = all.add(period.condition(&column(Column::CreatedAt)).map_err(|e| e.under("createdAt"))?);
        }
        Ok(all.add_option(self.created_by.map(|user| file::COLUMN.created_by.eq(user))))
    }
}

/// Matches any of the types. A type with several names matches files stored under any of them.
fn mime_types(column: &Expr, types: &[String]) -> Result<Condition> {
    let mut any = Condition::any().add(Expr::cust("1 = 0"));
    for pattern in check_max_values(types, "mimeTypes")? {
        let pattern = mime::essence(pattern);
        let Some((kind, subtype)) = mime::parse_pattern(&pattern) else {
            let message = "A type such as image/png is expected, or a wildcard such as image/*.";
            return Err(Error::invalid("mimeTypes", message));
        };
        any = any.add(match subtype {
            // A range of the index over all values that begin with `image/`: the byte after `/` is `0`.
            None => column.clone().gte(format!("{kind}/")).and(column.clone().lt(format!("{kind}0"))),
            Some(_) => column.clone().is_in(mime::aliases(&pattern)),
        });
    }
    Ok(any)
}
