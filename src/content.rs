//! Detection and analysis of received bytes: MIME type, dimensions, EXIF, colours, placeholders. Nothing here has side
//! effects; only `detect` reads a file.

pub mod detect;

pub mod exif;

pub mod mime;

pub mod palette;

pub mod photo;

pub mod placeholder;
