//! Images: projections of files into Cloudflare Images.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::Expr;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::access::WorkspaceAccess;
use crate::entity::{DueEntity, StringList, VisibleRows};
use crate::error::{Error, Result};
use crate::id::{FileId, ImageId, WorkspaceId};

/// Where the projection is. Only `READY` is an image to anybody but the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum State {
    /// To be copied into Cloudflare Images.
    #[sea_orm(string_value = "PENDING")]
    Pending,
    /// There.
    #[sea_orm(string_value = "READY")]
    Ready,
    /// Refused; stays until somebody asks to try again.
    #[sea_orm(string_value = "FAILED")]
    Failed,
    /// To be deleted from Cloudflare Images, and then here.
    #[sea_orm(string_value = "REMOVING")]
    Removing,
}

/// Encodings an original may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Format {
    #[sea_orm(string_value = "AVIF")]
    Avif,
    #[sea_orm(string_value = "GIF")]
    Gif,
    #[sea_orm(string_value = "HEIC")]
    Heic,
    #[sea_orm(string_value = "JPEG")]
    Jpeg,
    #[sea_orm(string_value = "PNG")]
    Png,
    #[sea_orm(string_value = "SVG")]
    Svg,
    #[sea_orm(string_value = "WEBP")]
    Webp,
    #[sea_orm(string_value = "OTHER")]
    Other,
}

/// A point as fractions of width and height from the top left.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FocalPoint {
    pub x: f64,
    pub y: f64,
}

/// Settings for an image to be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NewImage {
    /// False stores the file without provisioning it.
    pub provision: bool,
    /// Deliver only through signed URLs; `None` follows the workspace's policy.
    pub require_signed_urls: Option<bool>,
    pub alt: Option<String>,
    pub focal_point: Option<FocalPoint>,
    /// Custom id in Cloudflare Images; not for private images.
    pub custom_id: Option<String>,
    pub creator: Option<String>,
    /// Kept with Cloudflare Images.
    pub cf_metadata: Option<Map<String, Value>>,
}

impl Default for NewImage {
    fn default() -> Self {
        NewImage {
            provision: true,
            require_signed_urls: None,
            alt: None,
            focal_point: None,
            custom_id: None,
            creator: None,
            cf_metadata: None,
        }
    }
}

impl NewImage {
    /// These settings, with those of `base` where none are given.
    #[must_use]
    pub fn or(self, base: NewImage) -> NewImage {
        NewImage {
            provision: self.provision,
            require_signed_urls: self.require_signed_urls.or(base.require_signed_urls),
            alt: self.alt.or(base.alt),
            focal_point: self.focal_point.or(base.focal_point),
            custom_id: self.custom_id.or(base.custom_id),
            creator: self.creator.or(base.creator),
            cf_metadata: self.cf_metadata.or(base.cf_metadata),
        }
    }
}

/// Workspace, filename, tags and size are copies of the file's, written in the same transaction as the file's: a list
/// ordered by them is then one range of one index.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "image")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ImageId,
    pub workspace_id: WorkspaceId,
    pub file_id: FileId,
    pub filename: String,
    pub size: i64,
    pub mime_type: String,
    pub format: Format,
    /// Pixels after EXIF rotation; null for vector images without an intrinsic size.
    pub width: Option<i32>,
    /// Pixels after EXIF rotation; null for vector images without an intrinsic size.
    pub height: Option<i32>,
    pub animated: bool,
    pub exif: Option<Json>,
    /// Null when it could not be found out.
    pub has_alpha: Option<bool>,
    /// When the photo was taken, by its EXIF.
    pub taken_at: Option<DateTimeUtc>,
    pub tags: StringList,
    /// In composed form, as name and tags are.
    pub alt: Option<String>,
    /// The alternative text as it was sent, if that is another spelling.
    pub alt_sent: Option<String>,
    /// Point that crops keep in view; both or neither.
    pub focal_x: Option<f64>,
    pub focal_y: Option<f64>,
    pub creator: Option<String>,
    /// What the user keeps with Cloudflare Images; our own id travels beside it.
    pub cf_metadata: Option<Json>,
    /// The id the user wants it to have in Cloudflare Images.
    pub custom_id: Option<String>,
    pub thumbhash: Option<Vec<u8>>,
    pub blurhash: Option<String>,
    /// `#rrggbb`.
    pub dominant_color: Option<String>,
    /// `#rrggbb`, most frequent first.
    pub palette: StringList,
    pub require_signed_urls: bool,
    /// The access an interrupted switch was changing to: Cloudflare's id may be another by now.
    pub switching_to: Option<bool>,
    pub state: State,
    /// Cloudflare's id: data, not identity, for it changes with access and with each provision.
    pub cf_image_id: Option<String>,
    /// Cloudflare's name for the account in delivery URLs; no API tells it, only a provisioned image's URLs do.
    pub account_hash: Option<String>,
    /// When the worker looks at the row; a claim moves it into the future, which is the lease.
    pub due_at: Option<DateTimeUtc>,
    /// How often the present work was tried. A claim raises it, and only the holder of the newest number settles.
    pub attempts: i32,
    /// When the present provisioning was asked for; null for one asked for before this was written down.
    pub wanted_at: Option<DateTimeUtc>,
    /// `attempts` at that moment.
    pub wanted_attempts: i32,
    /// When the worker looks at the picture itself, for placeholder and colours; null once it has, or need not.
    pub analysis_due_at: Option<DateTimeUtc>,
    pub analysis_attempts: i32,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

impl DueEntity for Entity {
    const ID: Column = Column::Id;
    const DUE_AT: Column = Column::DueAt;
    const ATTEMPTS: Column = Column::Attempts;

    fn claim_of(row: &Model) -> (Uuid, i32) {
        (row.id.0, row.attempts)
    }
}

impl FocalPoint {
    /// Checks that both parts are fractions of the picture.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` at `focalPoint.x` or `focalPoint.y`.
    pub fn check(self) -> Result<()> {
        for (field, value) in [("focalPoint.x", self.x), ("focalPoint.y", self.y)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::invalid(field, "A point is given in fractions of the picture, 0 to 1."));
            }
        }
        Ok(())
    }
}

impl Model {
    /// The point that crops keep in view.
    pub fn focal_point(&self) -> Option<FocalPoint> {
        self.focal_x.zip(self.focal_y).map(|(x, y)| FocalPoint { x, y })
    }

    /// The alternative text as it was sent.
    pub fn shown_alt(&self) -> Option<&str> {
        self.alt_sent.as_deref().or(self.alt.as_deref())
    }

    /// The settings with which it can be made again.
    pub fn settings(&self) -> NewImage {
        NewImage {
            provision: true,
            require_signed_urls: Some(self.require_signed_urls),
            alt: self.shown_alt().map(str::to_owned),
            focal_point: self.focal_point(),
            custom_id: self.custom_id.clone(),
            creator: self.creator.clone(),
            cf_metadata: self.cf_metadata.as_ref().and_then(|metadata| metadata.as_object().cloned()),
        }
    }
}

/// Provisioned images of the workspaces a viewer may see.
pub fn visible_to(access: &WorkspaceAccess) -> Select<Entity> {
    match access {
        WorkspaceAccess::All => provisioned(),
        WorkspaceAccess::Only(ids) => provisioned().filter(COLUMN.workspace_id.is_in(ids.iter().copied())),
    }
}

/// The same rows as [`visible_to`], for a list.
pub fn listed(access: WorkspaceAccess) -> VisibleRows<Entity> {
    VisibleRows { all: provisioned(), access }
}

/// An image whatever its state, for work that the server does by itself.
pub fn by_id_unscoped(id: ImageId) -> Select<Entity> {
    Entity::find_by_id(id)
}

/// All images of a file whatever their state, for work that the server does by itself.
pub fn of_file_unscoped(file: FileId) -> Select<Entity> {
    Entity::find().filter(COLUMN.file_id.eq(file))
}

/// An image that has this id in the account and is to lose it, for work that the server does by itself.
pub fn being_removed_unscoped(cf_image_id: &str) -> Select<Entity> {
    Entity::find().filter(COLUMN.cf_image_id.eq(cf_image_id)).filter(Column::State.eq(State::Removing))
}

fn provisioned() -> Select<Entity> {
    // A literal, not a parameter: a partial index serves only a condition the planner can read.
    Entity::find().filter(Expr::cust(r#""image"."state" = 'READY'"#))
}
