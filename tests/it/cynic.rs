//! A Rust client of the published schema: cynic checks these queries against `schema.graphql` at compile time, and
//! the tests run them.

use ::cynic::{GraphQlResponse, Id, MutationBuilder, Operation, QueryBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::harness::{ADMIN, Database, Server};
use crate::pictures::{photo, png};
use queries::{
    CreateDirectUpload, CreateDirectUploadInput, CreateVariables, DeleteImage, DeleteImageInput,
    DeleteVariables, Gallery, GalleryVariables, ImageFormat, ImageOrder, ImageOrderField, Limits,
    OrderDirection, UserErrorCode,
};

/// The schema.
mod schema {
    cynic::use_schema!("schema.graphql");
}

/// Rust types of its scalars.
mod scalars {
    use super::schema;

    cynic::impl_scalar!(u64, schema::ByteSize);
    cynic::impl_scalar!(chrono::DateTime<chrono::Utc>, schema::DateTime);
}

/// The queries of this client.
#[cynic::schema_for_derives(file = "schema.graphql", module = "schema")]
mod queries {
    use chrono::{DateTime, Utc};
    use cynic::Id;

    use super::schema;

    #[derive(cynic::Scalar)]
    #[cynic(graphql_type = "URL")]
    pub(super) struct Url(pub(super) String);

    #[derive(cynic::QueryVariables, Default)]
    pub(super) struct GalleryVariables {
        pub(super) workspace_id: Option<Id>,
        pub(super) first: Option<i32>,
        pub(super) after: Option<String>,
        pub(super) last: Option<i32>,
        pub(super) before: Option<String>,
        pub(super) order_by: Option<ImageOrder>,
    }

    #[derive(cynic::QueryFragment)]
    #[cynic(graphql_type = "Query", variables = "GalleryVariables")]
    pub(super) struct Gallery {
        #[arguments(workspaceId: $workspace_id, first: $first, after: $after, last: $last, before: $before, orderBy: $order_by)]
        pub(super) images: Option<ImageConnection>,
    }

    #[derive(cynic::QueryFragment)]
    pub(super) struct ImageConnection {
        pub(super) total_count: Option<i32>,
        pub(super) nodes: Vec<Image>,
        pub(super) page_info: PageInfo,
    }

    #[derive(cynic::QueryFragment)]
    pub(super) struct PageInfo {
        pub(super) has_next_page: bool,
        pub(super) has_previous_page: bool,
        pub(super) start_cursor: Option<String>,
        pub(super) end_cursor: Option<String>,
    }

    #[derive(cynic::QueryFragment)]
    pub(super) struct Image {
        pub(super) id: Id,
        pub(super) width: Option<i32>,
        pub(super) size: u64,
        pub(super) format: ImageFormat,
        pub(super) url: Option<Url>,
        pub(super) created_at: DateTime<Utc>,
    }

    /// An enum of a client that is older than the server: it knows one format, and has a fallback for others.
    #[derive(cynic::Enum, Clone, Debug, PartialEq)]
    #[cynic(non_exhaustive)]
    pub(super) enum ImageFormat {
        Jpeg,
        #[cynic(fallback)]
        Unknown(String),
    }

    #[derive(cynic::InputObject, Clone)]
    pub(super) struct ImageOrder {
        pub(super) field: ImageOrderField,
        pub(super) direction: OrderDirection,
    }

    #[derive(cynic::Enum, Clone)]
    #[cynic(non_exhaustive)]
    pub(super) enum ImageOrderField {
        CreatedAt,
        #[cynic(fallback)]
        Unknown,
    }

    #[derive(cynic::Enum, Clone)]
    pub(super) enum OrderDirection {
        Asc,
        Desc,
    }

    #[derive(cynic::QueryVariables)]
    pub(super) struct DeleteVariables {
        pub(super) input: DeleteImageInput,
    }

    #[derive(cynic::InputObject)]
    pub(super) struct DeleteImageInput {
        pub(super) id: Id,
    }

    #[derive(cynic::QueryFragment)]
    #[cynic(graphql_type = "Mutation", variables = "DeleteVariables")]
    pub(super) struct DeleteImage {
        #[arguments(input: $input)]
        pub(super) delete_image: Option<DeleteImagePayload>,
    }

    #[derive(cynic::QueryFragment)]
    pub(super) struct DeleteImagePayload {
        pub(super) deleted_image_id: Option<Id>,
        pub(super) user_errors: Vec<UserError>,
    }

    #[derive(cynic::QueryFragment)]
    pub(super) struct UserError {
        pub(super) code: UserErrorCode,
        pub(super) field: Option<Vec<String>>,
    }

    #[derive(cynic::Enum, Clone, Debug, PartialEq)]
    #[cynic(non_exhaustive)]
    pub(super) enum UserErrorCode {
        NotFound,
        #[cynic(fallback)]
        Unknown(String),
    }

    #[derive(cynic::QueryVariables)]
    pub(super) struct CreateVariables {
        pub(super) input: CreateDirectUploadInput,
    }

    #[derive(cynic::InputObject)]
    pub(super) struct CreateDirectUploadInput {
        pub(super) workspace_id: Id,
        pub(super) filename: String,
        pub(super) mime_type: String,
        pub(super) size: Option<u64>,
    }

    #[derive(cynic::QueryFragment)]
    #[cynic(graphql_type = "Mutation", variables = "CreateVariables")]
    pub(super) struct CreateDirectUpload {
        #[arguments(input: $input)]
        pub(super) create_direct_upload: Option<CreateDirectUploadPayload>,
    }

    #[derive(cynic::QueryFragment)]
    pub(super) struct CreateDirectUploadPayload {
        pub(super) direct_upload: Option<DirectUpload>,
        pub(super) user_errors: Vec<UserError>,
    }

    #[derive(cynic::QueryFragment)]
    pub(super) struct DirectUpload {
        pub(super) upload_url: Option<Url>,
        pub(super) max_size: u64,
    }

    #[derive(cynic::QueryFragment)]
    #[cynic(graphql_type = "Query")]
    pub(super) struct Limits {
        pub(super) server: Option<ServerInfo>,
    }

    #[derive(cynic::QueryFragment)]
    pub(super) struct ServerInfo {
        pub(super) max_file_size: u64,
    }
}

async fn run<Data: DeserializeOwned, Variables: Serialize>(
    server: &Server,
    operation: Operation<Data, Variables>,
) -> Data {
    let request = server.http.post(format!("{}/graphql", server.url)).bearer_auth(ADMIN).json(&operation);
    let answer: GraphQlResponse<Data> = request.send().await.unwrap().json().await.unwrap();
    assert!(answer.errors.is_none(), "{:?}", answer.errors);
    answer.data.unwrap()
}

async fn page(server: &Server, page: GalleryVariables) -> queries::ImageConnection {
    let order = ImageOrder { field: ImageOrderField::CreatedAt, direction: OrderDirection::Asc };
    let workspace_id = Some(Id::new(&server.workspace));
    let variables = GalleryVariables { workspace_id, order_by: Some(order), ..page };
    run(server, Gallery::build(variables)).await.images.unwrap()
}

both! {
    /// Pages in both directions; a format that the client does not know becomes the fallback.
    async fn a_typed_client_pages_through_a_gallery(database: Database) {
        let server = Server::start(database).await;
        server.file("a.png", png(1)).await;
        server.file("b.jpg", photo(2)).await;
        server.file("c.png", png(3)).await;
        let first = page(&server, GalleryVariables { first: Some(2), ..Default::default() }).await;
        assert_eq!(first.total_count, Some(3));
        assert!(first.page_info.has_next_page && !first.page_info.has_previous_page);
        let formats: Vec<_> = first.nodes.iter().map(|image| image.format.clone()).collect();
        assert_eq!(formats, [ImageFormat::Unknown("PNG".to_owned()), ImageFormat::Jpeg]);
        let image = &first.nodes[1];
        assert!(image.size > 0 && image.width.is_some());
        assert!(image.url.as_ref().unwrap().0.starts_with(&server.url));
        assert!(image.created_at <= server.clock.now());
        let second = page(&server, GalleryVariables { first: Some(2), after: first.page_info.end_cursor, ..Default::default() }).await;
        assert_eq!(second.nodes.len(), 1);
        let before = second.page_info.start_cursor;
        let back = page(&server, GalleryVariables { last: Some(2), before, ..Default::default() }).await;
        let ids = |images: &[queries::Image]| images.iter().map(|image| image.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&back.nodes), ids(&first.nodes));
    }

    /// Inputs of mutations and their user errors are typed.
    async fn a_typed_client_runs_mutations(database: Database) {
        let server = Server::start(database).await;
        let file = server.file("a.png", png(1)).await;
        let id = Id::new(file["image"]["id"].as_str().unwrap());
        let delete = |id: &Id| DeleteImage::build(DeleteVariables { input: DeleteImageInput { id: id.clone() } });
        let deleted = run(&server, delete(&id)).await.delete_image.unwrap();
        assert_eq!((deleted.deleted_image_id.as_ref(), deleted.user_errors.len()), (Some(&id), 0));
        let again = run(&server, delete(&id)).await.delete_image.unwrap();
        assert_eq!(again.user_errors[0].code, UserErrorCode::NotFound);

        let create = |size| CreateDirectUpload::build(CreateVariables { input: CreateDirectUploadInput {
            workspace_id: Id::new(&server.workspace),
            filename: "a.png".to_owned(),
            mime_type: "image/png".to_owned(),
            size: Some(size),
        } });
        let created = run(&server, create(1000)).await.create_direct_upload.unwrap();
        let upload = created.direct_upload.unwrap();
        assert!(upload.upload_url.is_some() && upload.max_size >= 1000);
        let refused = run(&server, create(MAX_SAFE)).await.create_direct_upload.unwrap();
        assert_eq!(refused.user_errors[0].code, UserErrorCode::Unknown("FILE_TOO_LARGE".to_owned()));
        assert_eq!(refused.user_errors[0].field, Some(vec!["input".to_owned(), "size".to_owned()]));
    }

    /// The largest number of bytes arrives without loss of digits.
    async fn a_byte_size_keeps_every_digit(database: Database) {
        let server = Server::start_with(database, |config| config.max_file_size = MAX_SAFE).await;
        let limits = run(&server, Limits::build(())).await;
        assert_eq!(limits.server.unwrap().max_file_size, MAX_SAFE);
    }
}

const MAX_SAFE: u64 = (1 << 53) - 1;
