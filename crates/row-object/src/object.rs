//! `#[row_object]`.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use syn::{
    Attribute, Error, FnArg, GenericArgument, ImplItem, ImplItemFn, ItemImpl, Meta, Pat, PatType, Path,
    PathArguments, ReturnType, Type, TypeParamBound, parse_quote,
};

use crate::{camel_case, columns, take_attribute};

/// The fields of an object, as they are collected.
struct Fields {
    entity: Option<Path>,
    object: Box<Type>,
    /// Functions that the resolvers and the table share.
    functions: Vec<TokenStream>,
    table: Vec<TokenStream>,
}

pub(crate) fn expand(entity: Option<Path>, mut object: ItemImpl) -> syn::Result<TokenStream> {
    let mut fields =
        Fields { entity, object: object.self_ty.clone(), functions: Vec::new(), table: Vec::new() };
    for item in &mut object.items {
        if let ImplItem::Fn(method) = item {
            fields.add(method)?;
        }
    }
    let Fields { entity, object: row, functions, table } = fields;
    let column = entity.map_or_else(|| quote!(()), |entity| quote!(#entity::Column));
    Ok(quote! {
        impl #row {
            #(#functions)*
        }

        impl crate::graphql::rows::RowObject for #row {
            type Column = #column;
            const FIELDS: &'static [crate::graphql::rows::RowField<Self>] = &[#(#table),*];
        }

        #[::async_graphql::Object]
        #object
    })
}

impl Fields {
    /// Adds a method, and makes the executor's resolver of it.
    fn add(&mut self, method: &mut ImplItemFn) -> syn::Result<()> {
        let ReturnType::Type(_, _) = &method.sig.output else {
            return Err(Error::new_spanned(&method.sig, "a field has a value"));
        };
        let named = take_attribute(&mut method.attrs, "columns");
        let columns =
            columns::of_field(self.entity.as_ref(), named.as_ref(), &method.block, &method.sig.ident)?;
        let value = if let Some(attribute) = take_attribute(&mut method.attrs, "relation") {
            self.relation(method, &attribute)?
        } else if let Some(attribute) = take_attribute(&mut method.attrs, "page") {
            self.page(method, &attribute.meta)?
        } else if take_attribute(&mut method.attrs, "of_row").is_some() {
            self.of_row(method)?
        } else if take_attribute(&mut method.attrs, "of_rows").is_some() {
            self.of_rows(method)?
        } else if take_attribute(&mut method.attrs, "nested").is_some() {
            self.nested(method)
        } else if method.sig.inputs.len() == 1 {
            self.plain(method)
        } else {
            let message = "a field that needs more than its row is a #[page], a #[relation(…)], #[of_row] or #[of_rows]";
            return Err(Error::new_spanned(&method.sig, message));
        };
        let name = camel_case(&method.sig.ident.to_string());
        self.table.push(quote! {
            crate::graphql::rows::RowField { name: #name, columns: #columns, value: #value }
        });
        Ok(())
    }

    /// Moves the body of a method to a function of its own, which is not `async`, and calls that.
    fn share(&mut self, method: &mut ImplItemFn) -> Ident {
        let name = format_ident!("row_{}", method.sig.ident);
        let (output, block) = (&method.sig.output, &method.block);
        let mut function: ImplItemFn = parse_quote!(fn #name(&self) #output #block);
        function.attrs = lints(method);
        self.functions.push(quote!(#function));
        method.block = parse_quote!({ self.#name() });
        name
    }

    fn plain(&mut self, method: &mut ImplItemFn) -> TokenStream {
        let function = self.share(method);
        quote!(crate::graphql::rows::FieldValue::Plain(
            |row, json| crate::graphql::rows::WriteJson::write_json(&row.#function(), json)
        ))
    }

    fn nested(&mut self, method: &mut ImplItemFn) -> TokenStream {
        let (function, row) = (self.share(method), &self.object);
        prepared(
            &quote!(crate::graphql::rows::field::nested(selected, |row: &#row, plan, json| crate::graphql::rows::Nested::write_nested(&row.#function(), plan, json))),
        )
    }

    fn of_row(&mut self, method: &mut ImplItemFn) -> syn::Result<TokenStream> {
        let (function, row) = (self.share(method), &self.object);
        let ReturnType::Type(_, output) = method.sig.output.clone() else { return Ok(quote!()) };
        let of = referenced(&output)?;
        method.sig.output = parse_quote!(-> crate::graphql::rows::RowRef<'_, #of>);
        method.block = parse_quote!({ crate::graphql::rows::RowRef(self.#function()) });
        Ok(prepared(&quote!(crate::graphql::rows::field::of_row(selected, rows, #row::#function))))
    }

    fn of_rows(&mut self, method: &mut ImplItemFn) -> syn::Result<TokenStream> {
        let (function, row) = (self.share(method), &self.object);
        let ReturnType::Type(_, output) = method.sig.output.clone() else { return Ok(quote!()) };
        let item = first_argument(&output, "Vec");
        let of = referenced(item.unwrap_or(&output))?;
        method.sig.output = parse_quote!(-> crate::graphql::rows::Rows<'_, #of>);
        method.block = parse_quote!({ crate::graphql::rows::Rows(self.#function()) });
        Ok(prepared(&quote!(crate::graphql::rows::field::of_rows(selected, rows, #row::#function))))
    }

    fn relation(&mut self, method: &mut ImplItemFn, attribute: &Attribute) -> syn::Result<TokenStream> {
        let (target, row): (Path, _) = (attribute.parse_args()?, self.object.clone());
        let function = self.share(method);
        method.sig.inputs.push(parse_quote!(ctx: &::async_graphql::Context<'_>));
        method.sig.output =
            parse_quote!(-> Option<::async_graphql::Result<crate::graphql::rows::Row<#target>>>);
        method.block =
            parse_quote!({ crate::graphql::rows::relation::load_one(ctx, self.#function()).await });
        Ok(prepared(
            &quote!(crate::graphql::rows::relation::prepare::<#row, _, #target>(selected, rows, #row::#function)),
        ))
    }

    /// A field of which a part is the same for all rows: `async fn(rows, ctx, arguments…) -> impl Fn(&Row) -> Value`.
    fn page(&mut self, method: &mut ImplItemFn, attribute: &Meta) -> syn::Result<TokenStream> {
        let value = value_of(&method.sig.output)?;
        let (row, function) = (self.object.clone(), format_ident!("page_{}", method.sig.ident));
        let arguments: Vec<PatType> = method.sig.inputs.iter().skip(2).filter_map(typed).collect();
        let plain: Vec<PatType> =
            arguments.iter().map(|argument| PatType { attrs: Vec::new(), ..argument.clone() }).collect();
        let (rows, context) = (name_of(&method.sig.inputs[0])?, name_of(&method.sig.inputs[1])?);
        let (block, attrs) = (&method.block, lints(method));
        self.functions.push(quote! {
            #(#attrs)*
            fn #function<'a>(
                #rows: &'a [&'a #row],
                #context: &'a ::async_graphql::Context<'a>,
                #(#plain),*
            ) -> ::futures_util::future::BoxFuture<'a, Box<dyn Fn(&#row) -> #value + Send + Sync>> {
                Box::pin(async move { Box::new(#block) as Box<dyn Fn(&#row) -> #value + Send + Sync> })
            }
        });
        let names: Vec<&Pat> = arguments.iter().map(|argument| &*argument.pat).collect();
        method.sig.inputs = parse_quote!(&self, ctx: &::async_graphql::Context<'_>, #(#arguments),*);
        method.sig.output = parse_quote!(-> #value);
        method.block = parse_quote!({ (Self::#function(&[self], ctx, #(#names),*).await)(self) });
        let read = arguments.iter().map(|argument| {
            let (name, ty, default) = (&argument.pat, &argument.ty, default_of(argument));
            let text = camel_case(&quote!(#name).to_string());
            quote! {
                let #name = match ctx.param_value::<#ty>(#text, #default) {
                    Ok((_, value)) => value,
                    Err(problem) => return crate::graphql::rows::Writer::failed(selected, problem),
                };
            }
        });
        let value_of_row = match is_fallible(&value) {
            true => quote!(move |row: &#row| value(row).transpose()),
            false => quote!(move |row: &#row| Ok(Some(value(row)))),
        };
        let write = match attribute {
            Meta::List(kind) if kind.tokens.to_string() == "row" => {
                quote!(page_row(selected, rows, #value_of_row).await)
            }
            Meta::List(_) => quote!(page_nested(selected, #value_of_row)),
            _ => quote!(page_value(selected, #value_of_row)),
        };
        Ok(prepared(&quote!(crate::graphql::rows::Preparation::Later(Box::pin(async move {
            let ctx = selected.ctx.with_field(selected.field);
            #(#read)*
            let value = #row::#function(rows, &ctx, #(#names),*).await;
            crate::graphql::rows::field::#write
        })))))
    }
}

fn prepared(prepare: &TokenStream) -> TokenStream {
    quote!(crate::graphql::rows::FieldValue::Prepared(|selected, rows| { let _ = rows; #prepare }))
}

/// The type behind a reference.
fn referenced(ty: &Type) -> syn::Result<Type> {
    match ty {
        Type::Reference(reference) => Ok((*reference.elem).clone()),
        _ => Err(Error::new_spanned(ty, "a reference to a row object is expected")),
    }
}

/// The first argument of a generic type with this name.
fn first_argument<'a>(ty: &'a Type, name: &str) -> Option<&'a Type> {
    let Type::Path(path) = ty else { return None };
    let segment = path.path.segments.last().filter(|segment| segment.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    match arguments.args.first()? {
        GenericArgument::Type(argument) => Some(argument),
        _ => None,
    }
}

/// The type of the values: that of `impl Fn(&Row) -> Value`.
fn value_of(output: &ReturnType) -> syn::Result<Type> {
    if let ReturnType::Type(_, output) = output
        && let Type::ImplTrait(function) = &**output
        && let Some(TypeParamBound::Trait(bound)) = function.bounds.first()
        && let Some(segment) = bound.path.segments.last()
        && let PathArguments::Parenthesized(arguments) = &segment.arguments
        && let ReturnType::Type(_, value) = &arguments.output
    {
        return Ok((**value).clone());
    }
    Err(Error::new_spanned(output, "`impl Fn(&Row) -> Value` is expected"))
}

/// Whether a value is an `Option<Result<…>>`: null, and an error, if it failed.
fn is_fallible(value: &Type) -> bool {
    let inner = first_argument(value, "Option");
    inner.is_some_and(|inner| first_argument(inner, "Result").is_some())
}

fn typed(argument: &FnArg) -> Option<PatType> {
    match argument {
        FnArg::Typed(argument) => Some(argument.clone()),
        FnArg::Receiver(_) => None,
    }
}

fn name_of(argument: &FnArg) -> syn::Result<Box<Pat>> {
    let argument = typed(argument);
    argument
        .map(|argument| argument.pat)
        .ok_or_else(|| Error::new(proc_macro2::Span::call_site(), "rows and ctx are expected"))
}

/// The default of an argument: `default_with` of its `#[graphql(…)]`.
fn default_of(argument: &PatType) -> TokenStream {
    let mut default = quote!(None);
    for attribute in argument.attrs.iter().filter(|attribute| attribute.path().is_ident("graphql")) {
        let _ = attribute.parse_nested_meta(|meta| {
            let value: syn::LitStr = meta.value()?.parse()?;
            if meta.path.is_ident("default_with") {
                let value: syn::Expr = value.parse()?;
                default = quote!(Some(|| #value));
            }
            Ok(())
        });
    }
    default
}

fn lints(method: &ImplItemFn) -> Vec<Attribute> {
    method.attrs.iter().filter(|attribute| attribute.path().is_ident("expect")).cloned().collect()
}
