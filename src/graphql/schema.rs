//! The schema.

use async_graphql::{SDLExportOptions, TypeDirective, ValidationMode};

use crate::app::App;
use crate::graphql::cost;
use crate::graphql::mutations::{FreshPerField, Mutation};
use crate::graphql::query::Query;
use crate::graphql::subscription::Subscription;
use crate::graphql::subscription::delivery::DeliveryData;

/// The schema with its roots.
pub type Schema = async_graphql::Schema<Query, FreshPerField<Mutation>, Subscription>;

/// The executable schema of a running server.
pub fn schema(app: &App) -> Schema {
    limited(app).finish()
}

/// The schema for subscriptions. Queries and mutations do not use it, because an extension slows down every field.
pub fn subscription_schema(app: &App) -> Schema {
    limited(app).extension(DeliveryData).finish()
}

fn limited(app: &App) -> async_graphql::SchemaBuilder<Query, FreshPerField<Mutation>, Subscription> {
    let config = &app.config;
    builder()
        .limit_depth(config.max_depth)
        .limit_complexity(config.highest_cost())
        .limit_directives(config.max_directives)
        .disable_suggestions()
        // `document` validates by all rules of the specification.
        .validation_mode(ValidationMode::Fast)
        .extension(cost::CostExtension)
        .data(app.clone())
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
