//! Conditions on files.

use sea_orm::sea_query::{Condition, Expr, ExprTrait};
use sea_orm::{ColumnTrait, DbBackend};

use crate::content::mime;
use crate::entity::file::{self, Column, ImageStatus, Status};
use crate::error::{Error, Result};
use crate::id::UserId;
use crate::query::filter::{NumberRange, TagFilter, TextFilter, TimeRange, check_max_values, column};

/// Conditions on files. All that are given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileFilter {
    /// Words in filename and tags.
    pub search: Option<String>,
    pub filename: Option<TextFilter>,
    /// Types, `image/*` style wildcards among them.
    pub mime_types: Option<Vec<String>>,
    pub statuses: Option<Vec<Status>>,
    pub image_statuses: Option<Vec<ImageStatus>>,
    /// Has, or lacks, an image.
    pub has_image: Option<bool>,
    pub tags: Option<TagFilter>,
    /// Bytes.
    pub size: Option<NumberRange>,
    /// Lower-case hex.
    pub sha256: Option<String>,
    pub created_at: Option<TimeRange>,
    pub created_by: Option<UserId>,
    /// Look in the trash instead.
    pub trashed: bool,
}

impl FileFilter {
    /// Whether it lets everything pass, of the trash or of what is not in it.
    pub fn is_open(&self) -> bool {
        *self == FileFilter { trashed: self.trashed, ..FileFilter::default() }
    }

    /// All of it but the search, and whether the rows are in the trash.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` at the field of the filter.
    pub fn condition(&self, backend: DbBackend) -> Result<Condition> {
        let of = |name| column("file", name);
        let mut all = Condition::all();
        if let Some(filename) = &self.filename {
            let condition = filename.condition(backend, &of(Column::Filename));
            all = all.add(condition.map_err(|e| e.under("filename"))?);
        }
        if let Some(types) = &self.mime_types {
            all = all.add(mime_types(&of(Column::MimeType), types)?);
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
            all = all.add(tags.condition(backend, &of(Column::Tags)).map_err(|e| e.under("tags"))?);
        }
        if let Some(size) = &self.size {
            all = all.add(size.condition(backend, &of(Column::Size)).map_err(|e| e.under("size"))?);
        }
        if let Some(hash) = &self.sha256 {
            all = all.add(of(Column::Sha256).eq(sha256(hash)?));
        }
        if let Some(period) = &self.created_at {
            all = all.add(period.condition(&of(Column::CreatedAt)).map_err(|e| e.under("createdAt"))?);
        }
        Ok(all.add_option(self.created_by.map(|user| file::COLUMN.created_by.eq(user))))
    }
}

/// Any of some types, by whichever of its names a file has.
fn mime_types(column: &Expr, types: &[String]) -> Result<Condition> {
    let mut any = Condition::any().add(Expr::cust("1 = 0"));
    for pattern in check_max_values(types, "mimeTypes")? {
        let pattern = mime::essence(pattern);
        let Some((kind, subtype)) = mime::parse_pattern(&pattern) else {
            let message = "A type such as image/png is expected, or a wildcard such as image/*.";
            return Err(Error::invalid("mimeTypes", message));
        };
        any = any.add(match subtype {
            // All that begin with `image/`: `0` comes after `/`, and types are compared byte by byte.
            None => column.clone().gte(format!("{kind}/")).and(column.clone().lt(format!("{kind}0"))),
            Some(_) => column.clone().is_in(mime::aliases(&pattern)),
        });
    }
    Ok(any)
}

fn sha256(hex: &str) -> Result<Vec<u8>> {
    let digits = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if hex.len() != 64 || !digits {
        return Err(Error::invalid("sha256", "64 lower-case hexadecimal digits are expected."));
    }
    Ok((0..64).step_by(2).filter_map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok()).collect())
}
