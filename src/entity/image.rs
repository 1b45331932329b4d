//! Images: projections of files into Cloudflare Images.

use row_object::PartialRow;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, ExprTrait};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::access::WorkspaceAccess;
use crate::entity::json_text::JsonText;
use crate::entity::{DueEntity, StringList, VisibleRows};
use crate::error::{Error, Result};
use crate::id::{FileId, ImageId, WorkspaceId};

/// State of an image row. Viewers see `READY` images only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum State {
    /// Waits to be copied into Cloudflare Images, or is being copied.
    #[sea_orm(string_value = "PENDING")]
    Pending,
    /// Cloudflare Images has it.
    #[sea_orm(string_value = "READY")]
    Ready,
    /// Provisioning failed; nothing happens until a user requests another attempt.
    #[sea_orm(string_value = "FAILED")]
    Failed,
    /// Is being deleted from Cloudflare Images; its row is deleted after that.
    #[sea_orm(string_value = "REMOVING")]
    Removing,
}

impl State {
    /// The condition that an image is in this state. The state is part of the SQL and not a parameter, because a planner uses a
    /// partial index only if the query contains its condition, and SQLite prepares a statement again for each value of a
    /// parameter that is compared with one.
    pub fn condition(self) -> Expr {
        ExprTrait::eq(Expr::col((Entity, Column::State)), Expr::Constant(self.to_value().into()))
    }
}

/// Format of an original.
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

/// A point as fractions of width and height, from the top left corner.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FocalPoint {
    pub x: f64,
    pub y: f64,
}

/// Settings of a new image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NewImage {
    /// False stores the file without provisioning an image.
    pub provision: bool,
    /// Deliver only through signed URLs; `None` applies the workspace's policy.
    pub require_signed_urls: Option<bool>,
    pub alt: Option<String>,
    pub focal_point: Option<FocalPoint>,
    /// Custom id in Cloudflare Images; not possible for images that require signed URLs.
    pub custom_id: Option<String>,
    pub creator: Option<String>,
    /// Metadata of the user in Cloudflare Images.
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
    /// These settings, with those of `base` for all that are `None`.
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

/// Workspace, filename, tags and size are copies of the file's, written in the same transaction, so that a list ordered by
/// them is one range of one index.
#[sea_orm::model]
#[derive(Debug, Clone, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "image", model_attrs(derive(PartialRow)))]
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
    pub exif: Option<JsonText>,
    /// Null until the image is analysed, and if it cannot be decoded.
    pub has_alpha: Option<bool>,
    /// When the photo was taken according to its EXIF.
    pub taken_at: Option<DateTimeUtc>,
    pub tags: StringList,
    /// Alternative text, in composed form as filename and tags are.
    pub alt: Option<String>,
    /// The alternative text as it was sent, if it differs from its composed form.
    pub alt_sent: Option<String>,
    /// Point that crops keep visible; `focal_x` and `focal_y` are both set or both null.
    pub focal_x: Option<f64>,
    pub focal_y: Option<f64>,
    pub creator: Option<String>,
    /// Metadata of the user in Cloudflare Images, without the id of the row.
    pub cf_metadata: Option<JsonText>,
    /// Custom id for Cloudflare Images.
    pub custom_id: Option<String>,
    pub thumbhash: Option<Vec<u8>>,
    pub blurhash: Option<String>,
    /// `#rrggbb`.
    pub dominant_color: Option<String>,
    /// `#rrggbb`, most frequent first.
    pub palette: StringList,
    pub require_signed_urls: bool,
    /// Set while a change is in progress in the account: the requested `require_signed_urls`. After an interrupted change of
    /// access `cf_image_id` may be out of date.
    pub switching_to: Option<bool>,
    pub state: State,
    /// Cloudflare's id. It changes with the access and with each provisioning, and is therefore not the identity of the row.
    pub cf_image_id: Option<String>,
    /// Cloudflare's hash of the account in delivery URLs. It is only known from the URLs of an image.
    pub account_hash: Option<String>,
    /// When the row is due for the worker; see [`DueEntity`].
    pub due_at: Option<DateTimeUtc>,
    /// Number of claims; see [`DueEntity`].
    pub attempts: i32,
    /// When the current provisioning was requested; null for rows from before this column existed.
    pub wanted_at: Option<DateTimeUtc>,
    /// Value of `attempts` when the current provisioning was requested.
    pub wanted_attempts: i32,
    /// When the image is due for the analysis of its placeholder and colours; null after that, and for SVG images.
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

    fn id_and_attempts(row: &Model) -> (Uuid, i32) {
        (row.id.0, row.attempts)
    }
}

impl FocalPoint {
    /// Checks that both coordinates are from 0 to 1.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` at `focalPoint.x` or `focalPoint.y`.
    pub fn check(self) -> Result<()> {
        for (field, value) in [("focalPoint.x", self.x), ("focalPoint.y", self.y)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::invalid(
                    field,
                    "The coordinates of a point are fractions of the picture, from 0 to 1.",
                ));
            }
        }
        Ok(())
    }
}

impl Model {
    /// The point that crops keep visible.
    pub fn focal_point(&self) -> Option<FocalPoint> {
        self.focal_x.zip(self.focal_y).map(|(x, y)| FocalPoint { x, y })
    }

    /// The alternative text as it was sent.
    pub fn shown_alt(&self) -> Option<&str> {
        self.alt_sent.as_deref().or(self.alt.as_deref())
    }

    /// The settings with which the image can be provisioned again.
    pub fn settings(&self) -> NewImage {
        NewImage {
            provision: true,
            require_signed_urls: Some(self.require_signed_urls),
            alt: self.shown_alt().map(str::to_owned),
            focal_point: self.focal_point(),
            custom_id: self.custom_id.clone(),
            creator: self.creator.clone(),
            cf_metadata: self.cf_metadata.as_ref().and_then(|metadata| metadata.value().as_object().cloned()),
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

/// An image in any state, for work that the server does by itself.
pub fn by_id_unscoped(id: ImageId) -> Select<Entity> {
    Entity::find_by_id(id)
}

/// All images of a file in any state, for work that the server does by itself.
pub fn of_file_unscoped(file: FileId) -> Select<Entity> {
    Entity::find().filter(COLUMN.file_id.eq(file))
}

/// An image with this id in the account that is being removed, for work that the server does by itself.
pub fn being_removed_unscoped(cf_image_id: &str) -> Select<Entity> {
    Entity::find().filter(COLUMN.cf_image_id.eq(cf_image_id)).filter(State::Removing.condition())
}

fn provisioned() -> Select<Entity> {
    Entity::find().filter(State::Ready.condition())
}
