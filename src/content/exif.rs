//! The part of an image's EXIF that is stored.

use serde_json::Value as Json;

use crate::entity::workspace::ExifPolicy;

/// The EXIF tags that a policy allows to store; `None` if there are none.
pub fn apply_policy(exif: Json, policy: ExifPolicy) -> Option<Json> {
    let Json::Object(mut tags) = exif else { return None };
    tags.retain(|name, _| match policy {
        ExifPolicy::KeepAll => true,
        // All GPS tags, because time, speed and bearing reveal a location as coordinates do. The serial numbers are those of
        // camera body and lens (EXIF 2.32), which identify the owner.
        ExifPolicy::StripLocation => !name.starts_with("GPS") && !name.ends_with("SerialNumber"),
        ExifPolicy::CopyrightOnly => matches!(name.as_str(), "Orientation" | "Copyright"),
        ExifPolicy::StripAll => false,
    });
    (!tags.is_empty()).then_some(Json::Object(tags))
}
