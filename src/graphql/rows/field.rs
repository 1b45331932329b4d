//! Fields of rows: what a selection needs of the database, and how values are written.

use async_graphql::parser::types::{Field, SelectionSet};
use async_graphql::{ContextSelectionSet, Name, PathSegment, Pos, Positioned, ServerError};
use futures_util::future::BoxFuture;

use super::plan::{ObjectPlan, Plan, write_rows};
use super::{RowObject, WriteJson};

/// A field of a row.
pub struct RowField<T: RowObject> {
    /// As the schema calls it.
    pub name: &'static str,
    /// The columns that it reads.
    pub columns: &'static [T::Column],
    pub value: FieldValue<T>,
}

/// Where the value of a field comes from.
pub enum FieldValue<T: RowObject> {
    /// From the row alone; it has no selection of its own.
    Plain(fn(&T, &mut Vec<u8>)),
    /// From the row and something that is prepared once for all rows.
    Prepared(Prepare<T>),
}

/// Prepares a field for all rows that are written together.
pub type Prepare<T> = for<'a> fn(Selected<'a>, &'a [&'a T]) -> Preparation<'a, T>;

/// A field of a selection.
#[derive(Clone, Copy)]
pub struct Selected<'a> {
    /// The context of the topmost rows that are written together: that of a row in another row has the same data.
    pub ctx: &'a ContextSelectionSet<'a>,
    pub field: &'a Positioned<Field>,
}

/// A prepared field, or the work that prepares it.
pub enum Preparation<'a, T> {
    Now(Writer<'a, T>),
    Later(BoxFuture<'a, Writer<'a, T>>),
}

/// Writes the value of a field of a row, which is given with its index.
pub struct Writer<'a, T>(WriteField<'a, T>);

type WriteField<'a, T> = Box<dyn Fn(usize, &T, &mut Output) + Send + Sync + 'a>;

/// What has been written.
#[derive(Default)]
pub struct Output {
    pub json: Vec<u8>,
    pub errors: Vec<RowError>,
}

/// An error of a field, whose value is null.
#[derive(Clone)]
pub struct RowError {
    /// Index of the row.
    pub row: usize,
    /// Where it is below the row.
    pub path: Vec<PathSegment>,
    pub error: ServerError,
}

/// An object, or several, whose fields are selected in turn and come from the object alone.
pub trait Nested {
    type Object: RowObject;

    /// Appends the object.
    fn write_nested(&self, plan: &ObjectPlan<'_, Self::Object>, json: &mut Vec<u8>);
}

impl<'a> Selected<'a> {
    pub(super) fn set(self) -> &'a SelectionSet {
        &self.field.node.selection_set.node
    }

    /// The name of the field in the response.
    pub(super) fn key(self) -> &'a Name {
        &self.field.node.response_key().node
    }

    fn pos(self) -> Pos {
        self.field.pos
    }
}

impl<'a, T> Writer<'a, T> {
    /// A writer that is a function.
    pub fn new(write: impl Fn(usize, &T, &mut Output) + Send + Sync + 'a) -> Self {
        Writer(Box::new(write))
    }

    /// The writer of a field that failed for all rows.
    pub fn failed(selected: Selected<'a>, problem: ServerError) -> Self {
        Writer::new(move |row, _, output| output.fail(row, selected, problem.clone()))
    }

    pub(super) fn write(&self, index: usize, row: &T, output: &mut Output) {
        (self.0)(index, row, output);
    }
}

impl Output {
    /// Writes null for a field of a row, and records why.
    pub fn fail(&mut self, row: usize, selected: Selected<'_>, error: ServerError) {
        let path = vec![PathSegment::Field(selected.key().to_string())];
        self.errors.push(RowError { row, path, error });
        self.json.extend_from_slice(b"null");
    }
}

/// A value that a page's function makes of each row.
pub fn page_value<'a, T: RowObject, V: WriteJson>(
    selected: Selected<'a>,
    value: impl Fn(&T) -> async_graphql::Result<Option<V>> + Send + Sync + 'a,
) -> Writer<'a, T> {
    Writer::new(move |index, row, output| match value(row) {
        Ok(value) => value.write_json(&mut output.json),
        Err(problem) => output.fail(index, selected, problem.into_server_error(selected.pos())),
    })
}

/// The same for objects.
pub fn page_nested<'a, T: RowObject, N: Nested>(
    selected: Selected<'a>,
    value: impl Fn(&T) -> async_graphql::Result<Option<N>> + Send + Sync + 'a,
) -> Writer<'a, T> {
    let plan = ObjectPlan::<N::Object>::of(selected);
    Writer::new(move |index, row, output| match value(row) {
        Ok(value) => value.write_nested(&plan, &mut output.json),
        Err(problem) => output.fail(index, selected, problem.into_server_error(selected.pos())),
    })
}

/// Objects that are part of the row: the function hands them to the one that it is given.
pub fn nested<'a, T: RowObject, O: RowObject>(
    selected: Selected<'a>,
    write: fn(&T, &ObjectPlan<'_, O>, &mut Vec<u8>),
) -> Preparation<'a, T> {
    let plan = ObjectPlan::<O>::of(selected);
    Preparation::Now(Writer::new(move |_, row, output| write(row, &plan, &mut output.json)))
}

/// Another row object that belongs to each row.
pub fn of_row<'a, T: RowObject, U: RowObject>(
    selected: Selected<'a>,
    rows: &'a [&'a T],
    of: fn(&T) -> &U,
) -> Preparation<'a, T> {
    Preparation::Later(Box::pin(async move {
        let below: Vec<&U> = rows.iter().map(|row| of(row)).collect();
        let plan = Plan::<U>::of(selected.ctx, selected.set());
        let written = write_rows(&plan, &below).await;
        Writer::new(move |index, _, output| written.copy(index, index, selected, output))
    }))
}

/// Several row objects that belong to each row.
pub fn of_rows<'a, T: RowObject, U: RowObject>(
    selected: Selected<'a>,
    rows: &'a [&'a T],
    of: fn(&T) -> Vec<&U>,
) -> Preparation<'a, T> {
    Preparation::Later(Box::pin(async move {
        let (mut below, mut places) = (Vec::new(), Vec::with_capacity(rows.len()));
        for row in rows {
            let start = below.len();
            below.extend(of(row));
            places.push(start..below.len());
        }
        let plan = Plan::<U>::of(selected.ctx, selected.set());
        let written = write_rows(&plan, &below).await;
        Writer::new(move |index, _, output| {
            written.copy_list(places[index].clone(), index, selected, output);
        })
    }))
}

/// A row object that a page's function makes of each row.
pub async fn page_row<'a, T: RowObject, U: RowObject>(
    selected: Selected<'a>,
    rows: &'a [&'a T],
    value: impl Fn(&T) -> async_graphql::Result<Option<U>>,
) -> Writer<'a, T> {
    let (mut made, mut places) = (Vec::new(), Vec::with_capacity(rows.len()));
    for row in rows {
        places.push(match value(row) {
            Ok(None) => Ok(None),
            Ok(Some(object)) => {
                made.push(object);
                Ok(Some(made.len() - 1))
            }
            Err(problem) => Err(problem.into_server_error(selected.pos())),
        });
    }
    let made: Vec<&U> = made.iter().collect();
    let plan = Plan::<U>::of(selected.ctx, selected.set());
    let written = write_rows(&plan, &made).await;
    Writer::new(move |index, _, output| match &places[index] {
        Ok(Some(place)) => written.copy(*place, index, selected, output),
        Ok(None) => output.json.extend_from_slice(b"null"),
        Err(problem) => output.fail(index, selected, problem.clone()),
    })
}

impl<N: Nested> Nested for Option<N> {
    type Object = N::Object;

    fn write_nested(&self, plan: &ObjectPlan<'_, Self::Object>, json: &mut Vec<u8>) {
        match self {
            Some(value) => value.write_nested(plan, json),
            None => json.extend_from_slice(b"null"),
        }
    }
}

impl<N: Nested> Nested for Vec<N> {
    type Object = N::Object;

    fn write_nested(&self, plan: &ObjectPlan<'_, Self::Object>, json: &mut Vec<u8>) {
        json.push(b'[');
        for (index, item) in self.iter().enumerate() {
            if index > 0 {
                json.push(b',');
            }
            item.write_nested(plan, json);
        }
        json.push(b']');
    }
}

impl<N: Nested> Nested for &N {
    type Object = N::Object;

    fn write_nested(&self, plan: &ObjectPlan<'_, Self::Object>, json: &mut Vec<u8>) {
        (**self).write_nested(plan, json);
    }
}
