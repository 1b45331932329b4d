//! Custom scalars.

use std::borrow::Cow;
use std::fmt;

use async_graphql::parser::types::Field;
use async_graphql::registry::Registry;
use async_graphql::{
    ContextSelectionSet, ID, InputValueError, InputValueResult, Name, OutputType, Pos, Positioned, Scalar,
    ScalarType, ServerResult, Value,
};
use chrono::{SecondsFormat, Utc};

use crate::entity::json_text::JsonText;
use crate::graphql::rows::raw;

/// Why a value is not valid for a custom scalar. `None` for a valid value, and for the scalars of the specification.
pub fn check(scalar: &str, value: &Value) -> Option<String> {
    match scalar {
        "DateTime" => parse_error::<DateTime>(value),
        "URL" => parse_error::<Url>(value),
        "ByteSize" => parse_error::<ByteSize>(value),
        "JSON" => parse_error::<Json>(value),
        "Upload" => parse_error::<Upload>(value),
        _ => None,
    }
}

fn parse_error<T: ScalarType + async_graphql::InputType>(value: &Value) -> Option<String> {
    let refused = <T as ScalarType>::parse(value.clone()).err()?;
    Some(refused.into_server_error(Pos::default()).message)
}

/// RFC 3339 timestamp in UTC with millisecond precision, e.g. `2026-11-20T23:44:45.018Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateTime(pub chrono::DateTime<Utc>);

/// RFC 3339 timestamp in UTC with millisecond precision, e.g. `2026-11-20T23:44:45.018Z`.
#[Scalar(specified_by_url = "https://scalars.graphql.org/andimarek/date-time.html")]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::String(text) = value else { return Err(InputValueError::expected_type(value)) };
        match chrono::DateTime::parse_from_rfc3339(&text) {
            Ok(at) => Ok(DateTime(at.with_timezone(&Utc))),
            Err(_) => Err(InputValueError::custom(
                "an RFC 3339 timestamp is expected, e.g. 2026-11-20T23:44:45.018Z",
            )),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.text())
    }
}

impl DateTime {
    /// As it is written.
    pub fn text(self) -> String {
        self.0.to_rfc3339_opts(SecondsFormat::Millis, true)
    }
}

/// Absolute URL. Serialized as a string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url(pub url::Url);

/// Absolute URL. Serialized as a string.
#[Scalar(name = "URL", specified_by_url = "https://url.spec.whatwg.org/")]
impl ScalarType for Url {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::String(text) = value else { return Err(InputValueError::expected_type(value)) };
        match url::Url::parse(&text) {
            Ok(url) => Ok(Url(url)),
            Err(_) => Err(InputValueError::custom("an absolute URL is expected")),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

/// An absolute URL that the server has made, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlText(pub String);

impl OutputType for UrlText {
    fn type_name() -> Cow<'static, str> {
        <Url as OutputType>::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        <Url as OutputType>::create_type_info(registry)
    }

    async fn resolve(&self, _: &ContextSelectionSet<'_>, _: &Positioned<Field>) -> ServerResult<Value> {
        Ok(Value::String(self.0.clone()))
    }
}

/// An id. It is written without a text of its own: a page has hundreds of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id<T>(pub T);

impl<T: fmt::Display + Send + Sync> OutputType for Id<T> {
    fn type_name() -> Cow<'static, str> {
        <ID as OutputType>::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        <ID as OutputType>::create_type_info(registry)
    }

    async fn resolve(&self, _: &ContextSelectionSet<'_>, _: &Positioned<Field>) -> ServerResult<Value> {
        Ok(Value::String(self.0.to_string()))
    }
}

// The field of an interface is an `ID`, which is made of what can be displayed.
impl<T: fmt::Display> fmt::Display for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Non-negative whole number of bytes, serialized as a JSON number, at most 2^53-1.
/// `Int` stops at 2 GiB and files of any type may be larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub u64);

/// The largest whole number that JSON parsers with double-precision numbers keep exact.
const MAX_SAFE: u64 = (1 << 53) - 1;

/// Non-negative whole number of bytes, serialized as a JSON number, at most 2^53-1.
/// `Int` stops at 2 GiB and files of any type may be larger.
#[Scalar]
impl ScalarType for ByteSize {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::Number(number) if number.as_u64().is_some_and(|bytes| bytes <= MAX_SAFE) => {
                Ok(ByteSize(number.as_u64().unwrap_or_default()))
            }
            _ => Err(InputValueError::custom("a whole number from 0 to 2^53-1 is expected")),
        }
    }

    fn to_value(&self) -> Value {
        Value::Number(self.number().into())
    }
}

impl ByteSize {
    /// As it is written.
    pub fn number(self) -> u64 {
        self.0.min(MAX_SAFE)
    }
}

impl From<i64> for ByteSize {
    fn from(bytes: i64) -> Self {
        ByteSize(u64::try_from(bytes).unwrap_or_default())
    }
}

/// Arbitrary JSON value. Only used for data whose shape the server does not own (EXIF, user metadata).
#[derive(Debug, Clone, PartialEq)]
pub struct Json(pub serde_json::Value);

/// Prefix of the special keys of serde_json: an object with such a key would be read back as another value.
const RESERVED: &str = "$serde_json::private::";

/// Arbitrary JSON value. Only used for data whose shape the server does not own (EXIF, user metadata).
#[Scalar(name = "JSON", specified_by_url = "https://www.rfc-editor.org/rfc/rfc8259")]
impl ScalarType for Json {
    fn parse(value: Value) -> InputValueResult<Self> {
        if let Some(key) = reserved_key(&value) {
            return Err(InputValueError::custom(format!("the key {key} is reserved; use another one")));
        }
        value.into_json().map(Json).map_err(|_| InputValueError::custom("a JSON value is expected"))
    }

    fn to_value(&self) -> Value {
        Value::from_json(self.0.clone()).unwrap_or_default()
    }
}

/// A JSON value of a row, which is part of the response as the text that it is.
pub struct JsonRef<'a>(pub &'a JsonText);

impl OutputType for JsonRef<'_> {
    fn type_name() -> Cow<'static, str> {
        <Json as OutputType>::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        <Json as OutputType>::create_type_info(registry)
    }

    async fn resolve(&self, _: &ContextSelectionSet<'_>, _: &Positioned<Field>) -> ServerResult<Value> {
        Ok(raw(self.0.as_str().to_owned()))
    }
}

fn reserved_key(value: &Value) -> Option<&str> {
    match value {
        Value::Object(fields) => fields.iter().find_map(|(key, value)| match key.starts_with(RESERVED) {
            true => Some(key.as_str()),
            false => reserved_key(value),
        }),
        Value::List(items) => items.iter().find_map(reserved_key),
        _ => None,
    }
}

/// A file part of a `multipart/form-data` request (GraphQL multipart request specification). Input only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload(pub String);

/// Key of the placeholder that the multipart reader puts in place of a file. Its value is random for each request, so the JSON of
/// a client cannot contain a valid placeholder.
const PLACEHOLDER_KEY: &str = "imagegraph.part";

impl Upload {
    /// The placeholder of a file part.
    pub fn placeholder(key: &str) -> Value {
        Value::Object([(Name::new(PLACEHOLDER_KEY), Value::String(key.to_owned()))].into_iter().collect())
    }
}

/// A file part of a `multipart/form-data` request (GraphQL multipart request specification). Input only.
#[Scalar(specified_by_url = "https://github.com/jaydenseric/graphql-multipart-request-spec")]
impl ScalarType for Upload {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::Object(mut fields) => match fields.swap_remove(PLACEHOLDER_KEY) {
                Some(Value::String(key)) if fields.is_empty() => Ok(Upload(key)),
                _ => Err(not_a_file_part()),
            },
            _ => Err(not_a_file_part()),
        }
    }

    fn to_value(&self) -> Value {
        Value::Null
    }
}

fn not_a_file_part() -> InputValueError<Upload> {
    InputValueError::custom(
        "a file is sent as a part of a multipart/form-data request: \
         https://github.com/jaydenseric/graphql-multipart-request-spec",
    )
}

#[cfg(test)]
mod tests {
    use async_graphql::value;

    use super::*;

    #[test]
    fn each_scalar_of_the_schema_is_checked() {
        for line in crate::graphql::sdl().lines() {
            let Some(name) = line.strip_prefix("scalar ").and_then(|rest| rest.split(' ').next()) else {
                continue;
            };
            // No scalar accepts this value.
            let odd = value!({ "$serde_json::private::RawValue": "[1,2]" });
            assert!(check(name, &odd).is_some(), "{name}");
        }
    }
}
