//! Conditions on images.

use sea_orm::sea_query::{Condition, Expr, ExprTrait};
use sea_orm::{ColumnTrait, DbBackend};

use crate::entity::image::{self, Column, Format};
use crate::error::Result;
use crate::id::FileId;
use crate::query::filter::{
    NumberRange, TagFilter, TextFilter, TimeRange, check_max_values, check_text, check_texts, column,
};

/// Conditions on images. Each field that is set must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageFilter {
    /// Words that occur in filename, alternative text or tags.
    pub search: Option<String>,
    pub filename: Option<TextFilter>,
    pub formats: Option<Vec<Format>>,
    pub animated: Option<bool>,
    /// Pixels.
    pub width: Option<NumberRange>,
    /// Pixels.
    pub height: Option<NumberRange>,
    /// Bytes of the original.
    pub size: Option<NumberRange>,
    pub orientations: Option<Vec<Orientation>>,
    pub require_signed_urls: Option<bool>,
    /// Whether the image has an alternative text. An empty one, which marks a decorative image, counts.
    pub has_alt: Option<bool>,
    pub tags: Option<TagFilter>,
    pub file_ids: Option<Vec<FileId>>,
    pub cf_image_ids: Option<Vec<String>>,
    /// The empty text matches images without a creator.
    pub creator: Option<String>,
    pub created_at: Option<TimeRange>,
    pub taken_at: Option<TimeRange>,
}

/// Orientation of an image by its width and height.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orientation {
    Landscape,
    Portrait,
    Square,
}

impl ImageFilter {
    /// Whether no condition is set.
    pub fn is_empty(&self) -> bool {
        *self == ImageFilter::default()
    }

    /// All conditions except the search.
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
        for (range, name, field) in [
            (self.width, Column::Width, "width"),
            (self.height, Column::Height, "height"),
            (self.size, Column::Size, "size"),
        ] {
            if let Some(range) = range {
                all = all.add(range.condition(backend, &of(name)).map_err(|e| e.under(field))?);
            }
        }
        for (range, name, field) in
            [(self.created_at, Column::CreatedAt, "createdAt"), (self.taken_at, Column::TakenAt, "takenAt")]
        {
            if let Some(range) = range {
                all = all.add(range.condition(&of(name)).map_err(|e| e.under(field))?);
            }
        }
        if let Some(tags) = &self.tags {
            all = all.add(tags.condition(backend, &of(Column::Tags)).map_err(|e| e.under("tags"))?);
        }
        Ok(all.add(self.content_condition()?).add(self.record_condition()?))
    }

    /// Conditions on format, orientation, animation and alternative text.
    fn content_condition(&self) -> Result<Condition> {
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
        let has_alt = self.has_alt.map(|has_alt| match has_alt {
            true => Column::Alt.is_not_null(),
            false => Column::Alt.is_null(),
        });
        Ok(all.add_option(self.animated.map(|animated| Column::Animated.eq(animated))).add_option(has_alt))
    }

    /// Conditions on file, id in the account, creator and access.
    fn record_condition(&self) -> Result<Condition> {
        let mut all = Condition::all();
        if let Some(ids) = &self.file_ids {
            all = all.add(image::COLUMN.file_id.is_in(check_max_values(ids, "fileIds")?.iter().copied()));
        }
        if let Some(ids) = &self.cf_image_ids {
            all = all.add(Column::CfImageId.is_in(check_texts(ids, "cfImageIds")?));
        }
        if let Some(creator) = &self.creator {
            all = all.add(match creator.as_str() {
                "" => Column::Creator.is_null(),
                creator => Column::Creator.eq(check_text(creator, "creator")?),
            });
        }
        Ok(all.add_option(self.require_signed_urls.map(|signed| Column::RequireSignedUrls.eq(signed))))
    }
}

impl Orientation {
    /// Images without a known size have no orientation.
    fn condition(self) -> Expr {
        let (width, height) = (column("image", Column::Width), column("image", Column::Height));
        match self {
            Orientation::Landscape => width.gt(height),
            Orientation::Portrait => width.lt(height),
            Orientation::Square => width.eq(height),
        }
    }
}
