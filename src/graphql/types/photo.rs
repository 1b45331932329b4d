//! EXIF in typed form.

use async_graphql::SimpleObject;
use row_object::RowObject;

use crate::content::photo::{Location, Photo};
use crate::entity::image;
use crate::graphql::types::scalar::DateTime;

/// Point in an image, as fractions 0-1 of width and height from the top left.
#[derive(Debug, Clone, Copy, SimpleObject, RowObject)]
pub struct FocalPoint {
    /// From the left.
    x: f64,
    /// From the top.
    y: f64,
}

impl From<image::FocalPoint> for FocalPoint {
    fn from(image::FocalPoint { x, y }: image::FocalPoint) -> Self {
        FocalPoint { x, y }
    }
}

/// Camera data. A field is null when the file does not have it, the workspace's policy dropped it, or its value is
/// invalid.
#[derive(Debug, Clone, SimpleObject, RowObject)]
pub struct PhotoInfo {
    /// Maker of the camera.
    make: Option<String>,
    /// Name of the camera.
    model: Option<String>,
    /// Name of the lens.
    lens: Option<String>,
    /// When the photo was taken. In UTC when the file has no offset.
    taken_at: Option<DateTime>,
    /// Sensitivity.
    iso: Option<i32>,
    /// The N of f/N.
    aperture: Option<f64>,
    /// Seconds.
    exposure_time: Option<f64>,
    /// Millimetres.
    focal_length: Option<f64>,
    /// EXIF orientation 1-8 of the original bytes.
    orientation: Option<i32>,
    /// Where the photo was taken. Null unless the workspace's EXIF policy keeps it.
    #[row(nested)]
    location: Option<GeoPoint>,
}

impl From<Photo> for PhotoInfo {
    fn from(photo: Photo) -> Self {
        PhotoInfo {
            make: photo.make,
            model: photo.model,
            lens: photo.lens,
            taken_at: photo.taken_at.map(DateTime),
            iso: photo.iso,
            aperture: photo.aperture,
            exposure_time: photo.exposure_time,
            focal_length: photo.focal_length,
            orientation: photo.orientation,
            location: photo.location.map(Into::into),
        }
    }
}

/// Location in WGS 84.
#[derive(Debug, Clone, Copy, SimpleObject, RowObject)]
pub struct GeoPoint {
    /// Degrees, north positive.
    latitude: f64,
    /// Degrees, east positive.
    longitude: f64,
    /// Metres above sea level.
    altitude: Option<f64>,
}

impl From<Location> for GeoPoint {
    fn from(Location { latitude, longitude, altitude }: Location) -> Self {
        GeoPoint { latitude, longitude, altitude }
    }
}
