//! Images and drafts of images.

use sea_orm::entity::prelude::*;

/// A row of `image`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "image")]
pub(crate) struct Model {
    /// Generated or custom id. A generated id changes with the access of its image.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Null on drafts.
    pub filename: Option<String>,
    /// User metadata, JSON text of an object.
    #[sea_orm(column_type = "Text", nullable)]
    pub meta: Option<String>,
    /// When the file was uploaded or the draft was created, in Unix milliseconds.
    pub uploaded_ms: i64,
    pub require_signed_urls: bool,
    pub creator: Option<String>,
    /// When the upload URL of a draft expires, in Unix milliseconds; null on images.
    pub expires_ms: Option<i64>,
    /// Name of the stored file; null on drafts, and only there.
    pub blob: Option<String>,
    /// Null on drafts.
    pub format: Option<Format>,
    /// In bytes; 0 on drafts.
    pub size: i64,
    /// In pixels as stored, before EXIF orientation; 0 for SVG and drafts.
    pub width: u32,
    pub height: u32,
    /// Number of frames: 1 for still images, 0 for drafts.
    pub frames: u32,
}

impl ActiveModelBehavior for ActiveModel {}

/// The format of a stored file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(8))", rename_all = "kebab-case")]
pub enum Format {
    Jpeg,
    Png,
    Gif,
    Webp,
    Svg,
    Heic,
}

impl Format {
    /// MIME type.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Format::Jpeg => "image/jpeg",
            Format::Png => "image/png",
            Format::Gif => "image/gif",
            Format::Webp => "image/webp",
            Format::Svg => "image/svg+xml",
            Format::Heic => "image/heic",
        }
    }
}

impl Model {
    /// Whether this is a draft whose upload URL has expired. Only the upload host still finds it.
    pub(crate) fn expired(&self, now_ms: i64) -> bool {
        self.blob.is_none() && self.expires_ms.is_none_or(|expires| expires <= now_ms)
    }
}
