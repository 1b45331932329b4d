//! Conditions on images.

use sea_orm::sea_query::{Condition, Expr, ExprTrait};
use sea_orm::{ColumnTrait, DbBackend};

use crate::entity::image::{self, Column, Format};
use crate::error::Result;
use crate::id::FileId;
use crate::query::filter::{
    Bounds, Period, TagFilter, TextFilter, check_max_values, checked, column, each_checked,
};

/// Conditions on images. All that are given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageFilter {
    /// Words in filename, alternative text and tags.
    pub search: Option<String>,
    pub filename: Option<TextFilter>,
    pub formats: Option<Vec<Format>>,
    pub animated: Option<bool>,
    /// Pixels.
    pub width: Option<Bounds>,
    /// Pixels.
    pub height: Option<Bounds>,
    /// Bytes of the original.
    pub size: Option<Bounds>,
    pub orientations: Option<Vec<Orientation>>,
    pub require_signed_urls: Option<bool>,
    /// Has, or lacks, alternative text; the empty one of a decorative image is one.
    pub has_alt: Option<bool>,
    pub tags: Option<TagFilter>,
    pub file_ids: Option<Vec<FileId>>,
    pub cf_image_ids: Option<Vec<String>>,
    /// The empty text finds those without one.
    pub creator: Option<String>,
    pub created_at: Option<Period>,
    pub taken_at: Option<Period>,
}

/// Shape of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orientation {
    Landscape,
    Portrait,
    Square,
}

impl ImageFilter {
    /// Whether it lets everything pass.
    pub fn is_open(&self) -> bool {
        *self == ImageFilter::default()
    }

    /// All of it but the search.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` at the field of the filter.
    pub fn condition(&self, backend: DbBackend) -> Result<Condition> {
        let of = |name| column("image", name);
        let mut all = Condition::all();
        if let Some(filename) = &self.filename {
            let condition = filename.condition(backend, &of(Column::Filename));
            all = all.add(condition.map_err(|e| e.under("filename"))?);
        }
        for (bounds, name, field) in [
            (self.width, Column::Width, "width"),
            (self.height, Column::Height, "height"),
            (self.size, Column::Size, "size"),
        ] {
            if let Some(bounds) = bounds {
                all = all.add(bounds.condition(backend, &of(name)).map_err(|e| e.under(field))?);
            }
        }
        for (period, name, field) in
            [(self.created_at, Column::CreatedAt, "createdAt"), (self.taken_at, Column::TakenAt, "takenAt")]
        {
            if let Some(period) = period {
                all = all.add(period.condition(&of(name)).map_err(|e| e.under(field))?);
            }
        }
        if let Some(tags) = &self.tags {
            all = all.add(tags.condition(backend, &of(Column::Tags)).map_err(|e| e.under("tags"))?);
        }
        Ok(all.add(self.picture()?).add(self.account()?))
    }

    /// What the picture is.
    fn picture(&self) -> Result<Condition> {
        let mut all = Condition::all();
        if let Some(formats) = &self.formats {
            all = all.add(Column::Format.is_in(check_max_values(formats, "format")?.iter().copied()));
        }
        if let Some(orientations) = &self.orientations {
            let mut any = Condition::any().add(Expr::cust("1 = 0"));
            for orientation in check_max_values(orientations, "orientation")? {
                any = any.add(orientation.condition());
            }
            all = all.add(any);
        }
        let has_alt = self.has_alt.map(|has| match has {
            true => Column::Alt.is_not_null(),
            false => Column::Alt.is_null(),
        });
        Ok(all.add_option(self.animated.map(|animated| Column::Animated.eq(animated))).add_option(has_alt))
    }

    /// Whose picture it is, and where it lies in the account.
    fn account(&self) -> Result<Condition> {
        let mut all = Condition::all();
        if let Some(ids) = &self.file_ids {
            all = all.add(image::COLUMN.file_id.is_in(check_max_values(ids, "fileIds")?.iter().copied()));
        }
        if let Some(ids) = &self.cf_image_ids {
            all = all.add(Column::CfImageId.is_in(each_checked(ids, "cfImageIds")?));
        }
        if let Some(creator) = &self.creator {
            all = all.add(match creator.as_str() {
                "" => Column::Creator.is_null(),
                creator => Column::Creator.eq(checked(creator, "creator")?),
            });
        }
        Ok(all.add_option(self.require_signed_urls.map(|signed| Column::RequireSignedUrls.eq(signed))))
    }
}

impl Orientation {
    /// Images without a size have no shape.
    fn condition(self) -> Expr {
        let (width, height) = (column("image", Column::Width), column("image", Column::Height));
        match self {
            Orientation::Landscape => width.gt(height),
            Orientation::Portrait => width.lt(height),
            Orientation::Square => width.eq(height),
        }
    }
}
