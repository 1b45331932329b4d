//! GraphQL over HTTP: media types, status codes, limits, and cross-origin requests.

use reqwest::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server, UPLOAD};
use crate::pictures::png;

const NEW: &str = "application/graphql-response+json";
const OLD: &str = "application/json";

struct Answer {
    status: u16,
    media_type: String,
    body: Value,
}

impl Answer {
    fn code(&self) -> &str {
        self.body["errors"][0]["extensions"]["code"].as_str().unwrap_or("no code")
    }
}

async fn send(request: reqwest::RequestBuilder) -> Answer {
    let response = request.bearer_auth(ADMIN).send().await.unwrap();
    let status = response.status().as_u16();
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    let media_type =
        response.headers().get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap()).to_owned();
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"));
    Answer { status, media_type, body }
}

fn post(server: &Server) -> reqwest::RequestBuilder {
    server.http.post(format!("{}/graphql", server.url))
}

fn get(server: &Server, query: &[(&str, &str)]) -> reqwest::RequestBuilder {
    server.http.get(format!("{}/graphql", server.url)).query(query)
}

/// Nested fragments that expand to 2^levels fields.
fn nested_fragments(levels: usize) -> String {
    let mut text = "{ ...F0 }".to_owned();
    for i in 0..levels {
        text += &format!(" fragment F{i} on Query {{ ...F{n} ...F{n} }}", n = i + 1);
    }
    text + &format!(" fragment F{levels} on Query {{ __typename }}")
}

both! {
    /// Both media types, negotiated by the `Accept` header.
    async fn media_types_are_negotiated(database: Database) {
        let server = Server::start(database).await;
        let query = json!({ "query": "{ server { version } }" });
        for (accept, expected) in [
            (None, OLD),
            (Some("*/*"), OLD),
            (Some("application/*"), OLD),
            (Some(OLD), OLD),
            (Some(NEW), NEW),
            (Some("application/graphql-response+json, application/json;q=0.9"), NEW),
            (Some("application/graphql-response+json;q=0.5, application/json"), OLD),
            (Some("text/html, application/json;q=0.1"), OLD),
        ] {
            let mut request = post(&server).json(&query);
            if let Some(accept) = accept {
                request = request.header(ACCEPT, accept);
            }
            let answer = send(request).await;
            assert_eq!(answer.status, 200, "{accept:?}");
            assert_eq!(answer.media_type, format!("{expected}; charset=utf-8"), "{accept:?}");
        }
        for accept in ["text/html", "application/json;q=0"] {
            assert_eq!(send(post(&server).json(&query).header(ACCEPT, accept)).await.status, 406, "{accept}");
        }
    }

    /// Status codes of requests that cannot be executed, for each media type.
    async fn status_codes(database: Database) {
        let server = Server::start(database).await;
        for (query, code) in [
            ("{", "GRAPHQL_PARSE_FAILED"),
            ("{ nope }", "GRAPHQL_VALIDATION_FAILED"),
            ("query($a: Int!) { files(first: $a) { totalCount } }", "GRAPHQL_VALIDATION_FAILED"),
            ("{ __typename { a } }", "GRAPHQL_VALIDATION_FAILED"),
        ] {
            let body = json!({ "query": query });
            let answer = send(post(&server).json(&body).header(ACCEPT, OLD)).await;
            assert_eq!((answer.status, answer.code()), (200, code), "{query}");
            let answer = send(post(&server).json(&body).header(ACCEPT, NEW)).await;
            assert_eq!((answer.status, answer.code()), (400, code), "{query}");
            assert!(answer.body.get("data").is_none(), "{query}: {}", answer.body);
        }
        for body in [
            "", "nonsense", "[]", "{}", "null", "1", "\"{ __typename }\"", "{\"query\":1}", "{\"query\":\"\"}",
            "{\"query\":\"{ __typename }\",\"variables\":[]}", "{\"query\":\"{ __typename }\",\"operationName\":1}",
            "{\"query\":\"{ __typename }\",\"extensions\":1}",
        ] {
            let answer = send(post(&server).header(CONTENT_TYPE, OLD).body(body)).await;
            assert_eq!((answer.status, answer.code()), (400, "BAD_REQUEST"), "{body}");
        }
        // A field that fails is null with an error, and the status is 200.
        let answer = send(post(&server).json(&json!({ "query": "{ file(id: \"x\") { id } server { emulated } }" })).header(ACCEPT, NEW)).await;
        assert_eq!((answer.status, answer.code()), (200, "BAD_USER_INPUT"));
        assert_eq!(answer.body["data"], json!({ "file": null, "server": { "emulated": true } }));
    }

    /// Requests that an HTML form could send are refused, and GET never runs a mutation.
    async fn simple_requests_cannot_run_mutations(database: Database) {
        let server = Server::start(database).await;
        let body = json!({ "query": "{ server { version } }" }).to_string();
        for content_type in ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", "multipart/mixed; boundary=a", "application/graphql"] {
            let mut request = post(&server).body(body.clone());
            if !content_type.is_empty() {
                request = request.header(CONTENT_TYPE, content_type);
            }
            let answer = send(request).await;
            assert_eq!((answer.status, answer.code()), (415, "UNSUPPORTED_MEDIA_TYPE"), "{content_type}");
        }
        let query = "query A { server { version } } mutation B { deleteFile(input: { id: \"fil_00000000000000000000000000\" }) { success } }";
        let answer = send(get(&server, &[("query", query), ("operationName", "A")])).await;
        assert_eq!(answer.status, 200);
        assert!(answer.body["data"]["server"].is_object());
        for name in ["B", ""] {
            let response = get(&server, &[("query", query), ("operationName", name)]).bearer_auth(ADMIN).send().await.unwrap();
            assert_eq!((response.status().as_u16(), response.headers()[ALLOW].to_str().unwrap()), (405, "POST"));
        }
        let answer = send(get(&server, &[("query", "query($n: Int) { files(first: $n) { totalCount } }"), ("variables", "{\"n\":1}")])).await;
        assert_eq!(answer.body["data"]["files"]["totalCount"], 0);
        for bad in [&[("variables", "{")][..], &[("query", "{ a }"), ("query", "{ b }")], &[]] {
            assert_eq!(send(get(&server, bad)).await.status, 400);
        }
        for method in ["PUT", "PATCH", "DELETE"] {
            let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
            let response = server.http.request(method, format!("{}/graphql", server.url)).json(&json!({ "query": "{ __typename }" })).bearer_auth(ADMIN).send().await.unwrap();
            assert_eq!(response.status(), 405);
        }
    }

    /// Every limit is checked before the work that it bounds (executing the last of these documents would take
    /// years), and the requests of ordinary tools are below all of them.
    async fn limits_are_enforced(database: Database) {
        let server = Server::start(database).await;
        let aliases: String = (0..61).map(|i| format!("a{i}: __typename ")).collect();
        let deep = format!("{{ files {{ nodes {{ {}id{} }} }} }}", "workspace { files { nodes { ".repeat(7), " } } }".repeat(7));
        let wide = "{ workspaces { nodes { images { nodes { id url width height } } } } }";
        let directives = format!("{{ server {{ version {} }} }}", "@skip(if: false) ".repeat(51));
        let lists = format!("{{ nodes(ids: [{}]) {{ id }} }}", "\"a\" ".repeat(5000));
        for query in [format!("{{ {aliases} }}"), deep, wide.to_owned(), directives, lists, nested_fragments(30), nested_fragments(60), "{ x ".repeat(3000), "[".repeat(100_000)] {
            let answer = send(post(&server).json(&json!({ "query": query })).header(ACCEPT, NEW)).await;
            assert_eq!(answer.status, 400, "{:.60}", query);
        }
        let huge = json!({ "query": "{ __typename }", "variables": { "a": "x".repeat(300_000) } });
        let answer = send(post(&server).json(&huge)).await;
        assert_eq!((answer.status, answer.code()), (413, "PAYLOAD_TOO_LARGE"));
        // GraphiQL's introspection and a page of Relay are accepted.
        let introspection = "query IntrospectionQuery { __schema { description queryType { name } mutationType { name } subscriptionType { name } types { ...FullType } directives { name description locations args { ...InputValue } } } }
            fragment FullType on __Type { kind name description fields(includeDeprecated: true) { name description args { ...InputValue } type { ...TypeRef } isDeprecated deprecationReason } inputFields { ...InputValue } interfaces { ...TypeRef } enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason } possibleTypes { ...TypeRef } }
            fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue }
            fragment TypeRef on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } }";
        let relay = "{ workspaces(first: 5) { edges { cursor node { id name images(first: 20) { edges { cursor node { id url width height rendition(variant: \"public\") { url width height } file { id filename } } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } } } pageInfo { hasNextPage } } }";
        for query in [introspection, relay] {
            let answer = send(post(&server).json(&json!({ "query": query })).header(ACCEPT, NEW)).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            assert!(answer.body.get("errors").is_none(), "{}", answer.body);
        }
    }

    /// Batches run, up to their limit.
    async fn batches(database: Database) {
        let server = Server::start(database).await;
        let one = json!({ "query": "{ server { version } }" });
        let answer = send(post(&server).json(&json!([one, { "query": "{ nope }" }]))).await;
        assert!(answer.body[0]["data"]["server"].is_object());
        assert_eq!(answer.body[1]["errors"][0]["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED");
        let answer = send(post(&server).json(&vec![one; 11])).await;
        assert_eq!((answer.status, answer.code()), (400, "BAD_REQUEST"));
    }

    /// The multipart protocol: invalid requests are refused, and variables can only refer to parts of the same
    /// request.
    async fn multipart_is_read_strictly(database: Database) {
        let server = Server::start_with(database, |config| { config.max_file_size = 100_000; config.max_upload_parts = 3; }).await;
        let operations = json!({ "query": UPLOAD, "variables": { "input": { "workspaceId": server.workspace, "file": null } } }).to_string();
        let map = r#"{"0":["variables.input.file"]}"#;
        let file = || Part::bytes(png(1)).file_name("a.png");
        let many = r#"{"0":["variables.a","variables.b","variables.c","variables.d"]}"#;
        for (what, form, status, code) in [
            ("no map", Form::new().text("operations", operations.clone()).part("0", file()), 400, "BAD_REQUEST"),
            ("no operations", Form::new().text("map", map).part("0", file()), 400, "BAD_REQUEST"),
            ("wrong order", Form::new().text("map", map).text("operations", operations.clone()).part("0", file()), 400, "BAD_REQUEST"),
            ("map is no object", Form::new().text("operations", operations.clone()).text("map", "[]").part("0", file()), 400, "BAD_REQUEST"),
            ("map leads nowhere", Form::new().text("operations", operations.clone()).text("map", r#"{"0":["variables.nope"]}"#).part("0", file()), 400, "BAD_REQUEST"),
            ("map leads to a value", Form::new().text("operations", operations.clone()).text("map", r#"{"0":["variables.input.workspaceId"]}"#).part("0", file()), 400, "BAD_REQUEST"),
            ("map leads to the query", Form::new().text("operations", operations.clone()).text("map", r#"{"0":["query"]}"#).part("0", file()), 400, "BAD_REQUEST"),
            ("part missing", Form::new().text("operations", operations.clone()).text("map", map), 400, "BAD_REQUEST"),
            ("part not in map", Form::new().text("operations", operations.clone()).text("map", map).part("0", file()).part("1", file()), 400, "BAD_REQUEST"),
            ("too many paths", Form::new().text("operations", operations.clone()).text("map", many).part("0", file()), 413, "PAYLOAD_TOO_LARGE"),
            ("too large", Form::new().text("operations", operations.clone()).text("map", map).part("0", Part::bytes(vec![0; 100_001]).file_name("a")), 413, "FILE_TOO_LARGE"),
        ] {
            let answer = send(post(&server).multipart(form)).await;
            assert_eq!((answer.status, answer.code()), (status, code), "{what}: {}", answer.body);
        }
        for forged in [json!("#__graphql_file__:0"), json!({ "imagegraph.part": "0" }), json!("0"), json!(1), Value::Null] {
            let variables = json!({ "input": { "workspaceId": server.workspace, "file": forged } });
            let answer = send(post(&server).json(&json!({ "query": UPLOAD, "variables": variables }))).await;
            assert!(answer.body["errors"].is_array() || answer.body["data"]["uploadFile"]["userErrors"][0]["code"] == "INVALID_INPUT", "{}", answer.body);
        }
        let literal = format!("mutation {{ uploadFile(input: {{ workspaceId: \"{}\", file: \"#__graphql_file__:9\" }}) {{ file {{ id }} }} }}", server.workspace);
        assert!(send(post(&server).json(&json!({ "query": literal }))).await.body["errors"].is_array());
        assert_eq!(server.originals().len(), 0);
        // One part for two variables: both get all its bytes.
        let twice = "mutation($a: UploadFileInput!, $b: UploadFileInput!) { a: uploadFile(input: $a) { file { sha256 } } b: uploadFile(input: $b) { file { sha256 } } }";
        let input = json!({ "workspaceId": server.workspace, "file": null });
        let form = Form::new()
            .text("operations", json!({ "query": twice, "variables": { "a": input, "b": input } }).to_string())
            .text("map", r#"{"0":["variables.a.file","variables.b.file"]}"#)
            .part("0", file());
        let answer = send(post(&server).multipart(form)).await;
        assert!(answer.body["data"]["a"]["file"]["sha256"].is_string());
        assert_eq!(answer.body["data"]["a"], answer.body["data"]["b"]);
    }

    /// A page of any origin may send requests with a token of its own.
    async fn cors(database: Database) {
        let server = Server::start(database).await;
        let response = server.http.request(reqwest::Method::OPTIONS, format!("{}/graphql", server.url))
            .header("origin", "https://app.example").header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type").send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        let allowed = response.headers()["access-control-allow-headers"].to_str().unwrap().to_lowercase();
        assert!(allowed.contains("authorization") && allowed.contains("content-type"), "{allowed}");
        assert!(response.headers().get("access-control-allow-credentials").is_none());
    }

    /// Queries and mutations over a WebSocket, with the token in `connection_init`.
    async fn websocket(database: Database) {
        use futures_util::{SinkExt, StreamExt};
        use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};
        let server = Server::start(database).await;
        let url = format!("{}/graphql", server.url.replace("http://", "ws://"));
        let connect = async |token: &str, queries: &[&str]| {
            let mut request = url.as_str().into_client_request().unwrap();
            request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse().unwrap());
            let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
            let init = json!({ "type": "connection_init", "payload": { "Authorization": format!("Bearer {token}") } });
            socket.send(Message::text(init.to_string())).await.unwrap();
            for (id, query) in queries.iter().enumerate() {
                let subscribe = json!({ "id": id.to_string(), "type": "subscribe", "payload": { "query": query } });
                socket.send(Message::text(subscribe.to_string())).await.unwrap();
            }
            let mut messages = Vec::new();
            while let Ok(Some(Ok(Message::Text(text)))) = tokio::time::timeout(std::time::Duration::from_secs(2), socket.next()).await {
                messages.push(serde_json::from_str::<Value>(&text).unwrap());
                if messages.iter().filter(|message| message["type"] == "complete").count() == queries.len() {
                    break;
                }
            }
            messages
        };
        let messages = connect(ADMIN, &["{ viewer { user { name } } }"]).await;
        assert_eq!(messages[0]["type"], "connection_ack");
        assert_eq!(messages[1]["payload"]["data"]["viewer"]["user"]["name"], "Admin");
        let messages = connect("wrong", &["{ viewer { user { name } } }"]).await;
        assert!(messages.iter().all(|message| message["type"] != "next"), "{messages:?}");
        let messages = connect(ADMIN, &[&nested_fragments(40)]).await;
        assert_eq!(messages[1]["payload"][0]["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED", "{messages:?}");
        let old = server.http.get(format!("{}/graphql", server.url)).header("upgrade", "websocket").header("connection", "upgrade")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==").header("sec-websocket-version", "13").header("sec-websocket-protocol", "graphql-ws").send().await.unwrap();
        assert_eq!(old.status(), 400);
    }
}
