//! REST: the same images as GraphQL, as the OpenAPI document describes.

use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server};
use crate::pictures::{photo, png};

async fn get(server: &Server, path: &str) -> (u16, Value) {
    let response = server.http.get(format!("{}{path}", server.url)).bearer_auth(ADMIN).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json", "{path}");
    (response.status().as_u16(), response.json().await.unwrap())
}

both! {
    /// Rows have exactly the documented fields, in their order and types, with the values of GraphQL.
    async fn rows_have_the_documented_fields(database: Database) {
        let server = Server::start(database).await;
        let file = server.file("photo.jpg", photo(6)).await;
        let image = &file["image"];
        let (status, list) = get(&server, "/api/images").await;
        assert_eq!(status, 200);
        let row = &list["data"][0];
        assert_eq!(*row, json!({
            "id": image["id"], "fileId": file["id"], "workspaceId": server.workspace, "cfImageId": image["cfImageId"],
            "width": 40, "height": 60, "size": file["size"], "exif": image["exif"], "url": image["url"],
        }));
        assert_eq!(list["pageInfo"]["total"], 1);
        let (_, one) = get(&server, &format!("/api/images/{}", image["id"].as_str().unwrap())).await;
        assert_eq!(one, *row);
        let (_, one) = get(&server, &format!("/api/images/by-file/{}", file["id"].as_str().unwrap())).await;
        assert_eq!(one, *row);
        let text = server.http.get(format!("{}/api/images", server.url)).bearer_auth(ADMIN).send().await.unwrap().text().await.unwrap();
        let places: Vec<_> = ["\"data\"", "\"id\"", "\"fileId\"", "\"workspaceId\"", "\"cfImageId\"", "\"width\"", "\"height\"", "\"size\"", "\"exif\"", "\"url\"", "\"pageInfo\"", "\"total\"", "\"hasNextPage\"", "\"hasPreviousPage\"", "\"startCursor\"", "\"endCursor\""]
            .iter().map(|key| text.find(key).unwrap()).collect();
        assert!(places.is_sorted(), "{text}");
    }

    /// Pages in both directions, with cursors that are interchangeable with GraphQL's.
    async fn pages_share_cursors_with_graphql(database: Database) {
        let server = Server::start(database).await;
        for i in 0..7 {
            server.file("a.png", png(i)).await;
        }
        let all = server.query("{ images { nodes { id } edges { cursor } } }", json!({})).await["images"].clone();
        let all_ids: Vec<&str> = all["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap()).collect();
        let ids = |page: &Value| page["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        let (_, first) = get(&server, "/api/images?limit=3").await;
        assert_eq!(ids(&first), all_ids[..3]);
        assert_eq!(first["pageInfo"], json!({ "total": 7, "hasNextPage": true, "hasPreviousPage": false,
            "startCursor": all["edges"][0]["cursor"], "endCursor": all["edges"][2]["cursor"] }));
        let after = all["edges"][2]["cursor"].as_str().unwrap();
        let (_, second) = get(&server, &format!("/api/images?limit=3&after={after}")).await;
        assert_eq!(ids(&second), all_ids[3..6]);
        assert_eq!((&second["pageInfo"]["hasNextPage"], &second["pageInfo"]["hasPreviousPage"]), (&json!(true), &json!(true)));
        let before = second["pageInfo"]["startCursor"].as_str().unwrap();
        let (_, back) = get(&server, &format!("/api/images?limit=2&before={before}")).await;
        assert_eq!(ids(&back), all_ids[1..3]);
        assert_eq!((&back["pageInfo"]["hasNextPage"], &back["pageInfo"]["hasPreviousPage"]), (&json!(true), &json!(true)));
        let (_, rest) = get(&server, &format!("/api/images?before={before}")).await;
        assert_eq!(ids(&rest), all_ids[..3]);
        let (_, some) = get(&server, &format!("/api/images?ids={},{}", all_ids[5], all_ids[2])).await;
        assert_eq!(ids(&some), [all_ids[2], all_ids[5]]);
        assert_eq!(some["pageInfo"]["total"], 2);
        let other = server.other_workspace("other").await;
        let (_, none) = get(&server, &format!("/api/images?workspace_id={other}")).await;
        assert_eq!(none, json!({ "data": [], "pageInfo": { "total": 0, "hasNextPage": false, "hasPreviousPage": false, "startCursor": null, "endCursor": null } }));
        let (_, here) = get(&server, &format!("/api/images?workspace_id={}", server.workspace)).await;
        assert_eq!(here["pageInfo"]["total"], 7);
    }

    /// Refusals are JSON with a code, a field and the messages of GraphQL.
    async fn refusals_are_json(database: Database) {
        let server = Server::start(database).await;
        for (path, status, code, field) in [
            ("/api/images?limit=0", 400, "BAD_USER_INPUT", "limit"),
            ("/api/images?limit=101", 400, "BAD_USER_INPUT", "limit"),
            ("/api/images?limit=x", 400, "BAD_USER_INPUT", "limit"),
            ("/api/images?after=a&before=b", 400, "BAD_USER_INPUT", "before"),
            ("/api/images?after=nonsense", 400, "BAD_USER_INPUT", "after"),
            ("/api/images?ids=img_1", 400, "BAD_USER_INPUT", "ids"),
            ("/api/images?workspace_id=fil_00000000000000000000000000", 400, "BAD_USER_INPUT", "workspace_id"),
            ("/api/images?limit=1&limit=2", 400, "BAD_USER_INPUT", "query"),
            ("/api/images/img_1", 400, "BAD_USER_INPUT", "id"),
            ("/api/images/%ff", 400, "BAD_USER_INPUT", "id"),
            ("/api/images/img_00000000000000000000000000", 404, "NOT_FOUND", "id"),
            ("/api/images/by-file/fil_00000000000000000000000000", 404, "NOT_FOUND", "file_id"),
            ("/api/images/by-file/img_00000000000000000000000000", 400, "BAD_USER_INPUT", "file_id"),
            ("/api/nothing", 404, "NOT_FOUND", ""),
        ] {
            let (answered, body) = get(&server, path).await;
            assert_eq!(answered, status, "{path} {body}");
            assert_eq!(body["error"]["code"], code, "{path}");
            assert_eq!(body["error"]["field"].as_str().unwrap_or_default(), field, "{path}");
            assert_eq!(body["error"]["requestId"].as_str().unwrap().len(), 32, "{path}");
        }
        let response = server.http.put(format!("{}/api/images", server.url)).bearer_auth(ADMIN).send().await.unwrap();
        assert_eq!(response.status(), 405);
    }

    /// Deleting an image keeps its file.
    async fn delete_leaves_the_file(database: Database) {
        let server = Server::start(database).await;
        let file = server.file("photo.jpg", photo(1)).await;
        let url = format!("{}/api/images/{}", server.url, file["image"]["id"].as_str().unwrap());
        let deleted: Value = server.http.delete(&url).bearer_auth(ADMIN).send().await.unwrap().json().await.unwrap();
        assert_eq!(deleted, json!({ "success": true }));
        assert_eq!(server.http.delete(&url).bearer_auth(ADMIN).send().await.unwrap().status(), 404);
        assert_eq!(server.http.get(&url).bearer_auth(ADMIN).send().await.unwrap().status(), 404);
        let found = server.query("query($id: ID!) { file(id: $id) { imageStatus } }", json!({ "id": file["id"] })).await;
        assert_eq!(found["file"]["imageStatus"], "REMOVED");
        assert_eq!(server.account_images().await.len(), 0);
    }

    /// The OpenAPI document has every route with its parameters and answers.
    async fn openapi(database: Database) {
        let server = Server::start(database).await;
        let (_, document) = get(&server, "/api/openapi.json").await;
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        let list = &document["paths"]["/api/images"]["get"];
        let names: Vec<_> = list["parameters"].as_array().unwrap().iter().map(|parameter| parameter["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["limit", "after", "before", "ids", "workspace_id"]);
        assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
        let image = &document["components"]["schemas"]["Image"]["properties"];
        for field in ["id", "fileId", "workspaceId", "cfImageId", "width", "height", "size", "exif", "url"] {
            assert!(image[field].is_object(), "{field}");
        }
    }
}
