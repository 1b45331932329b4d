//! The queries, each with the path of the floor that gives the same answer.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::data::{Data, endpoint};
use crate::load::{Endpoint, exchange};
use crate::process::Process;

/// The fields of an image in the REST face's list.
const FIELDS: &str = "id fileId workspaceId cfImageId width height size exif url";

pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) what: &'static str,
    /// Body of the GraphQL request.
    body: Value,
    /// Path and query of the floor.
    floor: String,
    /// Whether the floor's answer is the same to the byte of every value; otherwise it is that of another query.
    same: bool,
}

/// All cases. Cursors come from the server.
pub(crate) async fn all(server: &Process, data: &Data) -> Vec<Case> {
    let large = data.large.to_string();
    let first_page = format!("/images?workspace={}", data.large.0);
    let page = format!(
        "query($w: ID!, $order: ImageOrder, $after: String) {{ images(first: 100, workspaceId: $w, orderBy: $order, after: $after) {{
            nodes {{ {FIELDS} }} pageInfo {{ hasNextPage }} }} }}"
    );
    let case = |name: &str, what, query: &str, variables: Value, floor: String| Case {
        name: name.to_owned(),
        what,
        body: json!({ "query": query, "variables": variables }),
        floor,
        same: true,
    };
    let mut cases = vec![
        case("Q1", "first page of 100 images, nine fields", &page, json!({ "w": large }), first_page.clone()),
        case(
            "Q2",
            "the same with file and workspace",
            &format!(
                "query($w: ID!) {{ images(first: 100, workspaceId: $w) {{ nodes {{ {FIELDS}
                    file {{ id filename mimeType size }} workspace {{ id name }} }} pageInfo {{ hasNextPage }} }} }}"
            ),
            json!({ "w": large }),
            format!("/images-with-relations?workspace={}", data.large.0),
        ),
    ];
    for deep in &data.deep {
        let order = json!({ "field": deep.order.name, "direction": "DESC" });
        let floor =
            format!("{first_page}&order={}&key={}&id={}", deep.order.column, encoded(&deep.key), deep.id.0);
        let variables = json!({ "w": large, "order": order, "after": cursor(server, data, &order, deep.id.to_string()).await });
        cases.push(case(&format!("Q3 {}", deep.order.name), "200,000 rows deep", &page, variables, floor));
    }
    let image = data.image.to_string();
    cases.push(case(
        "Q4",
        "one image with its file",
        &format!("query($id: ID!) {{ image(id: $id) {{ {FIELDS} file {{ id filename mimeType size }} }} }}"),
        json!({ "id": image }),
        format!("/image?id={}", data.image.0),
    ));
    cases.push(case(
        "Q5",
        "totalCount",
        "query($w: ID!) { images(first: 1, workspaceId: $w) { totalCount } }",
        json!({ "w": large }),
        format!("/count?workspace={}", data.large.0),
    ));
    cases.push(case(
        "Q6",
        "20 workspaces with five images each",
        &format!("{{ workspaces(first: 20) {{ nodes {{ id name images(first: 5) {{ nodes {{ {FIELDS} }} }} }} }} }}"),
        json!({}),
        "/workspaces".to_owned(),
    ));
    cases.push(Case {
        same: false,
        ..case(
            "Q7",
            "100 images with url, rendition and srcSet, half of them private",
            &format!(
                "query($w: ID!) {{ images(first: 100, workspaceId: $w) {{ nodes {{ {FIELDS}
                    rendition(variant: \"public\") {{ url width height }} srcSet {{ src srcset width height }} }}
                    pageInfo {{ hasNextPage }} }} }}"
            ),
            json!({ "w": data.mixed.to_string() }),
            first_page,
        )
    });
    cases.push(case(
        "Q8",
        "node(id) with fragments on three types",
        "query($id: ID!) { node(id: $id) { id ... on File { filename mimeType size } ... on Image { width height exif }
            ... on Workspace { name } } }",
        json!({ "id": data.file.to_string() }),
        format!("/file?id={}", data.file.0),
    ));
    cases.push(case(
        "Q9",
        "a filtered search page",
        &format!(
            "query($w: ID!, $f: ImageFilter) {{ images(first: 100, workspaceId: $w, filter: $f) {{
                nodes {{ {FIELDS} }} pageInfo {{ hasNextPage }} }} }}"
        ),
        json!({ "w": large, "f": { "search": "photo-042", "width": { "min": 1000 } } }),
        format!("/search?workspace={}&word=photo-042&width=1000", data.large.0),
    ));
    cases
}

impl Case {
    pub(crate) fn request(&self, server: &Process, data: &Data) -> Arc<[u8]> {
        endpoint(server, &data.token, &self.body.to_string()).request
    }

    pub(crate) fn floor_request(&self, floor: &Process, data: &Data) -> Arc<[u8]> {
        let head = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
            self.floor, floor.address, data.token
        );
        head.into_bytes().into()
    }

    /// Asserts that server and floor answer the same: a floor that does less would be no floor.
    pub(crate) async fn check(&self, server: &Process, floor: &Process, data: &Data) {
        let of_server =
            exchange(&Endpoint { address: server.address, request: self.request(server, data) }).await;
        let of_floor =
            exchange(&Endpoint { address: floor.address, request: self.floor_request(floor, data) }).await;
        let of_server: Value = serde_json::from_slice(&of_server).unwrap();
        let of_floor: Value = serde_json::from_slice(&of_floor).unwrap();
        assert!(of_server.get("errors").is_none(), "{}: {of_server}", self.name);
        if self.same {
            let difference = difference(&of_server["data"], &of_floor["data"], "data");
            assert!(difference.is_none(), "{}: {}", self.name, difference.unwrap_or_default());
        } else {
            let nodes = |answer: &Value| answer["data"]["images"]["nodes"].as_array().map(Vec::len);
            assert_eq!(nodes(&of_server), nodes(&of_floor), "{}", self.name);
        }
    }
}

/// The first place in which two answers differ.
fn difference(server: &Value, floor: &Value, at: &str) -> Option<String> {
    match (server, floor) {
        (Value::Object(a), Value::Object(b)) if a.len() == b.len() => a.iter().find_map(|(name, value)| {
            difference(value, b.get(name).unwrap_or(&Value::Null), &format!("{at}.{name}"))
        }),
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(i, (a, b))| difference(a, b, &format!("{at}[{i}]")))
        }
        _ if server == floor => None,
        _ => Some(format!("at {at} the server has {server} and the floor {floor}")),
    }
}

/// Sends a GraphQL request, and returns the response.
pub(crate) async fn ask(server: &Process, token: &str, body: &Value) -> Value {
    serde_json::from_slice(&exchange(&endpoint(server, token, &body.to_string())).await).unwrap()
}

/// The cursor of an image in an order.
async fn cursor(server: &Process, data: &Data, order: &Value, id: String) -> Value {
    let query = "query($w: ID!, $order: ImageOrder, $ids: [ID!]) {
        images(first: 1, workspaceId: $w, orderBy: $order, ids: $ids) { edges { cursor } } }";
    let variables = json!({ "w": data.large.to_string(), "order": order, "ids": [id] });
    let mut answer = ask(server, &data.token, &json!({ "query": query, "variables": variables })).await;
    let cursor = answer["data"]["images"]["edges"][0]["cursor"].take();
    assert!(cursor.is_string(), "{answer}");
    cursor
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
