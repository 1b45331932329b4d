//! `#[derive(PartialRow)]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Data, DeriveInput, Error};

use crate::upper_camel_case;

pub(crate) fn expand(input: &DeriveInput) -> syn::Result<TokenStream> {
    let Data::Struct(model) = &input.data else {
        return Err(Error::new_spanned(&input.ident, "a model is a struct"));
    };
    let name = &input.ident;
    let fields: Vec<_> = model.fields.iter().filter_map(|field| field.ident.as_ref()).collect();
    let variants: Vec<_> =
        fields.iter().map(|field| format_ident!("{}", upper_camel_case(&field.to_string()))).collect();
    Ok(quote! {
        impl crate::entity::columns::PartialRow for #name {
            type Column = Column;

            fn unread() -> Self {
                #name { #(#fields: crate::entity::columns::Unread::unread()),* }
            }

            fn read(
                &mut self,
                column: Column,
                result: &::sea_orm::QueryResult,
                index: usize,
            ) -> Result<(), ::sea_orm::DbErr> {
                match column {
                    #(Column::#variants => self.#fields = result.try_get_by_index(index)?,)*
                }
                Ok(())
            }
        }
    })
}
