//! `#[derive(RowObject)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error};

use crate::camel_case;

pub(crate) fn expand(input: &DeriveInput) -> syn::Result<TokenStream> {
    let Data::Struct(object) = &input.data else {
        return Err(Error::new_spanned(&input.ident, "an object is a struct"));
    };
    let name = &input.ident;
    let mut fields = Vec::new();
    for field in &object.fields {
        let Some(ident) = &field.ident else { continue };
        let field_name = camel_case(&ident.to_string());
        let nested = field.attrs.iter().any(|attribute| attribute.path().is_ident("row"));
        let value = match nested {
            true => quote!(crate::graphql::rows::FieldValue::Prepared(|selected, _| {
                crate::graphql::rows::field::nested(selected, |row: &#name, plan, json| crate::graphql::rows::Nested::write_nested(&row.#ident, plan, json))
            })),
            false => quote!(crate::graphql::rows::FieldValue::Plain(
                |row, json| crate::graphql::rows::WriteJson::write_json(&row.#ident, json)
            )),
        };
        fields.push(quote! {
            crate::graphql::rows::RowField { name: #field_name, columns: &[], value: #value }
        });
    }
    Ok(quote! {
        impl crate::graphql::rows::RowObject for #name {
            type Column = ();
            const FIELDS: &'static [crate::graphql::rows::RowField<Self>] = &[#(#fields),*];
        }

        impl crate::graphql::rows::Nested for #name {
            type Object = #name;

            fn write_nested(
                &self,
                plan: &crate::graphql::rows::ObjectPlan<'_, #name>,
                json: &mut Vec<u8>,
            ) {
                plan.write(self, json);
            }
        }
    })
}
