//! Filters of lists.

use async_graphql::{Enum, ID, InputObject};

use crate::error::Result;
use crate::file::filter as files;
use crate::graphql::parse_id;
use crate::graphql::types::file::{FileStatus, ImageProvisionStatus};
use crate::graphql::types::image::ImageFormat;
use crate::graphql::types::scalar::{ByteSize, DateTime};
use crate::image::filter as images;
use crate::query::filter;

/// Conditions on files. All given fields must hold. A list has at most 100 values; an empty list matches nothing.
#[derive(Debug, Clone, Default, InputObject)]
pub struct FileFilter {
    /// Words, separated by spaces, all of which occur in filename or tags, within words too and in any case. 1-200
    /// characters.
    search: Option<String>,
    /// Name with extension.
    filename: Option<StringFilter>,
    /// Any of these, by any name of a type: `image/jpg` finds `image/jpeg`, `image/heic` finds `image/heif`. `image/*` style
    /// wildcards allowed. A file without bytes has no type.
    mime_types: Option<Vec<String>>,
    /// Any of these.
    status: Option<Vec<FileStatus>>,
    /// Any of these.
    image_status: Option<Vec<ImageProvisionStatus>>,
    /// Has (true) or lacks (false) an image projection.
    has_image: Option<bool>,
    /// Labels.
    tags: Option<TagFilter>,
    /// Bytes; a file without bytes counts as empty.
    size: Option<ByteSizeRange>,
    /// Exact lower-case hex SHA-256; finds duplicates.
    sha256: Option<String>,
    /// When it was created.
    created_at: Option<DateTimeRange>,
    /// `usr_` id of who uploaded it.
    created_by: Option<ID>,
    /// List the files in the trash instead.
    #[graphql(default_with = "Some(false)")]
    trashed: Option<bool>,
}

/// Conditions on images. All given fields must hold. A list has at most 100 values; an empty list matches nothing.
#[derive(Debug, Clone, Default, InputObject)]
pub struct ImageFilter {
    /// Words, separated by spaces, all of which occur in filename, alternative text or tags, within words too and in
    /// any case. 1-200 characters.
    search: Option<String>,
    /// Name of the file, with extension.
    filename: Option<StringFilter>,
    /// Any of these.
    format: Option<Vec<ImageFormat>>,
    /// More than one frame.
    animated: Option<bool>,
    /// Pixels. Images without a width are not found.
    width: Option<IntRange>,
    /// Pixels. Images without a height are not found.
    height: Option<IntRange>,
    /// Bytes of the original.
    size: Option<ByteSizeRange>,
    /// Any of these. Images without a size have no orientation.
    orientation: Option<Vec<ImageOrientation>>,
    /// Delivered only through signed URLs.
    require_signed_urls: Option<bool>,
    /// Has (true) or lacks (false) alternative text. The empty text of a decorative image counts as alternative text.
    has_alt: Option<bool>,
    /// Labels.
    tags: Option<TagFilter>,
    /// Only the image bound to each of these files.
    file_ids: Option<Vec<ID>>,
    /// Only the images with these ids in Cloudflare Images.
    cf_image_ids: Option<Vec<String>>,
    /// The image service's `creator` field, exactly; the empty string finds images without one.
    creator: Option<String>,
    /// When it was created.
    created_at: Option<DateTimeRange>,
    /// When the photo was taken, by its EXIF. Images without that EXIF are not found.
    taken_at: Option<DateTimeRange>,
}

/// Orientation of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "images::Orientation")]
pub enum ImageOrientation {
    /// Wider than high.
    Landscape,
    /// Higher than wide.
    Portrait,
    /// As wide as high.
    Square,
}

/// Condition on a string. All given fields must hold. Strings have 1-1024 characters; canonically equivalent spellings, such
/// as é in one character and in two, are equal.
#[derive(Debug, Clone, Default, InputObject)]
pub struct StringFilter {
    /// Exactly this.
    equals: Option<String>,
    /// Exactly one of these.
    any_of: Option<Vec<String>>,
    /// Occurs in it, whatever the case of ASCII letters.
    contains: Option<String>,
    /// Begins with exactly this.
    starts_with: Option<String>,
}

/// Condition on tags. All given fields must hold. Canonically equivalent spellings are equal.
#[derive(Debug, Clone, Default, InputObject)]
pub struct TagFilter {
    /// Has one or more of these.
    has_any: Option<Vec<String>>,
    /// Has each of these.
    has_all: Option<Vec<String>>,
    /// Has none of these.
    has_none: Option<Vec<String>>,
}

/// Inclusive range.
#[derive(Debug, Clone, Copy, Default, InputObject)]
pub struct IntRange {
    /// This or more; 0 or more.
    min: Option<i32>,
    /// This or less; not below `min`.
    max: Option<i32>,
}

/// Inclusive range.
#[derive(Debug, Clone, Copy, Default, InputObject)]
pub struct ByteSizeRange {
    /// This or more.
    min: Option<ByteSize>,
    /// This or less; not below `min`.
    max: Option<ByteSize>,
}

/// From inclusive, to exclusive.
#[derive(Debug, Clone, Copy, Default, InputObject)]
pub struct DateTimeRange {
    /// At this time or later.
    from: Option<DateTime>,
    /// Before this time; not before `from`.
    to: Option<DateTime>,
}

impl FileFilter {
    /// The filter of the domain.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` for a malformed id.
    pub fn decode(self) -> Result<files::FileFilter> {
        Ok(files::FileFilter {
            search: self.search,
            filename: self.filename.map(Into::into),
            mime_types: self.mime_types,
            statuses: self.status.map(all_into),
            image_statuses: self.image_status.map(all_into),
            has_image: self.has_image,
            tags: self.tags.map(Into::into),
            size: self.size.map(Into::into),
            sha256: self.sha256,
            created_at: self.created_at.map(Into::into),
            created_by: self.created_by.map(|id| parse_id(&id, "filter.createdBy")).transpose()?,
            trashed: self.trashed.unwrap_or_default(),
        })
    }
}

impl ImageFilter {
    /// The filter of the domain.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` for a malformed id.
    pub fn decode(self) -> Result<images::ImageFilter> {
        let ids = |ids: Vec<ID>| ids.iter().map(|id| parse_id(id, "filter.fileIds")).collect::<Result<_>>();
        Ok(images::ImageFilter {
            search: self.search,
            filename: self.filename.map(Into::into),
            formats: self.format.map(all_into),
            animated: self.animated,
            width: self.width.map(Into::into),
            height: self.height.map(Into::into),
            size: self.size.map(Into::into),
            orientations: self.orientation.map(all_into),
            require_signed_urls: self.require_signed_urls,
            has_alt: self.has_alt,
            tags: self.tags.map(Into::into),
            file_ids: self.file_ids.map(ids).transpose()?,
            cf_image_ids: self.cf_image_ids,
            creator: self.creator,
            created_at: self.created_at.map(Into::into),
            taken_at: self.taken_at.map(Into::into),
        })
    }
}

fn all_into<A: Into<B>, B>(all: Vec<A>) -> Vec<B> {
    all.into_iter().map(Into::into).collect()
}

impl From<StringFilter> for filter::TextFilter {
    fn from(filter: StringFilter) -> Self {
        let StringFilter { equals, any_of, contains, starts_with } = filter;
        filter::TextFilter { equals, any_of, contains, starts_with }
    }
}

impl From<TagFilter> for filter::TagFilter {
    fn from(filter: TagFilter) -> Self {
        let TagFilter { has_any, has_all, has_none } = filter;
        filter::TagFilter { has_any, has_all, has_none }
    }
}

impl From<IntRange> for filter::NumberRange {
    fn from(range: IntRange) -> Self {
        filter::NumberRange { min: range.min.map(i64::from), max: range.max.map(i64::from) }
    }
}

impl From<ByteSizeRange> for filter::NumberRange {
    fn from(range: ByteSizeRange) -> Self {
        let bytes = |size: ByteSize| i64::try_from(size.0).unwrap_or(i64::MAX);
        filter::NumberRange { min: range.min.map(bytes), max: range.max.map(bytes) }
    }
}

impl From<DateTimeRange> for filter::TimeRange {
    fn from(range: DateTimeRange) -> Self {
        filter::TimeRange { from: range.from.map(|time| time.0), to: range.to.map(|time| time.0) }
    }
}
