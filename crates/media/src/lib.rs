//! What the bytes of an image file are: type, pixel size, orientation, EXIF, pixels.
//!
//! Every function works on a reader or a slice that the caller provides; nothing here opens files, talks to a network or
//! keeps state. Pixels, memory and metadata are limited, because the input is not trusted.
//!
//! ```
//! use std::io::Cursor;
//!
//! use imagegraph_media::sniff::{Format, Sniffed, sniff};
//!
//! let file = b"GIF89a\x01\0\x01\0\0\0\0;";
//! assert_eq!(sniff(&mut Cursor::new(file))?, Sniffed::Image(Format::Gif, "image/gif"));
//! # Ok::<(), std::io::Error>(())
//! ```

#![warn(missing_docs)]

/// Colour management: ICC profiles, CICP code points and PNG colour chunks to sRGB.
pub mod colour;
/// Decoding of raster images to pixels.
pub mod decode;
/// EXIF: orientation, and tags as JSON.
pub mod exif;
mod gif;
/// Pixel size of HEIF images.
pub mod heic;
mod jpeg;
mod png;
/// Raster images without decoding their pixels: size, orientation, number of frames.
pub mod raster;
/// File types, detected from content.
pub mod sniff;
/// Size and text encoding of SVG drawings.
pub mod svg;
mod webp;
