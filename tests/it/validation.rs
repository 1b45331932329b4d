//! Requests that are refused before anything of them runs, and values that have to arrive exactly as they were sent.

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use reqwest::multipart::{Form, Part};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server};

const NEW: &str = "application/graphql-response+json";
const KEY: &str = "$serde_json::private::RawValue";

fn post(server: &Server) -> RequestBuilder {
    server.http.post(format!("{}/graphql", server.url)).bearer_auth(ADMIN)
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}")))
}

fn code(answer: &Value) -> &str {
    answer["errors"][0]["extensions"]["code"].as_str().unwrap_or("no code")
}

/// A mutation that creates a workspace called "half", and then runs something else.
fn half(variables: &str, second: &str) -> String {
    format!(
        "mutation({variables}) {{
            half: createWorkspace(input: {{ name: \"half\" }}) {{ workspace {{ id }} }}
            {second} {{ userErrors {{ code }} }}
        }}"
    )
}

async fn workspaces(server: &Server) -> Vec<String> {
    let found = server.query("{ workspaces { nodes { name } } }", json!({})).await;
    let found = found["workspaces"]["nodes"].as_array().unwrap().clone();
    found.iter().map(|workspace| workspace["name"].as_str().unwrap().to_owned()).collect()
}

/// Operations with variables that do not fit them.
fn invalid_variables() -> Vec<(String, Value)> {
    let name = || half("$n: String!", "createWorkspace(input: { name: $n })");
    let input = || half("$i: CreateWorkspaceInput!", "createWorkspace(input: $i)");
    let file = || half("$i: UpdateFileInput!", "updateFile(input: $i)");
    let uploads = || half("$u: [CreateDirectUploadInput!]!", "createDirectUploads(input: { uploads: $u })");
    let policy = |policy: Value| json!({ "i": { "name": "x", "policy": policy } });
    let upload = |more: Value| {
        let mut upload = json!({ "workspaceId": "wsp_1", "filename": "a", "mimeType": "a/b" });
        for (key, value) in more.as_object().unwrap() {
            upload[key] = value.clone();
        }
        json!({ "u": [upload] })
    };
    let token = |variables: &str, at: &str| {
        half(
            variables,
            &format!("createApiToken(input: {{ name: \"x\", scopes: [FILES_READ], expiresAt: {at} }})"),
        )
    };
    vec![
        (name(), json!({})),
        (name(), json!({ "n": null })),
        (name(), json!({ "n": 1 })),
        (name(), json!({ "n": ["a"] })),
        (name(), json!({ "N": "another" })),
        (input(), json!({ "i": {} })),
        (input(), json!({ "i": { "name": null } })),
        (input(), json!({ "i": { "name": "x", "nope": 1 } })),
        (input(), json!({ "i": "x" })),
        (input(), json!({ "i": [{ "name": "x" }] })),
        (input(), policy(json!({ "exifPolicy": "NOPE" }))),
        (input(), policy(json!({ "exifPolicy": 1 }))),
        (input(), policy(json!({ "trashRetentionDays": 2_147_483_648_u32 }))),
        (input(), policy(json!({ "trashRetentionDays": 1.5 }))),
        (input(), policy(json!({ "allowedMimeTypes": ["a/b", null] }))),
        (input(), policy(json!({ "allowedMimeTypes": [["a/b"]] }))),
        (input(), policy(json!({ "maxFileSize": -1 }))),
        (input(), policy(json!({ "maxFileSize": "1" }))),
        (input(), policy(json!({ "privateByDefault": "true" }))),
        (file(), json!({ "i": { "id": "fil_1", "ifUpdatedAt": "yesterday" } })),
        (file(), json!({ "i": { "id": "fil_1", "metadata": { "a": [{ KEY: "[1,2]" }] } } })),
        (file(), json!({ "i": { "id": "fil_1", "metadata": { KEY: "[1,2]" } } })),
        (file(), json!({ "i": { "id": "fil_1", "metadata": { "$serde_json::private::Number": "1" } } })),
        (file(), json!({ "i": { "id": 1.5 } })),
        (file(), json!({ "i": { "id": true } })),
        (uploads(), json!({ "u": null })),
        (uploads(), json!({ "u": [null] })),
        (uploads(), upload(json!({ "expiresIn": "60" }))),
        (uploads(), upload(json!({ "nope": null }))),
        (uploads(), upload(json!({ "transport": "put" }))),
        (uploads(), upload(json!({ "image": { "focalPoint": { "x": "left", "y": 0 } } }))),
        (uploads(), upload(json!({ "image": { "focalPoint": { "x": 0 } } }))),
        (half("$f: Upload!", "uploadFile(input: { workspaceId: 1, file: $f })"), json!({ "f": "0" })),
        (
            half("$f: Upload!", "uploadFile(input: { workspaceId: 1, file: $f })"),
            json!({ "f": { "imagegraph.part": 1 } }),
        ),
        (token("$t: DateTime!", "$t"), json!({ "t": "2026-13-01T00:00:00Z" })),
        (token("$t: DateTime = \"yesterday\"", "$t"), json!({})),
        // An invalid document is refused as well, and not for its variables.
        (token("$t: String", "$t"), json!({})),
        (half("$n: String", "createWorkspace(input: { name: $n })"), json!({ "n": "x" })),
        (
            half(
                "$n: Int = 3000000000",
                "createDirectUpload(input: { workspaceId: 1, filename: \"a\", mimeType: \"b\", expiresIn: $n })",
            ),
            json!({}),
        ),
        (half("$n: String = \"x\"", "createWorkspace(input: { name: $n })"), json!({ "n": null })),
        (half("$b: Boolean!", "deleteFile(input: { id: 1, permanent: $b })"), json!({})),
        (half("$b: Boolean!", "deleteFile(input: { id: 1 }) @include(if: $b)"), json!({ "b": 1 })),
        (half("$b: Boolean!", "deleteFile(input: { id: 1 }) @skip(if: $b)"), json!({})),
    ]
}

both! {
    /// Every error in variables is found before the first field of a mutation runs, over every transport.
    async fn invalid_variables_are_refused_before_execution(database: Database) {
        let server = Server::start(database).await;
        let before = workspaces(&server).await;
        for (query, variables) in invalid_variables() {
            let body = json!({ "query": query, "variables": variables });
            let shown = format!("{variables} {query}");
            let (status, refused) = answer(post(&server).json(&body).header(ACCEPT, NEW)).await;
            assert_eq!((status, code(&refused)), (400, "GRAPHQL_VALIDATION_FAILED"), "{shown}: {refused}");
            assert!(refused.get("data").is_none(), "{shown}: {refused}");
            assert!(refused["errors"][0]["locations"][0]["line"].is_u64(), "{shown}: {refused}");
            let (status, refused) = answer(post(&server).json(&body)).await;
            assert_eq!((status, code(&refused)), (200, "GRAPHQL_VALIDATION_FAILED"), "{shown}");
            let (status, refused) = answer(post(&server).json(&json!([body]))).await;
            assert_eq!((status, code(&refused[0])), (200, "GRAPHQL_VALIDATION_FAILED"), "{shown}");
            let (status, refused) = answer(post(&server).json(&body).header(ACCEPT, NEW).header("x-again", "1")).await;
            assert_eq!((status, code(&refused)), (400, "GRAPHQL_VALIDATION_FAILED"), "{shown}: the second time");
        }
        assert_eq!(workspaces(&server).await, before);
    }

    /// The same with a file part, for which the variable is null when the variables are validated.
    async fn invalid_variables_beside_a_file_part(database: Database) {
        let server = Server::start(database).await;
        let before = workspaces(&server).await;
        let query = half("$f: Upload!, $w: ID!, $t: [String!]", "uploadFile(input: { workspaceId: $w, file: $f, tags: $t })");
        let send = async |variables: Value| {
            let operations = json!({ "query": query, "variables": variables });
            let form = Form::new()
                .text("operations", operations.to_string())
                .text("map", r#"{"0":["variables.f"]}"#)
                .part("0", Part::bytes(b"text".to_vec()).file_name("a.txt"));
            answer(post(&server).multipart(form).header(ACCEPT, NEW)).await
        };
        for variables in [json!({ "f": null }), json!({ "f": null, "w": 1, "t": [1] }), json!({ "f": null, "w": null })] {
            let (status, refused) = send(variables.clone()).await;
            assert_eq!((status, code(&refused)), (400, "GRAPHQL_VALIDATION_FAILED"), "{variables}: {refused}");
        }
        assert_eq!(workspaces(&server).await, before);
        let (status, done) = send(json!({ "f": null, "w": server.workspace, "t": "one" })).await;
        assert_eq!((status, &done["data"]["uploadFile"]["userErrors"]), (200, &json!([])), "{done}");
    }

    /// Resolvers get coerced values: defaults, lists of one, ids from integers.
    async fn variables_are_coerced(database: Database) {
        let server = Server::start(database).await;
        let file = server.file("a.txt", b"text".to_vec()).await;
        let query = "query($s: [FileStatus!] = [READY], $n: Int = 1, $f: FileFilter) {
            files(first: $n, filter: { status: $s }) { nodes { id } } all: files(filter: $f) { totalCount }
        }";
        for variables in [json!({}), json!({ "s": "READY" }), json!({ "s": ["READY"], "n": 5, "f": {} }), json!({ "f": { "status": "READY" } })] {
            let found = server.query(query, variables.clone()).await;
            assert_eq!(found, json!({ "files": { "nodes": [{ "id": file["id"] }] }, "all": { "totalCount": 1 } }), "{variables}");
        }
        let found = server.query("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", json!({ "ids": 5 })).await;
        assert_eq!(found["nodes"], json!([null]));
    }

    /// A variable that is not sent is not null: its argument is left out.
    async fn missing_variables_change_nothing(database: Database) {
        let server = Server::start(database).await;
        let file = server.file("a.txt", b"text".to_vec()).await;
        let update = "mutation($id: ID!, $name: String, $tags: [String!], $metadata: JSON) {
            updateFile(input: { id: $id, filename: $name, tags: $tags, metadata: $metadata }) { file { filename tags metadata } userErrors { message } }
        }";
        let change = async |more: Value| {
            let mut variables = json!({ "id": file["id"] });
            for (key, value) in more.as_object().unwrap() {
                variables[key] = value.clone();
            }
            let changed = server.query(update, variables).await["updateFile"].clone();
            assert_eq!(changed["userErrors"], json!([]), "{more}");
            changed["file"].clone()
        };
        let all = json!({ "tags": ["x"], "metadata": { "a": 1 } });
        assert_eq!(change(all).await, json!({ "filename": "a.txt", "tags": ["x"], "metadata": { "a": 1 } }));
        assert_eq!(change(json!({ "name": "b.txt" })).await, json!({ "filename": "b.txt", "tags": ["x"], "metadata": { "a": 1 } }));
        assert_eq!(change(json!({ "metadata": null })).await, json!({ "filename": "b.txt", "tags": ["x"], "metadata": null }));
        // In a fragment, for an argument with a default, and in a list.
        let query = "query($order: FileOrder, $n: Int) { ...F } fragment F on Query { files(first: $n, orderBy: $order) { nodes { filename } } }";
        server.file("c.txt", b"more".to_vec()).await;
        let found = server.query(query, json!({})).await;
        assert_eq!(found["files"]["nodes"], server.query("{ files { nodes { filename } } }", json!({})).await["files"]["nodes"]);
        let keep = "mutation($id: ID!, $m: JSON, $x: JSON) { updateFile(input: { id: $id, metadata: { a: $m, b: [$m, $x] } }) { file { metadata } } }";
        let kept = server.query(keep, json!({ "id": file["id"], "x": { "y": 1 } })).await;
        assert_eq!(kept["updateFile"]["file"]["metadata"], json!({ "b": [null, { "y": 1 }] }));
    }

    /// Invalid documents are refused each time with the location of the error.
    async fn documents_are_validated(database: Database) {
        let server = Server::start(database).await;
        for (query, line, column) in [
            ("{ viewer { user { x: id } } viewer { user { x: name } } }", 1, 45),
            ("{ files(filter: { search: \"a\", search: \"b\" }) { totalCount } }", 1, 40),
            ("query($id: ID) {\n  file(id: $id) { id }\n}", 2, 8),
            ("query($n: String) {\n files(filter: { filename: { anyOf: [$n] } }) { totalCount }\n}", 2, 38),
            ("{ files(filter: { search: \"\u{1F600}\" }) { nope } }", 1, 36),
        ] {
            for _ in 0..2 {
                let (status, refused) = answer(post(&server).json(&json!({ "query": query })).header(ACCEPT, NEW)).await;
                assert_eq!((status, code(&refused)), (400, "GRAPHQL_VALIDATION_FAILED"), "{query}: {refused}");
                assert_eq!(refused["errors"][0]["locations"], json!([{ "line": line, "column": column }]), "{query}: {refused}");
            }
        }
        // Two documents of one batch do not share what is cached about either.
        let (_, refused) = answer(post(&server).json(&json!({ "query": "{ nope }", "operationName": "A" }))).await;
        assert_eq!(code(&refused), "GRAPHQL_VALIDATION_FAILED");
        let two = "query A { server { emulated } } query B($n: Int!) { files(first: $n) { totalCount } }";
        for (name, variables, data) in [
            ("A", json!({}), json!({ "server": { "emulated": true } })),
            ("B", json!({ "n": 1 }), json!({ "files": { "totalCount": 0 } })),
        ] {
            let body = json!({ "query": two, "operationName": name, "variables": variables });
            let (_, answered) = answer(post(&server).json(&body)).await;
            assert_eq!((&answered["data"], &answered["extensions"]["cost"]["depth"]), (&data, &json!(2)), "{answered}");
        }
        for name in [json!("C"), json!(null)] {
            let body = json!({ "query": two, "operationName": name });
            assert_eq!(code(&answer(post(&server).json(&body)).await.1), "GRAPHQL_VALIDATION_FAILED");
        }
    }

    /// Escapes in string literals: both notations for code points above U+FFFF; an unpaired surrogate is refused.
    async fn string_literals(database: Database) {
        let server = Server::start(database).await;
        let file = server.file("\u{1F600}.txt", b"text".to_vec()).await;
        for literal in [r#""\uD83D\uDE00""#, r#""\ud83d\ude00""#, r#""\u{1F600}""#, r#""\u{01f600}""#, "\"\u{1F600}\"", "\"\"\"\u{1F600}\"\"\""] {
            let found = server.query(&format!("{{ files(filter: {{ search: {literal} }}) {{ nodes {{ id }} }} }}"), json!({})).await;
            assert_eq!(found["files"]["nodes"], json!([{ "id": file["id"] }]), "{literal}");
        }
        for literal in [r#""\uD83D""#, r#""\uDE00""#, r#""\uD83Dx""#, r#""\uD83D\n""#, r#""\u{D83D}""#, r#""\u{110000}""#, r#""\u{}""#, r#""\u12""#] {
            let body = json!({ "query": format!("{{ files(filter: {{ search: {literal} }}) {{ totalCount }} }}") });
            let (_, refused) = answer(post(&server).json(&body)).await;
            assert_eq!(code(&refused), "GRAPHQL_PARSE_FAILED", "{literal}: {refused}");
        }
        // The only escape in a block string is that of its delimiter.
        let text = r#"\uD83D \u{1F600} \n """#;
        let query = format!("mutation($id: ID!) {{ updateFile(input: {{ id: $id, metadata: {{ a: \"\"\"{}\"\"\" }} }}) {{ file {{ metadata }} }} }}", text.replace("\"\"", "\\\"\"\""));
        let kept = server.query(&query, json!({ "id": file["id"] })).await;
        assert_eq!(kept["updateFile"]["file"]["metadata"], json!({ "a": r#"\uD83D \u{1F600} \n """#.to_owned() + "\"" }));
    }

    /// Keys that serde_json reserves internally never change what is stored.
    async fn metadata_is_kept_as_sent_or_refused(database: Database) {
        let server = Server::start(database).await;
        let file = server.file("a.txt", b"text".to_vec()).await;
        let query = "mutation($id: ID!, $m: JSON) { updateFile(input: { id: $id, metadata: $m }) { file { metadata } userErrors { code } } }";
        for metadata in [
            json!({ "a": { "b": [null, true, -1, 1.5, "x", {}] } }),
            json!({ "$serde_json": 1, "private::RawValue": "[1]" }),
            json!({ "": "", "imagegraph.part": "0" }),
            json!({ "big": 18_446_744_073_709_551_615_u64 }),
        ] {
            let kept = server.query(query, json!({ "id": file["id"], "m": metadata })).await;
            assert_eq!(kept["updateFile"]["file"]["metadata"], metadata, "{kept}");
        }
        let get = |variables: &str| {
            let query = "query($s: String!) { files(filter: { search: $s }) { totalCount } }";
            let pairs = [("query", query), ("variables", variables)];
            server.http.get(format!("{}/graphql", server.url)).query(&pairs).bearer_auth(ADMIN)
        };
        let (_, refused) = answer(get(&format!("{{\"s\":{{\"{KEY}\":\"\\\"text\\\"\"}}}}"))).await;
        assert_eq!(code(&refused), "GRAPHQL_VALIDATION_FAILED");
        // At the top level it would replace the request.
        let whole = json!({ "query": "{ server { version } }" }).to_string();
        let (status, refused) = answer(post(&server).header(CONTENT_TYPE, "application/json").body(json!({ KEY: whole }).to_string())).await;
        assert_eq!((status, code(&refused)), (400, "BAD_REQUEST"));
    }

    /// Apollo Client's persisted queries: they are declined, and the client sends whole queries from then on.
    async fn persisted_queries_are_declined(database: Database) {
        let server = Server::start(database).await;
        let extensions = json!({ "persistedQuery": { "version": 1, "sha256Hash": "0".repeat(64) } });
        let get = |pairs: &[(&str, &str)]| server.http.get(format!("{}/graphql", server.url)).query(pairs).bearer_auth(ADMIN);
        let declined = |answer: &Value| {
            let expected = json!([{ "message": "PersistedQueryNotSupported", "extensions": { "code": "PERSISTED_QUERY_NOT_SUPPORTED" } }]);
            assert_eq!(answer["errors"], expected, "{answer}");
        };
        for body in [json!({ "extensions": extensions }), json!({ "extensions": extensions, "query": null, "operationName": "A", "variables": {} }), json!({ "extensions": extensions, "query": "" })] {
            let (status, answered) = answer(post(&server).json(&body)).await;
            assert_eq!(status, 200);
            declined(&answered);
            let (status, answered) = answer(post(&server).json(&body).header(ACCEPT, NEW)).await;
            assert_eq!(status, 400);
            declined(&answered);
            declined(&answer(post(&server).json(&json!([body]))).await.1[0]);
        }
        let (status, answered) = answer(get(&[("extensions", &extensions.to_string()), ("variables", "{}")])).await;
        assert_eq!(status, 200);
        declined(&answered);
        let query = "{ server { emulated } }";
        let whole = json!({ "query": query, "extensions": extensions });
        for request in [post(&server).json(&whole), get(&[("query", query), ("extensions", &extensions.to_string())])] {
            assert_eq!(answer(request).await, (200, json!({ "data": { "server": { "emulated": true } }, "extensions": { "cost": { "complexity": 2, "depth": 2 } } })));
        }
        for extensions in [json!({}), json!({ "persistedQuery": null }), json!({ "other": 1 })] {
            let (status, refused) = answer(post(&server).json(&json!({ "extensions": extensions }))).await;
            assert_eq!((status, code(&refused)), (400, "BAD_REQUEST"));
        }
    }

    /// A batch has one result for each of its operations, in order, whichever of them fail.
    async fn batch_results_are_in_order(database: Database) {
        let server = Server::start(database).await;
        let query = |word: &str| json!({ "query": format!("{{ {word}: server {{ emulated }} }}") });
        let subscription = format!("subscription {{ assetEvents(workspaceId: \"{}\") {{ kind }} }}", server.workspace);
        let body = json!([
            query("first"),
            { "query": subscription },
            query("third"),
            { "query": "{" },
            { "query": "{ nope }" },
            { "query": "query($n: Int!) { files(first: $n) { totalCount } }" },
            { "nothing": 1 },
            7,
            { "query": "{ file(id: \"x\") { id } }" },
            query("last"),
        ]);
        let codes = [
            "first", "NOT_ACCEPTABLE", "third", "GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED", "GRAPHQL_VALIDATION_FAILED",
            "BAD_REQUEST", "BAD_REQUEST", "BAD_USER_INPUT", "last",
        ];
        for accept in ["application/json", NEW] {
            let (status, answers) = answer(post(&server).json(&body).header(ACCEPT, accept)).await;
            assert_eq!((status, answers.as_array().unwrap().len()), (200, codes.len()));
            for (answer, expected) in answers.as_array().unwrap().iter().zip(codes) {
                if let Some(data) = answer["data"].as_object().filter(|_| answer.get("errors").is_none()) {
                    assert_eq!(data.keys().collect::<Vec<_>>(), [expected], "{answers}");
                    continue;
                }
                assert_eq!(code(answer), expected, "{answers}");
                assert_eq!(answer.get("data").is_none(), accept == NEW && expected != "BAD_USER_INPUT", "{answer}");
            }
        }
        // The mutations of a batch run although other operations fail.
        let make = |name: &str| json!({ "query": format!("mutation {{ createWorkspace(input: {{ name: \"{name}\" }}) {{ userErrors {{ code }} }} }}") });
        let (_, answers) = answer(post(&server).json(&json!([make("one"), 1, make("two")]))).await;
        assert_eq!((&answers[0]["data"], code(&answers[1]), &answers[2]["data"]), (&json!({ "createWorkspace": { "userErrors": [] } }), "BAD_REQUEST", &answers[0]["data"]));
    }

    /// A body with a content coding is refused as such by every route that reads bodies.
    async fn encoded_bodies_are_refused(database: Database) {
        let server = Server::start(database).await;
        let refused = async |request: RequestBuilder| -> (u16, Option<String>, Response) {
            let response = request.send().await.unwrap();
            let accepted = response.headers().get(ACCEPT_ENCODING).map(|value| value.to_str().unwrap().to_owned());
            (response.status().as_u16(), accepted, response)
        };
        let whole = json!({ "query": "{ server { version } }" });
        let create = "mutation($input: CreateDirectUploadInput!) { createDirectUpload(input: $input) { directUpload { uploadUrl } } }";
        let input = json!({ "workspaceId": server.workspace, "filename": "a.txt", "mimeType": "text/plain", "transport": "PUT" });
        let created = server.query(create, json!({ "input": input })).await;
        let url = created["createDirectUpload"]["directUpload"]["uploadUrl"].as_str().unwrap().to_owned();
        let image = format!("{}/api/images/img_00000000000000000000000000", server.url);
        for coding in ["gzip", "br", "GZIP", "deflate, gzip", "identity, zstd", "x"] {
            let form = Form::new().text("operations", whole.to_string()).text("map", "{}");
            for request in [
                post(&server).json(&whole),
                post(&server).multipart(form),
                server.http.put(&url).body("text"),
                server.http.delete(&image).bearer_auth(ADMIN).body("text"),
            ] {
                let (status, accepted, response) = refused(request.header(CONTENT_ENCODING, coding)).await;
                let body: Value = response.json().await.unwrap();
                assert_eq!((status, accepted.as_deref()), (415, Some("identity")), "{coding}: {body}");
                let error = body.get("error").or(body.pointer("/errors/0")).unwrap();
                let code = error.get("code").or(error.pointer("/extensions/code")).unwrap();
                assert_eq!(code, "UNSUPPORTED_MEDIA_TYPE");
                assert!(error["message"].as_str().unwrap().contains("identity"), "{body}");
            }
        }
        // Another refusal with the same status has no `Accept-Encoding`.
        let (status, accepted, _) = refused(post(&server).header(CONTENT_TYPE, "text/plain").body("x")).await;
        assert_eq!((status, accepted), (415, None));
        for coding in ["identity", "Identity", ""] {
            let (status, ..) = refused(post(&server).json(&whole).header(CONTENT_ENCODING, coding)).await;
            assert_eq!(status, 200, "{coding}");
        }
        let (status, ..) = refused(server.http.put(&url).body("text").header(CONTENT_ENCODING, "identity")).await;
        assert_eq!(status, 200);
    }
}
