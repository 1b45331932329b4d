//! Compares the answers that a page shows with the real ones.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};

/// Placeholder for any text, member or item.
const ANYTHING: char = '…';

/// The real values for those that a page shows. Each variable value has a kind, and only values of the same kind are bound:
/// ids by their prefix, UUIDs, secrets, account hashes in URLs, cursors, signatures, and times close to now.
#[derive(Default)]
pub(super) struct Bindings(Vec<(String, String)>);

impl Bindings {
    /// Replaces the values of the page in a text by the real ones.
    pub(super) fn apply(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (shown, real)| text.replace(shown, real))
    }

    /// Binds a value of the page to a real one.
    ///
    /// # Errors
    /// If one of the two is bound to another value.
    pub(super) fn bind(&mut self, shown: &str, real: &str) -> Result<(), String> {
        // `shown` may also be a real value, if `apply` has replaced it already.
        match self.0.iter().find(|(known, other)| known == shown || other == shown) {
            Some((known, other)) if known == shown && other == real => return Ok(()),
            Some(_) => return Err(format!("`{shown}` is `{real}` here")),
            None => {}
        }
        self.0.push((shown.to_owned(), real.to_owned()));
        Ok(())
    }

    /// Compares a text and binds the variable values in it.
    pub(super) fn text(&mut self, shown: &str, real: &str) -> Result<(), String> {
        let tidy = |text: &str| text.trim().lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        let (shown, real) = (self.apply(&tidy(shown)), tidy(real));
        let mut found = Vec::new();
        if !fits(&shown, &real, &mut found) {
            return Err(format!("shown:\n{shown}\nreal:\n{real}"));
        }
        found.into_iter().try_for_each(|(shown, real)| self.bind(&shown, &real))
    }

    /// Compares JSON and binds the variable values in it.
    pub(super) fn json(&mut self, shown: &str, real: &str) -> Result<(), String> {
        let shown: Value = serde_json::from_str(&to_json(shown)).map_err(|problem| problem.to_string())?;
        let values: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(real).into_iter().collect();
        let mut real = match values.map_err(|problem| format!("{problem}: {real}"))?.as_slice() {
            [one] => one.clone(),
            other => {
                return Err(format!("one JSON document is expected instead of {}: {other:?}", other.len()));
            }
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
            let real = real.get(key).ok_or_else(|| format!("{path}.{key} is missing"))?;
            self.value(shown, real, &format!("{path}.{key}"))?;
        }
        match real.keys().find(|key| !shown.contains_key(*key)) {
            Some(key) if !shown.contains_key(&marker) => {
                Err(format!("{path}.{key} is not shown on the page"))
            }
            _ => Ok(()),
        }
    }
}

fn is_anything(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.chars().eq([ANYTHING]))
}

/// Replaces each `…` outside of strings by a member or an item, so that the text is JSON.
fn to_json(text: &str) -> String {
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

/// Whether a real text matches the shown one; `found` gets the pairs of variable values.
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
        match (variable_value(shown, i), variable_value(real, j)) {
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

/// Kind and length of the variable value that begins at `at`, if there is one.
fn variable_value(text: &str, at: usize) -> Option<(&str, usize)> {
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
        // Cursors of lists begin with `images:` or `files:` in base64.
        length if length > 30 && ["aW1hZ2VzO", "ZmlsZXM6"].iter().any(|prefix| rest.starts_with(prefix)) => {
            Some(("cursor", length))
        }
        _ => time(rest).map(|length| ("time", length)),
    }
}

/// The length of a time that varies: one close to now, or later than the pages were written. Other times, such as that of a
/// photo, are constant.
fn time(text: &str) -> Option<usize> {
    let shown = text.get(..24).filter(|shown| shown.ends_with('Z'))?;
    let time = DateTime::parse_from_rfc3339(shown).ok()?.to_utc();
    let now = DateTime::<Utc>::from(std::time::SystemTime::now());
    ((time - now).abs() < TimeDelta::days(40) || time > PAGES_WRITTEN).then_some(24)
}

/// The pages were written after this time, in November 2026.
const PAGES_WRITTEN: DateTime<Utc> = DateTime::from_timestamp(1_793_491_200, 0).unwrap();

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "img_01m7y35yawes7rznjjqahghjwd";
    const SECOND: &str = "img_01m7y35y9hfx7bsqywv6bqddzq";

    #[test]
    fn a_variable_value_has_one_real_value() {
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
    fn differences_are_found() {
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
    fn elided_parts_match_anything() {
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
