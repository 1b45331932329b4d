//! Workspaces, members and API tokens.

use std::time::Duration;

use imagegraph::entity::api_token::Scope;
use imagegraph::entity::membership::Role;
use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server, eventually};
use crate::pictures::png;

const SET: &str = "mutation($w: ID!, $u: ID!, $r: WorkspaceRole!) { setWorkspaceMember(input: { workspaceId: $w, userId: $u, role: $r }) {
    member { id role user { id } } userErrors { code field } } }";
const REMOVE: &str = "mutation($w: ID!, $u: ID!) { removeWorkspaceMember(input: { workspaceId: $w, userId: $u }) { deletedMemberId userErrors { code field } } }";
const CREATE: &str = "mutation($input: CreateApiTokenInput!) { createApiToken(input: $input) {
    apiToken { id name hint scopes workspaceId expiresAt lastUsedAt revokedAt } secret userErrors { code field } } }";

async fn user_of(server: &Server, token: &str) -> String {
    let viewer = server.query_as(token, "{ viewer { user { id } } }", json!({})).await;
    viewer["viewer"]["user"]["id"].as_str().unwrap().to_owned()
}

both! {
    /// The creator of a workspace owns it, and sets its policy; refusals name the field.
    async fn workspaces_are_created_and_changed(database: Database) {
        let server = Server::start(database).await;
        let token = server.token("anna@example.org", None).await;
        let create = "mutation($input: CreateWorkspaceInput!) { createWorkspace(input: $input) { workspace { id name viewerRole policy {
            allowedMimeTypes maxFileSize privateByDefault exifPolicy onDuplicate trashRetentionDays } } userErrors { code field } } }";
        let made = server.query_as(&token, create, json!({ "input": { "name": " Anna's ", "policy": { "privateByDefault": true } } })).await;
        let workspace = &made["createWorkspace"]["workspace"];
        assert_eq!((&workspace["name"], &workspace["viewerRole"]), (&json!("Anna's"), &json!("OWNER")));
        assert_eq!(workspace["policy"], json!({ "allowedMimeTypes": [], "maxFileSize": 104_857_600, "privateByDefault": true,
            "exifPolicy": "STRIP_LOCATION", "onDuplicate": "CREATE", "trashRetentionDays": 30 }));
        let uploaded = server.upload_as(&token, json!({ "workspaceId": workspace["id"] }), "a.png", "", png(1)).await;
        assert_eq!(uploaded["file"]["image"]["requireSignedUrls"], true);
        let update = "mutation($input: UpdateWorkspaceInput!) { updateWorkspace(input: $input) { workspace { name policy { allowedMimeTypes maxFileSize privateByDefault } } userErrors { code field } } }";
        let change = async |mut input: Value| {
            input["id"] = workspace["id"].clone();
            server.query_as(&token, update, json!({ "input": input })).await["updateWorkspace"].clone()
        };
        let changed = change(json!({ "policy": { "allowedMimeTypes": ["Image/*", "application/pdf"], "maxFileSize": 1000 } })).await;
        assert_eq!(changed["workspace"], json!({ "name": "Anna's", "policy": { "allowedMimeTypes": ["image/*", "application/pdf"], "maxFileSize": 1000, "privateByDefault": true } }));
        for (input, field) in [
            (json!({ "name": "  " }), json!(["input", "name"])),
            (json!({ "name": "x".repeat(101) }), json!(["input", "name"])),
            (json!({ "policy": { "allowedMimeTypes": ["png"] } }), json!(["input", "policy", "allowedMimeTypes"])),
            (json!({ "policy": { "maxFileSize": 0 } }), json!(["input", "policy", "maxFileSize"])),
            (json!({ "policy": { "maxFileSize": 104_857_601 } }), json!(["input", "policy", "maxFileSize"])),
            (json!({ "policy": { "trashRetentionDays": 366 } }), json!(["input", "policy", "trashRetentionDays"])),
            (json!({ "policy": { "trashRetentionDays": -1 } }), json!(["input", "policy", "trashRetentionDays"])),
        ] {
            let refused = change(input.clone()).await;
            assert_eq!(refused["userErrors"][0], json!({ "code": "INVALID_INPUT", "field": field }), "{input}");
        }
        let limited = server.token_with("anna@example.org", None, Scope::ALL.to_vec(), Some(workspace["id"].as_str().unwrap())).await;
        let refused = server.query_as(&limited, create, json!({ "input": { "name": "b" } })).await;
        assert_eq!(refused["createWorkspace"]["userErrors"][0]["code"], "FORBIDDEN");
    }

    /// Roles apply from the next request on, and a workspace always has an owner.
    async fn members_join_change_and_leave(database: Database) {
        let server = Server::start(database).await;
        let (owner, member) = (server.token("owner@example.org", Some((&server.workspace, Role::Owner))).await, server.token("member@example.org", None).await);
        let (owner_id, member_id) = (user_of(&server, &owner).await, user_of(&server, &member).await);
        let set = async |token: &str, user: &str, role: &str| {
            server.query_as(token, SET, json!({ "w": server.workspace, "u": user, "r": role })).await["setWorkspaceMember"].clone()
        };
        let uploads = async || server.upload_as(&member, json!({}), "a.png", "", png(1)).await["userErrors"][0]["code"].clone();
        assert_eq!(uploads().await, "NOT_FOUND");
        let joined = set(&owner, &member_id, "VIEWER").await;
        assert_eq!((&joined["member"]["role"], &joined["member"]["user"]["id"]), (&json!("VIEWER"), &json!(member_id)));
        assert_eq!(uploads().await, "FORBIDDEN");
        assert_eq!(set(&member, &member_id, "OWNER").await["userErrors"][0]["code"], "FORBIDDEN");
        let promoted = set(&owner, &member_id, "EDITOR").await;
        assert_eq!(promoted["member"]["id"], joined["member"]["id"]);
        assert_eq!(uploads().await, Value::Null);
        let unknown = set(&owner, "usr_00000000000000000000000000", "EDITOR").await;
        assert_eq!(unknown["userErrors"][0], json!({ "code": "NOT_FOUND", "field": ["input", "userId"] }));
        let listed = server.query_as(&member, "query($w: ID!) { workspace(id: $w) { members(first: 2) { totalCount pageInfo { hasNextPage } nodes { role user { name } } } } }", json!({ "w": server.workspace })).await;
        assert_eq!(listed["workspace"]["members"]["totalCount"], 3);
        assert_eq!(listed["workspace"]["members"]["pageInfo"]["hasNextPage"], true);
        let node = server.query_as(&member, "query($id: ID!) { node(id: $id) { ... on WorkspaceMember { role } } }", json!({ "id": joined["member"]["id"] })).await;
        assert_eq!(node["node"]["role"], "EDITOR");
        // The first admin and the owner own it; one of the two has to stay.
        let admin_id = user_of(&server, ADMIN).await;
        let removed = server.query_as(&owner, REMOVE, json!({ "w": server.workspace, "u": admin_id })).await;
        assert_eq!(removed["removeWorkspaceMember"]["userErrors"], json!([]));
        assert_eq!(set(&owner, &owner_id, "VIEWER").await["userErrors"][0], json!({ "code": "CONFLICT", "field": ["input", "userId"] }));
        let stays = server.query_as(&owner, REMOVE, json!({ "w": server.workspace, "u": owner_id })).await;
        assert_eq!(stays["removeWorkspaceMember"]["userErrors"][0]["code"], "CONFLICT");
        // Members may leave, and lose access at once.
        let left = server.query_as(&member, REMOVE, json!({ "w": server.workspace, "u": member_id })).await;
        assert_eq!(left["removeWorkspaceMember"]["deletedMemberId"], joined["member"]["id"]);
        assert_eq!(uploads().await, "NOT_FOUND");
        let again = server.query_as(&owner, REMOVE, json!({ "w": server.workspace, "u": member_id })).await;
        assert_eq!(again["removeWorkspaceMember"]["userErrors"][0], json!({ "code": "NOT_FOUND", "field": ["input", "userId"] }));
    }

    /// Of two owners who demote each other concurrently one stays.
    async fn a_workspace_keeps_an_owner(database: Database) {
        let server = Server::start(database).await;
        let other = server.other_workspace("other").await;
        let (a, b) = (server.token("a@example.org", Some((&other, Role::Owner))).await, server.token("b@example.org", Some((&other, Role::Owner))).await);
        let (a_id, b_id) = (user_of(&server, &a).await, user_of(&server, &b).await);
        let demote = async |token: &str, user: &str| server.query_as(token, SET, json!({ "w": other, "u": user, "r": "VIEWER" })).await;
        futures_util::future::join(demote(&a, &b_id), demote(&b, &a_id)).await;
        let members = server.query("query($w: ID!) { workspace(id: $w) { members { nodes { role } } } }", json!({ "w": other })).await;
        assert!(members.to_string().contains("OWNER"), "{members}");
    }

    /// A token has the scopes it was created with, never more than its creator's, and none once revoked.
    async fn tokens_are_created_and_revoked(database: Database) {
        let server = Server::start(database).await;
        let owner = server.token("owner@example.org", Some((&server.workspace, Role::Owner))).await;
        let create = async |token: &str, input: Value| server.query_as(token, CREATE, json!({ "input": input })).await["createApiToken"].clone();
        let made = create(&owner, json!({ "name": " browser ", "workspaceId": server.workspace, "scopes": ["UPLOADS_CREATE"], "expiresAt": "2999-01-01T00:00:00Z" })).await;
        let secret = made["secret"].as_str().unwrap().to_owned();
        assert!(secret.starts_with("imgr_") && secret.starts_with(made["apiToken"]["hint"].as_str().unwrap()));
        assert_eq!((&made["apiToken"]["name"], &made["apiToken"]["lastUsedAt"]), (&json!("browser"), &Value::Null));
        // It creates direct uploads, and nothing else.
        let direct = "mutation($w: ID!) { createDirectUpload(input: { workspaceId: $w, filename: \"a.png\", mimeType: \"image/png\" }) { directUpload { uploadUrl } userErrors { code } } }";
        let created = server.query_as(&secret, direct, json!({ "w": server.workspace })).await;
        assert!(created["createDirectUpload"]["directUpload"]["uploadUrl"].is_string());
        assert_eq!(server.refusal(&secret, "{ files { totalCount } }", json!({})).await, "FORBIDDEN");
        assert_eq!(server.refusal(&secret, "{ viewer { apiTokens { totalCount } } }", json!({})).await, "FORBIDDEN");
        let members = "query($w: ID!) { workspace(id: $w) { members { totalCount } } }";
        assert_eq!(server.refusal(&secret, members, json!({ "w": server.workspace })).await, "FORBIDDEN");
        assert_eq!(create(&secret, json!({ "name": "a", "scopes": ["UPLOADS_CREATE"] })).await["userErrors"][0]["code"], "FORBIDDEN");
        // It is listed for its user and for owners of the workspace, with the time of its last use.
        server.clock.advance(Duration::from_secs(120));
        server.query_as(&secret, direct, json!({ "w": server.workspace })).await;
        let listing = "query($w: ID!) { workspace(id: $w) { apiTokens { totalCount nodes { id lastUsedAt } } } viewer { apiTokens { totalCount } } }";
        eventually("used", || async {
            let listed = server.query_as(&owner, listing, json!({ "w": server.workspace })).await;
            let used = listed["workspace"]["apiTokens"]["nodes"].as_array().unwrap().iter().any(|token| token["id"] == made["apiToken"]["id"] && token["lastUsedAt"].is_string());
            used.then_some(())
        })
        .await;
        let editor = server.token("editor@example.org", Some((&server.workspace, Role::Editor))).await;
        let hidden = server.query_as(&editor, listing, json!({ "w": server.workspace })).await;
        assert_eq!(hidden["workspace"]["apiTokens"], Value::Null);
        // A new token cannot have more scopes than the one in use.
        let narrow = create(&owner, json!({ "name": "narrow", "workspaceId": server.workspace, "scopes": ["WORKSPACE_ADMIN", "FILES_READ"], "expiresAt": "2030-01-01T00:00:00Z" })).await["secret"].as_str().unwrap().to_owned();
        for (token, input, code, field) in [
            (&narrow, json!({ "name": "a", "workspaceId": server.workspace, "scopes": ["FILES_WRITE"], "expiresAt": "2029-01-01T00:00:00Z" }), "FORBIDDEN", "scopes"),
            (&narrow, json!({ "name": "a", "scopes": ["FILES_READ"], "expiresAt": "2029-01-01T00:00:00Z" }), "FORBIDDEN", "workspaceId"),
            (&narrow, json!({ "name": "a", "workspaceId": server.workspace, "scopes": ["FILES_READ"] }), "FORBIDDEN", "expiresAt"),
            (&narrow, json!({ "name": "a", "workspaceId": server.workspace, "scopes": ["FILES_READ"], "expiresAt": "2031-01-01T00:00:00Z" }), "FORBIDDEN", "expiresAt"),
            (&owner, json!({ "name": "", "scopes": ["FILES_READ"] }), "INVALID_INPUT", "name"),
            (&owner, json!({ "name": "a", "scopes": [] }), "INVALID_INPUT", "scopes"),
            (&owner, json!({ "name": "a", "scopes": ["FILES_READ"], "expiresAt": "2020-01-01T00:00:00Z" }), "INVALID_INPUT", "expiresAt"),
            (&owner, json!({ "name": "a", "scopes": ["FILES_READ"], "workspaceId": "wsp_00000000000000000000000000" }), "NOT_FOUND", "workspaceId"),
        ] {
            let refused = create(token, input.clone()).await;
            assert_eq!(refused["userErrors"][0], json!({ "code": code, "field": ["input", field] }), "{input}");
        }
        // A token limited to a workspace neither sees nor revokes tokens of its user for others.
        let listed = server.query_as(&narrow, "{ viewer { apiTokens { nodes { workspaceId } } } }", json!({})).await;
        let seen = listed["viewer"]["apiTokens"]["nodes"].as_array().unwrap();
        assert!(!seen.is_empty() && seen.iter().all(|token| token["workspaceId"] == json!(server.workspace)), "{listed:#}");
        let wide = server.query_as(&owner, "{ viewer { apiTokens { nodes { id workspaceId } } } }", json!({})).await;
        let wide = wide["viewer"]["apiTokens"]["nodes"].as_array().unwrap().iter().find(|token| token["workspaceId"].is_null()).unwrap()["id"].clone();
        let beyond = server.query_as(&narrow, "mutation($id: ID!) { revokeApiToken(input: { id: $id }) { userErrors { code } } }", json!({ "id": wide })).await;
        assert_eq!(beyond["revokeApiToken"]["userErrors"][0]["code"], "NOT_FOUND");
        let revoke = "mutation($id: ID!) { revokeApiToken(input: { id: $id }) { apiToken { revokedAt } userErrors { code field } } }";
        let revoked = server.query_as(&owner, revoke, json!({ "id": made["apiToken"]["id"] })).await["revokeApiToken"].clone();
        assert!(revoked["apiToken"]["revokedAt"].is_string());
        assert_eq!(server.refusal(&secret, direct, json!({ "w": server.workspace })).await, "UNAUTHENTICATED");
        let again = server.query_as(&owner, revoke, json!({ "id": made["apiToken"]["id"] })).await["revokeApiToken"].clone();
        assert_eq!(again["apiToken"], revoked["apiToken"]);
        let unknown = server.query_as(&owner, revoke, json!({ "id": "tok_00000000000000000000000000" })).await["revokeApiToken"].clone();
        assert_eq!(unknown["userErrors"][0], json!({ "code": "NOT_FOUND", "field": ["input", "id"] }));
    }
    /// Members and tokens are paged like every other list: the same rows in both directions, exact flags, cursors of
    /// their own.
    async fn members_and_tokens_are_paged(database: Database) {
        let server = Server::start(database).await;
        for i in 0..4 {
            server.token(&format!("{i}@example.org"), Some((&server.workspace, Role::Viewer))).await;
            let input = json!({ "input": { "name": "a", "workspaceId": server.workspace, "scopes": ["FILES_READ"] } });
            server.query(CREATE, input).await;
        }
        for (list, other) in [("members", "apiTokens"), ("apiTokens", "members")] {
            let query = |list: &str| format!("query($w: ID!, $first: Int, $after: String, $last: Int, $before: String) {{ workspace(id: $w) {{
                list: {list}(first: $first, after: $after, last: $last, before: $before) {{ totalCount nodes {{ id }} pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} }} }} }}");
            let page = async |mut arguments: Value| {
                arguments["w"] = json!(server.workspace);
                server.query(&query(list), arguments).await["workspace"]["list"].take()
            };
            let all = page(json!({})).await["nodes"].clone();
            let all = all.as_array().unwrap();
            assert!(all.len() >= 4, "{list}");
            let (mut forward, mut after) = (Vec::new(), Value::Null);
            loop {
                let found = page(json!({ "first": 2, "after": after })).await;
                assert_eq!(found["totalCount"], json!(all.len()), "{list}");
                assert_eq!(found["pageInfo"]["hasPreviousPage"], !after.is_null(), "{list}");
                forward.extend(found["nodes"].as_array().unwrap().clone());
                after = found["pageInfo"]["endCursor"].clone();
                assert_eq!(found["pageInfo"]["hasNextPage"], forward.len() < all.len(), "{list}");
                if found["pageInfo"]["hasNextPage"] == false {
                    break;
                }
            }
            assert_eq!(&forward, all, "{list}");
            let back = page(json!({ "last": 2, "before": after })).await;
            let nodes = back["nodes"].as_array().unwrap();
            assert_eq!(nodes[..], all[all.len() - 3..all.len() - 1], "{list}");
            let foreign = json!({ "w": server.workspace, "after": after });
            assert_eq!(server.refusal(ADMIN, &query(other), foreign).await, "BAD_USER_INPUT", "{list}");
        }
    }
}
