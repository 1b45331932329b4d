//! Conditional and range requests: preconditions in the order of RFC 9110, 13.2.2, then `Range`.
//!
//! `headers::Range` is not used: it ignores `bytes=-99` for a file of fewer bytes, which means the whole file, accepts `+1-2`,
//! accepts units in lower case only, and does not merge ranges.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderName, Method, header};

/// Most ranges in a request. With more, the response is the whole file.
const MAX_RANGES: usize = 16;

/// The kind of response to a request for a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// 200, with the whole file.
    Full,
    /// 206, with these bytes.
    Partial(Range<u64>),
    /// 416: all ranges start after the end of the file.
    RangeNotSatisfiable,
    /// 304: the client's copy of the file is current.
    NotModified,
    /// 412: a precondition of the request is false.
    PreconditionFailed,
}

/// The validators of a file (RFC 9110, 8.8).
pub(super) struct Validators<'a> {
    /// A strong entity tag, including the quotes.
    pub(super) etag: &'a str,
    /// In whole seconds.
    pub(super) modified: SystemTime,
}

impl<'a> Validators<'a> {
    /// `modified` is in seconds since 1970.
    pub(super) fn new(etag: &'a str, modified: i64) -> Validators<'a> {
        let modified = UNIX_EPOCH + Duration::from_secs(u64::try_from(modified).unwrap_or_default());
        Validators { etag, modified }
    }

    /// The value of `Last-Modified`.
    pub(super) fn last_modified(&self) -> String {
        httpdate::fmt_http_date(self.modified)
    }

    /// Whether a list of entity tags contains this one. Weak tags match only in a weak comparison.
    fn matches(&self, tags: &str, weak: bool) -> bool {
        // A tag that contains a comma is split, but cannot match: our tags contain none.
        tags.split(',')
            .map(str::trim)
            .any(|tag| tag == "*" || tag == self.etag || weak && opaque(tag) == self.etag)
    }

    /// Whether the validator in `If-Range` matches: the same tag or exactly the same date.
    fn if_range(&self, validator: &str) -> bool {
        validator == self.etag || date(validator) == Some(self.modified)
    }
}

impl Outcome {
    /// Evaluates the headers of a request for a file of `size` bytes.
    pub(super) fn evaluate(
        method: &Method,
        headers: &HeaderMap,
        validators: &Validators<'_>,
        size: u64,
    ) -> Outcome {
        let date_in = |name| text(headers, name).and_then(|text| date(&text));
        let precondition_holds = match text(headers, header::IF_MATCH) {
            Some(tags) => validators.matches(&tags, false),
            None => date_in(header::IF_UNMODIFIED_SINCE).is_none_or(|since| validators.modified <= since),
        };
        if !precondition_holds {
            return Outcome::PreconditionFailed;
        }
        let not_modified = match text(headers, header::IF_NONE_MATCH) {
            Some(tags) => validators.matches(&tags, true),
            None => date_in(header::IF_MODIFIED_SINCE).is_some_and(|since| validators.modified <= since),
        };
        if not_modified {
            return Outcome::NotModified;
        }
        let range_applies =
            text(headers, header::IF_RANGE).is_none_or(|validator| validators.if_range(&validator));
        // Ranges are defined for GET only (RFC 9110, 14.2).
        match text(headers, header::RANGE).filter(|_| range_applies && *method == Method::GET) {
            Some(range) => Outcome::range(&range, size),
            None => Outcome::Full,
        }
    }

    /// The outcome for a value of `Range`. Ranges that touch or overlap are merged; disjoint ranges, other units and
    /// malformed values are ignored, as RFC 9110, 14.2, allows.
    fn range(text: &str, size: u64) -> Outcome {
        let Some((unit, set)) = text.split_once('=') else { return Outcome::Full };
        let specs: Vec<&str> = set.split(',').map(str::trim).filter(|spec| !spec.is_empty()).collect();
        if !unit.trim().eq_ignore_ascii_case("bytes") || specs.is_empty() || specs.len() > MAX_RANGES {
            return Outcome::Full;
        }
        let Some(parts) =
            specs.into_iter().map(|spec| parse_range_spec(spec, size)).collect::<Option<Vec<_>>>()
        else {
            return Outcome::Full;
        };
        let mut parts: Vec<_> = parts.into_iter().filter(|part| part.start < part.end).collect();
        parts.sort_unstable_by_key(|part| part.start);
        let merged = parts.into_iter().try_fold(None, |before: Option<Range<u64>>, part| match before {
            None => Some(Some(part)),
            Some(before) if part.start <= before.end => Some(Some(before.start..before.end.max(part.end))),
            Some(_) => None,
        });
        match merged {
            None => Outcome::Full,
            Some(None) => Outcome::RangeNotSatisfiable,
            Some(Some(part)) => Outcome::Partial(part),
        }
    }
}

/// Whether `If-None-Match` names an entity tag, which may be weak: the copy that the client has is current.
pub(super) fn is_current(headers: &HeaderMap, etag: &str) -> bool {
    let validators = Validators::new(opaque(etag), 0);
    text(headers, header::IF_NONE_MATCH).is_some_and(|tags| validators.matches(&tags, true))
}

/// An entity tag without the mark of a weak one: what a weak comparison compares (RFC 9110, 8.8.3.2).
fn opaque(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// Parses a range-spec and limits it to the file. The range is empty if it starts after the end. `None` for malformed text.
fn parse_range_spec(spec: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = spec.split_once('-')?;
    let number = |text: &str| -> Option<u64> {
        let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (first, last) {
        ("", length) => Some(size.saturating_sub(number(length)?)..size),
        (start, "") => Some(number(start)?..size),
        (start, end) => {
            let (start, end) = (number(start)?, number(end)?);
            (start <= end).then(|| start..end.saturating_add(1).min(size))
        }
    }
}

/// The value of a header. Several field lines are joined with commas (RFC 9110, 5.3).
fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let lines: Vec<_> =
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    (!lines.is_empty()).then(|| lines.join(",").trim().to_owned())
}

fn date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_comparison() {
        for (tags, current) in [
            ("W/\"a\"", true),
            ("\"a\"", true),
            ("*", true),
            ("\"b\", W/\"a\"", true),
            ("W/\"b\"", false),
            ("W/*", false),
            ("a", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, tags.parse().unwrap());
            assert_eq!(is_current(&headers, "W/\"a\""), current, "{tags}");
        }
        assert!(!is_current(&HeaderMap::new(), "W/\"a\""));
    }

    #[test]
    fn ranges() {
        for (text, outcome) in [
            ("bytes=0-0", Outcome::Partial(0..1)),
            ("bytes=0-", Outcome::Partial(0..10)),
            ("bytes=3-5", Outcome::Partial(3..6)),
            ("BYTES= 3-5 ,", Outcome::Partial(3..6)),
            ("bytes=3-99", Outcome::Partial(3..10)),
            ("bytes=9-99999999999999999999", Outcome::Partial(9..10)),
            ("bytes=-3", Outcome::Partial(7..10)),
            ("bytes=-99", Outcome::Partial(0..10)),
            ("bytes=10-", Outcome::RangeNotSatisfiable),
            ("bytes=99999999999999999999-", Outcome::RangeNotSatisfiable),
            ("bytes=-0", Outcome::RangeNotSatisfiable),
            ("bytes=10-11,20-", Outcome::RangeNotSatisfiable),
            ("bytes=5-3", Outcome::Full),
            ("bytes=0-1,3-4", Outcome::Full),
            ("bytes=3-4,0-1", Outcome::Full),
            ("bytes=4-5,0-1,2-3", Outcome::Partial(0..6)),
            ("bytes=0-9,2-3", Outcome::Partial(0..10)),
            ("bytes=0-1,50-60", Outcome::Partial(0..2)),
            ("bytes=0-1,b", Outcome::Full),
            ("bytes=a-b", Outcome::Full),
            ("bytes=+1-2", Outcome::Full),
            ("bytes=-", Outcome::Full),
            ("bytes=", Outcome::Full),
            ("bytes", Outcome::Full),
            ("items=0-1", Outcome::Full),
        ] {
            assert_eq!(Outcome::range(text, 10), outcome, "{text}");
        }
        assert_eq!(Outcome::range("bytes=0-", 0), Outcome::RangeNotSatisfiable);
        let many = (0..1000).map(|at| format!("{at}-{at}")).collect::<Vec<_>>().join(",");
        assert_eq!(Outcome::range(&format!("bytes={many}"), 1000), Outcome::Full);
    }
}
