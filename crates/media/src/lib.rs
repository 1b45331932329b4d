//! What the bytes of a picture are: type, pixel size, orientation, EXIF, pixels.
//!
//! The product and the emulator read pictures through this crate, so that what the API says of a picture is what is
//! delivered. It knows neither of them.

/// Pixel size of HEIF pictures.
pub mod heic;
/// Types, from the bytes.
pub mod sniff;
/// Size and characters of drawings.
pub mod svg;
