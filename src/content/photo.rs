//! Camera data of a photo: typed values from its stored EXIF.

use chrono::{DateTime, Datelike, FixedOffset, NaiveDateTime, TimeDelta, TimeZone, Utc};
use serde_json::Value;

/// Camera data of a photo. Missing and implausible values are `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Photo {
    pub make: Option<String>,
    pub model: Option<String>,
    pub lens: Option<String>,
    pub taken_at: Option<DateTime<Utc>>,
    pub iso: Option<i32>,
    /// The f-number.
    pub aperture: Option<f64>,
    /// Seconds.
    pub exposure_time: Option<f64>,
    /// Millimetres.
    pub focal_length: Option<f64>,
    /// EXIF orientation, 1-8.
    pub orientation: Option<i32>,
    pub location: Option<Location>,
}

/// A location in WGS 84.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Location {
    /// Degrees, north positive.
    pub latitude: f64,
    /// Degrees, east positive.
    pub longitude: f64,
    /// Metres above sea level.
    pub altitude: Option<f64>,
}

/// Plausible altitudes, in metres: from below the deepest sea to above the highest aircraft.
const ALTITUDES: std::ops::RangeInclusive<f64> = -12_000.0..=50_000.0;
/// Value of `ISO` when the sensitivity does not fit into two bytes and is in another tag.
const ISO_OVERFLOW: i32 = 65_535;

/// Camera data from EXIF; `None` if it has none.
pub fn from_exif(exif: Option<&Value>) -> Option<Photo> {
    let exif = exif?;
    let positive = |tag| number(exif, tag).filter(|number| *number > 0.0);
    let photo = Photo {
        make: text(exif, "Make"),
        model: text(exif, "Model"),
        lens: text(exif, "LensModel"),
        taken_at: taken_at(Some(exif)),
        iso: integer(exif, "ISO")
            .filter(|iso| *iso != ISO_OVERFLOW)
            .or_else(|| integer(exif, "ISOSpeed"))
            .or_else(|| integer(exif, "RecommendedExposureIndex"))
            .filter(|iso| *iso > 0),
        aperture: positive("FNumber"),
        exposure_time: positive("ExposureTime"),
        focal_length: positive("FocalLength"),
        orientation: integer(exif, "Orientation").filter(|orientation| (1..=8).contains(orientation)),
        location: location(exif),
    };
    (photo != Photo::default()).then_some(photo)
}

/// When a photo was taken, by `DateTimeOriginal` and `OffsetTimeOriginal`. Without an offset the time counts as UTC, which
/// still orders the photos of one camera correctly.
pub fn taken_at(exif: Option<&Value>) -> Option<DateTime<Utc>> {
    let exif = exif?;
    let local = NaiveDateTime::parse_from_str(&text(exif, "DateTimeOriginal")?, "%Y:%m:%d %H:%M:%S").ok()?;
    // Earlier than the first photograph, or later than four-digit years: the clock was not set, or the value is damaged.
    if !(1826..=9998).contains(&local.year()) {
        return None;
    }
    let fraction =
        text(exif, "SubSecTimeOriginal").and_then(|digits| milliseconds(&digits)).unwrap_or_default();
    let offset = text(exif, "OffsetTimeOriginal").and_then(|text| parse_offset(&text));
    let local = local + TimeDelta::milliseconds(fraction);
    let at = offset.unwrap_or(FixedOffset::east_opt(0)?).from_local_datetime(&local).single()?;
    Some(at.with_timezone(&Utc))
}

/// Milliseconds from the digits after the decimal point of a second.
fn milliseconds(digits: &str) -> Option<i64> {
    let three: String = digits.chars().chain("00".chars()).take(3).collect();
    (three.len() == 3 && three.bytes().all(|byte| byte.is_ascii_digit())).then(|| three.parse().ok())?
}

/// An offset from UTC such as `+02:00`, `-03:30` or `Z`.
fn parse_offset(text: &str) -> Option<FixedOffset> {
    if text == "Z" {
        return FixedOffset::east_opt(0);
    }
    let sign = match text.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let (hours, minutes) = (hours.parse::<u8>().ok()?, minutes.parse::<u8>().ok()?);
    // No time zone is further than 14 hours from UTC.
    let seconds = i32::from(hours) * 3600 + i32::from(minutes) * 60;
    (minutes < 60 && seconds <= 14 * 3600).then(|| FixedOffset::east_opt(sign * seconds))?
}

/// The location; `None` unless both coordinates are complete, possible and in WGS 84.
fn location(exif: &Value) -> Option<Location> {
    let datum = text(exif, "GPSMapDatum").unwrap_or_default().to_ascii_uppercase();
    let wgs84 = datum.is_empty() || datum.replace([' ', '-', '_'], "") == "WGS84";
    // Status "V": the receiver had no position fix.
    if !wgs84 || text(exif, "GPSStatus").is_some_and(|status| status.eq_ignore_ascii_case("V")) {
        return None;
    }
    let latitude = coordinate(exif, "GPSLatitude", "GPSLatitudeRef", ["N", "S"], 90.0)?;
    let longitude = coordinate(exif, "GPSLongitude", "GPSLongitudeRef", ["E", "W"], 180.0)?;
    // Receivers without a position fix often write exactly 0, 0.
    if latitude == 0.0 && longitude == 0.0 {
        return None;
    }
    // 1 means below sea level, and so does 3 since EXIF 3.0.
    let below = matches!(integer(exif, "GPSAltitudeRef"), Some(1 | 3));
    let altitude = number(exif, "GPSAltitude").map(|metres| if below { -metres } else { metres });
    Some(Location { latitude, longitude, altitude: altitude.filter(|metres| ALTITUDES.contains(metres)) })
}

/// A coordinate in degrees, from degrees, minutes and seconds, of which the last two may be missing.
fn coordinate(
    exif: &Value,
    tag: &str,
    reference: &str,
    [positive, negative]: [&str; 2],
    max: f64,
) -> Option<f64> {
    let parts: Vec<f64> = match exif.get(tag)? {
        Value::Array(parts) => parts.iter().map(Value::as_f64).collect::<Option<_>>()?,
        number => vec![number.as_f64()?],
    };
    let (degrees, minutes, seconds) = match parts[..] {
        [degrees] => (degrees, 0.0, 0.0),
        [degrees, minutes] => (degrees, minutes, 0.0),
        [degrees, minutes, seconds] => (degrees, minutes, seconds),
        _ => return None,
    };
    let is_possible = degrees >= 0.0 && (0.0..60.0).contains(&minutes) && (0.0..60.0).contains(&seconds);
    let total = degrees + minutes / 60.0 + seconds / 3600.0;
    let sign = match text(exif, reference)?.to_ascii_uppercase() {
        side if side == positive => 1.0,
        side if side == negative => -1.0,
        _ => return None,
    };
    // Eight decimals of a degree are about a millimetre.
    (is_possible && total <= max).then(|| (sign * total * 1e8).round() / 1e8 + 0.0)
}

fn text(exif: &Value, tag: &str) -> Option<String> {
    exif.get(tag)?.as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The number in a tag, or the first of several.
fn number(exif: &Value, tag: &str) -> Option<f64> {
    match exif.get(tag)? {
        Value::Array(list) => list.first()?.as_f64(),
        value => value.as_f64(),
    }
}

fn integer(exif: &Value, tag: &str) -> Option<i32> {
    number(exif, tag)
        .filter(|number| number.fract() == 0.0 && number.abs() <= f64::from(i32::MAX))
        .map(|n| n as i32)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(exif: Value) -> Option<String> {
        taken_at(Some(&exif)).map(|at| at.to_rfc3339())
    }

    #[test]
    fn a_time_has_its_offset_or_counts_as_utc() {
        let taken = "2024:05:06 07:08:09";
        for (exif, expected) in [
            (json!({ "DateTimeOriginal": taken }), Some("2024-05-06T07:08:09+00:00")),
            (
                json!({ "DateTimeOriginal": taken, "OffsetTimeOriginal": "+02:30" }),
                Some("2024-05-06T04:38:09+00:00"),
            ),
            (
                json!({ "DateTimeOriginal": taken, "OffsetTimeOriginal": "-08:00" }),
                Some("2024-05-06T15:08:09+00:00"),
            ),
            (
                json!({ "DateTimeOriginal": taken, "OffsetTimeOriginal": "Z" }),
                Some("2024-05-06T07:08:09+00:00"),
            ),
            (
                json!({ "DateTimeOriginal": taken, "OffsetTimeOriginal": "+99:00" }),
                Some("2024-05-06T07:08:09+00:00"),
            ),
            (
                json!({ "DateTimeOriginal": taken, "SubSecTimeOriginal": "5" }),
                Some("2024-05-06T07:08:09.500+00:00"),
            ),
            (
                json!({ "DateTimeOriginal": taken, "SubSecTimeOriginal": "ä9" }),
                Some("2024-05-06T07:08:09+00:00"),
            ),
            (json!({ "DateTimeOriginal": "0000:00:00 00:00:00" }), None),
            (json!({ "DateTimeOriginal": "2024:02:30 07:08:09" }), None),
            (json!({ "DateTimeOriginal": "1024:02:03 07:08:09" }), None),
            (json!({ "DateTimeOriginal": 7 }), None),
            (json!({ "DateTime": taken }), None),
        ] {
            assert_eq!(at(exif.clone()).as_deref(), expected, "{exif}");
        }
    }

    #[test]
    fn a_location_is_possible_or_none() {
        let located = |change: Value| {
            let mut exif = json!({ "GPSLatitude": [43, 28, 2.82], "GPSLatitudeRef": "N",
                "GPSLongitude": [11, 53, 6.456], "GPSLongitudeRef": "W", "GPSAltitude": 120.5, "GPSAltitudeRef": 1 });
            for (tag, value) in change.as_object().unwrap() {
                exif[tag] = value.clone();
            }
            from_exif(Some(&exif)).and_then(|photo| photo.location)
        };
        let expected = Location { latitude: 43.46745, longitude: -11.88512667, altitude: Some(-120.5) };
        assert_eq!(located(json!({})), Some(expected));
        assert_eq!(located(json!({ "GPSMapDatum": "WGS-84 " })), Some(expected));
        assert_eq!(located(json!({ "GPSLatitude": [43, 28.047, 0] })), Some(expected));
        assert_eq!(located(json!({ "GPSAltitude": 1e9 })), Some(Location { altitude: None, ..expected }));
        for change in [
            json!({ "GPSLatitude": [91, 0, 0] }),
            json!({ "GPSLatitude": [43, 60, 0] }),
            json!({ "GPSLatitude": [43, null, 0] }),
            json!({ "GPSLatitude": [-43, 0, 0] }),
            json!({ "GPSLatitudeRef": "E" }),
            json!({ "GPSLatitudeRef": null }),
            json!({ "GPSLongitude": [180, 0, 1] }),
            json!({ "GPSMapDatum": "TOKYO" }),
            json!({ "GPSStatus": "V" }),
            json!({ "GPSLatitude": [0, 0, 0], "GPSLongitude": [0, 0, 0] }),
        ] {
            assert_eq!(located(change.clone()), None, "{change}");
        }
    }

    #[test]
    fn camera_data_is_typed_and_plausible() {
        let exif = json!({ "Make": " Acme ", "Model": "One", "LensModel": "50mm", "ISO": 65535, "ISOSpeed": 102400,
            "FNumber": 2.8, "ExposureTime": 0.004, "FocalLength": 0, "Orientation": 9 });
        let expected = Photo {
            make: Some("Acme".to_owned()),
            model: Some("One".to_owned()),
            lens: Some("50mm".to_owned()),
            iso: Some(102_400),
            aperture: Some(2.8),
            exposure_time: Some(0.004),
            ..Photo::default()
        };
        assert_eq!(from_exif(Some(&exif)), Some(expected));
        assert_eq!(from_exif(Some(&json!({ "Software": "x", "ISO": [200, 100] }))).unwrap().iso, Some(200));
        assert_eq!(from_exif(Some(&json!({ "Software": "x" }))), None);
        assert_eq!(from_exif(None), None);
    }
}
