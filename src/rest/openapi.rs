//! The OpenAPI document: what is accepted is what its patterns and bounds say, and what may be answered is listed.

use utoipa::openapi::header::Header;
use utoipa::openapi::path::Operation;
use utoipa::openapi::response::Response;
use utoipa::openapi::schema::{ArrayBuilder, Object, ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr};
use utoipa::{Modify, OpenApi};

use crate::id::{FileId, ImageId, WorkspaceId};
use crate::image as images;
use crate::page::{MAX_PAGE, creation_pattern};

/// The OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "imagegraph",
        description = "Images over a unified file model. The GraphQL face at /graphql has more."
    ),
    paths(super::list_images, super::find_image, super::find_image_by_file, super::delete_image),
    components(schemas(super::Problem)),
    security(("bearer" = [])),
    modifiers(&Bearer, &Everywhere)
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

/// What every operation may answer, and every answer has.
struct Everywhere;

const REFUSALS: [(&str, &str); 4] = [
    ("401", "No usable API token."),
    ("403", "The token lacks the scope, or the role in the workspace does not allow it."),
    ("429", "The token's points for this minute are spent; see Retry-After."),
    ("500", "A fault of the server; the request id leads to its cause in the log."),
];

impl Modify for Everywhere {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for path in document.paths.paths.values_mut() {
            for operation in [&mut path.get, &mut path.delete].into_iter().flatten() {
                complete(operation);
            }
        }
    }
}

fn complete(operation: &mut Operation) {
    let answers = &mut operation.responses.responses;
    for (status, description) in REFUSALS {
        let mut refusal = Response::new(description);
        let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        refusal.content.insert("application/json".to_owned(), problem.into());
        answers.entry(status.to_owned()).or_insert_with(|| RefOr::T(refusal));
    }
    for (status, answer) in answers {
        let RefOr::T(answer) = answer else { continue };
        let mut header = |name: &str, description: &str| {
            let mut header = Header::new(text());
            header.description = Some(description.to_owned());
            answer.headers.insert(name.to_owned(), RefOr::T(header));
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

/// The text of an id: its prefix, and 128 bits in 26 digits of base 32.
fn id(prefix: &str) -> Object {
    let pattern = format!("^{prefix}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$");
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).build()
}

pub(super) fn image_id() -> Object {
    id(ImageId::PREFIX)
}

pub(super) fn file_id() -> Object {
    id(FileId::PREFIX)
}

pub(super) fn workspace_id() -> Object {
    id(WorkspaceId::PREFIX)
}

pub(super) fn image_ids() -> Schema {
    let most = usize::try_from(MAX_PAGE).ok();
    Schema::Array(ArrayBuilder::new().items(image_id()).max_items(most).build())
}

pub(super) fn cursor() -> Object {
    let order = images::BY_CREATION;
    let pattern = creation_pattern(order.name, order.descending);
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).build()
}

fn text() -> Object {
    ObjectBuilder::new().schema_type(Type::String).build()
}
