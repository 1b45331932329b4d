//! The Cloudflare account through GraphQL, for admins.

use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server};
use crate::pictures::{photo, png};

const VARIANT: &str =
    "variant { name fit width height metadata neverRequireSignedUrls } userErrors { code field }";

async fn act(server: &Server, mutation: &str, input: Value, payload: &str) -> Value {
    let input_type = format!("{}{}Input", mutation[..1].to_uppercase(), &mutation[1..]);
    let query = format!("mutation($input: {input_type}!) {{ {mutation}(input: $input) {{ {payload} }} }}");
    server.query(&query, json!({ "input": input })).await[mutation].clone()
}

both! {
    /// Variants are created, changed and deleted, and renditions follow at once.
    async fn variants(database: Database) {
        let server = Server::start(database).await;
        // Only a workspace with this policy gets URLs of variants that keep metadata.
        let keep_all = "mutation($id: ID!) { updateWorkspace(input: { id: $id, policy: { exifPolicy: KEEP_ALL } }) { userErrors { code } } }";
        server.query(keep_all, json!({ "id": server.workspace })).await;
        let image = server.file("photo.jpg", photo(1)).await["image"]["id"].clone();
        let sized = async || {
            let query = "query($id: ID!) { image(id: $id) { rendition(variant: \"thumb\") { width height } } }";
            server.ask(ADMIN, query, json!({ "id": image })).await
        };
        assert_eq!(sized().await["errors"][0]["extensions"]["code"], "BAD_USER_INPUT");
        let made = act(&server, "createVariant", json!({ "name": "thumb", "fit": "COVER", "width": 20, "height": 20 }), VARIANT).await;
        assert_eq!(made, json!({ "variant": { "name": "thumb", "fit": "COVER", "width": 20, "height": 20, "metadata": "STRIP", "neverRequireSignedUrls": false }, "userErrors": [] }));
        assert_eq!(sized().await["data"]["image"]["rendition"], json!({ "width": 20, "height": 20 }));
        let changed = act(&server, "updateVariant", json!({ "name": "thumb", "width": 10, "metadata": "KEEP", "neverRequireSignedUrls": true }), VARIANT).await;
        assert_eq!(changed["variant"], json!({ "name": "thumb", "fit": "COVER", "width": 10, "height": 20, "metadata": "KEEP", "neverRequireSignedUrls": true }));
        assert_eq!(sized().await["data"]["image"]["rendition"], json!({ "width": 10, "height": 20 }));
        for (mutation, input, code, field) in [
            ("createVariant", json!({ "name": "thumb", "width": 1, "height": 1 }), "CONFLICT", json!(["input", "name"])),
            ("createVariant", json!({ "name": "a-b", "width": 1, "height": 1 }), "INVALID_INPUT", json!(["input", "name"])),
            ("createVariant", json!({ "name": "x".repeat(100), "width": 1, "height": 1 }), "INVALID_INPUT", json!(["input", "name"])),
            ("createVariant", json!({ "name": "a", "width": 0, "height": 1 }), "INVALID_INPUT", json!(["input", "width"])),
            ("createVariant", json!({ "name": "a", "width": 1, "height": 10000 }), "INVALID_INPUT", json!(["input", "height"])),
            ("updateVariant", json!({ "name": "nope", "width": 1 }), "NOT_FOUND", json!(["input", "name"])),
            ("deleteVariant", json!({ "name": "nope" }), "NOT_FOUND", json!(["input", "name"])),
            ("deleteVariant", json!({ "name": "public" }), "INVALID_INPUT", json!(["input", "name"])),
        ] {
            let refused = act(&server, mutation, input, "userErrors { code field }").await;
            assert_eq!(refused["userErrors"], json!([{ "code": code, "field": field }]), "{mutation}");
        }
        let deleted = act(&server, "deleteVariant", json!({ "name": "thumb" }), "success userErrors { code }").await;
        assert_eq!(deleted, json!({ "success": true, "userErrors": [] }));
        assert_eq!(sized().await["errors"][0]["extensions"]["code"], "BAD_USER_INPUT");
        for i in 0..99 {
            let made = act(&server, "createVariant", json!({ "name": format!("v{i}"), "width": 1, "height": 1 }), "userErrors { code }").await;
            assert_eq!(made["userErrors"], json!([]), "{i}");
        }
        let refused = act(&server, "createVariant", json!({ "name": "onemore", "width": 1, "height": 1 }), "userErrors { code field }").await;
        assert_eq!(refused["userErrors"], json!([{ "code": "VARIANT_LIMIT_REACHED", "field": ["input", "name"] }]));
    }

    /// Signing keys are created, rotated and deleted; their values are never in an answer, and private URLs use the
    /// new value.
    async fn signing_keys(database: Database) {
        let server = Server::start(database).await;
        let input = json!({ "image": { "requireSignedUrls": true } });
        server.upload_as(ADMIN, input, "photo.jpg", "", photo(1)).await;
        let opens = async || {
            let found = server.query("{ images { nodes { url } } }", json!({})).await;
            let url = found["images"]["nodes"][0]["url"].as_str().unwrap().to_owned();
            (server.http.get(&url).send().await.unwrap().status().as_u16(), url)
        };
        let (status, old) = opens().await;
        assert_eq!(status, 200);
        let keys = act(&server, "createSigningKey", json!({ "name": "second" }), "signingKeys { name } userErrors { code }").await;
        assert_eq!(keys, json!({ "signingKeys": [{ "name": "default" }, { "name": "second" }], "userErrors": [] }));
        let refused = act(&server, "createSigningKey", json!({ "name": "third" }), "userErrors { code field }").await;
        assert_eq!(refused["userErrors"], json!([{ "code": "SIGNING_KEY_LIMIT_REACHED", "field": ["input", "name"] }]));
        let rotated = act(&server, "createSigningKey", json!({ "name": "default" }), "signingKeys { name } userErrors { code }").await;
        assert_eq!(rotated["userErrors"], json!([]));
        assert_eq!(server.http.get(&old).send().await.unwrap().status(), 403, "signed with the old value");
        let (status, new) = opens().await;
        assert_eq!(status, 200);
        assert_ne!(new, old);
        let deleted = act(&server, "deleteSigningKey", json!({ "name": "default" }), "signingKeys { name } userErrors { code }").await;
        assert_eq!(deleted["signingKeys"], json!([{ "name": "second" }]));
        assert_eq!(opens().await.0, 200);
        for (mutation, name, code) in [("createSigningKey", "a-b", "INVALID_INPUT"), ("deleteSigningKey", "nope", "NOT_FOUND")] {
            let refused = act(&server, mutation, json!({ "name": name }), "userErrors { code }").await;
            assert_eq!(refused["userErrors"], json!([{ "code": code }]), "{mutation}");
        }
    }

    /// Counts, settings and images of the account as Cloudflare reports them. Images that this server did not create
    /// have no `image`.
    async fn account_details_and_images(database: Database) {
        let server = Server::start(database).await;
        let empty = server.query("{ cloudflareAccount { accountId accountHash stats { current allowed } flexibleVariants variants { name } signingKeys { name } images { nodes { cfImageId } pageInfo { total hasNextPage } } } }", json!({})).await["cloudflareAccount"].clone();
        assert_eq!((&empty["accountHash"], &empty["stats"]["current"]), (&Value::Null, &json!(0)));
        assert_eq!(empty["flexibleVariants"], false);
        assert_eq!(empty["images"], json!({ "nodes": [], "pageInfo": { "total": null, "hasNextPage": false } }));
        let ours = server.file("photo.jpg", photo(1)).await["image"].clone();
        let stray = stray(&server, json!({ "kind": "stray" })).await;
        let switched = act(&server, "updateCloudflareAccount", json!({ "flexibleVariants": true }), "cloudflareAccount { flexibleVariants } userErrors { code }").await;
        assert_eq!(switched, json!({ "cloudflareAccount": { "flexibleVariants": true }, "userErrors": [] }));
        let query = "query($id: String!) { cloudflareAccount { accountHash stats { current } images(direction: ASC) { nodes { cfImageId metadata draft image { id } } } image(id: $id) { cfImageId filename requireSignedUrls creator uploadedAt variants image { id } } } }";
        let found = server.query(query, json!({ "id": stray })).await["cloudflareAccount"].clone();
        assert_eq!(found["stats"]["current"], 2);
        assert!(ours["url"].as_str().unwrap().contains(found["accountHash"].as_str().unwrap()));
        assert_eq!(found["images"]["nodes"], json!([
            { "cfImageId": ours["cfImageId"], "metadata": { "imagegraph": ours["id"] }, "draft": false, "image": { "id": ours["id"] } },
            { "cfImageId": stray, "metadata": { "kind": "stray" }, "draft": false, "image": null },
        ]));
        assert_eq!((&found["image"]["filename"], &found["image"]["image"]), (&json!("stray.png"), &Value::Null));
        let missing = server.query(query, json!({ "id": "00000000-0000-4000-8000-000000000000" })).await;
        assert_eq!(missing["cloudflareAccount"]["image"], Value::Null);
        let member = server.token("member@example.org", None).await;
        let seen = server.query_as(&member, "{ cloudflareAccount { accountId } variants { name } }", json!({})).await;
        assert_eq!(seen, json!({ "cloudflareAccount": null, "variants": [{ "name": "public" }] }));
    }

    /// The account's images page forward from any row, in both orders, with every kind of filter.
    async fn the_accounts_images_page_and_filter(database: Database) {
        let server = Server::start(database).await;
        for i in 0..7 {
            stray(&server, json!({ "n": i, "even": i % 2 == 0, "region": { "name": format!("r{}", i % 3) } })).await;
        }
        let query = "query($first: Int, $after: String, $direction: OrderDirection, $metadata: [CloudflareMetadataCondition!], $creator: String) { cloudflareAccount {
            images(first: $first, after: $after, direction: $direction, metadata: $metadata, creator: $creator) { edges { cursor node { metadata } } pageInfo { hasNextPage hasPreviousPage endCursor } } } }";
        let ask = async |variables: Value| server.query(query, variables).await["cloudflareAccount"]["images"].clone();
        let numbers = |page: &Value| page["edges"].as_array().unwrap().iter().map(|edge| edge["node"]["metadata"]["n"].as_i64().unwrap()).collect::<Vec<_>>();
        for (direction, order) in [("ASC", [0, 1, 2, 3, 4, 5, 6]), ("DESC", [6, 5, 4, 3, 2, 1, 0])] {
            for size in [1, 2, 3, 7, 100] {
                let (mut after, mut seen) = (Value::Null, Vec::new());
                loop {
                    let page = ask(json!({ "first": size, "after": after, "direction": direction })).await;
                    assert_eq!(page["pageInfo"]["hasPreviousPage"], json!(!after.is_null()));
                    seen.extend(numbers(&page));
                    after = page["pageInfo"]["endCursor"].clone();
                    if page["pageInfo"]["hasNextPage"] == false {
                        break;
                    }
                }
                assert_eq!(seen, order, "{direction} by {size}");
            }
            let page = ask(json!({ "first": 5, "direction": direction })).await;
            let rest = ask(json!({ "first": 2, "direction": direction, "after": page["edges"][1]["cursor"] })).await;
            assert_eq!(numbers(&rest), order[2..4], "from the middle of a page");
        }
        for (field, operator, value, expected) in [
            ("n", "EQUALS", json!(3), vec![3]),
            ("even", "EQUALS", json!(true), vec![0, 2, 4, 6]),
            ("region.name", "EQUALS", json!("r1"), vec![1, 4]),
            ("n", "EQUALS", json!("3"), vec![]),
            ("n", "ANY_OF", json!([1, 5]), vec![1, 5]),
            ("region.name", "ANY_OF", json!(["r0", "r2"]), vec![0, 2, 3, 5, 6]),
            ("n", "GREATER_THAN", json!(4), vec![5, 6]),
            ("n", "GREATER_OR_EQUAL", json!(4), vec![4, 5, 6]),
            ("n", "LESS_THAN", json!(2), vec![0, 1]),
            ("n", "LESS_OR_EQUAL", json!(2), vec![0, 1, 2]),
        ] {
            let metadata = json!([{ "field": field, "operator": operator, "value": value }]);
            let page = ask(json!({ "direction": "ASC", "metadata": metadata })).await;
            assert_eq!(numbers(&page), expected, "{field} {operator} {value}");
        }
        let condition = |field: &str, operator: &str, value: Value| json!({ "metadata": [{ "field": field, "operator": operator, "value": value }] });
        for variables in [
            condition("n", "GREATER_THAN", json!("x")),
            condition("n", "ANY_OF", json!([])),
            condition("n", "ANY_OF", json!(vec![1; 11])),
            condition("n", "ANY_OF", json!([1, "a"])),
            condition("n", "EQUALS", json!([1])),
            condition("a.b.c.d.e.f", "EQUALS", json!(1)),
            condition("a\"b", "EQUALS", json!(1)),
            json!({ "metadata": vec![json!({ "field": "n", "operator": "EQUALS", "value": 1 }); 6] }),
            json!({ "first": 0 }),
            json!({ "first": 1001 }),
            json!({ "after": "nonsense" }),
        ] {
            assert_eq!(server.refusal(ADMIN, query, variables.clone()).await, "BAD_USER_INPUT", "{variables}");
        }
    }

    /// While the account is down, its fields are null with an error, and the rest of the answer stays.
    async fn account_outage(database: Database) {
        let server = Server::start_with(database, |config| config.cloudflare_timeout = std::time::Duration::from_millis(300)).await;
        server.fault(json!({ "call": "*", "fault": { "kind": "status", "status": 503 } })).await;
        let query = "{ cloudflareAccount { accountId accountHash stats { current } flexibleVariants variants { name } signingKeys { name } images { nodes { cfImageId } } image(id: \"a\") { cfImageId } } server { version } }";
        let answer = server.ask(ADMIN, query, json!({})).await;
        assert_eq!(answer["errors"].as_array().unwrap().len(), 7, "{answer:#}");
        for error in answer["errors"].as_array().unwrap() {
            assert_eq!(error["extensions"]["code"], "UPSTREAM_ERROR");
        }
        let account = answer["data"]["cloudflareAccount"].as_object().unwrap();
        assert_eq!(account.len(), 8);
        assert!(account["accountId"].is_string() && answer["data"]["server"]["version"].is_string());
        let refused = act(&server, "createVariant", json!({ "name": "a", "width": 1, "height": 1 }), "userErrors { code }").await;
        assert_eq!(refused["userErrors"], json!([{ "code": "UPSTREAM_ERROR" }]));
    }
}

/// Creates an image in the account that is not this server's; returns its id.
async fn stray(server: &Server, metadata: Value) -> String {
    use cloudflare_images::client::{Body, NewImage, Upload};
    let bytes = png(rand::random());
    let upload = Upload {
        filename: "stray.png".to_owned(),
        content_type: "image/png".to_owned(),
        length: bytes.len() as u64,
        stream: Box::pin(futures_util::stream::iter([Ok(bytes.into())])),
    };
    let new = NewImage { metadata: metadata.as_object(), ..NewImage::default() };
    server.running.app.cloudflare.create(new, Body::Upload(upload)).await.unwrap().id
}
