//! What received bytes are: type, geometry, EXIF, colours, placeholders. Pure, but for the spool file that is read.

pub mod exif;

pub mod kind;

pub mod mime;

pub mod palette;

pub mod photo;

pub mod placeholder;
