//! From HTTP answers to values and errors.

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use chrono::DateTime;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::{Error, Said};
use crate::wire::{Envelope, Message};

/// Longest answer the management API may give: a page of 1,000 images needs about 1 MiB for every
/// ten variants.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// Longest message kept from an answer, in characters.
const MAX_MESSAGE: usize = 500;

/// The body of an answer that reports success. `may_be_done`: whether losing it leaves doubt.
pub(super) async fn whole(mut response: Response, may_be_done: bool) -> Result<Bytes, Error> {
    let mut body = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(body.freeze()),
            Ok(Some(chunk)) if body.len() + chunk.len() > MAX_ANSWER => {
                return Err(nonsense("the answer is longer than any answer should be", may_be_done));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Err(error) => return Err(lost(error, may_be_done)),
        }
    }
}

/// The result in an envelope, which may be none.
pub(super) fn understood<T: DeserializeOwned>(body: &[u8], may_be_done: bool) -> Result<Option<T>, Error> {
    let reason = match serde_json::from_slice::<Envelope<T>>(body) {
        Ok(Envelope { success: true, result, .. }) => return Ok(result),
        Ok(_) => String::new(),
        Err(error) => misfit(&error),
    };
    // What has the wrong shape may still say clearly that the call failed.
    let failed = match serde_json::from_slice::<Envelope<IgnoredAny>>(body) {
        Ok(envelope) => !envelope.success,
        Err(_) => false,
    };
    if failed {
        return Err(sorted(explained(StatusCode::OK, &HeaderMap::new(), body), None, may_be_done));
    }
    Err(nonsense(format!("the answer does not have the expected form: {reason}"), may_be_done))
}

/// Why an answer does not fit, without the strings serde quotes: there are secrets among the answers.
fn misfit(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if text.contains('"') { format!("line {}, column {}", error.line(), error.column()) } else { text }
}

/// The error in an answer whose status is not a success.
pub(super) async fn refused(mut response: Response, may_be_done: bool) -> Error {
    const MAX_REFUSAL: usize = 64 * 1024;
    let retry_after = retry_after(response.headers(), SystemTime::now());
    let mut body = BytesMut::new();
    // The status says enough if the rest is lost.
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk[..chunk.len().min(MAX_REFUSAL - body.len())]);
        if body.len() == MAX_REFUSAL {
            break;
        }
    }
    sorted(explained(response.status(), response.headers(), &body), retry_after, may_be_done)
}

/// A connection that failed.
pub(super) fn lost(error: reqwest::Error, may_be_done: bool) -> Error {
    let (message, ambiguous) = if error.is_connect() {
        ("Cloudflare cannot be reached", false)
    } else {
        ("the connection to Cloudflare broke off", may_be_done)
    };
    Error::Unavailable {
        said: Said::ours(message),
        retry_after: None,
        ambiguous,
        source: Some(error.without_url()),
    }
}

/// A try that took too long.
pub(super) fn late(may_be_done: bool) -> Error {
    let said = Said::ours("Cloudflare did not answer in time");
    Error::Unavailable { said, retry_after: None, ambiguous: may_be_done, source: None }
}

/// An answer without sense for a reason of our own.
pub(super) fn nonsense(message: impl Into<String>, may_be_done: bool) -> Error {
    Error::Nonsense { said: Said::ours(message), ambiguous: may_be_done }
}

/// What an answer says about a failure: an envelope, a bare `{code, message}`, text such as
/// `ERROR 5404: Image not found`, or only a header. An empty message means it said nothing.
fn explained(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Said {
    #[derive(Default, Deserialize)]
    struct Refusal {
        errors: Option<Vec<Message>>,
        code: Option<u32>,
        message: Option<String>,
    }
    let (code, message) = match serde_json::from_slice::<Refusal>(body) {
        Ok(Refusal { errors, code, message }) => match errors.unwrap_or_default().into_iter().next() {
            Some(Message { code, message, .. }) => (Some(code), message),
            None => (code, message.unwrap_or_default()),
        },
        Err(_) => text(body),
    };
    let message = message.trim().chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect();
    Said { status: Some(status.as_u16()), code: code.or_else(|| header_code(headers)), message }
}

/// The text form of an error; pages made for browsers say nothing.
fn text(body: &[u8]) -> (Option<u32>, String) {
    let text = match std::str::from_utf8(body) {
        Ok(text) if !text.trim_start().starts_with(['<', '{', '[']) => text.trim(),
        _ => return (None, String::new()),
    };
    let numbered = text.strip_prefix("ERROR ").and_then(|rest| rest.split_once(':'));
    match numbered.map(|(code, message)| (code.trim().parse(), message)) {
        Some((Ok(code), message)) => (Some(code), message.to_owned()),
        _ => (None, text.to_owned()),
    }
}

/// The number in `cf-images: err=5404`.
fn header_code(headers: &HeaderMap) -> Option<u32> {
    let value = headers.get("cf-images")?.to_str().ok()?;
    value.split([' ', ',', ';']).find_map(|word| word.strip_prefix("err=")?.parse().ok())
}

/// What a caller can do about it. Codes go before statuses, which are not documented for most of them.
fn sorted(mut said: Said, retry_after: Option<Duration>, may_be_done: bool) -> Error {
    if said.message.is_empty() {
        "Cloudflare gave no explanation".clone_into(&mut said.message);
    }
    let unavailable = |said, ambiguous| Error::Unavailable { said, retry_after, ambiguous, source: None };
    match (said.code.unwrap_or(0), said.status.unwrap_or(0)) {
        // Too many requests is that whatever number comes with it.
        (_, 429) => Error::RateLimited { said, retry_after },
        (5401 | 5404, _) => Error::NotFound(said),
        (5409, _) => Error::Conflict(said),
        (5413 | 5443 | 7011, _) => Error::TooLarge(said),
        // The upload did not arrive whole.
        (5408 | 5433 | 5450, _) => unavailable(said, false),
        (5500..=5599, _) => unavailable(said, may_be_done),
        (5455, _) => Error::Unsupported(said),
        (9422, _) => Error::Unsupported(said),
        (5403 | 9109 | 10000, _) => Error::Unauthorized(said),
        // 5453: a limit of the service; 7000 and 7003: no such route, which is a wrong base URL and no missing image.
        (5453 | 7000 | 7003, _) | (_, 402) => Error::Account(said),
        (5400 | 5411 | 5415 | 5454, _) => Error::Invalid(said),
        (_, 401 | 403) => Error::Unauthorized(said),
        (0, 404) if is_known_absence(&said.message) => Error::NotFound(said),
        // Something else than Cloudflare Images answers there.
        (0, 404) => Error::Nonsense { said, ambiguous: false },
        (_, 408) => unavailable(said, false),
        (_, 404) => Error::Account(said),
        (_, 409) => Error::Conflict(said),
        (_, 413) => Error::TooLarge(said),
        (_, 415) => Error::Unsupported(said),
        (_, 400..=499) => Error::Invalid(said),
        (_, 500..=599) => unavailable(said, may_be_done),
        _ => Error::Nonsense { said, ambiguous: may_be_done },
    }
}

/// The texts without a number with which Cloudflare says that something is not there. Any other page for 404 may be that
/// of a proxy, and what it says is missing is not the image.
fn is_known_absence(message: &str) -> bool {
    ["variant not found", "image not found"].iter().any(|text| message.eq_ignore_ascii_case(text))
}

/// `Retry-After-Ms` in milliseconds, or `Retry-After` in seconds or as a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |text: &str, unit: f64| Duration::try_from_secs_f64(text.parse::<f64>().ok()? * unit).ok();
    if let Some(wait) = text("retry-after-ms").and_then(|ms| number(ms, 0.001)) {
        return Some(wait);
    }
    let value = text(RETRY_AFTER.as_str())?;
    number(value, 1.0).or_else(|| {
        let at = SystemTime::from(DateTime::parse_from_rfc2822(value).ok()?);
        Some(at.duration_since(now).unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: u16, body: &str) -> Error {
        let status = StatusCode::from_u16(status).unwrap();
        sorted(explained(status, &HeaderMap::new(), body.as_bytes()), None, true)
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn both_forms_of_an_error_are_read() {
        let json =
            r#"{"result":null,"success":false,"errors":[{"code":5404,"message":"Image not found","x":1}]}"#;
        for body in [json, "ERROR 5404: Image not found\n"] {
            let error = error(404, body);
            assert!(matches!(error, Error::NotFound(_)), "{error:?}");
            assert_eq!((error.code(), error.message()), (Some(5404), "Image not found"));
            assert_eq!(error.to_string(), "not found: Image not found (HTTP 404, error 5404)");
        }
    }

    #[test]
    fn what_a_caller_can_do_decides() {
        assert!(matches!(error(404, "variant not found"), Error::NotFound(_)));
        assert!(matches!(error(404, "<html>nginx</html>"), Error::Nonsense { ambiguous: false, .. }));
        assert!(matches!(
            error(404, r#"{"errors":[{"code":7003,"message":"No route"}]}"#),
            Error::Account(_)
        ));
        assert!(matches!(error(404, "404 page not found"), Error::Nonsense { ambiguous: false, .. }));
        assert!(matches!(error(403, "ERROR 5453: a service limit"), Error::Account(_)));
        assert!(matches!(error(402, ""), Error::Account(_)));
        assert!(matches!(error(400, r#"{"errors":[{"code":9109,"message":"x"}]}"#), Error::Unauthorized(_)));
        assert!(matches!(error(409, "ERROR 5409: Resource already exists"), Error::Conflict(_)));
        assert!(matches!(error(413, ""), Error::TooLarge(_)));
        assert!(matches!(
            error(400, "ERROR 5413: Maximum image size of 10 MB is reached"),
            Error::TooLarge(_)
        ));
        assert!(matches!(error(415, "ERROR 5455: Uploaded image must have …"), Error::Unsupported(_)));
        assert!(matches!(error(415, "ERROR 5415: Images must be uploaded as a form"), Error::Invalid(_)));
        assert!(matches!(error(415, r#"{"code":5550}"#), Error::Unavailable { ambiguous: true, .. }));
        assert!(matches!(error(400, "ERROR 9422: error during decoding: x"), Error::Unsupported(_)));
        assert!(matches!(error(403, r#"{"errors":[{"code":10000,"message":"x"}]}"#), Error::Unauthorized(_)));
        assert!(matches!(error(429, ""), Error::RateLimited { .. }));
        assert!(matches!(error(502, "<html>"), Error::Unavailable { ambiguous: true, .. }));
        assert!(matches!(error(408, ""), Error::Unavailable { ambiguous: false, .. }));
        assert!(matches!(error(302, ""), Error::Nonsense { .. }));
        assert!(matches!(error(400, "{"), Error::Invalid(_)));
    }

    #[test]
    fn only_known_numbers_are_about_the_request() {
        for (status, code) in
            [(409, 5409), (400, 5411), (413, 5413), (400, 5443), (415, 5455), (413, 7011), (400, 9422)]
        {
            assert!(error(status, &format!("ERROR {code}: x")).about_request(), "{code}");
        }
        assert!(error(400, "ERROR 5400: Bad Request: metadata is not a JSON object").about_request());
        for (status, body) in [
            (403, "ERROR 5453: The given account has reached a service limit"),
            (404, "ERROR 7003: Could not route"),
            (400, "ERROR 5400: Bad request: incomplete multipart stream"),
            (400, "ERROR 5415: Images must be uploaded as a form"),
            (403, "ERROR 10000: Authentication error"),
            (400, "ERROR 5999: something new"),
            (422, "ERROR 1234: something new"),
            (409, ""),
            (413, "<html>413</html>"),
            (415, ""),
            (400, ""),
        ] {
            assert!(!error(status, body).about_request(), "{status} {body}");
        }
        assert!(Error::Invalid(Said::ours("no MIME type")).about_request());
    }

    #[test]
    fn a_refusal_under_200_is_an_error() {
        let body = |errors: &str| format!(r#"{{"result":{{}},"success":false,"errors":{errors}}}"#);
        let known = body(r#"[{"code":5404,"message":"Image not found"}]"#);
        let answer = understood::<Message>(known.as_bytes(), true);
        assert!(matches!(answer, Err(Error::NotFound(_))), "{answer:?}");
        let unknown = understood::<Message>(body("[]").as_bytes(), true).unwrap_err();
        assert!(matches!(unknown, Error::Nonsense { ambiguous: true, .. }), "{unknown:?}");
    }

    #[test]
    fn garbage_under_200_is_nonsense() {
        for body in ["", "null", "<html>", r#"{"result":{"code":"secret"},"success":true}"#] {
            let error = understood::<Message>(body.as_bytes(), false).unwrap_err();
            assert!(matches!(error, Error::Nonsense { ambiguous: false, .. }), "{error:?}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        assert_eq!(understood::<Message>(br#"{"result":null,"success":true}"#, false).unwrap(), None);
    }

    #[test]
    fn a_code_may_stand_in_a_header_only() {
        let said = explained(StatusCode::NOT_FOUND, &headers(&[("cf-images", "internal=x err=5404")]), b"");
        assert_eq!(said.code, Some(5404));
    }

    #[test]
    fn long_messages_are_cut_and_kept_to_one_line() {
        let error = error(400, &format!("ERROR 5400: a\nb\u{1b}{}", "x".repeat(5000)));
        assert!(error.message().starts_with("abxx") && error.message().len() == MAX_MESSAGE);
    }

    #[test]
    fn retry_after_in_all_its_forms() {
        let now = SystemTime::from(DateTime::parse_from_rfc2822("Sun, 06 Nov 1994 08:49:30 GMT").unwrap());
        let wait = |pairs: &[(&'static str, &'static str)]| retry_after(&headers(pairs), now);
        assert_eq!(wait(&[("retry-after", "300")]), Some(Duration::from_secs(300)));
        let both = [("retry-after", "300"), ("retry-after-ms", "1500")];
        assert_eq!(wait(&both), Some(Duration::from_millis(1500)));
        let date = [("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")];
        assert_eq!(wait(&date), Some(Duration::from_secs(7)));
        let past = [("retry-after", "Sun, 06 Nov 1994 08:49:27 GMT")];
        assert_eq!(wait(&past), Some(Duration::ZERO));
        for odd in ["-1", "soon", "NaN", "1e300", ""] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, odd.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), None, "{odd}");
        }
    }
}
