//! The schema.

use async_graphql::{SDLExportOptions, TypeDirective, ValidationMode};

use crate::app::App;
use crate::graphql::mutations::{FreshPerField, Mutation};
use crate::graphql::query::Query;
use crate::graphql::subscription::Subscription;
use crate::graphql::subscription::delivery::DeliveryData;

/// The schema with its roots.
pub type Schema = async_graphql::Schema<Query, FreshPerField<Mutation>, Subscription>;

/// The executable schema of a running server.
pub fn schema(app: &App) -> Schema {
    executable(app).finish()
}

/// The schema for subscriptions. Queries and mutations do not use it, because an extension slows down every field.
pub fn subscription_schema(app: &App) -> Schema {
    executable(app).extension(DeliveryData).finish()
}

/// Depth, cost and validity are checked before: see `document` and `cost`.
fn executable(app: &App) -> async_graphql::SchemaBuilder<Query, FreshPerField<Mutation>, Subscription> {
    builder().disable_suggestions().validation_mode(ValidationMode::Fast).data(app.clone())
}

/// The schema as text: `schema.graphql`.
pub fn sdl() -> String {
    let options = SDLExportOptions::new().include_specified_by().prefer_single_line_descriptions();
    builder().finish().sdl_with_options(options)
}

fn builder() -> async_graphql::SchemaBuilder<Query, FreshPerField<Mutation>, Subscription> {
    Schema::build(Query, FreshPerField(Mutation::default()), Subscription)
}

/// The field is null only if it failed, and then `errors` has an entry for its path. Clients that do error handling
/// (Relay, Apollo Kotlin, ...) may treat it as non-null; other clients see an ordinary nullable field.
#[TypeDirective(location = "FieldDefinition")]
#[expect(non_snake_case, reason = "the name of the directive")]
pub fn semanticNonNull(
    #[graphql(desc = "Levels of lists that are never null.", default_with = "Some(vec![0])")] levels: Option<
        Vec<i32>,
    >,
) {
}
