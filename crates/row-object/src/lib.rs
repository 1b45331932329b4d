//! Rows of tables as objects of the schema, with each field defined once.
//!
//! - [`macro@row_object`], in place of `#[async_graphql::Object]`: the executor's resolvers and a table of the fields that can be
//!   written as JSON without the executor, each with the columns that it reads.
//! - [`macro@RowObject`], beside `#[derive(SimpleObject)]`: the same table for an object that is part of a row.
//! - [`macro@PartialRow`], on the model of an entity: reading some of its columns by their position.

mod columns;
mod object;
mod partial_row;
mod simple;

use proc_macro::TokenStream;
use syn::{DeriveInput, ItemImpl, parse_macro_input};

/// Put it in place of `#[Object]`, on an object whose field `0` is the row.
///
/// The argument is the module of the row's entity: `#[row_object(image)]` reads columns of `image::Column`. Without an argument the
/// object has no columns of its own.
///
/// Fields are methods. The columns that a field reads are those named in its body as `self.0.<column>`. A body that uses the row in
/// another way names them: `#[columns(width, height)]`, or `#[columns(facts::COLUMNS)]` for a constant with a list of them. The attributes of methods are:
///
/// - none, with no argument but `&self`: a value without a selection of its own, from the row alone;
/// - `#[nested]`: the same for an object, or a list of objects, whose fields are selected in turn;
/// - `#[page]`, as `async fn(rows, ctx, arguments…) -> impl Fn(&Row) -> Value`: what is the same for all rows of a page is fetched
///   once, and the function that it returns makes the value of each row. The arguments are those of the field in the schema.
///   `#[page(nested)]` is the same for an object that is part of the row, and `#[page(row)]` for a row object of its own;
/// - `#[relation(Type)]`: the method returns the key of another row, or `None`; all rows of a page are loaded together;
/// - `#[of_row]`: the method returns a reference to another row object that belongs to this one; `#[of_rows]`: a `Vec` of them.
#[proc_macro_attribute]
pub fn row_object(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let entity = match arguments.is_empty() {
        true => None,
        false => Some(parse_macro_input!(arguments as syn::Path)),
    };
    let object = parse_macro_input!(item as ItemImpl);
    object::expand(entity, object).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Fields of a `SimpleObject` that is part of a row. Those that are objects in turn are marked with `#[row(nested)]`.
#[proc_macro_derive(RowObject, attributes(row))]
pub fn row_object_of_struct(item: TokenStream) -> TokenStream {
    let input = parse_macro_input!(item as DeriveInput);
    simple::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Reads some columns of a model by their position in a result; the others have a neutral value.
#[proc_macro_derive(PartialRow)]
pub fn partial_row(item: TokenStream) -> TokenStream {
    let input = parse_macro_input!(item as DeriveInput);
    partial_row::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// The name of a field as async-graphql derives it from that of its method.
fn camel_case(name: &str) -> String {
    let mut words = name.split('_').filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut name, word| {
        name.push_str(&capitalised(word));
        name
    })
}

/// The name of a column's variant as SeaORM derives it from that of its field.
fn upper_camel_case(name: &str) -> String {
    name.split('_').map(capitalised).collect()
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// Removes an attribute from a list of them and returns it.
fn take_attribute(attributes: &mut Vec<syn::Attribute>, name: &str) -> Option<syn::Attribute> {
    let at = attributes.iter().position(|attribute| attribute.path().is_ident(name))?;
    Some(attributes.remove(at))
}
