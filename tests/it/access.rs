//! Authorization: every root field and every REST route, requested with every role. An operation without a row in
//! these tables fails the suite.

use std::collections::BTreeSet;

use imagegraph::entity::api_token::Scope;
use imagegraph::entity::membership::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server};
use crate::pictures::{photo, png};

/// What a role sees of an operation on objects of another user's workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sees {
    /// The object itself, or the result of the change.
    Visible,
    /// Nothing: null, an empty list, or `NOT_FOUND`.
    Nothing,
    /// That the object exists but may not be changed: `FORBIDDEN`.
    Forbidden,
    /// The same as everyone with a token.
    Public,
}
use Sees::{Forbidden, Nothing, Public, Visible};

/// Root field, query, and what a user without a workspace, a member of another workspace, a viewer, an editor and an
/// admin see. Names with `$` stand for ids of objects in one workspace.
const ROWS: &[(&str, &str, [Sees; 5])] = &[
    ("node", "{ node(id: \"$file\") { id } }", [Nothing, Nothing, Visible, Visible, Visible]),
    ("nodes", "{ nodes(ids: [\"$image\"]) { id } }", [Nothing, Nothing, Visible, Visible, Visible]),
    ("viewer", "{ viewer { user { id } } }", [Public; 5]),
    ("workspace", "{ workspace(id: \"$workspace\") { id } }", [Nothing, Nothing, Visible, Visible, Visible]),
    ("workspaces", "{ workspaces { nodes { id } } }", [Nothing, Nothing, Visible, Visible, Visible]),
    ("file", "{ file(id: \"$file\") { id } }", [Nothing, Nothing, Visible, Visible, Visible]),
    ("files", "{ files { nodes { id } } }", [Nothing, Nothing, Visible, Visible, Visible]),
    (
        "files",
        "{ files(workspaceId: \"$workspace\") { nodes { id } } }",
        [Nothing, Nothing, Visible, Visible, Visible],
    ),
    ("image", "{ image(id: \"$image\") { id } }", [Nothing, Nothing, Visible, Visible, Visible]),
    (
        "imageByFile",
        "{ imageByFile(fileId: \"$file\") { id } }",
        [Nothing, Nothing, Visible, Visible, Visible],
    ),
    ("images", "{ images { nodes { id } } }", [Nothing, Nothing, Visible, Visible, Visible]),
    (
        "images",
        "{ images(workspaceId: \"$workspace\") { nodes { id } } }",
        [Nothing, Nothing, Visible, Visible, Visible],
    ),
    ("variants", "{ variants { name } }", [Public; 5]),
    (
        "directUpload",
        "{ directUpload(id: \"$upload\") { id } }",
        [Nothing, Nothing, Visible, Visible, Visible],
    ),
    ("server", "{ server { version } }", [Public; 5]),
    ("rateLimit", "{ rateLimit { remaining } }", [Public; 5]),
    (
        "cloudflareAccount",
        "{ cloudflareAccount { accountId } }",
        [Nothing, Nothing, Nothing, Nothing, Public],
    ),
    (
        "createVariant",
        "mutation { createVariant(input: { name: \"a\", width: 1, height: 1 }) { userErrors { code } } }",
        [Forbidden, Forbidden, Forbidden, Forbidden, Visible],
    ),
    (
        "updateVariant",
        "mutation { updateVariant(input: { name: \"public\", width: 1 }) { userErrors { code } } }",
        [Forbidden, Forbidden, Forbidden, Forbidden, Visible],
    ),
    (
        "deleteVariant",
        "mutation { deleteVariant(input: { name: \"nope\" }) { userErrors { code } } }",
        [Forbidden, Forbidden, Forbidden, Forbidden, Nothing],
    ),
    (
        "createSigningKey",
        "mutation { createSigningKey(input: { name: \"a\" }) { userErrors { code } } }",
        [Forbidden, Forbidden, Forbidden, Forbidden, Visible],
    ),
    (
        "deleteSigningKey",
        "mutation { deleteSigningKey(input: { name: \"nope\" }) { userErrors { code } } }",
        [Forbidden, Forbidden, Forbidden, Forbidden, Nothing],
    ),
    (
        "updateCloudflareAccount",
        "mutation { updateCloudflareAccount(input: { flexibleVariants: true }) { userErrors { code } } }",
        [Forbidden, Forbidden, Forbidden, Forbidden, Visible],
    ),
    ("uploadFile", "uploadFile", [Nothing, Nothing, Forbidden, Visible, Visible]),
    (
        "createDirectUpload",
        "mutation { createDirectUpload(input: { workspaceId: \"$workspace\", filename: \"a.png\", mimeType: \"image/png\" }) { file { id } userErrors { code } } }",
        [Nothing, Nothing, Forbidden, Visible, Visible],
    ),
    (
        "createDirectUploads",
        "mutation { createDirectUploads(input: { uploads: [{ workspaceId: \"$workspace\", filename: \"a.png\", mimeType: \"image/png\" }] }) { results { file { id } userErrors { code } } userErrors { code } } }",
        [Nothing, Nothing, Forbidden, Visible, Visible],
    ),
    (
        "importFile",
        "mutation { importFile(input: { workspaceId: \"$workspace\", url: \"http://files.example/a.png\" }) { file { id } userErrors { code } } }",
        [Nothing, Nothing, Forbidden, Visible, Visible],
    ),
    (
        "completeDirectUpload",
        "mutation { completeDirectUpload(input: { id: \"$sent\" }) { file { id } userErrors { code } } }",
        [Nothing, Nothing, Forbidden, Visible, Visible],
    ),
    (
        "cancelDirectUpload",
        "mutation { cancelDirectUpload(input: { id: \"$upload\" }) { directUpload { id } userErrors { code } } }",
        [Nothing, Nothing, Forbidden, Visible, Visible],
    ),
    (
        "updateFile",
        "mutation { updateFile(input: { id: \"$file\", filename: \"b.jpg\" }) { file { id } userErrors { code } } }",
        [Nothing, Nothing, Forbidden, Visible, Visible],
    ),
    (
        "provisionImage",
        "mutation { provisionImage(input: { fileId: \"$plain\" }) { file { id } userErrors { code } } }",
        [Nothing, Nothing, Forbidden, Visible, Visible],
    ),
    (
        "deleteImage",
        "mutation { deleteImage(input: { id: \"$image\" }) { deletedImageId userErrors { code } } }",
        [Nothing, Nothing, Forbidden, Visible, Visible],
    ),
    (
        "deleteFile",
        "mutation { deleteFile(input: { id: \"$text\" }) { deletedFileId userErrors { code } } }",
        [Nothing, Nothing, Forbidden, Visible, Visible],
    ),
    (
        "restoreFile",
        "mutation { restoreFile(input: { id: \"$trashed\" }) { file { id } userErrors { code } } }",
        [Nothing, Nothing, Forbidden, Visible, Visible],
    ),
    (
        "updateImage",
        "mutation { updateImage(input: { id: \"$image\", alt: \"a\" }) { image { id } userErrors { code } } }",
        [Nothing, Nothing, Forbidden, Visible, Visible],
    ),
    (
        "createWorkspace",
        "mutation { createWorkspace(input: { name: \"a\" }) { userErrors { code } } }",
        [Visible; 5],
    ),
    (
        "updateWorkspace",
        "mutation { updateWorkspace(input: { id: \"$workspace\", name: \"b\" }) { workspace { id } userErrors { code } } }",
        [Nothing, Nothing, Forbidden, Forbidden, Visible],
    ),
    (
        "setWorkspaceMember",
        "mutation { setWorkspaceMember(input: { workspaceId: \"$workspace\", userId: \"$user\", role: EDITOR }) { member { id } userErrors { code } } }",
        [Nothing, Nothing, Forbidden, Forbidden, Visible],
    ),
    (
        "removeWorkspaceMember",
        "mutation { removeWorkspaceMember(input: { workspaceId: \"$workspace\", userId: \"$user\" }) { deletedMemberId userErrors { code } } }",
        [Nothing, Nothing, Forbidden, Forbidden, Visible],
    ),
    (
        "createApiToken",
        "mutation { createApiToken(input: { name: \"a\", workspaceId: \"$workspace\", scopes: [FILES_READ] }) { secret userErrors { code } } }",
        [Nothing, Nothing, Visible, Visible, Visible],
    ),
    (
        "revokeApiToken",
        "mutation { revokeApiToken(input: { id: \"$token\" }) { apiToken { id } userErrors { code } } }",
        [Nothing, Nothing, Nothing, Nothing, Visible],
    ),
    ("node", "{ node(id: \"$member\") { id } }", [Nothing, Nothing, Visible, Visible, Visible]),
    ("node", "{ node(id: \"$token\") { id } }", [Nothing, Nothing, Nothing, Nothing, Visible]),
];

/// REST route, method, and what the same five roles see.
const ROUTES: [(&str, &str, [Sees; 5]); 5] = [
    ("/api/images", "get", [Nothing, Nothing, Visible, Visible, Visible]),
    ("/api/images/{id}", "get", [Nothing, Nothing, Visible, Visible, Visible]),
    ("/api/images/by-file/{file_id}", "get", [Nothing, Nothing, Visible, Visible, Visible]),
    ("/api/images/{id}", "delete", [Nothing, Nothing, Forbidden, Visible, Visible]),
    ("/api/openapi.json", "get", [Public; 5]),
];

/// The fields of `Subscription`, requested over server-sent events: the first answer.
const FOLLOWED: [(&str, &str, [Sees; 5]); 2] = [
    (
        "assetEvents",
        "subscription { assetEvents(workspaceId: \"$workspace\", after: \"$beginning\") { workspaceId } }",
        [Nothing, Nothing, Visible, Visible, Visible],
    ),
    (
        "uploadProgress",
        "subscription { uploadProgress(id: \"$upload\") { id } }",
        [Nothing, Nothing, Visible, Visible, Visible],
    ),
];

/// Objects of one workspace by the names that the rows use.
struct Objects(Vec<(&'static str, String)>);

impl Objects {
    async fn make(server: &Server) -> Objects {
        let photo = server.file("photo.jpg", photo(1)).await;
        let text = server.file("a.txt", b"text".to_vec()).await;
        let input = json!({ "image": { "provision": false } });
        let plain = server.upload_as(ADMIN, input, "plain.png", "", png(7)).await;
        let create = "mutation($w: ID!) { createDirectUpload(input: { workspaceId: $w, filename: \"a.png\", mimeType: \"image/png\" }) { directUpload { id uploadUrl } } }";
        let upload = server.query(create, json!({ "w": server.workspace })).await;
        let sent = server.query(create, json!({ "w": server.workspace })).await;
        let sent = &sent["createDirectUpload"]["directUpload"];
        let form = reqwest::multipart::Form::new()
            .part("file", reqwest::multipart::Part::bytes(png(8)).file_name("a.png"));
        server.http.post(sent["uploadUrl"].as_str().unwrap()).multipart(form).send().await.unwrap();
        let text_of = |value: &Value| value.as_str().unwrap().to_owned();
        let trashed = text_of(&server.file("b.txt", b"more".to_vec()).await["id"]);
        let trash = "mutation($id: ID!) { deleteFile(input: { id: $id }) { success } }";
        server.query(trash, json!({ "id": trashed })).await;
        let user_token = server.token("user@example.org", None).await;
        let user = server.query_as(&user_token, "{ viewer { user { id } } }", json!({})).await;
        let user = text_of(&user["viewer"]["user"]["id"]);
        let join = "mutation($w: ID!, $u: ID!) { setWorkspaceMember(input: { workspaceId: $w, userId: $u, role: VIEWER }) { member { id } } }";
        let member = server.query(join, json!({ "w": server.workspace, "u": user })).await;
        let limited = "mutation($w: ID!) { createApiToken(input: { name: \"a\", workspaceId: $w, scopes: [FILES_READ] }) { apiToken { id } } }";
        let token = server.query(limited, json!({ "w": server.workspace })).await;
        Objects(vec![
            ("$trashed", trashed),
            ("$user", user),
            ("$member", text_of(&member["setWorkspaceMember"]["member"]["id"])),
            ("$token", text_of(&token["createApiToken"]["apiToken"]["id"])),
            ("$workspace", server.workspace.clone()),
            ("$beginning", crate::live::beginning(server)),
            ("$file", text_of(&photo["id"])),
            ("$image", text_of(&photo["image"]["id"])),
            ("$text", text_of(&text["id"])),
            ("$plain", text_of(&plain["file"]["id"])),
            ("$upload", text_of(&upload["createDirectUpload"]["directUpload"]["id"])),
            ("$sent", text_of(&sent["id"])),
        ])
    }

    fn fill(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, id)| text.replace(name, id))
    }

    fn mentioned_in(&self, text: &str) -> bool {
        self.0.iter().any(|(_, id)| text.contains(id.as_str()))
    }
}

/// Tokens of a user without a workspace, a member of another workspace, a viewer, an editor and an admin.
async fn tokens_by_role(server: &Server) -> [String; 5] {
    let elsewhere = server.other_workspace("elsewhere").await;
    [
        server.token("stranger@example.org", None).await,
        server.token("neighbour@example.org", Some((&elsewhere, Role::Owner))).await,
        server.token("viewer@example.org", Some((&server.workspace, Role::Viewer))).await,
        server.token("editor@example.org", Some((&server.workspace, Role::Editor))).await,
        ADMIN.to_owned(),
    ]
}

both! {
    /// Requests each row with the least privileged role first, because the roles at the end change the objects.
    async fn root_fields(database: Database) {
        for &(field, query, expected) in ROWS {
            // The editor and the admin both succeed, so each of them gets objects of its own.
            let mut seen = Vec::new();
            for last in [4, 5] {
                // With a rate limit that is never reached, so that `rateLimit` is not null.
                let server = Server::start_with(database, |config| config.rate_limit = Some(1_000_000)).await;
                let objects = Objects::make(&server).await;
                let people = tokens_by_role(&server).await;
                let asking = if last == 4 { 0..4 } else { 4..5 };
                for token in &people[asking] {
                    let answer = if query == "uploadFile" {
                        json!({ "data": { "uploadFile": server.upload_as(token, json!({}), "a.png", "", png(9)).await } })
                    } else {
                        server.ask(token, &objects.fill(query), json!({})).await
                    };
                    assert!(answer.get("errors").is_none(), "{field}: {answer:#}");
                    seen.push(sees(&answer, &objects, field));
                }
                server.end().await;
            }
            assert_eq!(seen, expected, "{field}: {query}");
        }
    }

    /// Requests each row of the table of subscriptions.
    async fn subscriptions(database: Database) {
        let server = Server::start(database).await;
        let objects = Objects::make(&server).await;
        let people = tokens_by_role(&server).await;
        for (field, query, expected) in FOLLOWED {
            let mut seen = Vec::new();
            for token in &people {
                let answer = crate::live::first(&server, token, &objects.fill(query)).await;
                seen.push(match answer["errors"][0]["extensions"]["code"].as_str() {
                    Some("NOT_FOUND") => Nothing,
                    Some(other) => panic!("{field}: {other}"),
                    None if objects.mentioned_in(&answer["data"][field].to_string()) => Visible,
                    None => panic!("{field}: {answer}"),
                });
            }
            assert_eq!(seen, expected, "{field}: {query}");
        }
    }

    /// Requests each row of the table of REST routes.
    async fn rest_routes(database: Database) {
        for (route, method, expected) in ROUTES {
            let mut seen = Vec::new();
            for last in [4, 5] {
                let server = Server::start(database).await;
                let objects = Objects::make(&server).await;
                let people = tokens_by_role(&server).await;
                let path = objects.fill(&route.replace("{id}", "$image").replace("{file_id}", "$file"));
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                let asking = if last == 4 { 0..4 } else { 4..5 };
                for token in &people[asking] {
                    let request = server.http.request(method.clone(), format!("{}{path}", server.url)).bearer_auth(token);
                    let response = request.send().await.unwrap();
                    let status = response.status().as_u16();
                    let text = response.text().await.unwrap();
                    seen.push(match status {
                        403 => Forbidden,
                        404 => Nothing,
                        200 if objects.mentioned_in(&text) || text.contains("\"success\":true") => Visible,
                        200 if text.contains("\"total\":0") => Nothing,
                        200 => Public,
                        other => panic!("{route}: {other} {text}"),
                    });
                }
            }
            assert_eq!(seen, expected, "{method} {route}");
        }
    }

    /// Without a token, or with a wrong, expired or revoked one, nothing is answered.
    async fn requests_without_a_valid_token_are_refused(database: Database) {
        use imagegraph::entity::api_token;
        use sea_orm::{ActiveModelTrait, ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter};
        let server = Server::start(database).await;
        let db = &server.running.app.db.write;
        let change = async |secret: &str, change: fn(&mut api_token::ActiveModel, chrono::DateTime<chrono::Utc>)| {
            let hash = imagegraph::entity::api_token::hash(secret);
            let row = api_token::Entity::find().filter(api_token::Column::SecretHash.eq(hash)).one(db).await.unwrap().unwrap();
            let mut row: api_token::ActiveModel = row.into();
            change(&mut row, server.clock.now());
            row.update(db).await.unwrap();
        };
        let (expired, revoked) = (server.token("a@example.org", None).await, server.token("b@example.org", None).await);
        change(&expired, |row, now| row.expires_at = Set(Some(now))).await;
        change(&revoked, |row, now| row.revoked_at = Set(Some(now))).await;
        let headers = [None, Some(String::new()), Some("Basic abc".to_owned()), Some("Bearer".to_owned()), Some("Bearer wrong".to_owned()),
            Some(format!("Bearer {expired}")), Some(format!("Bearer {revoked}"))];
        let paths = ROUTES.iter().map(|(route, method, _)| (*method, route.replace("{id}", "img_00000000000000000000000000").replace("{file_id}", "fil_00000000000000000000000000")));
        let paths: Vec<_> = paths.chain([("post", "/graphql".to_owned()), ("get", "/graphql?query={server{version}}".to_owned()), ("get", "/metrics".to_owned()), ("get", "/api/nothing".to_owned())]).collect();
        for header in headers {
            for (method, path) in &paths {
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                let mut request = server.http.request(method.clone(), format!("{}{path}", server.url));
                if method == Method::POST {
                    request = request.json(&json!({ "query": "{ server { version } }" }));
                }
                if let Some(header) = &header {
                    request = request.header("authorization", header);
                }
                let response = request.send().await.unwrap();
                assert_eq!(response.status(), 401, "{header:?} {path}");
                assert_eq!(response.headers()["www-authenticate"], "Bearer", "{path}");
                assert!(response.text().await.unwrap().contains("\"UNAUTHENTICATED\""), "{path}");
            }
        }
        for path in ["/healthz", "/readyz", "/"] {
            assert_eq!(server.http.get(format!("{}{path}", server.url)).send().await.unwrap().status(), 200, "{path}");
        }
    }

    /// A token is limited to its scopes, whatever its user may do.
    async fn scopes_limit_a_token(database: Database) {
        let server = Server::start(database).await;
        let objects = Objects::make(&server).await;
        let owner = Some((server.workspace.as_str(), Role::Owner));
        let reads = |scope: &'static str| [("{ files { totalCount } }", scope == "files"), ("{ images { totalCount } }", scope == "images")];
        for (scope, allowed) in [(Scope::FilesRead, "files"), (Scope::ImagesRead, "images"), (Scope::UploadsCreate, "none")] {
            let token = server.token_with("owner@example.org", owner, vec![scope], None).await;
            for (query, may) in reads(allowed) {
                let answer = server.ask(&token, query, json!({})).await;
                if may {
                    assert!(answer.get("errors").is_none(), "{scope:?} {query}");
                } else {
                    assert_eq!(answer["errors"][0]["extensions"]["code"], "FORBIDDEN", "{scope:?} {query}");
                }
            }
            let delete = objects.fill("mutation { deleteFile(input: { id: \"$text\" }) { userErrors { code } } }");
            let refused = server.query_as(&token, &delete, json!({})).await;
            assert_eq!(refused["deleteFile"]["userErrors"][0]["code"], "FORBIDDEN");
            let create = objects.fill("mutation { createDirectUpload(input: { workspaceId: \"$workspace\", filename: \"a.png\", mimeType: \"image/png\" }) { directUpload { uploadUrl } userErrors { code } } }");
            let created = server.query_as(&token, &create, json!({})).await["createDirectUpload"].clone();
            assert_eq!(created["userErrors"] == json!([]), scope == Scope::UploadsCreate, "{scope:?}");
        }
        // With a scope to write and none to read, the change is made and reported, and the object is null.
        let token = server.token_with("owner@example.org", owner, vec![Scope::FilesWrite, Scope::ImagesWrite], None).await;
        let payload = server.upload_as(&token, json!({}), "a.txt", "", b"text".to_vec()).await;
        assert_eq!((&payload["userErrors"], &payload["file"]["status"]), (&json!([]), &json!("READY")));
        let delete = objects.fill("mutation { deleteImage(input: { id: \"$image\" }) { success file { id } userErrors { code } } }");
        let deleted = server.query_as(&token, &delete, json!({})).await;
        assert_eq!(deleted["deleteImage"], json!({ "success": true, "file": null, "userErrors": [] }));
        let edit = objects.fill("mutation { updateFile(input: { id: \"$file\" }) { file { id } userErrors { code } } }");
        let edited = server.query_as(&token, &edit, json!({})).await;
        assert_eq!(edited["updateFile"], json!({ "file": null, "userErrors": [] }));
        let photo = server.file("other.png", png(77)).await["image"].clone();
        let change = "mutation($id: ID!) { updateImage(input: { id: $id }) { image { url } userErrors { code } } }";
        let changed = server.query_as(&token, change, json!({ "id": photo["id"] })).await;
        assert_eq!(changed["updateImage"], json!({ "image": null, "userErrors": [] }));
        // A hash does not reveal to an upload-only token whether its content is stored.
        let known = server.file("known.png", png(78)).await;
        let token = server.token_with("owner@example.org", owner, vec![Scope::UploadsCreate], None).await;
        let create = "mutation($w: ID!, $h: String!, $d: DuplicatePolicy!) { createDirectUpload(input: { workspaceId: $w, filename: \"a.png\", mimeType: \"image/png\", transport: PUT, sha256: $h, onDuplicate: $d }) { directUpload { uploadUrl } deduplicated userErrors { code } } }";
        for policy in ["REUSE", "REJECT"] {
            let made = server.query_as(&token, create, json!({ "w": server.workspace, "h": known["sha256"], "d": policy })).await;
            assert!(made["createDirectUpload"]["directUpload"]["uploadUrl"].is_string(), "{made:#}");
        }
        // An upload URL is a permission to write, so a token that may only read does not get it.
        let viewer = server.token("viewer@example.org", Some((&server.workspace, Role::Viewer))).await;
        let seen = server.query_as(&viewer, &objects.fill("{ directUpload(id: \"$upload\") { id uploadUrl } }"), json!({})).await;
        assert_eq!(seen["directUpload"]["uploadUrl"], Value::Null);
    }

    /// A token limited to a workspace sees that workspace only, even an admin's. An admin's token without the admin
    /// scope has the rights of a member.
    async fn a_token_may_be_limited_to_a_workspace(database: Database) {
        let server = Server::start(database).await;
        let other = server.other_workspace("other").await;
        server.file("a.txt", b"text".to_vec()).await;
        for (email, workspace) in [("owner@example.org", &server.workspace), ("owner@example.org", &other)] {
            server.token(email, Some((workspace, Role::Owner))).await;
        }
        let query = "{ workspaces { nodes { id } } files { totalCount } }";
        for (email, scopes, only, workspaces, files) in [
            ("owner@example.org", Scope::ALL.to_vec(), None, 2, 1),
            ("owner@example.org", Scope::ALL.to_vec(), Some(other.as_str()), 1, 0),
            ("owner@example.org", Scope::ALL.to_vec(), Some(server.workspace.as_str()), 1, 1),
            ("admin@localhost", Scope::ALL.to_vec(), None, 2, 1),
            ("admin@localhost", Scope::ALL.to_vec(), Some(other.as_str()), 1, 0),
            ("admin@localhost", vec![Scope::FilesRead], None, 1, 1),
        ] {
            let token = server.token_with(email, None, scopes, only).await;
            let seen = server.query_as(&token, query, json!({})).await;
            assert_eq!(seen["workspaces"]["nodes"].as_array().unwrap().len(), workspaces, "{email} {only:?}");
            assert_eq!(seen["files"]["totalCount"], files, "{email} {only:?}");
            // The Cloudflare account belongs to the whole server, so a token limited to a workspace does not see it.
            let account = server.query_as(&token, "{ cloudflareAccount { accountId } }", json!({})).await;
            assert_eq!(account["cloudflareAccount"].is_object(), email == "admin@localhost" && workspaces == 2, "{email} {only:?}");
        }
    }
}

fn sees(answer: &Value, objects: &Objects, field: &str) -> Sees {
    let payload = &answer["data"][field];
    let refused = payload["results"][0].get("userErrors").or(payload.get("userErrors"));
    if let Some(errors) = refused.and_then(Value::as_array) {
        return match errors.first().map(|error| error["code"].as_str().unwrap()) {
            None => Visible,
            Some("NOT_FOUND") => Nothing,
            Some("FORBIDDEN") => Forbidden,
            Some(other) => panic!("{field}: {other}"),
        };
    }
    let nothing = payload.is_null() || payload["nodes"] == json!([]) || *payload == json!([null]);
    match (objects.mentioned_in(&payload.to_string()), nothing) {
        (true, _) => Visible,
        (false, true) => Nothing,
        // A list of other objects: those of the user's own workspace.
        (false, false) if payload["nodes"].is_array() => Nothing,
        (false, false) => Public,
    }
}

/// Every root field and every REST route has a row in the tables.
#[test]
fn every_operation_has_a_row() {
    let sdl = imagegraph::graphql::sdl();
    let document = async_graphql::parser::parse_schema(&sdl).unwrap();
    let mut fields = BTreeSet::new();
    for definition in document.definitions {
        let async_graphql::parser::types::TypeSystemDefinition::Type(definition) = definition else {
            continue;
        };
        if !["Query", "Mutation", "Subscription"].contains(&definition.node.name.node.as_str()) {
            continue;
        }
        if let async_graphql::parser::types::TypeKind::Object(object) = definition.node.kind {
            fields.extend(object.fields.iter().map(|field| field.node.name.node.to_string()));
        }
    }
    let rows: BTreeSet<String> =
        ROWS.iter().chain(&FOLLOWED).map(|(field, ..)| (*field).to_owned()).collect();
    assert_eq!(rows, fields, "each root field has its row in the access table, and no other");
    let api: Value =
        serde_json::from_str(&<imagegraph::rest::ApiDoc as utoipa::OpenApi>::openapi().to_json().unwrap())
            .unwrap();
    let mut routes: BTreeSet<(String, String)> =
        BTreeSet::from([("/api/openapi.json".to_owned(), "get".to_owned())]);
    for (path, methods) in api["paths"].as_object().unwrap() {
        routes.extend(methods.as_object().unwrap().keys().map(|method| (path.clone(), method.clone())));
    }
    let rows: BTreeSet<_> =
        ROUTES.iter().map(|(path, method, _)| ((*path).to_owned(), (*method).to_owned())).collect();
    assert_eq!(rows, routes, "each REST route has its row in the access table, and no other");
}
