//! Answers as a page shows them, compared with real ones.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};

/// What stands for anything.
const ANYTHING: char = '…';

/// Which real value stands for one of the page. Values that vary are of a kind each: ids by their prefix, UUIDs, secrets,
/// account hashes in URLs, cursors, signatures, and times around now.
#[derive(Default)]
pub(super) struct Bindings(Vec<(String, String)>);

impl Bindings {
    /// A text of the page with the real values in it.
    pub(super) fn apply(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (shown, real)| text.replace(shown, real))
    }

    pub(super) fn bind(&mut self, shown: &str, real: &str) -> Result<(), String> {
        // What has been bound before is real by now, and stays what it is.
        match self.0.iter().find(|(known, other)| known == shown || other == shown) {
            Some((known, other)) if known == shown && other == real => return Ok(()),
            Some(_) => return Err(format!("`{shown}` is `{real}` here")),
            None => {}
        }
        self.0.push((shown.to_owned(), real.to_owned()));
        Ok(())
    }

    /// Compares a text; binds what varies in it.
    pub(super) fn text(&mut self, shown: &str, real: &str) -> Result<(), String> {
        let tidy = |text: &str| text.trim().lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        let (shown, real) = (self.apply(&tidy(shown)), tidy(real));
        let mut found = Vec::new();
        if !fits(&shown, &real, &mut found) {
            return Err(format!("shown:\n{shown}\nreal:\n{real}"));
        }
        found.into_iter().try_for_each(|(shown, real)| self.bind(&shown, &real))
    }

    /// Compares JSON; binds what varies in it.
    pub(super) fn json(&mut self, shown: &str, real: &str) -> Result<(), String> {
        let shown: Value = serde_json::from_str(&elided(shown)).map_err(|problem| problem.to_string())?;
        let values: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(real).into_iter().collect();
        let mut real = match values.map_err(|problem| format!("{problem}: {real}"))?.as_slice() {
            [one] => one.clone(),
            other => return Err(format!("one answer is shown and these are given: {other:?}")),
        };
        if let (Some(real), None) = (real.as_object_mut(), shown.get("extensions")) {
            real.remove("extensions");
        }
        self.value(&shown, &real, "").map_err(|problem| format!("{problem}\nin {real:#}"))
    }

    fn value(&mut self, shown: &Value, real: &Value, path: &str) -> Result<(), String> {
        match (shown, real) {
            (Value::Object(shown), Value::Object(real)) => self.object(shown, real, path),
            (Value::Array(shown), Value::Array(real)) => {
                let open = shown.last().is_some_and(is_anything);
                let shown = if open { &shown[..shown.len() - 1] } else { &shown[..] };
                if shown.len() > real.len() || !open && shown.len() < real.len() {
                    return Err(format!("{path}: {} items instead of {}", real.len(), shown.len()));
                }
                let mut both = shown.iter().zip(real).enumerate();
                both.try_for_each(|(i, (shown, real))| self.value(shown, real, &format!("{path}[{i}]")))
            }
            (Value::String(shown), Value::String(real)) => {
                self.text(shown, real).map_err(|problem| format!("{path}: {problem}"))
            }
            (shown, real) if shown == real => Ok(()),
            _ => Err(format!("{path}: {real} instead of {shown}")),
        }
    }

    fn object(
        &mut self,
        shown: &Map<String, Value>,
        real: &Map<String, Value>,
        path: &str,
    ) -> Result<(), String> {
        let marker = ANYTHING.to_string();
        for (key, shown) in shown.iter().filter(|(key, _)| **key != marker) {
            let real = real.get(key).ok_or_else(|| format!("{path}.{key} is not there"))?;
            self.value(shown, real, &format!("{path}.{key}"))?;
        }
        match real.keys().find(|key| !shown.contains_key(*key)) {
            Some(key) if !shown.contains_key(&marker) => Err(format!("{path}.{key} is not shown")),
            _ => Ok(()),
        }
    }
}

fn is_anything(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.chars().eq([ANYTHING]))
}

/// JSON in which `…` outside of texts is a member or an item.
fn elided(text: &str) -> String {
    let (mut out, mut within, mut quoted, mut escaped) = (String::new(), Vec::new(), false, false);
    for c in text.chars() {
        match c {
            _ if quoted => {
                quoted = escaped || c != '"';
                escaped = c == '\\' && !escaped;
            }
            '"' => quoted = true,
            '{' | '[' => within.push(c),
            '}' | ']' => drop(within.pop()),
            ANYTHING => {
                out.push_str(if within.last() == Some(&'{') { "\"…\": null" } else { "\"…\"" });
                continue;
            }
            _ => {}
        }
        out.push(c);
    }
    out
}

/// Whether a text is as shown, and which values stand for which.
fn fits(shown: &str, real: &str, found: &mut Vec<(String, String)>) -> bool {
    let (mut i, mut j) = (0, 0);
    while i < shown.len() {
        if let Some(rest) = shown[i..].strip_prefix(ANYTHING) {
            let ends = real[j..].char_indices().map(|(at, _)| j + at).chain([real.len()]);
            let before = found.len();
            for end in ends {
                found.truncate(before);
                if fits(rest, &real[end..], found) {
                    return true;
                }
            }
            return false;
        }
        match (varying(shown, i), varying(real, j)) {
            (Some((kind, a)), Some((other, b))) if kind == other => {
                if shown[i..i + a] != real[j..j + b] {
                    found.push((shown[i..i + a].to_owned(), real[j..j + b].to_owned()));
                }
                (i, j) = (i + a, j + b);
            }
            _ => {
                let (Some(a), Some(b)) = (shown[i..].chars().next(), real[j..].chars().next()) else {
                    return false;
                };
                if a != b {
                    return false;
                }
                (i, j) = (i + a.len_utf8(), j + b.len_utf8());
            }
        }
    }
    j == real.len()
}

/// Kind and length of the value that varies which begins at a place, if one does.
fn varying(text: &str, at: usize) -> Option<(&str, usize)> {
    let (before, rest) = text.split_at(at);
    let run = |allowed: fn(char) -> bool| rest.find(|c| !allowed(c)).unwrap_or(rest.len());
    let url_safe = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if ["/imagedelivery/", "/upload/"].iter().any(|path| before.ends_with(path)) {
        return (run(url_safe) == 22).then_some(("account hash", 22));
    }
    for (parameter, length) in [("sig=", 64), ("signature=", 43), ("exp=", 10), ("expires=", 10)] {
        if before.ends_with(parameter) {
            return (run(url_safe) == length).then_some(("signature", length));
        }
    }
    if before.ends_with(url_safe) {
        return None;
    }
    match run(url_safe) {
        30 if rest.as_bytes()[3] == b'_' => Some((&rest[..4], 30)),
        36 if uuid::Uuid::try_parse(&rest[..36]).is_ok() => Some(("UUID", 36)),
        48 if rest.starts_with("imgr_") => Some(("secret", 48)),
        // `images:` and `files:`, in which cursors of lists begin.
        length if length > 30 && ["aW1hZ2VzO", "ZmlsZXM6"].iter().any(|list| rest.starts_with(list)) => {
            Some(("cursor", length))
        }
        _ => time(rest).map(|length| ("time", length)),
    }
}

/// The length of a time around now: another one, such as that of a photo, does not vary.
fn time(text: &str) -> Option<usize> {
    let shown = text.get(..24).filter(|shown| shown.ends_with('Z'))?;
    let time = DateTime::parse_from_rfc3339(shown).ok()?.to_utc();
    let now = DateTime::<Utc>::from(std::time::SystemTime::now());
    // Years, because the page was written once.
    ((time - now).abs() < TimeDelta::days(40) || time > PAGES_WRITTEN).then_some(24)
}

/// Times in the pages are of November 2026 and later.
const PAGES_WRITTEN: DateTime<Utc> = DateTime::from_timestamp(1_793_491_200, 0).unwrap();

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "img_01m7y35yawes7rznjjqahghjwd";
    const SECOND: &str = "img_01m7y35y9hfx7bsqywv6bqddzq";

    #[test]
    fn what_varies_is_the_same_everywhere() {
        let mut bindings = Bindings::default();
        let shown = format!(r#"{{"id": "{FIRST}", "at": "2026-11-20T23:44:45.018Z"}}"#);
        let now = DateTime::<Utc>::from(std::time::SystemTime::now()).format("%FT%T%.3fZ");
        bindings.json(&shown, &format!(r#"{{"id": "{SECOND}", "at": "{now}"}}"#)).unwrap();
        assert_eq!(bindings.apply(&format!("X={FIRST}")), format!("X={SECOND}"));
        bindings.text(FIRST, SECOND).unwrap();
        bindings.text(FIRST, "img_01m7y37ty3ftjvf7s9rb89pc0f").unwrap_err();
        bindings.text(FIRST, "fil_01m7y37ty3ftjvf7s9rb89pc0f").unwrap_err();
    }

    #[test]
    fn what_differs_is_found() {
        for (shown, real) in [
            (r#"{"a": 1}"#, r#"{"a": 2}"#),
            (r#"{"a": 1}"#, r#"{"a": 1, "b": 2}"#),
            (r#"{"a": 1, "b": 2}"#, r#"{"a": 1}"#),
            (r#"{"a": [1]}"#, r#"{"a": [1, 2]}"#),
            (r#"{"a": [1, …]}"#, r#"{"a": [2, 2]}"#),
            (r#"{"a": "x…"}"#, r#"{"a": "y"}"#),
            (r#"{"a": null}"#, r#"{"a": "y"}"#),
            (r#"{"a": "2024-09-14T16:42:07.000Z"}"#, r#"{"a": "2024-09-14T18:42:07.000Z"}"#),
            (r#"{"a": 1}"#, r#"{"a": 1}{"a": 1}"#),
        ] {
            Bindings::default().json(shown, real).expect_err(shown);
        }
    }

    #[test]
    fn what_is_left_out_may_be_anything() {
        for (shown, real) in [
            (r#"{"a": 1, …}"#, r#"{"a": 1, "b": 2}"#),
            ("{…}", r#"{"a": 1}"#),
            (r#"{"a": [1, …]}"#, r#"{"a": [1, 2, 3]}"#),
            (r#"{"a": "x…z"}"#, r#"{"a": "xyzz"}"#),
            (r#"{"a": 1}"#, r#"{"a": 1, "extensions": {}}"#),
        ] {
            Bindings::default().json(shown, real).unwrap();
        }
    }
}
