//! What of a file is asked for: preconditions in the order of RFC 9110, 13.2.2, then the range.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderName, Method, header};

/// Most ranges of one request that are looked at.
const MAX_RANGES: usize = 16;

/// What of a file is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    All,
    Part(Range<u64>),
    /// A part beyond its end.
    Beyond,
    /// Nothing, because the client has it.
    Known,
    /// Nothing, because it is not what the client takes it for.
    Other,
}

/// What tells one state of a file from another.
pub(super) struct Validators<'a> {
    /// Strong, in quotes.
    pub(super) etag: &'a str,
    /// To the second.
    pub(super) modified: SystemTime,
}

impl<'a> Validators<'a> {
    /// `modified` in seconds since 1970.
    pub(super) fn new(etag: &'a str, modified: i64) -> Validators<'a> {
        let modified = UNIX_EPOCH + Duration::from_secs(u64::try_from(modified).unwrap_or_default());
        Validators { etag, modified }
    }

    /// As `Last-Modified` says it.
    pub(super) fn last_modified(&self) -> String {
        httpdate::fmt_http_date(self.modified)
    }

    /// Whether one of the tags is this one; a weak tag counts only in the weak comparison.
    fn listed(&self, tags: &str, weak: bool) -> bool {
        // Commas inside of other tags do no harm: there is none in ours.
        tags.split(',').map(str::trim).any(|tag| {
            let tag = if weak { tag.strip_prefix("W/").unwrap_or(tag) } else { tag };
            tag == "*" || tag == self.etag
        })
    }

    /// `If-Range`: the tag or the very date.
    fn still(&self, validator: &str) -> bool {
        validator == self.etag || date(validator) == Some(self.modified)
    }
}

impl Asked {
    pub(super) fn of(method: &Method, headers: &HeaderMap, validators: &Validators<'_>, size: u64) -> Asked {
        let dated = |name| text(headers, name).and_then(|text| date(&text));
        let as_expected = match text(headers, header::IF_MATCH) {
            Some(tags) => validators.listed(&tags, false),
            None => dated(header::IF_UNMODIFIED_SINCE).is_none_or(|since| validators.modified <= since),
        };
        if !as_expected {
            return Asked::Other;
        }
        let known = match text(headers, header::IF_NONE_MATCH) {
            Some(tags) => validators.listed(&tags, true),
            None => dated(header::IF_MODIFIED_SINCE).is_some_and(|since| validators.modified <= since),
        };
        if known {
            return Asked::Known;
        }
        let counts = text(headers, header::IF_RANGE).is_none_or(|validator| validators.still(&validator));
        // A range is defined for GET alone.
        match text(headers, header::RANGE).filter(|_| counts && *method == Method::GET) {
            Some(range) => Asked::range(&range, size),
            None => Asked::All,
        }
    }

    /// Ranges of bytes that make one. Several apart from each other, other units and what makes no sense are as if
    /// nothing had been asked.
    fn range(text: &str, size: u64) -> Asked {
        let Some((unit, set)) = text.split_once('=') else { return Asked::All };
        let specs: Vec<&str> = set.split(',').map(str::trim).filter(|spec| !spec.is_empty()).collect();
        if !unit.trim().eq_ignore_ascii_case("bytes") || specs.is_empty() || specs.len() > MAX_RANGES {
            return Asked::All;
        }
        let Some(parts) = specs.into_iter().map(|spec| part(spec, size)).collect::<Option<Vec<_>>>() else {
            return Asked::All;
        };
        let mut parts: Vec<_> = parts.into_iter().filter(|part| part.start < part.end).collect();
        parts.sort_unstable_by_key(|part| part.start);
        let whole = parts.into_iter().try_fold(None, |before: Option<Range<u64>>, part| match before {
            None => Some(Some(part)),
            Some(before) if part.start <= before.end => Some(Some(before.start..before.end.max(part.end))),
            Some(_) => None,
        });
        match whole {
            None => Asked::All,
            Some(None) => Asked::Beyond,
            Some(Some(part)) => Asked::Part(part),
        }
    }
}

/// One range, cut at the end of the file; empty beyond it. `None` for what is no range.
fn part(spec: &str, size: u64) -> Option<Range<u64>> {
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

/// A header's value; of several lines, one list.
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
    fn ranges() {
        for (text, asked) in [
            ("bytes=0-0", Asked::Part(0..1)),
            ("bytes=0-", Asked::Part(0..10)),
            ("bytes=3-5", Asked::Part(3..6)),
            ("BYTES= 3-5 ,", Asked::Part(3..6)),
            ("bytes=3-99", Asked::Part(3..10)),
            ("bytes=9-99999999999999999999", Asked::Part(9..10)),
            ("bytes=-3", Asked::Part(7..10)),
            ("bytes=-99", Asked::Part(0..10)),
            ("bytes=10-", Asked::Beyond),
            ("bytes=99999999999999999999-", Asked::Beyond),
            ("bytes=-0", Asked::Beyond),
            ("bytes=10-11,20-", Asked::Beyond),
            ("bytes=5-3", Asked::All),
            ("bytes=0-1,3-4", Asked::All),
            ("bytes=3-4,0-1", Asked::All),
            ("bytes=4-5,0-1,2-3", Asked::Part(0..6)),
            ("bytes=0-9,2-3", Asked::Part(0..10)),
            ("bytes=0-1,50-60", Asked::Part(0..2)),
            ("bytes=0-1,b", Asked::All),
            ("bytes=a-b", Asked::All),
            ("bytes=+1-2", Asked::All),
            ("bytes=-", Asked::All),
            ("bytes=", Asked::All),
            ("bytes", Asked::All),
            ("items=0-1", Asked::All),
        ] {
            assert_eq!(Asked::range(text, 10), asked, "{text}");
        }
        assert_eq!(Asked::range("bytes=0-", 0), Asked::Beyond);
        let many = (0..1000).map(|at| format!("{at}-{at}")).collect::<Vec<_>>().join(",");
        assert_eq!(Asked::range(&format!("bytes={many}"), 1000), Asked::All);
    }
}
