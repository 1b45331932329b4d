//! The OpenAPI document. Its patterns and bounds are exact, and all statuses are listed, so that it can be tested against the server.

use utoipa::openapi::header::Header;
use utoipa::openapi::link::Link;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, ParameterStyle};
use utoipa::openapi::response::Response;
use utoipa::openapi::schema::{AnyOfBuilder, ArrayBuilder, Object, ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Required};
use utoipa::{IntoParams, Modify, OpenApi};

use crate::id::{FileId, ImageId, WorkspaceId};
use crate::image as images;
use crate::query::page::{MAX_PAGE, creation_pattern};

/// The OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "imagegraph",
        description = "Images over a unified file model. The GraphQL face at /graphql has more."
    ),
    paths(super::list_images, super::find_image, super::find_image_by_file, super::delete_image),
    components(schemas(super::ErrorBody)),
    security(("bearer" = [])),
    modifiers(&Bearer, &CommonResponses)
)]
pub struct ApiDoc;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme =
            HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API token.")).build();
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// Adds the errors that every operation may return, and the headers that every response has.
struct CommonResponses;

const ERRORS: [(&str, &str); 4] = [
    ("401", "No usable API token."),
    ("403", "The token lacks the scope, or the role in the workspace does not allow it."),
    ("429", "The token's points for this minute are spent; see Retry-After."),
    ("500", "A fault of the server; the request id leads to its cause in the log."),
];

impl Modify for CommonResponses {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for path in document.paths.paths.values_mut() {
            for operation in [&mut path.get, &mut path.delete].into_iter().flatten() {
                add_common_responses(operation);
            }
        }
        let list = document.paths.paths.get_mut("/api/images").and_then(|path| path.get.as_mut());
        if let Some(RefOr::T(page)) = list.and_then(|list| list.responses.responses.get_mut("200")) {
            add_links(page);
        }
    }
}

/// Links from a page of images to other operations.
fn add_links(page: &mut Response) {
    for (name, operation, parameter, value) in [
        ("FindFirst", "find_image", "id", "$response.body#/data/0/id"),
        ("FindFirstByFile", "find_image_by_file", "file_id", "$response.body#/data/0/fileId"),
        ("DeleteFirst", "delete_image", "id", "$response.body#/data/0/id"),
        ("NextPage", "list_images", "after", "$response.body#/pageInfo/endCursor"),
    ] {
        let link = Link::builder().operation_id(operation).parameter(parameter, value).build();
        page.links.insert(name.to_owned(), RefOr::T(link));
    }
}

fn add_common_responses(operation: &mut Operation) {
    let responses = &mut operation.responses.responses;
    for (status, description) in ERRORS {
        let mut error = Response::new(description);
        let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        error.content.insert("application/json".to_owned(), problem.into());
        responses.entry(status.to_owned()).or_insert_with(|| RefOr::T(error));
    }
    for (status, response) in responses {
        let RefOr::T(response) = response else { continue };
        let mut header = |name: &str, description: &str| {
            let mut header = Header::new(string());
            header.description = Some(description.to_owned());
            response.headers.insert(name.to_owned(), RefOr::T(header));
        };
        header("X-Request-Id", "Names the request in the server's log.");
        if status != "401" {
            header(
                "RateLimit",
                "What the token has left, and in how many seconds it has all: `\"token\";r=…;t=…`.",
            );
            header("RateLimit-Policy", "What the token has in a window: `\"token\";q=…;w=…`.");
        }
        match status.as_str() {
            "401" => header("WWW-Authenticate", "`Bearer`."),
            "429" => header("Retry-After", "Seconds to wait."),
            _ => {}
        }
    }
}

/// The query parameters of a list. An empty parameter counts as absent, so that an HTML form may leave fields empty.
pub(super) struct ListParameters;

impl IntoParams for ListParameters {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let order = images::BY_CREATION;
        let cursor = || {
            Schema::Object(with_pattern(&format!(
                "^({})?$",
                without_anchors(&creation_pattern(order.name, order.descending))
            )))
        };
        let id = format!("^ *({})? *$", without_anchors(&id_pattern(ImageId::PREFIX)));
        let ids =
            ArrayBuilder::new().items(with_pattern(&id)).max_items(usize::try_from(MAX_PAGE).ok()).build();
        let workspace = with_pattern(&format!("^({})?$", without_anchors(&id_pattern(WorkspaceId::PREFIX))));
        vec![
            query("limit", "Max items per page, 1-100; default 100.").schema(Some(limit())).example(Some(20.into())).build(),
            query("after", "Keyset cursor: the page after this row. With `before` too, rows between the two, from this one on.")
                .schema(Some(cursor()))
                .build(),
            query("before", "Keyset cursor: the page before this row.").schema(Some(cursor())).build(),
            query("ids", "Comma-separated ids, at most 100. Narrows the caller's scope, never widens it.")
                .schema(Some(Schema::Array(ids)))
                .style(Some(ParameterStyle::Form))
                .explode(Some(false))
                .build(),
            query("workspace_id", "Only images of this workspace; otherwise of every workspace the caller may see.")
                .schema(Some(Schema::Object(workspace)))
                .build(),
        ]
    }
}

/// The path parameter of an image.
pub(super) struct ImagePath;

impl IntoParams for ImagePath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![path("id", "The image's `img_` id.", ImageId::PREFIX)]
    }
}

/// The path parameter of an image by its file.
pub(super) struct FilePath;

impl IntoParams for FilePath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![path("file_id", "The underlying file's `fil_` id.", FileId::PREFIX)]
    }
}

fn query(name: &str, description: &str) -> ParameterBuilder {
    let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query);
    parameter.required(Required::False).description(Some(description))
}

fn path(name: &str, description: &str, prefix: &str) -> Parameter {
    let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path);
    let parameter = parameter.required(Required::True).description(Some(description));
    let parameter = parameter.example(Some(format!("{prefix}_01h455vb4pex5vsknk084sn02q").into()));
    parameter.schema(Some(with_pattern(&id_pattern(prefix)))).build()
}

fn limit() -> Schema {
    let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(MAX_PAGE));
    let empty = ObjectBuilder::new().schema_type(Type::String).max_length(Some(0));
    Schema::AnyOf(AnyOfBuilder::new().item(number).item(empty).build())
}

/// The pattern of an id: its prefix, and 128 bits in 26 digits of base 32.
fn id_pattern(prefix: &str) -> String {
    format!("^{prefix}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$")
}

/// A pattern without its anchors.
fn without_anchors(pattern: &str) -> &str {
    pattern.trim_start_matches('^').trim_end_matches('$')
}

fn with_pattern(pattern: &str) -> Object {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).build()
}

fn string() -> Object {
    ObjectBuilder::new().schema_type(Type::String).build()
}
