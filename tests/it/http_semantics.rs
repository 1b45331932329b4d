//! RFC 9110: methods, preconditions, ranges and content codings, for every request that uploads or downloads.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{ADMIN, Database, Server};
use crate::pictures::png;

const SINCE_LONG: &str = "Sat, 01 Jan 2000 00:00:00 GMT";
const FAR_OFF: &str = "Fri, 01 Jan 2100 00:00:00 GMT";

async fn upload(server: &Server) -> Value {
    let create = "mutation($w: ID!) { createDirectUpload(input: { workspaceId: $w, filename: \"a.txt\", mimeType: \"text/plain\", transport: PUT }) { directUpload { id uploadUrl } userErrors { code } } }";
    server.query(create, json!({ "w": server.workspace })).await["createDirectUpload"]["directUpload"].clone()
}

async fn send(mut request: RequestBuilder, headers: &[(&str, &str)]) -> Response {
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

fn text(answer: &Response, name: &str) -> String {
    answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

fn digest(bytes: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(bytes)))
}

both! {
    /// A partial PUT is refused, and so is every other body that is not the file itself.
    async fn partial_puts_are_refused(database: Database) {
        let server = Server::start(database).await;
        let upload = upload(&server).await;
        let url = upload["uploadUrl"].as_str().unwrap();
        let put = || server.http.put(url).body("0123456789");
        let other = digest(b"other");
        for (headers, status, code) in [
            (&[("content-range", "bytes 0-9/100")][..], 400, "BAD_USER_INPUT"),
            (&[("content-range", "bytes 0-9/10")], 400, "BAD_USER_INPUT"),
            (&[("content-range", "bytes 0-9/*")], 400, "BAD_USER_INPUT"),
            (&[("content-range", "nonsense")], 400, "BAD_USER_INPUT"),
            (&[("content-type", "multipart/form-data; boundary=a")], 415, "UNSUPPORTED_MIME_TYPE"),
            (&[("content-type", "Multipart/byteranges; boundary=a")], 415, "UNSUPPORTED_MIME_TYPE"),
            (&[("content-type", "text/plain"), ("content-type", "image/png")], 400, "BAD_USER_INPUT"),
            (&[("if-match", "*")], 412, "PRECONDITION_FAILED"),
            (&[("if-match", "\"a\"")], 412, "PRECONDITION_FAILED"),
            (&[("content-digest", &other)], 400, "CHECKSUM_MISMATCH"),
            (&[("repr-digest", &other)], 400, "CHECKSUM_MISMATCH"),
            (&[("content-digest", "sha-256=:AAAA:")], 400, "BAD_USER_INPUT"),
            (&[("content-digest", "sha-256=nonsense")], 400, "BAD_USER_INPUT"),
        ] {
            let answer = send(put(), headers).await;
            assert_eq!(answer.status(), status, "{headers:?}");
            assert_eq!(answer.json::<Value>().await.unwrap()["error"]["code"], code, "{headers:?}");
        }
        // A client is told to continue only if its bytes would be accepted.
        let forged = server.http.put(format!("{url}x")).body("0123456789");
        assert_eq!(send(forged, &[("if-match", "*")]).await.status(), 403);
        assert_eq!(server.originals().len(), 0);
        let right = digest(b"0123456789");
        let harmless = [("content-digest", right.as_str()), ("repr-digest", "md5=:AAAA:"), ("if-none-match", "*"), ("range", "bytes=0-1"), ("if-unmodified-since", SINCE_LONG), ("content-location", "/elsewhere"), ("x-http-method-override", "DELETE"), ("content-type", "application/x-www-form-urlencoded")];
        let answer = send(put(), &harmless).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.json::<Value>().await.unwrap()["size"], 10);
        // The same bytes again are a repetition, to which the precondition applies as well; other bytes come too
        // late.
        assert_eq!(send(put(), &[("if-match", "*")]).await.status(), 412);
        assert_eq!(send(put(), &[]).await.status(), 200);
        let other = server.http.put(url).body("9876543210");
        assert_eq!(send(other, &[]).await.status(), 409);
    }

    /// Partial uploads are refused in the other ways to upload as well.
    async fn partial_uploads_are_refused(database: Database) {
        let server = Server::start(database).await;
        let query = json!({ "query": "{ server { emulated } }" });
        let post = || server.http.post(format!("{}/graphql", server.url)).bearer_auth(ADMIN).json(&query);
        let answer = send(post(), &[("content-range", "bytes 0-9/100")]).await;
        assert_eq!(answer.status(), 400);
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{body:#}");
        assert_eq!(body["error"]["requestId"].as_str().unwrap().len(), 32, "{body:#}");
        assert_eq!(send(post(), &[("content-type", "application/json")]).await.status(), 400);
        assert_eq!(send(post(), &[("range", "bytes=0-9")]).await.status(), 200);
    }

    /// Preconditions in the order of RFC 9110, section 13.2.2: `If-Match`, else `If-Unmodified-Since`;
    /// `If-None-Match`, else `If-Modified-Since`; then the range, if `If-Range` matches.
    async fn preconditions_of_downloads(database: Database) {
        let server = Server::start(database).await;
        let bytes: Vec<u8> = (0..1000u32).map(|i| (i % 251) as u8).collect();
        let file = server.file("a.bin", bytes.clone()).await;
        let found = server.query("query($id: ID!) { file(id: $id) { downloadUrl } }", json!({ "id": file["id"] })).await;
        let url = found["file"]["downloadUrl"].as_str().unwrap();
        let plain = server.http.get(url).send().await.unwrap();
        let (tag, date) = (text(&plain, "etag"), text(&plain, "last-modified"));
        assert!(date.ends_with(" GMT"), "{date}");
        let (weak, list, tag, date) = (format!("W/{tag}"), format!("\"x,y\" , {tag}"), tag.as_str(), date.as_str());
        for (headers, status) in [
            (&[("if-match", tag)][..], 200),
            (&[("if-match", "*")], 200),
            (&[("if-match", &list)], 200),
            (&[("if-match", "\"x\""), ("if-match", tag)], 200),
            (&[("if-match", "\"other\"")], 412),
            (&[("if-match", &weak)], 412),
            (&[("if-match", "")], 412),
            (&[("if-match", "nonsense")], 412),
            (&[("if-match", "\"other\""), ("if-none-match", tag)], 412),
            (&[("if-match", "\"other\""), ("range", "bytes=0-1")], 412),
            (&[("if-match", tag), ("if-unmodified-since", SINCE_LONG)], 200),
            (&[("if-unmodified-since", SINCE_LONG)], 412),
            (&[("if-unmodified-since", date)], 200),
            (&[("if-unmodified-since", FAR_OFF)], 200),
            (&[("if-unmodified-since", "nonsense")], 200),
            (&[("if-match", tag), ("if-none-match", tag)], 304),
            (&[("if-none-match", &weak)], 304),
            (&[("if-none-match", &list)], 304),
            (&[("if-none-match", "\"other\""), ("if-modified-since", FAR_OFF)], 200),
            (&[("if-modified-since", date)], 304),
            (&[("if-modified-since", FAR_OFF)], 304),
            (&[("if-modified-since", SINCE_LONG)], 200),
            (&[("if-modified-since", "nonsense")], 200),
            (&[("if-modified-since", date), ("range", "bytes=0-1")], 304),
            (&[("range", "bytes=0-1"), ("if-range", tag)], 206),
            (&[("range", "bytes=0-1"), ("if-range", date)], 206),
            (&[("range", "bytes=0-1"), ("if-range", &weak)], 200),
            (&[("range", "bytes=0-1"), ("if-range", SINCE_LONG)], 200),
            (&[("range", "bytes=0-1"), ("if-range", FAR_OFF)], 200),
            (&[("range", "bytes=2000-"), ("if-range", "\"other\"")], 200),
            (&[("range", "Bytes=0-1")], 206),
            (&[("range", "bytes=0-1,2-3")], 206),
            (&[("range", "bytes=0-1,10-11")], 200),
            (&[("range", "bytes=0-1"), ("range", "bytes=2-3")], 200),
            (&[("range", "bytes=2000-")], 416),
        ] {
            let answer = send(server.http.get(url), headers).await;
            assert_eq!(answer.status(), status, "{headers:?}");
            assert_eq!(text(&answer, "etag"), tag, "{headers:?}");
            let head = send(server.http.head(url), headers).await;
            // A range is defined for GET only.
            let wanted = if matches!(status, 206 | 416) { 200 } else { status };
            assert_eq!((head.status().as_u16(), head.headers().contains_key("content-range")), (wanted, false), "HEAD {headers:?}");
            match status {
                200 => assert_eq!(answer.bytes().await.unwrap(), bytes, "{headers:?}"),
                412 => assert_eq!(answer.json::<Value>().await.unwrap()["error"]["code"], "PRECONDITION_FAILED"),
                416 => assert_eq!(answer.json::<Value>().await.unwrap()["error"]["code"], "RANGE_NOT_SATISFIABLE"),
                _ => {}
            }
        }
        let part = send(server.http.get(url), &[("range", "bytes=2-3,0-1")]).await;
        assert_eq!((text(&part, "content-range"), text(&part, "content-length")), ("bytes 0-3/1000".to_owned(), "4".to_owned()));
        assert_eq!(part.bytes().await.unwrap(), bytes[..4]);
    }

    /// Deliveries have no date, and honour entity tags.
    async fn preconditions_of_delivery(database: Database) {
        let server = Server::start(database).await;
        let file = server.file("a.png", png(1)).await;
        let url = file["image"]["url"].as_str().unwrap();
        let tag = text(&server.http.get(url).send().await.unwrap(), "etag");
        let (weak, tag) = (format!("W/{tag}"), tag.as_str());
        for (headers, status) in [
            (&[("if-match", tag)][..], 200),
            (&[("if-match", "*")], 200),
            (&[("if-match", "\"other\"")], 412),
            (&[("if-match", &weak)], 412),
            (&[("if-match", "\"other\""), ("if-none-match", tag)], 412),
            (&[("if-match", tag), ("if-none-match", tag)], 304),
            (&[("if-none-match", &weak)], 304),
            (&[("if-none-match", "\"a\", W/\"b\"")], 200),
        ] {
            for method in [Method::GET, Method::HEAD] {
                let answer = send(server.http.request(method, url), headers).await;
                assert_eq!(answer.status(), status, "{headers:?}");
                assert_eq!(text(&answer, "etag"), tag, "{headers:?}");
            }
        }
    }

    /// HEAD is answered like GET without the body, on every route with GET.
    async fn head_is_get_without_the_body(database: Database) {
        let server = Server::start(database).await;
        let file = server.file("a.png", png(1)).await;
        let found = server.query("query($id: ID!) { file(id: $id) { downloadUrl } }", json!({ "id": file["id"] })).await;
        let at = |path: &str| format!("{}{path}", server.url);
        for (url, status) in [
            (at("/graphql?query=%7Bserver%7Bemulated%7D%7D"), 200),
            (at("/graphql?query=%7B"), 200),
            (at("/graphql"), 400),
            (at("/graphql?query=mutation%7BdeleteFile(input%3A%7Bid%3A%22x%22%7D)%7Bsuccess%7D%7D"), 405),
            (at("/api/images"), 200),
            (at("/api/images/img_00000000000000000000000000"), 404),
            (at("/api/openapi.json"), 200),
            (at("/api/nothing"), 404),
            (at("/healthz"), 200),
            (at("/metrics"), 200),
            (at("/"), 200),
            (found["file"]["downloadUrl"].as_str().unwrap().to_owned(), 200),
            (file["image"]["url"].as_str().unwrap().to_owned(), 200),
        ] {
            let get = server.http.get(&url).bearer_auth(ADMIN).send().await.unwrap();
            let head = server.http.head(&url).bearer_auth(ADMIN).send().await.unwrap();
            assert_eq!((get.status().as_u16(), head.status().as_u16()), (status, status), "{url}");
            assert_eq!(text(&get, "content-type"), text(&head, "content-type"), "{url}");
            assert_eq!(text(&get, "content-length"), text(&head, "content-length"), "{url}");
            assert_eq!(head.bytes().await.unwrap().len(), 0, "{url}");
        }
    }

    /// A method that a route does not support: 405 with those it supports and an error code. A path without a route:
    /// 404.
    async fn unsupported_methods_and_unknown_routes(database: Database) {
        let server = Server::start(database).await;
        for (path, methods, allow) in [
            ("/graphql", &[Method::PUT, Method::DELETE, Method::PATCH, Method::TRACE][..], "GET,HEAD,POST"),
            ("/api/images", &[Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::TRACE], "GET,HEAD"),
            ("/api/images/img_1", &[Method::POST, Method::PUT, Method::PATCH], "GET,HEAD,DELETE"),
            ("/api/images/by-file/fil_1", &[Method::DELETE], "GET,HEAD"),
            ("/api/openapi.json", &[Method::POST], "GET,HEAD"),
            ("/uploads/upl_1", &[Method::GET, Method::HEAD, Method::POST, Method::DELETE], "PUT"),
            ("/files/fil_1/a", &[Method::PUT, Method::POST, Method::DELETE], "GET,HEAD"),
        ] {
            for method in methods {
                let answer = server.http.request(method.clone(), format!("{}{path}", server.url)).bearer_auth(ADMIN).send().await.unwrap();
                assert_eq!((answer.status().as_u16(), text(&answer, "allow").as_str()), (405, allow), "{method} {path}");
                if *method != Method::HEAD {
                    let body: Value = answer.json().await.unwrap();
                    let code = if path == "/graphql" { &body["errors"][0]["extensions"]["code"] } else { &body["error"]["code"] };
                    assert_eq!(*code, "METHOD_NOT_ALLOWED", "{method} {path}");
                }
            }
        }
        for path in ["/api/nothing", "/api/images/a/b", "/api", "/api/"] {
            let answer = server.http.post(format!("{}{path}", server.url)).bearer_auth(ADMIN).send().await.unwrap();
            assert_eq!(answer.status(), 404, "{path}");
            assert_eq!(answer.json::<Value>().await.unwrap()["error"]["code"], "NOT_FOUND", "{path}");
        }
    }

    /// Every REST answer to a valid token has the headers of its rate limit, like those of GraphQL.
    async fn rest_answers_have_rate_limit_headers(database: Database) {
        let server = Server::start_with(database, |config| config.rate_limit = Some(210)).await;
        let mut left = Vec::new();
        for (method, path, status) in [
            (Method::GET, "/api/images", 200),
            (Method::GET, "/api/images?limit=x", 400),
            (Method::GET, "/api/images/img_00000000000000000000000000", 404),
            (Method::PUT, "/api/images", 405),
            (Method::GET, "/api/nothing", 404),
            (Method::GET, "/api/openapi.json", 200),
            (Method::GET, "/api/images", 200),
            (Method::GET, "/api/images", 429),
        ] {
            let answer = server.http.request(method, format!("{}{path}", server.url)).bearer_auth(ADMIN).send().await.unwrap();
            assert_eq!(answer.status(), status, "{path}");
            assert_eq!(text(&answer, "ratelimit-policy"), "\"token\";q=210;w=60", "{path}");
            let state = text(&answer, "ratelimit");
            let remaining = state.strip_prefix("\"token\";r=").unwrap().split(';').next().unwrap();
            left.push(remaining.parse::<u32>().unwrap());
            assert_eq!(answer.headers().contains_key("retry-after"), status == 429, "{path}");
        }
        assert!(left[0] <= 112 && *left.last().unwrap() < 100, "{left:?}");
        let unknown = server.http.get(format!("{}/api/images", server.url)).bearer_auth("wrong").send().await.unwrap();
        assert_eq!((unknown.status().as_u16(), unknown.headers().contains_key("ratelimit")), (401, false));
        assert_eq!(text(&unknown, "www-authenticate"), "Bearer");
    }

    /// Parameters of a list as HTML forms send them: an empty one counts as missing; both cursors together limit both
    /// ends.
    async fn parameters_of_a_rest_list(database: Database) {
        let server = Server::start(database).await;
        for i in 0..6 {
            server.file("a.png", png(i)).await;
        }
        let get = async |query: &str| -> (u16, Value) {
            let answer = server.http.get(format!("{}/api/images?{query}", server.url)).bearer_auth(ADMIN).send().await.unwrap();
            (answer.status().as_u16(), answer.json().await.unwrap())
        };
        let ids = |page: &Value| page["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        let (_, all) = get("").await;
        for query in ["after=&before=&ids=&limit=&workspace_id=", "after=", "before=", "limit=", "workspace_id=", "ids=", "ids=,", "ids=%20"] {
            assert_eq!(get(query).await, (200, all.clone()), "{query}");
        }
        let every = ids(&all);
        let cursors: Vec<Value> = server.query("{ images { edges { cursor } } }", json!({})).await["images"]["edges"].as_array().unwrap().iter().map(|edge| edge["cursor"].clone()).collect();
        let cursor = |at: usize| cursors[at].as_str().unwrap();
        for (query, rows, next, previous) in [
            (format!("after={}&before={}", cursor(0), cursor(4)), 1..4, true, true),
            (format!("after={}&before={}&limit=2", cursor(0), cursor(4)), 1..3, true, true),
            (format!("after={}&before={}", cursor(2), cursor(3)), 3..3, true, true),
            (format!("after={}&before={}", cursor(4), cursor(0)), 0..0, true, true),
            (format!("after={}&before=", cursor(3)), 4..6, false, true),
            (format!("after=&before={}", cursor(2)), 0..2, true, false),
        ] {
            let (status, page) = get(&query).await;
            assert_eq!((status, ids(&page)), (200, every[rows].to_vec()), "{query}");
            assert_eq!((&page["pageInfo"]["hasNextPage"], &page["pageInfo"]["hasPreviousPage"]), (&json!(next), &json!(previous)), "{query}");
        }
        for (query, field) in [(format!("after={}&before=b", cursor(0)), "before"), (format!("after={}%20", cursor(0)), "after"), ("after=%20".to_owned(), "after"), ("limit=%20".to_owned(), "limit"), ("workspace_id=%20".to_owned(), "workspace_id"), ("ids=a".to_owned(), "ids")] {
            let (status, refused) = get(&query).await;
            assert_eq!((status, &refused["error"]["field"]), (400, &json!(field)), "{query}");
        }
        // A cursor in the format of an earlier version.
        let id: imagegraph::id::ImageId = every[2].parse().unwrap();
        let old = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json!([1, "images:CREATED_AT", true, null, id.0]).to_string());
        let (status, page) = get(&format!("after={old}")).await;
        assert_eq!((status, ids(&page)), (200, every[3..].to_vec()));
    }

    /// The OpenAPI document describes exactly the parameters that are accepted.
    async fn the_openapi_document_is_exact(database: Database) {
        let server = Server::start(database).await;
        let file = server.file("a.png", png(1)).await;
        let document: Value = server.http.get(format!("{}/api/openapi.json", server.url)).bearer_auth(ADMIN).send().await.unwrap().json().await.unwrap();
        let list = &document["paths"]["/api/images"]["get"];
        let pattern = |name: &str| {
            let found = list["parameters"].as_array().unwrap().iter().find(|parameter| parameter["name"] == name).unwrap().clone();
            assert_ne!(found["required"], json!(true), "{name}");
            found["schema"]["pattern"].as_str().or(found["schema"]["items"]["pattern"].as_str()).unwrap().to_owned()
        };
        assert_eq!(pattern("ids"), "^ *(img_[0-7][0-9a-hjkmnp-tv-z]{25})? *$");
        assert_eq!(pattern("workspace_id"), "^(wsp_[0-7][0-9a-hjkmnp-tv-z]{25})?$");
        let cursor = server.query("{ images { pageInfo { endCursor } } }", json!({})).await["images"]["pageInfo"]["endCursor"].as_str().unwrap().to_owned();
        let fixed = pattern("after").strip_prefix("^(").unwrap().strip_suffix("[0-9A-Za-z_-]{21}[AQgw])?$").unwrap().to_owned();
        assert_eq!((cursor.strip_prefix(&fixed).unwrap().len(), pattern("before")), (22, pattern("after")));
        for id in ["A".repeat(22), "_".repeat(21) + "w", "-".repeat(21) + "Q"] {
            let answer = server.http.get(format!("{}/api/images?after={fixed}{id}", server.url)).bearer_auth(ADMIN).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{id}");
        }
        for (path, method) in [("/api/images", "get"), ("/api/images/{id}", "get"), ("/api/images/{id}", "delete"), ("/api/images/by-file/{file_id}", "get")] {
            let answers = &document["paths"][path][method]["responses"];
            for status in ["200", "400", "401", "403", "429", "500"] {
                assert!(answers[status]["content"]["application/json"]["schema"].is_object(), "{method} {path} {status}");
            }
            assert!(answers["429"]["headers"]["Retry-After"].is_object() && answers["200"]["headers"]["RateLimit"].is_object());
        }
        assert!(file["id"].as_str().unwrap().starts_with("fil_"));
    }
}
