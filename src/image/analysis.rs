//! Analysis of pictures in the background: placeholders, dominant colours and transparency, from pixels decoded within limits.
//!
//! A row is analysed when its `analysis_due_at` has passed. The worker claims one row at a time, so a process holds at most one
//! decoded picture, and if decoding kills the process, only that picture loses an attempt.

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::TryStreamExt;
use image::{DynamicImage, RgbaImage};
use media::{colour, decode};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, sea_query::Expr};

use crate::app::App;
use crate::content::{detect, exif, palette, photo};
use crate::entity::event::EventKind;
use crate::entity::image::{self as entity, Column, Entity, Format, Model, State};
use crate::entity::{StringList, file, workspace};
use crate::error::Result;
use crate::job;
use crate::rows;
use crate::rows::stored_bytes;
use cloudflare_images::wire::MAX_IMAGE_BYTES;

/// Most attempts if the bytes of a picture cannot be read or the process ends during the analysis.
const MAX_ATTEMPTS: i32 = 5;
/// Pause after an outage of the byte store or the disk.
const OUTAGE_PAUSE: TimeDelta = TimeDelta::seconds(30);
/// Longer side of the analysed picture in pixels: the limit of ThumbHash.
const ANALYSED_SIDE: u32 = 100;
/// Longer side of the picture from which a BlurHash is computed, in pixels.
const BLURHASH_SIDE: u32 = 32;

/// The result of an analysis.
#[derive(Debug, Clone, PartialEq)]
pub struct Analysis {
    pub thumbhash: Vec<u8>,
    pub blurhash: Option<String>,
    /// `#rrggbb`, most frequent first.
    pub palette: Vec<String>,
    /// Whether any pixel of the first frame is not fully opaque.
    pub has_alpha: bool,
}

/// Analyses a claimed image, and stores the result, or that the picture cannot be analysed.
///
/// `updated_at` does not change, so that an update with a condition on it does not fail because of the analysis.
pub async fn analyse(app: &App, image: Model) -> Result<()> {
    if image.analysis_attempts > MAX_ATTEMPTS {
        tracing::warn!(image = %image.id, "the analysis of an image failed too often and is given up");
        return complete(app, &image, None).await;
    }
    let analysis = match read_original(app, &image).await {
        Ok(Some(bytes)) => decode_and_analyse(&image, bytes).await,
        Ok(None) => None,
        // An outage of the byte store or the disk does not count as an attempt.
        Err(problem) if problem.is_transient() => {
            problem.log();
            let attempts = image.analysis_attempts - 1;
            return reschedule(app, &image, attempts, app.clock.now() + OUTAGE_PAUSE).await;
        }
        Err(problem) => {
            problem.log();
            let attempts = image.analysis_attempts;
            return reschedule(app, &image, attempts, app.clock.now() + job::backoff(attempts)).await;
        }
    };
    complete(app, &image, analysis).await
}

/// The bytes of the original; `None` if the file is gone or has none. They are in memory, as decoders need them, and not checked
/// again: a picture that cannot be decoded has no analysis.
async fn read_original(app: &App, image: &Model) -> Result<Option<Vec<u8>>> {
    let file = file::by_id_unscoped(image.file_id).one(&app.db.read).await?;
    let Some(file) = file.filter(|file| file.blob_id.is_some()) else { return Ok(None) };
    let (mut chunks, mut bytes) = (stored_bytes::read(app, &file).await?, Vec::new());
    while let Some(chunk) = chunks.try_next().await? {
        bytes.extend_from_slice(&chunk);
        // The account may have encoded an original again that is larger; it is not decoded.
        if bytes.len() as u64 > MAX_IMAGE_BYTES {
            return Ok(None);
        }
    }
    Ok(Some(bytes))
}

/// Analyses the bytes on the pool for blocking operations; `None` if they cannot be decoded, which is permanent.
async fn decode_and_analyse(image: &Model, bytes: Vec<u8>) -> Option<Analysis> {
    let format = image.format;
    // A decoder that panics does so because of invalid bytes, so a panic is treated as an error of the decoder.
    match tokio::task::spawn_blocking(move || analyse_bytes(&bytes, format)).await {
        Ok(Ok(analysis)) => Some(analysis),
        Ok(Err(problem)) => {
            tracing::info!(image = %image.id, %problem, "a picture cannot be decoded for analysis");
            None
        }
        Err(problem) => {
            tracing::warn!(image = %image.id, %problem, "the decoder of a picture panicked");
            None
        }
    }
}

/// Decodes a picture, or the first frame of an animation, within limits, and analyses it. Blocks.
///
/// # Errors
/// The reason why it cannot be decoded.
pub fn analyse_bytes(bytes: &[u8], format: Format) -> Result<Analysis, String> {
    let raster = detect::raster_format(format).ok_or("there is no decoder for this format")?;
    // Decoded at twice the analysed size or more, so that what a decoder skips does not affect the result.
    let decoded = decode::still(bytes, raster, decode::Size::AtLeast(2 * ANALYSED_SIDE));
    let decode::Decoded { image, icc, .. } = decoded.map_err(|problem| problem.to_string())?;
    let (mut small, has_alpha) = downscale(image);
    colour::to_srgb(&mut small, icc.as_deref());
    Ok(analyse_pixels(small.into_rgba8(), has_alpha))
}

/// Downscales a picture to the analysed size, and finds out whether any of its pixels is not fully opaque.
fn downscale(picture: DynamicImage) -> (DynamicImage, bool) {
    if !picture.color().has_alpha() {
        return (limit_side(picture, ANALYSED_SIDE), false);
    }
    let mut pixels = picture.into_rgba8();
    let has_alpha = pixels.pixels().any(|pixel| pixel[3] < u8::MAX);
    if !has_alpha {
        return (limit_side(DynamicImage::ImageRgba8(pixels), ANALYSED_SIDE), false);
    }
    // Alpha is premultiplied, so that the colours of transparent pixels do not affect the average.
    for pixel in pixels.pixels_mut() {
        let [red, green, blue, alpha] = pixel.0;
        let premultiplied = |channel: u8| (u16::from(channel) * u16::from(alpha) / 255) as u8;
        pixel.0 = [premultiplied(red), premultiplied(green), premultiplied(blue), alpha];
    }
    let mut small = limit_side(DynamicImage::ImageRgba8(pixels), ANALYSED_SIDE).into_rgba8();
    for pixel in small.pixels_mut().filter(|pixel| pixel[3] > 0) {
        let [red, green, blue, alpha] = pixel.0;
        let straight = |channel: u8| (u16::from(channel) * 255 / u16::from(alpha)).min(255) as u8;
        pixel.0 = [straight(red), straight(green), straight(blue), alpha];
    }
    (DynamicImage::ImageRgba8(small), true)
}

/// Downscales a picture to at most `side` pixels; never enlarges it.
fn limit_side(picture: DynamicImage, side: u32) -> DynamicImage {
    if picture.width().max(picture.height()) <= side { picture } else { picture.thumbnail(side, side) }
}

fn analyse_pixels(picture: RgbaImage, has_alpha: bool) -> Analysis {
    let (width, height) = picture.dimensions();
    let thumbhash = thumbhash::rgba_to_thumb_hash(width as usize, height as usize, picture.as_raw());
    let palette = palette::palette(&picture);
    let blurred = limit_side(DynamicImage::ImageRgba8(picture), BLURHASH_SIDE).into_rgba8();
    Analysis { thumbhash, blurhash: blurhash(blurred), palette, has_alpha }
}

/// The BlurHash of a picture on a white background, because a BlurHash has no transparency.
fn blurhash(mut picture: RgbaImage) -> Option<String> {
    for pixel in picture.pixels_mut() {
        let alpha = u16::from(pixel[3]);
        let over_white = |channel: u8| ((u16::from(channel) * alpha + 255 * (255 - alpha)) / 255) as u8;
        pixel.0 = [over_white(pixel[0]), over_white(pixel[1]), over_white(pixel[2]), u8::MAX];
    }
    let (width, height) = picture.dimensions();
    let (components_x, components_y) = if width >= height { (4, 3) } else { (3, 4) };
    blurhash::encode(components_x, components_y, width, height, picture.as_raw()).ok()
}

/// Stores the result and appends an event, unless another worker has claimed the row since. Also applies the EXIF policy and
/// sets `taken_at`, for rows that are older than these columns and are analysed again.
async fn complete(app: &App, image: &Model, analysis: Option<Analysis>) -> Result<()> {
    let nothing: Option<DateTime<Utc>> = None;
    let policy = workspace::exif_policy(&app.db.read, image.workspace_id).await?;
    let exif = image.exif.as_ref().and_then(|exif| exif::apply_policy(exif.value(), policy));
    let now = app.clock.now();
    let mut update = Entity::update_many()
        .col_expr(Column::AnalysisDueAt, Expr::val(nothing))
        .col_expr(Column::Exif, Expr::val(exif.clone()))
        .col_expr(Column::TakenAt, Expr::val(photo::taken_at(exif.as_ref())));
    if let Some(Analysis { thumbhash, blurhash, palette, has_alpha }) = analysis {
        update = update
            .col_expr(Column::Thumbhash, Expr::val(thumbhash))
            .col_expr(Column::Blurhash, Expr::val(blurhash))
            .col_expr(Column::DominantColor, Expr::val(palette.first().cloned()))
            .col_expr(Column::Palette, Expr::val(StringList(palette)))
            .col_expr(Column::HasAlpha, Expr::val(has_alpha));
    }
    let transaction = app.db.begin().await?;
    let updated = update
        .filter(entity::COLUMN.id.eq(image.id))
        .filter(Column::AnalysisAttempts.eq(image.analysis_attempts))
        .exec_with_returning(&transaction)
        .await?;
    // An image that is not provisioned yet is not visible; its event is appended when it is.
    for image in updated.iter().filter(|image| image.state == State::Ready) {
        let kind = EventKind::ImageAnalysed;
        rows::event::append(&transaction, kind, image.workspace_id, image.file_id, Some(image.id), now)
            .await?;
    }
    Ok(transaction.commit().await?)
}

/// Sets when the next attempt is due, unless another worker has claimed the row since.
async fn reschedule(app: &App, image: &Model, attempts: i32, until: DateTime<Utc>) -> Result<()> {
    Entity::update_many()
        .col_expr(Column::AnalysisAttempts, Expr::val(attempts))
        .col_expr(Column::AnalysisDueAt, Expr::val(until))
        .filter(entity::COLUMN.id.eq(image.id))
        .filter(Column::AnalysisAttempts.eq(image.analysis_attempts))
        .exec(&app.db.write)
        .await?;
    Ok(())
}
