//! From HTTP responses to results and errors.

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use chrono::DateTime;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::{Error, ErrorDetails};
use crate::wire::{Envelope, Message};

/// Longest response of the management API, in bytes. A page of 1000 images needs about 1 MiB for every ten variants.
const MAX_RESPONSE: usize = 8 * 1024 * 1024;
/// Longest error response that is read, in bytes.
const MAX_ERROR_RESPONSE: usize = 64 * 1024;
/// Longest message that is kept of a response, in characters.
const MAX_MESSAGE: usize = 500;

/// Reads the body of a response with a success status.
pub(super) async fn read_body(mut response: Response, maybe_applied: bool) -> Result<Bytes, Error> {
    let mut body = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(body.freeze()),
            Ok(Some(chunk)) if body.len() + chunk.len() > MAX_RESPONSE => {
                return Err(Error::invalid_response("the response is too long", maybe_applied));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Err(error) => return Err(Error::connection(error, maybe_applied)),
        }
    }
}

/// The result in an envelope; `None` if the envelope has none.
pub(super) fn parse_envelope<T: DeserializeOwned>(
    body: &[u8],
    maybe_applied: bool,
) -> Result<Option<T>, Error> {
    let reason = match serde_json::from_slice::<Envelope<T>>(body) {
        Ok(Envelope { success: true, result, .. }) => return Ok(result),
        Ok(_) => String::new(),
        Err(error) => without_values(&error),
    };
    // An envelope whose result does not have the expected shape may still report an error.
    let failed = match serde_json::from_slice::<Envelope<IgnoredAny>>(body) {
        Ok(envelope) => !envelope.success,
        Err(_) => false,
    };
    if failed {
        return Err(classify(error_details(StatusCode::OK, &HeaderMap::new(), body), None, maybe_applied));
    }
    Err(Error::invalid_response(
        format!("the response does not have the expected form: {reason}"),
        maybe_applied,
    ))
}

/// The text of a serde error, or only its position if the text quotes a value: some responses contain secrets.
fn without_values(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if text.contains('"') { format!("line {}, column {}", error.line(), error.column()) } else { text }
}

/// The error that a response without a success status reports.
pub(super) async fn read_error(mut response: Response, maybe_applied: bool) -> Error {
    let retry_after = retry_after(response.headers(), SystemTime::now());
    let mut body = BytesMut::new();
    // If the connection fails, the status and what has been read are enough.
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk[..chunk.len().min(MAX_ERROR_RESPONSE - body.len())]);
        if body.len() == MAX_ERROR_RESPONSE {
            break;
        }
    }
    classify(error_details(response.status(), response.headers(), &body), retry_after, maybe_applied)
}

pub(super) fn is_json(response: &Response) -> bool {
    let content_type = response.headers().get(CONTENT_TYPE).map(|value| value.as_bytes());
    content_type.is_some_and(|value| value.starts_with(b"application/json"))
}

/// Status, code and message of an error response. The code and the message are in an envelope, in a bare
/// `{code, message}`, in text such as `ERROR 5404: Image not found`, or in a header. The message is empty if there is none.
fn error_details(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ErrorDetails {
    #[derive(Default, Deserialize)]
    struct ErrorBody {
        errors: Option<Vec<Message>>,
        code: Option<u32>,
        message: Option<String>,
    }
    let (code, message) = match serde_json::from_slice::<ErrorBody>(body) {
        Ok(ErrorBody { errors, code, message }) => match errors.unwrap_or_default().into_iter().next() {
            Some(Message { code, message, .. }) => (Some(code), message),
            None => (code, message.unwrap_or_default()),
        },
        Err(_) => parse_text(body),
    };
    let message = message.trim().chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect();
    ErrorDetails { status: Some(status.as_u16()), code: code.or_else(|| code_in_header(headers)), message }
}

/// Code and message of an error in text. HTML and JSON count as no message.
fn parse_text(body: &[u8]) -> (Option<u32>, String) {
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

/// The code in a header such as `cf-images: err=5404`.
fn code_in_header(headers: &HeaderMap) -> Option<u32> {
    let value = headers.get("cf-images")?.to_str().ok()?;
    value.split([' ', ',', ';']).find_map(|word| word.strip_prefix("err=")?.parse().ok())
}

/// The kind of an error. Codes take precedence over statuses, because the statuses of most codes are not documented.
fn classify(mut details: ErrorDetails, retry_after: Option<Duration>, maybe_applied: bool) -> Error {
    if details.message.is_empty() {
        "the response has no error message".clone_into(&mut details.message);
    }
    let unavailable =
        |details, maybe_applied| Error::Unavailable { details, retry_after, maybe_applied, source: None };
    match (details.code.unwrap_or(0), details.status.unwrap_or(0)) {
        // The status for too many requests comes with various codes.
        (_, 429) => Error::RateLimited { details, retry_after },
        (5401 | 5404, _) => Error::NotFound(details),
        (5409, _) => Error::Conflict(details),
        (5413 | 5443 | 7011, _) => Error::TooLarge(details),
        // The upload did not arrive completely.
        (5408 | 5433 | 5450, _) => unavailable(details, false),
        (5500..=5599, _) => unavailable(details, maybe_applied),
        (5455 | 9422, _) => Error::Unsupported(details),
        (5403 | 9109 | 10000, _) => Error::Unauthorized(details),
        // 5453: a limit of the service. 7000 and 7003: no such route, which means a wrong base URL.
        (5453 | 7000 | 7003, _) | (_, 402) => Error::Account(details),
        (5400 | 5411 | 5415 | 5454, _) => Error::Invalid(details),
        (_, 401 | 403) => Error::Unauthorized(details),
        (0, 404) if is_known_not_found(&details.message) => Error::NotFound(details),
        // The response of another server, such as a proxy.
        (0, 404) => Error::InvalidResponse { details, maybe_applied: false },
        (_, 408) => unavailable(details, false),
        (_, 404) => Error::Account(details),
        (_, 409) => Error::Conflict(details),
        (_, 413) => Error::TooLarge(details),
        (_, 415) => Error::Unsupported(details),
        (_, 400..=499) => Error::Invalid(details),
        (_, 500..=599) => unavailable(details, maybe_applied),
        _ => Error::InvalidResponse { details, maybe_applied },
    }
}

/// Whether this is one of the texts without a code by which Cloudflare reports a missing image or variant. Any other 404
/// without a code may come from a proxy and does not prove that the image is missing.
fn is_known_not_found(message: &str) -> bool {
    ["variant not found", "image not found"].iter().any(|text| message.eq_ignore_ascii_case(text))
}

/// The value of `Retry-After-Ms` in milliseconds, or else that of `Retry-After` in seconds or as a date.
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
        classify(error_details(status, &HeaderMap::new(), body.as_bytes()), None, true)
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn errors_are_read_from_json_and_text() {
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
    fn codes_and_statuses_decide_the_kind_of_an_error() {
        assert!(matches!(error(404, "variant not found"), Error::NotFound(_)));
        assert!(matches!(
            error(404, "<html>nginx</html>"),
            Error::InvalidResponse { maybe_applied: false, .. }
        ));
        assert!(matches!(
            error(404, r#"{"errors":[{"code":7003,"message":"No route"}]}"#),
            Error::Account(_)
        ));
        assert!(matches!(
            error(404, "404 page not found"),
            Error::InvalidResponse { maybe_applied: false, .. }
        ));
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
        assert!(matches!(error(415, r#"{"code":5550}"#), Error::Unavailable { maybe_applied: true, .. }));
        assert!(matches!(error(400, "ERROR 9422: error during decoding: x"), Error::Unsupported(_)));
        assert!(matches!(error(403, r#"{"errors":[{"code":10000,"message":"x"}]}"#), Error::Unauthorized(_)));
        assert!(matches!(error(429, ""), Error::RateLimited { .. }));
        assert!(matches!(error(502, "<html>"), Error::Unavailable { maybe_applied: true, .. }));
        assert!(matches!(error(408, ""), Error::Unavailable { maybe_applied: false, .. }));
        assert!(matches!(error(302, ""), Error::InvalidResponse { .. }));
        assert!(matches!(error(400, "{"), Error::Invalid(_)));
    }

    #[test]
    fn only_known_codes_are_request_errors() {
        for (status, code) in
            [(409, 5409), (400, 5411), (413, 5413), (400, 5443), (415, 5455), (413, 7011), (400, 9422)]
        {
            assert!(error(status, &format!("ERROR {code}: x")).is_request_error(), "{code}");
        }
        assert!(error(400, "ERROR 5400: Bad Request: metadata is not a JSON object").is_request_error());
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
            assert!(!error(status, body).is_request_error(), "{status} {body}");
        }
        assert!(Error::invalid("no MIME type").is_request_error());
    }

    #[test]
    fn an_envelope_without_success_is_an_error_with_any_status() {
        let body = |errors: &str| format!(r#"{{"result":{{}},"success":false,"errors":{errors}}}"#);
        let known = body(r#"[{"code":5404,"message":"Image not found"}]"#);
        let parsed = parse_envelope::<Message>(known.as_bytes(), true);
        assert!(matches!(parsed, Err(Error::NotFound(_))), "{parsed:?}");
        let unknown = parse_envelope::<Message>(body("[]").as_bytes(), true).unwrap_err();
        assert!(matches!(unknown, Error::InvalidResponse { maybe_applied: true, .. }), "{unknown:?}");
    }

    #[test]
    fn a_body_of_another_shape_is_an_invalid_response() {
        for body in ["", "null", "<html>", r#"{"result":{"code":"secret"},"success":true}"#] {
            let error = parse_envelope::<Message>(body.as_bytes(), false).unwrap_err();
            assert!(matches!(error, Error::InvalidResponse { maybe_applied: false, .. }), "{error:?}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        assert_eq!(parse_envelope::<Message>(br#"{"result":null,"success":true}"#, false).unwrap(), None);
    }

    #[test]
    fn the_code_may_be_in_a_header_only() {
        let details =
            error_details(StatusCode::NOT_FOUND, &headers(&[("cf-images", "internal=x err=5404")]), b"");
        assert_eq!(details.code, Some(5404));
    }

    #[test]
    fn messages_are_truncated_and_have_no_control_characters() {
        let error = error(400, &format!("ERROR 5400: a\nb\u{1b}{}", "x".repeat(5000)));
        assert!(error.message().starts_with("abxx") && error.message().len() == MAX_MESSAGE);
    }

    #[test]
    fn retry_after_is_read_in_all_its_forms() {
        let now = SystemTime::from(DateTime::parse_from_rfc2822("Sun, 06 Nov 1994 08:49:30 GMT").unwrap());
        let wait = |pairs: &[(&'static str, &'static str)]| retry_after(&headers(pairs), now);
        assert_eq!(wait(&[("retry-after", "300")]), Some(Duration::from_secs(300)));
        let both = [("retry-after", "300"), ("retry-after-ms", "1500")];
        assert_eq!(wait(&both), Some(Duration::from_millis(1500)));
        let date = [("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")];
        assert_eq!(wait(&date), Some(Duration::from_secs(7)));
        let past = [("retry-after", "Sun, 06 Nov 1994 08:49:27 GMT")];
        assert_eq!(wait(&past), Some(Duration::ZERO));
        for invalid in ["-1", "soon", "NaN", "1e300", ""] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, invalid.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), None, "{invalid}");
        }
    }
}
