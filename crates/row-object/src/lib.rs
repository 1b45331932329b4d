//! `#[row_object]`: an `#[async_graphql::Object]` whose plain fields can also be written straight into JSON.
//!
//! A field is plain if its method has no argument but `&self`: then its value comes from the row alone. The attribute turns such a
//! method into a function that returns the value, which the executor's resolver and the table of writers both call. So the name,
//! the description, the type and the value of a field are written once.

use proc_macro::TokenStream;
use quote::{format_ident, quote};
use syn::{Attribute, Error, ImplItem, ImplItemFn, ItemImpl, ReturnType, parse_macro_input, parse_quote};

/// Put it in place of `#[Object]`.
///
/// A method with `#[nested]` returns an object, whose fields are selected in turn: it is left to the executor.
#[proc_macro_attribute]
pub fn row_object(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut object = parse_macro_input!(item as ItemImpl);
    if !arguments.is_empty() {
        return Error::new_spanned(&object.self_ty, "`row_object` takes no arguments")
            .to_compile_error()
            .into();
    }
    let row = object.self_ty.clone();
    let (mut values, mut fields) = (Vec::new(), Vec::new());
    for item in &mut object.items {
        let ImplItem::Fn(method) = item else { continue };
        let nested = take_attribute(&mut method.attrs, "nested");
        if nested || method.sig.inputs.len() != 1 {
            continue;
        }
        let ReturnType::Type(_, _) = &method.sig.output else {
            return Error::new_spanned(&method.sig, "a field has a value").to_compile_error().into();
        };
        let name = camel_case(&method.sig.ident.to_string());
        let function = format_ident!("row_{}", method.sig.ident);
        values.push(value_function(method, &function));
        fields.push(quote! {
            crate::graphql::rows::RowField {
                name: #name,
                write: |row, json| crate::graphql::rows::WriteJson::write_json(&row.#function(), json),
            }
        });
        method.block = parse_quote!({ self.#function() });
    }
    quote! {
        impl #row {
            #(#values)*
        }

        impl crate::graphql::rows::RowObject for #row {
            const FIELDS: &'static [crate::graphql::rows::RowField<Self>] = &[#(#fields),*];
        }

        #[::async_graphql::Object]
        #object
    }
    .into()
}

/// The method as a function that is not `async`.
fn value_function(method: &ImplItemFn, name: &syn::Ident) -> ImplItemFn {
    let (output, block) = (&method.sig.output, &method.block);
    let mut function: ImplItemFn = parse_quote!(fn #name(&self) #output #block);
    function.attrs = method.attrs.iter().filter(|attribute| is_lint(attribute)).cloned().collect();
    function
}

fn is_lint(attribute: &Attribute) -> bool {
    attribute.path().is_ident("expect")
}

fn take_attribute(attributes: &mut Vec<Attribute>, name: &str) -> bool {
    let before = attributes.len();
    attributes.retain(|attribute| !attribute.path().is_ident(name));
    attributes.len() != before
}

/// The name of a field as async-graphql derives it from that of its method.
fn camel_case(name: &str) -> String {
    let mut words = name.split('_').filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut name, word| {
        let mut letters = word.chars();
        name.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        name.push_str(letters.as_str());
        name
    })
}
