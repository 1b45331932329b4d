//! Looking at pictures: placeholder, colours, transparency, from a bounded decode off the request's path.
//!
//! A row is analysed when `analysis_due_at` has come. The worker claims one at a time, so a process holds one decoded
//! picture at most, and a picture that takes the process down costs itself a try and nobody else.

use std::io::Read;

use chrono::{DateTime, TimeDelta, Utc};
use image::{DynamicImage, RgbaImage};
use media::{colour, decode};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, sea_query::Expr};

use crate::app::App;
use crate::content::exif;
use crate::content::{kind, palette, photo};
use crate::entity::event::EventKind;
use crate::entity::image::{self as entity, Column, Entity, Format, Model, State};
use crate::entity::{StringList, file, workspace};
use crate::error::Result;
use crate::job;
use crate::rows;
use crate::rows::stored_bytes;
use crate::storage::spool::Spool;
use cloudflare_images::wire::MAX_IMAGE_BYTES;

/// How often a picture is tried when its bytes are missing, or the process ends over it.
const MAX_ATTEMPTS: i32 = 5;
/// How long a picture waits while the byte store or the disk does not work.
const OUTAGE_PAUSE: TimeDelta = TimeDelta::seconds(30);
/// Longer side of what is looked at, in pixels: the most a ThumbHash is made from.
const LOOKED_AT: u32 = 100;
/// Longer side of what a BlurHash is made from.
const BLURRED: u32 = 32;

/// What is seen in a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Findings {
    pub thumbhash: Vec<u8>,
    pub blurhash: Option<String>,
    /// `#rrggbb`, most frequent first.
    pub palette: Vec<String>,
    /// Some pixel of the first frame lets through what is behind it.
    pub has_alpha: bool,
}

/// The worker's step for a claimed image: looks at its picture and writes down what is seen, or that nothing can be.
///
/// `updated_at` stays: nobody changed the image, and whoever holds its time for a condition need not hear of it.
pub async fn analyse(app: &App, image: Model) -> Result<()> {
    if image.analysis_attempts > MAX_ATTEMPTS {
        tracing::warn!(image = %image.id, "giving up on looking at a picture");
        return settle(app, &image, None).await;
    }
    let seen = match bytes_of(app, &image).await {
        Ok(Some(spool)) => see(&image, &spool).await,
        Ok(None) => None,
        // While the store or the disk does not work, no picture uses up its tries.
        Err(problem) if problem.is_transient() => {
            problem.log();
            let tried = image.analysis_attempts - 1;
            return put_off(app, &image, tried, app.clock.now() + OUTAGE_PAUSE).await;
        }
        Err(problem) => {
            problem.log();
            let (tried, pause) = (image.analysis_attempts, job::backoff(image.analysis_attempts));
            return put_off(app, &image, tried, app.clock.now() + pause).await;
        }
    };
    settle(app, &image, seen).await
}

/// The original; `None` when its file has no bytes any more.
async fn bytes_of(app: &App, image: &Model) -> Result<Option<Spool>> {
    let file = file::by_id_unscoped(image.file_id).one(&app.db.read).await?;
    let Some(file) = file.filter(|file| file.blob_id.is_some()) else { return Ok(None) };
    let bytes = stored_bytes::read(app, &file).await?;
    Spool::receive(&app.config.data_dir, u64::MAX, bytes).await.map(Some)
}

/// Decodes where it holds up nobody; `None` for what cannot be decoded, which never will be.
async fn see(image: &Model, spool: &Spool) -> Option<Findings> {
    let (format, reader) = (image.format, spool.reader());
    // A panic in a decoder ends up here as well, and is the bytes' fault.
    let looked = tokio::task::spawn_blocking(move || look(reader, format)).await;
    match looked {
        Ok(Ok(findings)) => Some(findings),
        Ok(Err(problem)) => {
            tracing::info!(image = %image.id, %problem, "a picture cannot be looked at");
            None
        }
        Err(problem) => {
            tracing::warn!(image = %image.id, %problem, "a decoder broke over a picture");
            None
        }
    }
}

/// Decodes a picture, or the first frame of an animation, within limits and looks at it. Blocks.
///
/// # Errors
/// Why it cannot be decoded.
pub fn look(file: impl Read, format: Format) -> Result<Findings, String> {
    let raster = kind::raster(format).ok_or("there is no decoder for its format")?;
    let mut bytes = Vec::new();
    file.take(MAX_IMAGE_BYTES).read_to_end(&mut bytes).map_err(|problem| problem.to_string())?;
    // Twice as large as what is looked at, so that what is left out on the way does not show.
    let decoded = decode::still(&bytes, raster, decode::Size::AtLeast(2 * LOOKED_AT));
    let decode::Decoded { image, icc, .. } = decoded.map_err(|problem| problem.to_string())?;
    let (mut small, has_alpha) = shrunk(image);
    colour::to_srgb(&mut small, icc.as_deref());
    Ok(findings(small.into_rgba8(), has_alpha))
}

/// The picture at the size that is looked at, and whether any of its pixels lets something through.
fn shrunk(picture: DynamicImage) -> (DynamicImage, bool) {
    if !picture.color().has_alpha() {
        return (fitted(picture, LOOKED_AT), false);
    }
    let mut pixels = picture.into_rgba8();
    let has_alpha = pixels.pixels().any(|pixel| pixel[3] < u8::MAX);
    if !has_alpha {
        return (fitted(DynamicImage::ImageRgba8(pixels), LOOKED_AT), false);
    }
    // What is not seen must not colour what is when pixels are put together.
    for pixel in pixels.pixels_mut() {
        let [red, green, blue, alpha] = pixel.0;
        let dim = |channel: u8| (u16::from(channel) * u16::from(alpha) / 255) as u8;
        pixel.0 = [dim(red), dim(green), dim(blue), alpha];
    }
    let mut small = fitted(DynamicImage::ImageRgba8(pixels), LOOKED_AT).into_rgba8();
    for pixel in small.pixels_mut().filter(|pixel| pixel[3] > 0) {
        let [red, green, blue, alpha] = pixel.0;
        let lit = |channel: u8| (u16::from(channel) * 255 / u16::from(alpha)).min(255) as u8;
        pixel.0 = [lit(red), lit(green), lit(blue), alpha];
    }
    (DynamicImage::ImageRgba8(small), true)
}

/// Shrunk to a longer side, never enlarged.
fn fitted(picture: DynamicImage, side: u32) -> DynamicImage {
    if picture.width().max(picture.height()) <= side { picture } else { picture.thumbnail(side, side) }
}

fn findings(picture: RgbaImage, has_alpha: bool) -> Findings {
    let (width, height) = picture.dimensions();
    let thumbhash = thumbhash::rgba_to_thumb_hash(width as usize, height as usize, picture.as_raw());
    let palette = palette::palette(&picture);
    let blurred = fitted(DynamicImage::ImageRgba8(picture), BLURRED).into_rgba8();
    Findings { thumbhash, blurhash: blurhash(blurred), palette, has_alpha }
}

/// A BlurHash knows no transparency: what lets through shows white.
fn blurhash(mut picture: RgbaImage) -> Option<String> {
    for pixel in picture.pixels_mut() {
        let alpha = u16::from(pixel[3]);
        let over_white = |channel: u8| ((u16::from(channel) * alpha + 255 * (255 - alpha)) / 255) as u8;
        pixel.0 = [over_white(pixel[0]), over_white(pixel[1]), over_white(pixel[2]), u8::MAX];
    }
    let (width, height) = picture.dimensions();
    let (across, down) = if width >= height { (4, 3) } else { (3, 4) };
    blurhash::encode(across, down, width, height, picture.as_raw()).ok()
}

/// Writes down what was seen and says so; only whoever holds the newest claim does. Rows from before photos had a time get
/// it here.
async fn settle(app: &App, image: &Model, seen: Option<Findings>) -> Result<()> {
    let nothing: Option<DateTime<Utc>> = None;
    // Rows from before there was a policy come here, too.
    let policy = workspace::exif_policy(&app.db.read, image.workspace_id).await?;
    let exif = image.exif.clone().and_then(|exif| exif::kept(exif, policy));
    let now = app.clock.now();
    let mut update = Entity::update_many()
        .col_expr(Column::AnalysisDueAt, Expr::val(nothing))
        .col_expr(Column::Exif, Expr::val(exif.clone()))
        .col_expr(Column::TakenAt, Expr::val(photo::taken_at(exif.as_ref())));
    if let Some(Findings { thumbhash, blurhash, palette, has_alpha }) = seen {
        update = update
            .col_expr(Column::Thumbhash, Expr::val(thumbhash))
            .col_expr(Column::Blurhash, Expr::val(blurhash))
            .col_expr(Column::DominantColor, Expr::val(palette.first().cloned()))
            .col_expr(Column::Palette, Expr::val(StringList(palette)))
            .col_expr(Column::HasAlpha, Expr::val(has_alpha));
    }
    let transaction = app.db.begin().await?;
    let settled = update
        .filter(entity::COLUMN.id.eq(image.id))
        .filter(Column::AnalysisAttempts.eq(image.analysis_attempts))
        .exec_with_returning(&transaction)
        .await?;
    // Nobody sees an image before it is provisioned, and that event comes later.
    for image in settled.iter().filter(|image| image.state == State::Ready) {
        let kind = EventKind::ImageAnalysed;
        rows::event::append(&transaction, kind, image.workspace_id, image.file_id, Some(image.id), now)
            .await?;
    }
    Ok(transaction.commit().await?)
}

async fn put_off(app: &App, image: &Model, tried: i32, until: DateTime<Utc>) -> Result<()> {
    Entity::update_many()
        .col_expr(Column::AnalysisAttempts, Expr::val(tried))
        .col_expr(Column::AnalysisDueAt, Expr::val(until))
        .filter(entity::COLUMN.id.eq(image.id))
        .filter(Column::AnalysisAttempts.eq(image.analysis_attempts))
        .exec(&app.db.write)
        .await?;
    Ok(())
}
