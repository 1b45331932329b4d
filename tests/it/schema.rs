//! The schema: unchanged unless intended, documented completely, and correct in its nullability.

use async_graphql::parser::types::{TypeKind, TypeSystemDefinition};
use serde_json::{Value, json};

use crate::harness::{ADMIN, Database, Server};
use crate::pictures::photo;

/// `schema.graphql` is the schema of the code.
#[test]
fn schema_graphql_is_current() {
    let committed = include_str!("../../schema.graphql");
    assert!(
        committed == imagegraph::graphql::sdl(),
        "schema.graphql differs from the code; if that is meant, run `cargo run -- schema > schema.graphql`"
    );
}

/// Every type, field, argument and enum value has a description.
#[test]
fn everything_is_described() {
    let document = async_graphql::parser::parse_schema(imagegraph::graphql::sdl()).unwrap();
    let mut bare = Vec::new();
    for definition in document.definitions {
        let TypeSystemDefinition::Type(definition) = definition else { continue };
        let (name, definition) = (definition.node.name.node.to_string(), definition.node);
        let built_in = matches!(definition.kind, TypeKind::Scalar)
            && ["ID", "Int", "Float", "String", "Boolean"].contains(&name.as_str());
        if definition.description.is_none() && !built_in {
            bare.push(name.clone());
        }
        let mut check = |path: String, described: bool| {
            if !described {
                bare.push(path);
            }
        };
        match definition.kind {
            TypeKind::Object(object) => {
                for field in object.fields {
                    let path = format!("{name}.{}", field.node.name.node);
                    check(path.clone(), field.node.description.is_some());
                    for argument in field.node.arguments {
                        check(
                            format!("{path}({})", argument.node.name.node),
                            argument.node.description.is_some(),
                        );
                    }
                }
            }
            TypeKind::Interface(interface) => {
                for field in interface.fields {
                    check(format!("{name}.{}", field.node.name.node), field.node.description.is_some());
                }
            }
            TypeKind::InputObject(input) => {
                for field in input.fields {
                    check(format!("{name}.{}", field.node.name.node), field.node.description.is_some());
                }
            }
            TypeKind::Enum(values) => {
                for value in values.values {
                    check(format!("{name}.{}", value.node.value.node), value.node.description.is_some());
                }
            }
            TypeKind::Scalar | TypeKind::Union(_) => {}
        }
    }
    assert!(bare.is_empty(), "without description: {bare:?}");
}

both! {
    /// If a fallible field fails, it is null with an error, and the rest of the answer stays. Each one is tried by
    /// renaming the table it reads.
    async fn a_field_that_fails_is_null_with_an_error(database: Database) {
        for (table, query, path) in [
            ("file", "{ image(id: \"$image\") { id file { id } width } }", json!(["image", "file"])),
            ("workspace", "{ image(id: \"$image\") { id workspace { id } width } }", json!(["image", "workspace"])),
            ("workspace", "{ file(id: \"$file\") { id workspace { id } size } }", json!(["file", "workspace"])),
            ("image", "{ file(id: \"$file\") { id image { id } size } }", json!(["file", "image"])),
            ("image", "{ files { nodes { id image { id } } totalCount } }", json!(["files", "nodes", 0, "image"])),
            ("file", "{ workspace(id: \"$workspace\") { id files { nodes { id } } name } }", json!(["workspace", "files"])),
            ("image", "{ workspace(id: \"$workspace\") { id images { nodes { id } } name } }", json!(["workspace", "images"])),
            ("workspace", "{ viewer { workspaces { nodes { id } } user { name } } }", json!(["viewer", "workspaces"])),
            ("file", "{ node(id: \"$file\") { id } server { version } }", json!(["node"])),
            ("image", "{ nodes(ids: [\"$image\"]) { id } server { version } }", json!(["nodes"])),
            ("file", "{ file(id: \"$file\") { id } server { version } }", json!(["file"])),
            ("file", "{ files { nodes { id } } server { version } }", json!(["files"])),
            ("image", "{ image(id: \"$image\") { id } server { version } }", json!(["image"])),
            ("image", "{ images { nodes { id } } server { version } }", json!(["images"])),
            ("image", "{ imageByFile(fileId: \"$file\") { id } server { version } }", json!(["imageByFile"])),
            ("workspace", "{ workspace(id: \"$workspace\") { id } server { version } }", json!(["workspace"])),
            ("workspace", "{ workspaces { nodes { id } } server { version } }", json!(["workspaces"])),
            ("direct_upload", "{ directUpload(id: \"upl_00000000000000000000000000\") { id } server { version } }", json!(["directUpload"])),
            ("file", "mutation { deleteFile(input: { id: \"$file\" }) { success } }", json!(["deleteFile"])),
            ("image", "mutation { deleteImage(input: { id: \"$image\" }) { success } }", json!(["deleteImage"])),
        ] {
            let server = Server::start_with(database, |config| config.worker_interval = std::time::Duration::from_secs(3600)).await;
            let file = server.file("photo.jpg", photo(1)).await;
            let query = query
                .replace("$image", file["image"]["id"].as_str().unwrap())
                .replace("$file", file["id"].as_str().unwrap())
                .replace("$workspace", &server.workspace);
            let rename = format!("ALTER TABLE \"{table}\" RENAME TO hidden_{table}");
            sea_orm::ConnectionTrait::execute_unprepared(&server.running.app.db.write, &rename).await.unwrap();
            let answer = server.ask(ADMIN, &query, json!({})).await;
            let error = answer["errors"].as_array().unwrap_or_else(|| panic!("{query}: {answer:#}"))
                .iter().find(|error| error["path"] == path).unwrap_or_else(|| panic!("{query}: {answer:#}"));
            assert_eq!(error["extensions"]["code"], "INTERNAL_SERVER_ERROR", "{query}");
            assert_eq!(error["extensions"]["requestId"].as_str().unwrap().len(), 32, "{query}");
            assert!(!answer.to_string().contains("hidden") && !answer.to_string().contains("no such table") && !answer.to_string().contains("relation"), "{answer}");
            let mut place = &answer["data"];
            for step in path.as_array().unwrap() {
                place = match step {
                    Value::String(key) => place.as_object().unwrap().get(key).unwrap_or_else(|| panic!("{query}: no key {key} in {answer:#}")),
                    index => &place[usize::try_from(index.as_u64().unwrap()).unwrap()],
                };
            }
            assert_eq!(*place, Value::Null, "{query}");
            server.end().await;
        }
    }
}
