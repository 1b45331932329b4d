//! Privacy of metadata: which metadata delivery URLs in answers deliver, by the EXIF policy of the workspace.

use std::io::Cursor;

use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server};
use crate::pictures::photo;

const POLICIES: [&str; 4] = ["KEEP_ALL", "STRIP_LOCATION", "COPYRIGHT_ONLY", "STRIP_ALL"];

/// Every field with delivery URLs of an image, including the list of the account's images.
const ALL: &str =
    "query($id: ID!, $keep: ImageTransformInput, $sized: ImageTransformInput, $square: ImageTransformInput) {
    image(id: $id) {
        url renditions { url }
        public: rendition(variant: \"public\") { url exact }
        kept: rendition(variant: \"kept\") { url exact variant }
        plain: rendition(variant: \"plain\") { url exact variant }
        keep: rendition(transform: $keep) { url exact }
        sized: rendition(transform: $sized) { url exact }
        srcSet { src srcset candidates { url } }
        keepSet: srcSet(transform: $keep) { src srcset candidates { url exact } }
        squareSet: srcSet(transform: $square) { src srcset candidates { url } }
    }
    images { nodes { url srcSet { src } } }
    cloudflareAccount { images { nodes { variants image { url } } } } }";

async fn variant(server: &Server, name: &str, metadata: &str) {
    let create = "mutation($i: CreateVariantInput!) { createVariant(input: $i) { userErrors { code } } }";
    let input = json!({ "name": name, "width": 40, "height": 40, "metadata": metadata });
    assert_eq!(server.query(create, json!({ "i": input })).await["createVariant"]["userErrors"], json!([]));
}

async fn set_metadata_of_public(server: &Server, metadata: &str) {
    let update = "mutation($m: TransformMetadata) { updateVariant(input: { name: \"public\", metadata: $m }) { userErrors { code } } }";
    assert_eq!(
        server.query(update, json!({ "m": metadata })).await["updateVariant"]["userErrors"],
        json!([])
    );
}

async fn set_policy(server: &Server, policy: &str) {
    let update = "mutation($i: UpdateWorkspaceInput!) { updateWorkspace(input: $i) { userErrors { code } } }";
    let input = json!({ "id": server.workspace, "policy": { "exifPolicy": policy } });
    assert_eq!(server.query(update, json!({ "i": input })).await["updateWorkspace"]["userErrors"], json!([]));
}

/// All strings in an answer that are URLs. The URLs of a `srcset` are also in its candidates.
fn urls(answer: &Value, found: &mut Vec<String>) {
    match answer {
        Value::String(text) if text.starts_with("http") && !text.contains(' ') => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| urls(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| urls(field, found)),
        _ => {}
    }
}

/// Whether the bytes contain the position of the photo: GPS tags in readable EXIF, or the encoded coordinates
/// anywhere.
fn contains_position(bytes: &[u8]) -> bool {
    let exif = exif::Reader::new().read_from_container(&mut Cursor::new(bytes));
    let read = exif.is_ok_and(|exif| exif.fields().any(|field| field.tag.to_string().starts_with("GPS")));
    let coordinates = [43u32, 1, 28, 1, 282, 100].map(u32::to_le_bytes).concat();
    read || bytes.windows(coordinates.len()).any(|window| window == coordinates)
}

async fn fetched(server: &Server, url: &str) -> Vec<u8> {
    let response = server.http.get(url).header("accept", "image/jpeg").send().await.unwrap();
    assert_eq!(response.status(), 200, "{url}");
    response.bytes().await.unwrap().to_vec()
}

both! {
    /// Unless the policy is KEEP_ALL, no URL in any field delivers the position, whether variants keep metadata,
    /// flexible variants are enabled, or the image is private. The original file still contains it, as documented.
    async fn no_url_reveals_the_position(database: Database) {
        let server = Server::start(database).await;
        variant(&server, "kept", "KEEP").await;
        variant(&server, "plain", "COPYRIGHT").await;
        assert!(contains_position(&photo(1)));
        let mut ids = Vec::new();
        for private in [false, true] {
            let input = json!({ "image": { "requireSignedUrls": private } });
            let file = server.upload_as(ADMIN, input, "photo.jpg", "", photo(1)).await["file"].clone();
            ids.push(file["image"]["id"].clone());
        }
        let switch = "mutation($on: Boolean) { updateCloudflareAccount(input: { flexibleVariants: $on }) { userErrors { code } } }";
        for on in [true, false] {
            server.query(switch, json!({ "on": on })).await;
            for metadata in ["STRIP", "KEEP"] {
                set_metadata_of_public(&server, metadata).await;
                for kept in POLICIES {
                    set_policy(&server, kept).await;
                    for (id, private) in ids.iter().zip([false, true]) {
                        let what = format!("{kept}, public {metadata}, transformations {on}, private {private}");
                        let variables = json!({ "id": id, "keep": { "metadata": "KEEP" }, "sized": { "width": 30, "metadata": "KEEP" }, "square": { "width": 1, "height": 1, "metadata": "KEEP" } });
                        let answer = server.ask(ADMIN, ALL, variables).await;
                        assert!(answer.get("errors").is_none(), "{what}: {answer:#}");
                        assert!(kept == "KEEP_ALL" || !answer.to_string().contains("metadata=keep"), "{what}: {answer:#}");
                        let mut found = Vec::new();
                        urls(&answer["data"], &mut found);
                        let rest = server.http.get(format!("{}/api/images", server.url)).bearer_auth(ADMIN).send().await.unwrap();
                        urls(&rest.json::<Value>().await.unwrap(), &mut found);
                        let one = server.http.get(format!("{}/api/images/{}", server.url, id.as_str().unwrap())).bearer_auth(ADMIN).send().await.unwrap();
                        urls(&one.json::<Value>().await.unwrap(), &mut found);
                        found.sort();
                        found.dedup();
                        assert!(found.len() >= 3, "{what}: {found:?}");
                        let mut revealing = 0;
                        for url in &found {
                            // The list of the account's images has unsigned URLs.
                            if private && !url.contains("sig=") {
                                assert!(kept == "KEEP_ALL" || !url.ends_with("/kept") && (metadata == "STRIP" || !url.ends_with("/public")), "{what}: {url}");
                                continue;
                            }
                            if !url.contains("sig=") && server.http.get(url).send().await.unwrap().status() == 403 {
                                // The URL of the other image in the list of the account's images.
                                continue;
                            }
                            revealing += usize::from(contains_position(&fetched(&server, url).await));
                        }
                        assert_eq!(revealing > 0, kept == "KEEP_ALL", "{what}: {found:#?}");
                        let image = &answer["data"]["image"];
                        assert_eq!(image["plain"]["exact"], true, "{what}");
                        assert_eq!(image["kept"]["exact"] == true, kept == "KEEP_ALL", "{what}: {image:#}");
                        assert_eq!(image["keep"]["exact"] == true, kept == "KEEP_ALL" && on && !private, "{what}: {image:#}");
                    }
                }
            }
        }
        let file = server.query("query($id: ID!) { image(id: $id) { file { downloadUrl } } }", json!({ "id": ids[0] })).await;
        assert!(contains_position(&fetched(&server, file["image"]["file"]["downloadUrl"].as_str().unwrap()).await));
    }

    /// If every variant keeps metadata and none can replace it, there is no URL, and the error tells an admin how to
    /// create one.
    async fn without_any_variant_there_is_no_url(database: Database) {
        let server = Server::start(database).await;
        let private = json!({ "image": { "requireSignedUrls": true } });
        let file = server.upload_as(ADMIN, private, "photo.jpg", "", photo(1)).await["file"].clone();
        set_metadata_of_public(&server, "KEEP").await;
        let query = "query($id: ID!) { image(id: $id) { rendition(variant: \"public\") { url } renditions { url } srcSet { src } } }";
        let image = server.query(query, json!({ "id": file["image"]["id"] })).await["image"].clone();
        assert_eq!(image, json!({ "rendition": null, "renditions": [], "srcSet": null }));
        let url = "query($id: ID!) { image(id: $id) { id url } }";
        let answer = server.ask(ADMIN, url, json!({ "id": file["image"]["id"] })).await;
        assert_eq!(answer["data"]["image"], json!({ "id": file["image"]["id"], "url": null }));
        assert_eq!(answer["errors"][0]["extensions"]["code"], "UPSTREAM_ERROR");
        assert!(answer["errors"][0]["message"].as_str().unwrap().contains("updateVariant"), "{answer:#}");
        let rest = server.http.get(format!("{}/api/images", server.url)).bearer_auth(ADMIN).send().await.unwrap();
        assert_eq!(rest.json::<Value>().await.unwrap()["data"][0]["url"], Value::Null);
        // A drawing has no EXIF.
        let svg = b"<svg xmlns='http://www.w3.org/2000/svg' width='3' height='2'/>".to_vec();
        assert!(server.file("a.svg", svg).await["image"]["url"].as_str().unwrap().ends_with("/public"));
        set_metadata_of_public(&server, "STRIP").await;
        assert!(server.query(url, json!({ "id": file["image"]["id"] })).await["image"]["url"].is_string());
    }

    /// Reading the policies for a page takes one statement if a variant keeps metadata, and none otherwise.
    async fn the_policy_costs_one_statement(database: Database) {
        let server = Server::start_with(database, |config| config.worker_interval = std::time::Duration::from_secs(3600)).await;
        for n in 0..20 {
            server.file("a.png", crate::pictures::png(n)).await;
        }
        let bare = server.statements("{ images { nodes { id } } }", json!({})).await;
        let full = "{ images { nodes { url renditions { url } srcSet { src } rendition(transform: { width: 5, metadata: COPYRIGHT }) { url } } } }";
        assert_eq!(server.statements(full, json!({})).await, bare);
        variant(&server, "kept", "KEEP").await;
        server.query(full, json!({})).await;
        let one = server.statements(full, json!({})).await;
        assert!(one <= bare + 1, "{one} instead of {bare}");
        // REST, where every URL is now of a variant that keeps metadata.
        let list = async || {
            let before = server.running.app.db.statement_count();
            let request = server.http.get(format!("{}/api/images", server.url)).bearer_auth(ADMIN);
            let page: Value = request.send().await.unwrap().json().await.unwrap();
            assert_eq!(page["data"].as_array().unwrap().len(), 20);
            server.running.app.db.statement_count() - before
        };
        server.quiet().await;
        let (bare, _) = (list().await, set_metadata_of_public(&server, "KEEP").await);
        list().await;
        let one = list().await;
        assert!(one <= bare + 1, "{one} instead of {bare}");
    }
}
