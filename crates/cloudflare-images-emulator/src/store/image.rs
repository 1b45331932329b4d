//! Images and drafts of images.

use sea_orm::entity::prelude::*;

/// A row of `image`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "image")]
pub(crate) struct Model {
    /// Generated or custom id. An access change gives a generated one a new value.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Null on drafts.
    pub filename: Option<String>,
    /// User metadata, JSON text of an object.
    #[sea_orm(column_type = "Text", nullable)]
    pub meta: Option<String>,
    /// When the bytes, or the draft, arrived: Unix milliseconds.
    pub uploaded_ms: i64,
    pub require_signed_urls: bool,
    pub creator: Option<String>,
    /// Until when a draft takes its bytes: Unix milliseconds.
    pub expires_ms: Option<i64>,
    /// Name of the file; null exactly on drafts.
    pub blob: Option<String>,
    /// Null on drafts.
    pub format: Option<Format>,
    /// Bytes.
    pub size: i64,
    /// Pixels as stored, before EXIF orientation; 0 for SVG and drafts.
    pub width: u32,
    pub height: u32,
    /// 1 for stills, 0 for drafts.
    pub frames: u32,
}

impl ActiveModelBehavior for ActiveModel {}

/// What the bytes are.
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
    /// A draft whose upload URL has run out; to everyone but that URL it is gone.
    pub(crate) fn expired(&self, now_ms: i64) -> bool {
        self.blob.is_none() && self.expires_ms.is_none_or(|expires| expires <= now_ms)
    }
}
