//! What is kept of a picture's EXIF.

use serde_json::Value as Json;

use crate::entity::workspace::ExifPolicy;

/// What a policy keeps of a picture's EXIF; `None` when that is nothing.
pub fn kept(exif: Json, policy: ExifPolicy) -> Option<Json> {
    let Json::Object(mut tags) = exif else { return None };
    tags.retain(|name, _| match policy {
        ExifPolicy::KeepAll => true,
        // All of the GPS directory: time, speed and bearing give a way away as the coordinates do. The serial numbers
        // of EXIF 2.32 are those of body and lens.
        ExifPolicy::StripLocation => !name.starts_with("GPS") && !name.ends_with("SerialNumber"),
        ExifPolicy::CopyrightOnly => matches!(name.as_str(), "Orientation" | "Copyright"),
        ExifPolicy::StripAll => false,
    });
    (!tags.is_empty()).then_some(Json::Object(tags))
}
