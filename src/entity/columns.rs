//! Reading some columns of a table, by their position in the result.

use chrono::{DateTime, Utc};
use sea_orm::sea_query::extension::postgres::PgFunc;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, Iterable, QueryResult, QuerySelect,
    QueryTrait, Select,
};
use uuid::Uuid;

use crate::entity::api_token::Scopes;
use crate::entity::json_text::JsonText;
use crate::entity::{StringList, direct_upload, file, image, membership, user, workspace};
use crate::id::{ApiTokenId, DirectUploadId, FileId, ImageId, MembershipId, UserId, WorkspaceId};

/// A model of which some columns can be read without the others. `#[derive(PartialRow)]` implements it.
///
/// The fields of columns that were not read have a neutral value. Whoever selects columns names those that it uses: for the fields
/// of the schema `#[row_object]` does, and a test compares random selections of them with a whole row.
pub trait PartialRow: Sized {
    type Column: ColumnTrait;

    /// A row of which nothing has been read.
    fn unread() -> Self;

    /// Reads the column at the given place of a result.
    fn read(&mut self, column: Self::Column, result: &QueryResult, index: usize) -> Result<(), DbErr>;
}

/// The neutral value of a field that has not been read.
pub trait Unread {
    fn unread() -> Self;
}

/// All columns of a table.
pub fn all<E: EntityTrait>() -> Vec<E::Column> {
    E::Column::iter().collect()
}

/// The given columns, and one more unless it is among them.
pub fn with<C: ColumnTrait>(columns: &[C], more: C) -> Vec<C> {
    let mut columns = columns.to_vec();
    if !columns.iter().any(|column| column.as_str() == more.as_str()) {
        columns.push(more);
    }
    columns
}

/// A column, and the others of the given ones after it.
pub fn after<C: ColumnTrait>(first: C, columns: &[C]) -> Vec<C> {
    columns.iter().fold(vec![first], |known, column| with(&known, *column))
}

/// Whether these are the same columns in the same order.
pub fn are_same<C: ColumnTrait>(one: &[C], other: &[C]) -> bool {
    one.iter().map(|column| column.as_str()).eq(other.iter().map(|column| column.as_str()))
}

/// Whether a column has one of these ids. On PostgreSQL several are one parameter, so that the statement is the same for every
/// number of them. A single id is compared by itself: PostgreSQL assumes ten elements in such a parameter, and would plan the
/// statement again for each id because one costs less.
pub fn is_one_of<C: ColumnTrait>(
    db: &impl ConnectionTrait,
    column: C,
    ids: impl IntoIterator<Item = Uuid>,
) -> Expr {
    let (ids, column): (Vec<Uuid>, _) = (ids.into_iter().collect(), Expr::col(column.as_column_ref()));
    match db.get_database_backend() {
        DbBackend::Postgres if ids.len() != 1 => column.eq(PgFunc::any(Expr::val(ids).cast_as("uuid[]"))),
        _ => column.is_in(ids),
    }
}

/// A query of just these columns, of which there is at least one.
pub fn only<E: EntityTrait>(select: Select<E>, columns: &[E::Column]) -> Select<E> {
    select.select_only().columns(columns.iter().copied())
}

/// The rows of a query, with just these columns.
pub async fn fetch<E>(
    db: &impl ConnectionTrait,
    select: Select<E>,
    columns: &[E::Column],
) -> Result<Vec<E::Model>, DbErr>
where
    E: EntityTrait,
    E::Model: PartialRow<Column = E::Column>,
{
    let found = db.query_all(&only(select, columns).into_query()).await?;
    let mut rows = Vec::with_capacity(found.len());
    for row in found {
        rows.push(decode(&row, columns, 0)?);
    }
    Ok(rows)
}

/// A row whose columns begin at a place of the result.
pub fn decode<M: PartialRow>(result: &QueryResult, columns: &[M::Column], start: usize) -> Result<M, DbErr> {
    let mut row = M::unread();
    for (index, column) in columns.iter().enumerate() {
        row.read(*column, result, start + index)?;
    }
    Ok(row)
}

macro_rules! unread {
    ($($type:ty = $value:expr),+ $(,)?) => {
        $(
            impl Unread for $type {
                fn unread() -> Self {
                    $value
                }
            }
        )+
    };
}

unread! {
    bool = false,
    i32 = 0,
    i64 = 0,
    String = String::new(),
    Vec<u8> = Vec::new(),
    DateTime<Utc> = DateTime::UNIX_EPOCH,
    StringList = StringList::default(),
    Scopes = Scopes(Vec::new()),
    JsonText = JsonText::default(),
    WorkspaceId = WorkspaceId(Uuid::nil()),
    UserId = UserId(Uuid::nil()),
    MembershipId = MembershipId(Uuid::nil()),
    ApiTokenId = ApiTokenId(Uuid::nil()),
    FileId = FileId(Uuid::nil()),
    ImageId = ImageId(Uuid::nil()),
    DirectUploadId = DirectUploadId(Uuid::nil()),
    direct_upload::Status = direct_upload::Status::Open,
    direct_upload::Transport = direct_upload::Transport::Put,
    file::Status = file::Status::Ready,
    file::ImageStatus = file::ImageStatus::NotApplicable,
    image::State = image::State::Ready,
    image::Format = image::Format::Other,
    membership::Role = membership::Role::Viewer,
    user::Role = user::Role::Member,
    workspace::ExifPolicy = workspace::ExifPolicy::StripAll,
    workspace::DuplicatePolicy = workspace::DuplicatePolicy::Create,
}

impl<T> Unread for Option<T> {
    fn unread() -> Self {
        None
    }
}
