//! The columns that a field reads.

use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote};
use syn::punctuated::Punctuated;
use syn::{Attribute, Block, Error, Ident, Path, Token};

use crate::upper_camel_case;

/// The columns, as a slice of variants of the entity's `Column`: those of the attribute `#[columns(…)]`, or those in the body.
pub(crate) fn of_field(
    entity: Option<&Path>,
    attribute: Option<&Attribute>,
    body: &Block,
    name: &Ident,
) -> syn::Result<TokenStream> {
    let Some(entity) = entity else { return Ok(quote!(&[])) };
    let mut columns: Vec<Ident> = Vec::new();
    match attribute {
        Some(attribute) => {
            let named = attribute.parse_args_with(Punctuated::<Path, Token![,]>::parse_terminated)?;
            for path in &named {
                match path.get_ident() {
                    Some(column) => columns.push(column.clone()),
                    None if named.len() == 1 => return Ok(quote!(&#path)),
                    None => return Err(Error::new_spanned(path, "a list of columns stands alone")),
                }
            }
        }
        None => {
            if !collect(body.to_token_stream(), &mut columns) {
                let message = "name the columns that this field reads with #[columns(…)]: its body uses the row as a whole";
                return Err(Error::new_spanned(name, message));
            }
        }
    }
    let variants = columns.iter().map(|column| format_ident!("{}", upper_camel_case(&column.to_string())));
    Ok(quote!(&[#(#entity::Column::#variants),*]))
}

/// Collects each `self.0.<column>`; false if there is another use of `self`.
fn collect(body: TokenStream, columns: &mut Vec<Ident>) -> bool {
    let tokens: Vec<TokenTree> = body.into_iter().collect();
    let mut all = true;
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => all &= collect(group.stream(), columns),
            TokenTree::Ident(word) if word == "self" => match column_after(&tokens[at + 1..]) {
                Some(column) if columns.contains(&column) => {}
                Some(column) => columns.push(column),
                None => all = false,
            },
            _ => {}
        }
    }
    all
}

/// The column in `.0.<column>`, unless it is the name of a method.
fn column_after(tokens: &[TokenTree]) -> Option<Ident> {
    let [
        TokenTree::Punct(_),
        TokenTree::Literal(zero),
        TokenTree::Punct(_),
        TokenTree::Ident(column),
        rest @ ..,
    ] = tokens
    else {
        return None;
    };
    let is_method = matches!(rest.first(), Some(TokenTree::Group(_)));
    (zero.to_string() == "0" && !is_method).then(|| column.clone())
}
