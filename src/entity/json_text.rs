//! JSON columns as text, which is not parsed on the way to the client.

use sea_orm::sea_query::{ArrayType, ColumnType, Nullable, ValueType, ValueTypeErr};
use sea_orm::sqlx::{Row, ValueRef};
use sea_orm::{ColIdx, DbErr, QueryResult, TryGetError, TryGetable, Value};

/// A JSON value as text. The database has checked it, or the server has written it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JsonText(Box<str>);

/// The version with which PostgreSQL's binary format of `jsonb` begins; the text follows.
const JSONB_VERSION: u8 = 1;

impl JsonText {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value; null for a text that is not JSON, which no column has.
    pub fn value(&self) -> serde_json::Value {
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

impl From<JsonText> for String {
    fn from(text: JsonText) -> Self {
        text.0.into()
    }
}

impl From<serde_json::Value> for JsonText {
    fn from(value: serde_json::Value) -> Self {
        JsonText(value.to_string().into())
    }
}

impl From<JsonText> for Value {
    fn from(text: JsonText) -> Self {
        Value::Json(Some(Box::new(text.value())))
    }
}

impl Nullable for JsonText {
    fn null() -> Value {
        Value::Json(None)
    }
}

impl ValueType for JsonText {
    fn try_from(value: Value) -> Result<Self, ValueTypeErr> {
        match value {
            Value::Json(Some(value)) => Ok((*value).into()),
            _ => Err(ValueTypeErr),
        }
    }

    fn type_name() -> String {
        stringify!(JsonText).to_owned()
    }

    fn array_type() -> ArrayType {
        ArrayType::Json
    }

    fn column_type() -> ColumnType {
        ColumnType::JsonBinary
    }
}

impl TryGetable for JsonText {
    fn try_get_by<I: ColIdx>(result: &QueryResult, index: I) -> Result<Self, TryGetError> {
        let failed = |error| TryGetError::DbErr(DbErr::Query(sea_orm::RuntimeErr::SqlxError(error)));
        let null = || TryGetError::Null(format!("{index:?}"));
        if let Some(row) = result.try_as_pg_row() {
            let value =
                row.try_get_raw(index.as_sqlx_postgres_index()).map_err(|error| failed(error.into()))?;
            if value.is_null() {
                return Err(null());
            }
            let bytes =
                value.as_bytes().map_err(|error| TryGetError::DbErr(DbErr::Type(error.to_string())))?;
            let text = std::str::from_utf8(bytes.strip_prefix(&[JSONB_VERSION]).unwrap_or(bytes));
            return text
                .map(|text| JsonText(text.into()))
                .map_err(|error| DbErr::Type(error.to_string()).into());
        }
        let row = result.try_as_sqlite_row().ok_or_else(null)?;
        let text = row.try_get_unchecked::<Option<&str>, _>(index.as_sqlx_sqlite_index());
        text.map_err(|error| failed(error.into()))?.map(|text| JsonText(text.into())).ok_or_else(null)
    }
}
