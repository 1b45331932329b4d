//! Live events: both transports, order, resuming, revoked rights, and every way in which a connection is closed.

mod answers;

mod order;

mod socket;

mod stream;

use std::time::Duration;

use futures_util::SinkExt;
use imagegraph::entity::api_token::{self, Scope};
use imagegraph::entity::membership::{self, Role};
use sea_orm::{ActiveModelTrait, ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::harness::{ADMIN, Database, Server, eventually};
use crate::pictures::photo;
use socket::Socket;
pub(crate) use socket::beginning;
pub(crate) use stream::first;

const FOLLOW: &str = "subscription Follow($workspace: ID!, $kinds: [AssetEventKind!], $after: String) {
    assetEvents(workspaceId: $workspace, kinds: $kinds, after: $after) {
        cursor kind fileId imageId workspaceId image { id width } file { filename id image { id } } at
    }
}";

fn from(server: &Server, after: &str) -> Value {
    json!({ "workspace": server.workspace, "after": after })
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["kind"].as_str().unwrap()).collect()
}

async fn revoke(server: &Server, secret: &str) {
    let db = &server.running.app.db.write;
    let hash = imagegraph::entity::api_token::hash(secret);
    let row = api_token::Entity::find().filter(api_token::Column::SecretHash.eq(hash)).one(db).await.unwrap();
    let mut row: api_token::ActiveModel = row.unwrap().into();
    row.revoked_at = Set(Some(server.clock.now()));
    row.update(db).await.unwrap();
}

both! {
    /// The events of a photo in order, with their rows; the answer has the order of the selection.
    async fn uploads_and_deletions(database: Database) {
        let server = Server::start(database).await;
        let mut socket = Socket::connect(&server, ADMIN).await;
        socket.subscribe("a", FOLLOW, from(&server, &beginning(&server))).await;
        let file = server.file("photo.jpg", photo(1)).await;
        let events = socket.events(3).await;
        assert_eq!(kinds(&events), ["FILE_CREATED", "FILE_READY", "IMAGE_PROVISIONED"]);
        for event in &events {
            assert_eq!((&event["fileId"], &event["file"]["id"]), (&file["id"], &file["id"]));
            assert_eq!(event["workspaceId"], server.workspace);
        }
        assert_eq!((&events[0]["imageId"], &events[0]["image"]), (&Value::Null, &Value::Null));
        assert_eq!(events[2]["imageId"], file["image"]["id"]);
        assert_eq!(events[2]["image"], json!({ "id": file["image"]["id"], "width": file["image"]["width"] }));
        let keys: Vec<_> = events[2].as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys.len(), 8);
        // Rows are loaded for each delivery, so a changed name is the new one.
        let rename = "mutation($id: ID!) { updateFile(input: { id: $id, filename: \"new.jpg\" }) { userErrors { code } } }";
        server.query(rename, json!({ "id": file["id"] })).await;
        let event = socket.event().await;
        assert_eq!((&event["kind"], &event["file"]["filename"]), (&json!("FILE_UPDATED"), &json!("new.jpg")));
        server.query("mutation($id: ID!) { deleteFile(input: { id: $id, permanently: true }) { success } }", json!({ "id": file["id"] })).await;
        let gone = socket.events(2).await;
        assert_eq!(kinds(&gone), ["IMAGE_DELETED", "FILE_PURGED"]);
        assert_eq!((&gone[1]["file"], &gone[1]["image"]), (&Value::Null, &Value::Null));
        // Resuming after any event delivers everything that came after it, and nothing else.
        let mut again = Socket::connect(&server, ADMIN).await;
        again.subscribe("b", FOLLOW, from(&server, events[1]["cursor"].as_str().unwrap())).await;
        assert_eq!(kinds(&again.events(4).await), ["IMAGE_PROVISIONED", "FILE_UPDATED", "IMAGE_DELETED", "FILE_PURGED"]);
        // Only some kinds of events.
        let mut some = Socket::connect(&server, ADMIN).await;
        let mut variables = from(&server, &beginning(&server));
        variables["kinds"] = json!(["FILE_PURGED", "FILE_READY"]);
        some.subscribe("c", FOLLOW, variables).await;
        assert_eq!(kinds(&some.events(2).await), ["FILE_READY", "FILE_PURGED"]);
    }

    /// Later changes of a file are delivered as well, each with the state after it.
    async fn changes_and_the_trash(database: Database) {
        let server = Server::start(database).await;
        let file = server.file("photo.jpg", photo(1)).await;
        let mut socket = Socket::connect(&server, ADMIN).await;
        socket.subscribe("a", FOLLOW, from(&server, &beginning(&server))).await;
        socket.events(3).await;
        let update = "mutation($id: ID!) { updateImage(input: { id: $id, requireSignedUrls: true }) { userErrors { code } } }";
        server.query(update, json!({ "id": file["image"]["id"] })).await;
        let event = socket.event().await;
        assert_eq!((&event["kind"], &event["imageId"]), (&json!("IMAGE_UPDATED"), &file["image"]["id"]));
        server.query("mutation($id: ID!) { deleteFile(input: { id: $id }) { success } }", json!({ "id": file["id"] })).await;
        let trashed = socket.events(2).await;
        assert_eq!(kinds(&trashed), ["IMAGE_DELETED", "FILE_TRASHED"]);
        assert_eq!((&trashed[1]["file"]["id"], &trashed[1]["image"]), (&file["id"], &Value::Null));
        server.query("mutation($id: ID!) { restoreFile(input: { id: $id }) { file { id } } }", json!({ "id": file["id"] })).await;
        let restored = socket.events(2).await;
        assert_eq!(kinds(&restored), ["FILE_RESTORED", "IMAGE_PROVISIONED"]);
        assert_ne!(restored[1]["imageId"], file["image"]["id"]);
    }

    /// When the analysis of an image is over, an event shows its result, also if there is none. If the analysis is
    /// over before the image is provisioned, the event of the provisioning shows it.
    async fn analysed_images(database: Database) {
        let server = Server::start_with(database, |config| config.worker_interval = Duration::from_secs(3600)).await;
        let app = &server.running.app;
        let look = async || while imagegraph::worker::analyse_next(app).await.unwrap() {};
        let query = "subscription($workspace: ID!, $after: String) { assetEvents(workspaceId: $workspace, after: $after) {
            kind imageId image { id placeholder dominantColor palette hasAlpha } } }";
        let mut socket = Socket::connect(&server, ADMIN).await;
        socket.subscribe("a", query, from(&server, &beginning(&server))).await;
        let file = server.file("photo.jpg", photo(1)).await;
        for expected in ["FILE_CREATED", "FILE_READY", "IMAGE_PROVISIONED"] {
            assert_eq!(socket.any_event().await["kind"], expected);
        }
        look().await;
        let event = socket.any_event().await;
        assert_eq!((&event["kind"], &event["imageId"]), (&json!("IMAGE_ANALYSED"), &file["image"]["id"]));
        assert!(event["image"]["placeholder"].is_string() && event["image"]["dominantColor"].is_string(), "{event:#}");
        assert_eq!(event["image"]["hasAlpha"], false);
        // An image without a result: clients that wait for a placeholder are notified as well.
        let broken = server.file("broken.png", crate::pictures::picture(64, 64, image::ImageFormat::Png)).await;
        assert_eq!(kinds(&socket.events(3).await), ["FILE_CREATED", "FILE_READY", "IMAGE_PROVISIONED"]);
        let originals = server.dir.path().join("blobs/originals");
        for entry in std::fs::read_dir(originals).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[60..].fill(0);
            std::fs::write(&path, &bytes).unwrap();
        }
        look().await;
        let event = socket.any_event().await;
        assert_eq!((&event["kind"], &event["imageId"]), (&json!("IMAGE_ANALYSED"), &broken["image"]["id"]));
        assert_eq!(event["image"]["placeholder"], Value::Null);
        // Analysed during an outage of the account: the image is not visible yet, and the event of its provisioning
        // shows the result.
        server.fault(json!({ "call": "images.create", "fault": { "kind": "status", "status": 500 } })).await;
        let late = server.file("late.png", crate::pictures::png(7)).await;
        assert_eq!(late["imageStatus"], "QUEUED");
        assert_eq!(kinds(&socket.events(3).await), ["FILE_CREATED", "FILE_READY", "IMAGE_PROVISION_DELAYED"]);
        look().await;
        server.remove_faults().await;
        let again = "mutation($id: ID!) { provisionImage(input: { fileId: $id }) { userErrors { code } } }";
        server.query(again, json!({ "id": late["id"] })).await;
        let event = socket.any_event().await;
        assert_eq!(event["kind"], "IMAGE_PROVISIONED");
        assert!(event["image"]["placeholder"].is_string(), "{event:#}");
        // The event belongs to the row, so there is none for an image that was deleted.
        server.query("mutation($id: ID!) { deleteImage(input: { id: $id }) { success } }", json!({ "id": file["image"]["id"] })).await;
        assert_eq!(socket.any_event().await["kind"], "IMAGE_DELETED");
    }

    /// Without a cursor the subscription begins with the next event.
    async fn without_a_cursor_only_new_events(database: Database) {
        let server = Server::start(database).await;
        let file = server.file("a.txt", b"text".to_vec()).await;
        let mut socket = Socket::connect(&server, ADMIN).await;
        socket.subscribe("a", FOLLOW, json!({ "workspace": server.workspace })).await;
        let app = &server.running.app;
        eventually("a follower", || async { (app.event_notifier.subscriber_count() > 0).then_some(()) }).await;
        let rename = "mutation($id: ID!) { updateFile(input: { id: $id, filename: \"b.txt\" }) { userErrors { code } } }";
        let first = loop {
            server.query(rename, json!({ "id": file["id"] })).await;
            if let Ok(event) = tokio::time::timeout(Duration::from_secs(2), socket.event()).await {
                break event;
            }
        };
        assert_eq!(first["kind"], "FILE_UPDATED");
    }

    /// A backlog takes a fixed number of statements per hundred events, whatever is selected.
    async fn a_backlog_is_read_in_batches(database: Database) {
        let server = Server::start_with(database, |config| {
            config.event_poll = Duration::from_secs(3600);
            config.worker_interval = Duration::from_secs(3600);
        }).await;
        for n in 0..20 {
            server.file(&format!("{n}.txt"), vec![b'a'; n + 1]).await;
        }
        let mut socket = Socket::connect(&server, ADMIN).await;
        let before = server.running.app.db.statement_count();
        socket.subscribe("a", FOLLOW, from(&server, &beginning(&server))).await;
        assert_eq!(socket.events(40).await.len(), 40);
        let statements = server.running.app.db.statement_count() - before;
        // One statement for the viewer, at the beginning and for each of two reads; two reads; the files; their images;
        // one look-up in between.
        assert!(statements <= 14, "{statements}");
    }

    /// Invalid subscriptions are refused with a code and the argument, as the only message of the operation.
    async fn refusals(database: Database) {
        let server = Server::start(database).await;
        let other = server.other_workspace("other").await;
        let stranger = server.token("stranger@example.org", None).await;
        let narrow = server.token_with("owner@example.org", Some((&server.workspace, Role::Owner)), vec![Scope::ImagesRead], None).await;
        let cursor = beginning(&server);
        let unknown = "subscription { assetEvents(workspaceId: \"wsp_00000000000000000000000000\") { kind } }";
        for (token, query, variables, code, field) in [
            (ADMIN, FOLLOW, json!({ "workspace": server.workspace, "after": "nonsense" }), "BAD_USER_INPUT", "after"),
            (ADMIN, FOLLOW, json!({ "workspace": other, "after": cursor }), "BAD_USER_INPUT", "after"),
            (ADMIN, FOLLOW, json!({ "workspace": server.workspace, "kinds": [] }), "BAD_USER_INPUT", "kinds"),
            (ADMIN, FOLLOW, json!({ "workspace": "fil_1" }), "BAD_USER_INPUT", "workspaceId"),
            (stranger.as_str(), FOLLOW, json!({ "workspace": server.workspace }), "NOT_FOUND", "workspaceId"),
            (stranger.as_str(), unknown, json!({}), "NOT_FOUND", "workspaceId"),
            (narrow.as_str(), FOLLOW, json!({ "workspace": server.workspace }), "FORBIDDEN", ""),
            (ADMIN, "subscription { uploadProgress(id: \"upl_00000000000000000000000000\") { id } }", json!({}), "NOT_FOUND", "id"),
            (ADMIN, "subscription { nope }", json!({}), "GRAPHQL_VALIDATION_FAILED", ""),
            (ADMIN, "subscription {", json!({}), "GRAPHQL_PARSE_FAILED", ""),
            (ADMIN, "subscription { a: assetEvents(workspaceId: \"x\") { kind } b: assetEvents(workspaceId: \"x\") { kind } }", json!({}), "GRAPHQL_VALIDATION_FAILED", ""),
            (ADMIN, "subscription { ...F } fragment F on Subscription { assetEvents(workspaceId: \"x\") { kind } }", json!({}), "BAD_USER_INPUT", "workspaceId"),
            (ADMIN, "subscription { ...F @skip(if: true) } fragment F on Subscription { assetEvents(workspaceId: \"x\") { kind } }", json!({}), "GRAPHQL_VALIDATION_FAILED", ""),
            (ADMIN, "subscription { assetEvents(workspaceId: \"x\") @skip(if: true) { kind } }", json!({}), "GRAPHQL_VALIDATION_FAILED", ""),
            (ADMIN, "subscription { __typename }", json!({}), "GRAPHQL_VALIDATION_FAILED", ""),
            (ADMIN, "{ nope }", json!({}), "GRAPHQL_VALIDATION_FAILED", ""),
        ] {
            let mut socket = Socket::connect(&server, token).await;
            socket.subscribe("a", query, variables.clone()).await;
            let message = socket.message().await;
            let problem = &message["payload"][0];
            assert_eq!((&message["type"], &message["id"]), (&json!("error"), &json!("a")), "{query} {variables}: {message:#}");
            assert_eq!(problem["extensions"]["code"], code, "{query} {variables}: {message:#}");
            if !field.is_empty() {
                assert_eq!(problem["extensions"]["field"], json!([field]), "{query}: {message:#}");
            }
            // Nothing comes after it, and the operation's id can be used again.
            socket.subscribe("a", "{ server { version } }", json!({})).await;
            assert_eq!(socket.message().await["type"], "next", "{query}");
            assert_eq!(socket.message().await, json!({ "id": "a", "type": "complete" }));
        }
        server.clock.advance(Duration::from_secs(24 * 3600 + 1));
        let mut socket = Socket::connect(&server, ADMIN).await;
        socket.subscribe("a", FOLLOW, from(&server, &cursor)).await;
        let message = socket.message().await;
        assert_eq!(message["payload"][0]["extensions"]["code"], "BAD_USER_INPUT");
        assert!(message["payload"][0]["message"].as_str().unwrap().contains("read the lists again"), "{message:#}");
    }

    /// Every close code of a WebSocket.
    async fn close_codes(database: Database) {
        let server = Server::start_with(database, |config| config.socket_init_timeout = Duration::from_secs(1)).await;
        let init = json!({ "type": "connection_init", "payload": { "Authorization": format!("Bearer {ADMIN}") } });
        let query = |id: &str| json!({ "id": id, "type": "subscribe", "payload": { "query": "{ server { version } }" } });
        let follow = json!({ "id": "f", "type": "subscribe", "payload": { "query": FOLLOW, "variables": { "workspace": server.workspace } } });
        let wrong = json!({ "type": "connection_init", "payload": { "Authorization": "Bearer wrong" } });
        for (what, messages, code) in [
            ("nothing", vec![], 4408),
            ("a ping only", vec![json!({ "type": "ping" })], 4408),
            ("no object", vec![json!(1)], 4400),
            ("no type", vec![json!({})], 4400),
            ("unknown type", vec![json!({ "type": "start" })], 4400),
            ("a server's type", vec![json!({ "type": "connection_ack" })], 4400),
            ("payload no object", vec![json!({ "type": "connection_init", "payload": 1 })], 4400),
            ("no token", vec![json!({ "type": "connection_init" })], 4403),
            ("no text as token", vec![json!({ "type": "connection_init", "payload": { "Authorization": 1 } })], 4403),
            ("wrong token", vec![wrong], 4403),
            ("subscribe first", vec![query("a")], 4401),
            ("two inits", vec![init.clone(), init.clone()], 4429),
            ("id in use", vec![init.clone(), follow.clone(), follow.clone()], 4409),
            ("no id", vec![init.clone(), json!({ "type": "subscribe", "payload": { "query": "{ a }" } })], 4400),
            ("empty id", vec![init.clone(), query("")], 4400),
            ("long id", vec![init.clone(), query(&"x".repeat(129))], 4400),
            ("no query", vec![init.clone(), json!({ "id": "a", "type": "subscribe", "payload": {} })], 4400),
            ("variables no object", vec![init.clone(), json!({ "id": "a", "type": "subscribe", "payload": { "query": "{ a }", "variables": 1 } })], 4400),
            ("too big", vec![init.clone(), json!({ "id": "a", "type": "subscribe", "payload": { "query": "x".repeat(300_000) } })], 1009),
        ] {
            let mut socket = Socket::open(&server, &[]).await;
            for message in messages {
                let _ = socket.0.send(Message::text(message.to_string())).await;
            }
            let closed = loop {
                match socket.next().await {
                    Ok(message) => assert!(["connection_ack", "pong"].contains(&message["type"].as_str().unwrap()), "{what}: {message}"),
                    Err((code, reason)) => break (code, reason),
                }
            };
            assert_eq!(closed.0, code, "{what}: {closed:?}");
            assert!(!closed.1.is_empty() && closed.1.len() <= 123, "{what}: {closed:?}");
        }
        for message in [Message::binary(b"{}".to_vec()), Message::text("not JSON")] {
            let mut socket = Socket::open(&server, &[]).await;
            socket.0.send(message).await.unwrap();
            assert_eq!(socket.next().await.unwrap_err().0, 4400);
        }
    }

    /// Ping and pong in both directions, a token in the header of the upgrade, queries and mutations, cancelling.
    async fn messages(database: Database) {
        let server = Server::start(database).await;
        let mut socket = Socket::open(&server, &[("authorization", format!("Bearer {ADMIN}"))]).await;
        socket.send(json!({ "type": "ping", "payload": { "a": 1 } })).await;
        assert_eq!(socket.message().await, json!({ "type": "pong", "payload": { "a": 1 } }));
        socket.send(json!({ "type": "pong" })).await;
        socket.send(json!({ "type": "connection_init" })).await;
        assert_eq!(socket.message().await["type"], "connection_ack");
        socket.send(json!({ "type": "ping" })).await;
        assert_eq!(socket.message().await, json!({ "type": "pong" }));
        let missing = "mutation { deleteFile(input: { id: \"fil_00000000000000000000000000\" }) { userErrors { code } } }";
        for (query, at, expected) in [
            ("{ viewer { user { name } } }", "/payload/data/viewer/user/name", "Admin"),
            (missing, "/payload/data/deleteFile/userErrors/0/code", "NOT_FOUND"),
            ("{ file(id: \"x\") { id } server { version } }", "/payload/errors/0/extensions/code", "BAD_USER_INPUT"),
        ] {
            socket.subscribe("q", query, json!({})).await;
            let message = socket.message().await;
            assert_eq!((&message["type"], message.pointer(at)), (&json!("next"), Some(&json!(expected))), "{message:#}");
            assert_eq!(socket.message().await, json!({ "id": "q", "type": "complete" }));
        }
        // A subscription that the client completes sends nothing more, and its id can be used again.
        socket.subscribe("s", FOLLOW, from(&server, &beginning(&server))).await;
        server.file("a.txt", b"text".to_vec()).await;
        assert_eq!(kinds(&socket.events(2).await), ["FILE_CREATED", "FILE_READY"]);
        socket.send(json!({ "id": "s", "type": "complete" })).await;
        let app = &server.running.app;
        eventually("all subscriptions end", || async { (app.event_notifier.subscriber_count() == 0).then_some(()) }).await;
        socket.subscribe("s", "{ server { version } }", json!({})).await;
        assert_eq!(socket.message().await["type"], "next");
        assert_eq!(socket.message().await["type"], "complete");
        // A close by the client is answered.
        let frame = CloseFrame { code: 1000.into(), reason: "enough".into() };
        socket.0.close(Some(frame)).await.unwrap();
        assert_eq!(socket.next().await.unwrap_err().0, 1000);
    }

    /// Limits on operations per socket and on connections per token.
    async fn limits(database: Database) {
        let server = Server::start_with(database, |config| {
            config.max_socket_operations = 2;
            config.max_connections = 2;
        }).await;
        let mut socket = Socket::connect(&server, ADMIN).await;
        for id in ["a", "b"] {
            socket.subscribe(id, FOLLOW, json!({ "workspace": server.workspace })).await;
        }
        socket.subscribe("c", "{ server { version } }", json!({})).await;
        assert_eq!(socket.refusal().await, "TOO_MANY_OPERATIONS");
        socket.send(json!({ "id": "a", "type": "complete" })).await;
        socket.subscribe("c", "{ server { version } }", json!({})).await;
        assert_eq!(socket.message().await["type"], "next");
        let _second = Socket::connect(&server, ADMIN).await;
        let init = json!({ "type": "connection_init", "payload": { "Authorization": format!("Bearer {ADMIN}") } });
        let mut third = Socket::open(&server, &[]).await;
        third.send(init.clone()).await;
        assert_eq!(third.next().await.unwrap_err().0, 1013);
        drop(socket);
        let app = &server.running.app;
        eventually("a place is free", || async { (app.connections.count() == 1).then_some(()) }).await;
        Socket::connect(&server, ADMIN).await;
    }

    /// Without a valid token the connection ends, and without access to the workspace its stream ends.
    async fn revoked_rights(database: Database) {
        let server = Server::start(database).await;
        let other = server.other_workspace("other").await;
        let token = server.token("a@example.org", Some((&server.workspace, Role::Viewer))).await;
        server.token("a@example.org", Some((&other, Role::Viewer))).await;
        let mut socket = Socket::connect(&server, &token).await;
        socket.subscribe("here", FOLLOW, json!({ "workspace": server.workspace })).await;
        socket.subscribe("there", FOLLOW, json!({ "workspace": other })).await;
        let app = &server.running.app;
        eventually("two followers", || async { (app.event_notifier.subscriber_count() == 2).then_some(()) }).await;
        let of_workspace = membership::Column::WorkspaceId.eq(server.workspace.parse::<imagegraph::id::WorkspaceId>().unwrap());
        let user = server.query_as(&token, "{ viewer { user { id } } }", json!({})).await["viewer"]["user"]["id"].as_str().unwrap().parse::<imagegraph::id::UserId>().unwrap();
        membership::Entity::delete_many().filter(of_workspace).filter(membership::Column::UserId.eq(user)).exec(&app.db.write).await.unwrap();
        // Later events are not delivered.
        server.file("secret.txt", b"text".to_vec()).await;
        let message = socket.message().await;
        assert_eq!((&message["type"], &message["id"]), (&json!("error"), &json!("here")), "{message:#}");
        assert_eq!(message["payload"][0]["extensions"]["code"], "NOT_FOUND");
        revoke(&server, &token).await;
        assert_eq!(socket.next().await, Err((4401, "Unauthorized".to_owned())));
        // On an idle socket the next operation is refused as well.
        let token = server.token("b@example.org", None).await;
        let mut socket = Socket::connect(&server, &token).await;
        revoke(&server, &token).await;
        socket.subscribe("a", "{ server { version } }", json!({})).await;
        assert_eq!(socket.next().await.unwrap_err().0, 4401);
    }

    /// A client that does not read is disconnected after the send timeout.
    async fn clients_that_do_not_read_are_disconnected(database: Database) {
        let server = Server::start_with(database, |config| {
            config.send_timeout = Duration::from_millis(500);
            config.max_socket_operations = 1000;
        }).await;
        let mut socket = Socket::connect(&server, ADMIN).await;
        let aliases: String = (0..50).map(|n| format!("a{n}: __schema {{ types {{ name description }} }} ")).collect();
        let subscribe = |n: usize| json!({ "id": n.to_string(), "type": "subscribe", "payload": { "query": format!("{{ {aliases} }}") } });
        let app = &server.running.app;
        assert_eq!(app.connections.count(), 1);
        let flood = async {
            for n in 0..200 {
                if socket.0.send(Message::text(subscribe(n).to_string())).await.is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = flood => {}
            () = eventually("it is let go", || async { (app.connections.count() == 0).then_some(()) }) => {}
        }
    }

    /// A server that stops closes every socket with a reason.
    async fn shutdown_closes_sockets(database: Database) {
        let server = Server::start(database).await;
        let mut idle = Socket::open(&server, &[]).await;
        let mut busy = Socket::connect(&server, ADMIN).await;
        busy.subscribe("a", FOLLOW, json!({ "workspace": server.workspace })).await;
        let app = server.running.app.clone();
        eventually("a follower", || async { (app.event_notifier.subscriber_count() == 1).then_some(()) }).await;
        let sockets = async {
            for socket in [&mut idle, &mut busy] {
                assert_eq!(socket.next().await, Err((1001, "Server is stopping".to_owned())));
            }
        };
        tokio::join!(server.end(), sockets);
        assert_eq!((app.connections.count(), app.event_notifier.subscriber_count()), (0, 0));
    }

    /// Progress of an upload until it is over.
    async fn progress(database: Database) {
        let server = Server::start(database).await;
        let create = "mutation($w: ID!) { createDirectUpload(input: { workspaceId: $w, filename: \"a.jpg\", mimeType: \"image/jpeg\" }) { directUpload { id uploadUrl } } }";
        let created = server.query(create, json!({ "w": server.workspace })).await;
        let upload = &created["createDirectUpload"]["directUpload"];
        let mut socket = Socket::connect(&server, ADMIN).await;
        let follow = "subscription($id: ID!) { uploadProgress(id: $id) { status id file { status } } }";
        socket.subscribe("a", follow, json!({ "id": upload["id"] })).await;
        let open = json!({ "status": "OPEN", "id": upload["id"], "file": { "status": "AWAITING_UPLOAD" } });
        assert_eq!(socket.message().await["payload"]["data"]["uploadProgress"], open);
        let form = reqwest::multipart::Form::new().part("file", reqwest::multipart::Part::bytes(photo(1)).file_name("a.jpg"));
        server.http.post(upload["uploadUrl"].as_str().unwrap()).multipart(form).send().await.unwrap();
        let complete = "mutation($id: ID!) { completeDirectUpload(input: { id: $id }) { userErrors { code } } }";
        server.query(complete, json!({ "id": upload["id"] })).await;
        let done = json!({ "status": "COMPLETED", "id": upload["id"], "file": { "status": "READY" } });
        assert_eq!(socket.message().await["payload"]["data"]["uploadProgress"], done);
        assert_eq!(socket.message().await, json!({ "id": "a", "type": "complete" }));
        // An upload that is over is reported once.
        socket.subscribe("a", follow, json!({ "id": upload["id"] })).await;
        assert_eq!(socket.message().await["payload"]["data"]["uploadProgress"], done);
        assert_eq!(socket.message().await["type"], "complete");
    }
}
