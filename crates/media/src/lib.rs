//! What the bytes of a picture are: type, pixel size, orientation, EXIF, pixels.
//!
//! The product and the emulator read pictures through this crate, so that what the API says of a picture is what is
//! delivered. It knows neither of them.

/// Colours as they are seen: profiles to sRGB.
pub mod colour;
/// Pixels of raster pictures.
pub mod decode;
/// EXIF: orientation, and tags as JSON.
pub mod exif;
mod gif;
/// Pixel size of HEIF pictures.
pub mod heic;
mod jpeg;
mod png;
/// Raster pictures before their pixels are decoded.
pub mod raster;
/// Types, from the bytes.
pub mod sniff;
/// Size and characters of drawings.
pub mod svg;
mod webp;
