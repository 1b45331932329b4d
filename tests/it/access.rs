//! Who may do what: every root field and every REST route, asked by everybody. An operation without a row here fails the
//! suite.

use std::collections::BTreeSet;

use imagegraph::entity::api_token::Scope;
use imagegraph::entity::membership::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server};
use crate::pictures::{photo, png};

/// What somebody gets to see of an operation on another's things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sees {
    /// The thing itself, or the deed done.
    It,
    /// Nothing: null, an empty list, `NOT_FOUND`.
    Nothing,
    /// That it is there and not theirs to change: `FORBIDDEN`.
    Forbidden,
    /// What everybody with a token sees.
    Common,
}
use Sees::{Common, Forbidden, It, Nothing};

/// Root field, how to ask for it, and what stranger, member of another workspace, viewer, editor and admin see.
/// `$…` names stand for ids of one workspace's things.
const ROWS: &[(&str, &str, [Sees; 5])] = &[
    ("node", "{ node(id: \"$file\") { id } }", [Nothing, Nothing, It, It, It]),
    ("nodes", "{ nodes(ids: [\"$image\"]) { id } }", [Nothing, Nothing, It, It, It]),
    ("viewer", "{ viewer { user { id } } }", [Common; 5]),
    ("workspace", "{ workspace(id: \"$workspace\") { id } }", [Nothing, Nothing, It, It, It]),
    ("workspaces", "{ workspaces { nodes { id } } }", [Nothing, Nothing, It, It, It]),
    ("file", "{ file(id: \"$file\") { id } }", [Nothing, Nothing, It, It, It]),
    ("files", "{ files { nodes { id } } }", [Nothing, Nothing, It, It, It]),
    ("files", "{ files(workspaceId: \"$workspace\") { nodes { id } } }", [Nothing, Nothing, It, It, It]),
    ("image", "{ image(id: \"$image\") { id } }", [Nothing, Nothing, It, It, It]),
    ("imageByFile", "{ imageByFile(fileId: \"$file\") { id } }", [Nothing, Nothing, It, It, It]),
    ("images", "{ images { nodes { id } } }", [Nothing, Nothing, It, It, It]),
    ("images", "{ images(workspaceId: \"$workspace\") { nodes { id } } }", [Nothing, Nothing, It, It, It]),
    ("variants", "{ variants { name } }", [Common; 5]),
    ("directUpload", "{ directUpload(id: \"$upload\") { id } }", [Nothing, Nothing, It, It, It]),
    ("server", "{ server { version } }", [Common; 5]),
    ("rateLimit", "{ rateLimit { remaining } }", [Common; 5]),
    (
        "cloudflareAccount",
        "{ cloudflareAccount { accountId } }",
        [Nothing, Nothing, Nothing, Nothing, Common],
    ),
    (
        "createVariant",
        "mutation { createVariant(input: { name: \"a\", width: 1, height: 1 }) { userErrors { code } } }",
        [Forbidden, Forbidden, Forbidden, Forbidden, It],
    ),
    (
        "updateVariant",
        "mutation { updateVariant(input: { name: \"public\", width: 1 }) { userErrors { code } } }",
        [Forbidden, Forbidden, Forbidden, Forbidden, It],
    ),
    (
        "deleteVariant",
        "mutation { deleteVariant(input: { name: \"nope\" }) { userErrors { code } } }",
        [Forbidden, Forbidden, Forbidden, Forbidden, Nothing],
    ),
    (
        "createSigningKey",
        "mutation { createSigningKey(input: { name: \"a\" }) { userErrors { code } } }",
        [Forbidden, Forbidden, Forbidden, Forbidden, It],
    ),
    (
        "deleteSigningKey",
        "mutation { deleteSigningKey(input: { name: \"nope\" }) { userErrors { code } } }",
        [Forbidden, Forbidden, Forbidden, Forbidden, Nothing],
    ),
    (
        "updateCloudflareAccount",
        "mutation { updateCloudflareAccount(input: { flexibleVariants: true }) { userErrors { code } } }",
        [Forbidden, Forbidden, Forbidden, Forbidden, It],
    ),
    ("uploadFile", "uploadFile", [Nothing, Nothing, Forbidden, It, It]),
    (
        "createDirectUpload",
        "mutation { createDirectUpload(input: { workspaceId: \"$workspace\", filename: \"a.png\", mimeType: \"image/png\" }) { file { id } userErrors { code } } }",
        [Nothing, Nothing, Forbidden, It, It],
    ),
    (
        "createDirectUploads",
        "mutation { createDirectUploads(input: { uploads: [{ workspaceId: \"$workspace\", filename: \"a.png\", mimeType: \"image/png\" }] }) { results { file { id } userErrors { code } } userErrors { code } } }",
        [Nothing, Nothing, Forbidden, It, It],
    ),
    (
        "importFile",
        "mutation { importFile(input: { workspaceId: \"$workspace\", url: \"http://files.example/a.png\" }) { file { id } userErrors { code } } }",
        [Nothing, Nothing, Forbidden, It, It],
    ),
    (
        "completeDirectUpload",
        "mutation { completeDirectUpload(input: { id: \"$sent\" }) { file { id } userErrors { code } } }",
        [Nothing, Nothing, Forbidden, It, It],
    ),
    (
        "cancelDirectUpload",
        "mutation { cancelDirectUpload(input: { id: \"$upload\" }) { directUpload { id } userErrors { code } } }",
        [Nothing, Nothing, Forbidden, It, It],
    ),
    (
        "updateFile",
        "mutation { updateFile(input: { id: \"$file\", filename: \"b.jpg\" }) { file { id } userErrors { code } } }",
        [Nothing, Nothing, Forbidden, It, It],
    ),
    (
        "provisionImage",
        "mutation { provisionImage(input: { fileId: \"$plain\" }) { file { id } userErrors { code } } }",
        [Nothing, Nothing, Forbidden, It, It],
    ),
    (
        "deleteImage",
        "mutation { deleteImage(input: { id: \"$image\" }) { deletedImageId userErrors { code } } }",
        [Nothing, Nothing, Forbidden, It, It],
    ),
    (
        "deleteFile",
        "mutation { deleteFile(input: { id: \"$text\" }) { deletedFileId userErrors { code } } }",
        [Nothing, Nothing, Forbidden, It, It],
    ),
    (
        "restoreFile",
        "mutation { restoreFile(input: { id: \"$trashed\" }) { file { id } userErrors { code } } }",
        [Nothing, Nothing, Forbidden, It, It],
    ),
    (
        "updateImage",
        "mutation { updateImage(input: { id: \"$image\", alt: \"a\" }) { image { id } userErrors { code } } }",
        [Nothing, Nothing, Forbidden, It, It],
    ),
    (
        "createWorkspace",
        "mutation { createWorkspace(input: { name: \"a\" }) { userErrors { code } } }",
        [It; 5],
    ),
    (
        "updateWorkspace",
        "mutation { updateWorkspace(input: { id: \"$workspace\", name: \"b\" }) { workspace { id } userErrors { code } } }",
        [Nothing, Nothing, Forbidden, Forbidden, It],
    ),
    (
        "setWorkspaceMember",
        "mutation { setWorkspaceMember(input: { workspaceId: \"$workspace\", userId: \"$user\", role: EDITOR }) { member { id } userErrors { code } } }",
        [Nothing, Nothing, Forbidden, Forbidden, It],
    ),
    (
        "removeWorkspaceMember",
        "mutation { removeWorkspaceMember(input: { workspaceId: \"$workspace\", userId: \"$user\" }) { deletedMemberId userErrors { code } } }",
        [Nothing, Nothing, Forbidden, Forbidden, It],
    ),
    (
        "createApiToken",
        "mutation { createApiToken(input: { name: \"a\", workspaceId: \"$workspace\", scopes: [FILES_READ] }) { secret userErrors { code } } }",
        [Nothing, Nothing, It, It, It],
    ),
    (
        "revokeApiToken",
        "mutation { revokeApiToken(input: { id: \"$token\" }) { apiToken { id } userErrors { code } } }",
        [Nothing, Nothing, Nothing, Nothing, It],
    ),
    ("node", "{ node(id: \"$member\") { id } }", [Nothing, Nothing, It, It, It]),
    ("node", "{ node(id: \"$token\") { id } }", [Nothing, Nothing, Nothing, Nothing, It]),
];

/// REST route, method, and what the same people see.
const ROUTES: [(&str, &str, [Sees; 5]); 5] = [
    ("/api/images", "get", [Nothing, Nothing, It, It, It]),
    ("/api/images/{id}", "get", [Nothing, Nothing, It, It, It]),
    ("/api/images/by-file/{file_id}", "get", [Nothing, Nothing, It, It, It]),
    ("/api/images/{id}", "delete", [Nothing, Nothing, Forbidden, It, It]),
    ("/api/openapi.json", "get", [Common; 5]),
];

/// The same for the fields of `Subscription`, asked over server-sent events: what comes first.
const FOLLOWED: [(&str, &str, [Sees; 5]); 2] = [
    (
        "assetEvents",
        "subscription { assetEvents(workspaceId: \"$workspace\", after: \"$beginning\") { workspaceId } }",
        [Nothing, Nothing, It, It, It],
    ),
    (
        "uploadProgress",
        "subscription { uploadProgress(id: \"$upload\") { id } }",
        [Nothing, Nothing, It, It, It],
    ),
];

/// Things of one workspace, by the names the rows use.
struct Things(Vec<(&'static str, String)>);

impl Things {
    async fn make(server: &Server) -> Things {
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
        let somebody = server.token("somebody@example.org", None).await;
        let user = server.query_as(&somebody, "{ viewer { user { id } } }", json!({})).await;
        let user = text_of(&user["viewer"]["user"]["id"]);
        let join = "mutation($w: ID!, $u: ID!) { setWorkspaceMember(input: { workspaceId: $w, userId: $u, role: VIEWER }) { member { id } } }";
        let member = server.query(join, json!({ "w": server.workspace, "u": user })).await;
        let limited = "mutation($w: ID!) { createApiToken(input: { name: \"a\", workspaceId: $w, scopes: [FILES_READ] }) { apiToken { id } } }";
        let token = server.query(limited, json!({ "w": server.workspace })).await;
        Things(vec![
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

/// Stranger, member of another workspace, viewer, editor, admin.
async fn everybody(server: &Server) -> [String; 5] {
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
    /// The table of root fields, row by row. Each row asks in the order of rising rights, so that a deed is done last.
    async fn root_fields(database: Database) {
        for &(field, query, expected) in ROWS {
            // The editor and the admin both do the deed, so each gets things of their own.
            let mut seen = Vec::new();
            for last in [4, 5] {
                // With a limit that nobody reaches, so that there is one to tell of.
                let server = Server::start_with(database, |config| config.rate_limit = Some(1_000_000)).await;
                let things = Things::make(&server).await;
                let people = everybody(&server).await;
                let asking = if last == 4 { 0..4 } else { 4..5 };
                for token in &people[asking] {
                    let answer = if query == "uploadFile" {
                        json!({ "data": { "uploadFile": server.upload_as(token, json!({}), "a.png", "", png(9)).await } })
                    } else {
                        server.ask(token, &things.fill(query), json!({})).await
                    };
                    assert!(answer.get("errors").is_none(), "{field}: {answer:#}");
                    seen.push(sees(&answer, &things, field));
                }
                server.end().await;
            }
            assert_eq!(seen, expected, "{field}: {query}");
        }
    }

    /// The table of subscriptions.
    async fn subscriptions(database: Database) {
        let server = Server::start(database).await;
        let things = Things::make(&server).await;
        let people = everybody(&server).await;
        for (field, query, expected) in FOLLOWED {
            let mut seen = Vec::new();
            for token in &people {
                let answer = crate::live::first(&server, token, &things.fill(query)).await;
                seen.push(match answer["errors"][0]["extensions"]["code"].as_str() {
                    Some("NOT_FOUND") => Nothing,
                    Some(other) => panic!("{field}: {other}"),
                    None if things.mentioned_in(&answer["data"][field].to_string()) => It,
                    None => panic!("{field}: {answer}"),
                });
            }
            assert_eq!(seen, expected, "{field}: {query}");
        }
    }

    /// The table of REST routes.
    async fn rest_routes(database: Database) {
        for (route, method, expected) in ROUTES {
            let mut seen = Vec::new();
            for last in [4, 5] {
                let server = Server::start(database).await;
                let things = Things::make(&server).await;
                let people = everybody(&server).await;
                let path = things.fill(&route.replace("{id}", "$image").replace("{file_id}", "$file"));
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
                        200 if things.mentioned_in(&text) || text.contains("\"success\":true") => It,
                        200 if text.contains("\"total\":0") => Nothing,
                        200 => Common,
                        other => panic!("{route}: {other} {text}"),
                    });
                }
            }
            assert_eq!(seen, expected, "{method} {route}");
        }
    }

    /// Without a token, or with one that is wrong, expired or revoked, nothing is answered.
    async fn nobody_gets_anything(database: Database) {
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

    /// A token does what its scopes say, whatever its user may.
    async fn scopes_limit_a_token(database: Database) {
        let server = Server::start(database).await;
        let things = Things::make(&server).await;
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
            let delete = things.fill("mutation { deleteFile(input: { id: \"$text\" }) { userErrors { code } } }");
            let refused = server.query_as(&token, &delete, json!({})).await;
            assert_eq!(refused["deleteFile"]["userErrors"][0]["code"], "FORBIDDEN");
            let create = things.fill("mutation { createDirectUpload(input: { workspaceId: \"$workspace\", filename: \"a.png\", mimeType: \"image/png\" }) { directUpload { uploadUrl } userErrors { code } } }");
            let created = server.query_as(&token, &create, json!({})).await["createDirectUpload"].clone();
            assert_eq!(created["userErrors"] == json!([]), scope == Scope::UploadsCreate, "{scope:?}");
        }
        // Writing without reading: the deed is done and said to be.
        let token = server.token_with("owner@example.org", owner, vec![Scope::FilesWrite, Scope::ImagesWrite], None).await;
        let payload = server.upload_as(&token, json!({}), "a.txt", "", b"text".to_vec()).await;
        assert_eq!((&payload["userErrors"], &payload["file"]["status"]), (&json!([]), &json!("READY")));
        let delete = things.fill("mutation { deleteImage(input: { id: \"$image\" }) { success file { id } userErrors { code } } }");
        let deleted = server.query_as(&token, &delete, json!({})).await;
        assert_eq!(deleted["deleteImage"], json!({ "success": true, "file": null, "userErrors": [] }));
        let edit = things.fill("mutation { updateFile(input: { id: \"$file\" }) { file { id } userErrors { code } } }");
        let edited = server.query_as(&token, &edit, json!({})).await;
        assert_eq!(edited["updateFile"], json!({ "file": null, "userErrors": [] }));
        let photo = server.file("other.png", png(77)).await["image"].clone();
        let change = "mutation($id: ID!) { updateImage(input: { id: $id }) { image { url } userErrors { code } } }";
        let changed = server.query_as(&token, change, json!({ "id": photo["id"] })).await;
        assert_eq!(changed["updateImage"], json!({ "image": null, "userErrors": [] }));
        // A hash alone tells an uploader nothing of what is there.
        let known = server.file("known.png", png(78)).await;
        let token = server.token_with("owner@example.org", owner, vec![Scope::UploadsCreate], None).await;
        let create = "mutation($w: ID!, $h: String!, $d: DuplicatePolicy!) { createDirectUpload(input: { workspaceId: $w, filename: \"a.png\", mimeType: \"image/png\", transport: PUT, sha256: $h, onDuplicate: $d }) { directUpload { uploadUrl } deduplicated userErrors { code } } }";
        for policy in ["REUSE", "REJECT"] {
            let made = server.query_as(&token, create, json!({ "w": server.workspace, "h": known["sha256"], "d": policy })).await;
            assert!(made["createDirectUpload"]["directUpload"]["uploadUrl"].is_string(), "{made:#}");
        }
        // The upload URL is a right to write, and not for those who may only read.
        let viewer = server.token("viewer@example.org", Some((&server.workspace, Role::Viewer))).await;
        let seen = server.query_as(&viewer, &things.fill("{ directUpload(id: \"$upload\") { id uploadUrl } }"), json!({})).await;
        assert_eq!(seen["directUpload"]["uploadUrl"], Value::Null);
    }

    /// A token limited to a workspace sees that one only, an admin's too; an admin's token without its scope is a member's.
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
            // The account is the whole server's, and not for a token that is limited to a part of it.
            let account = server.query_as(&token, "{ cloudflareAccount { accountId } }", json!({})).await;
            assert_eq!(account["cloudflareAccount"].is_object(), email == "admin@localhost" && workspaces == 2, "{email} {only:?}");
        }
    }
}

fn sees(answer: &Value, things: &Things, field: &str) -> Sees {
    let payload = &answer["data"][field];
    let refused = payload["results"][0].get("userErrors").or(payload.get("userErrors"));
    if let Some(errors) = refused.and_then(Value::as_array) {
        return match errors.first().map(|error| error["code"].as_str().unwrap()) {
            None => It,
            Some("NOT_FOUND") => Nothing,
            Some("FORBIDDEN") => Forbidden,
            Some(other) => panic!("{field}: {other}"),
        };
    }
    let nothing = payload.is_null() || payload["nodes"] == json!([]) || *payload == json!([null]);
    match (things.mentioned_in(&payload.to_string()), nothing) {
        (true, _) => It,
        (false, true) => Nothing,
        // A list of other things: those of one's own workspace.
        (false, false) if payload["nodes"].is_array() => Nothing,
        (false, false) => Common,
    }
}

/// Every root field and every REST route has a row above.
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
