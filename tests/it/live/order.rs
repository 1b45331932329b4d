//! Events are delivered exactly once and in order, independent of the writers and of how often a reader resumes.

use std::time::Duration;

use imagegraph::app::App;
use imagegraph::entity::event::{Column, Entity, EventKind};
use imagegraph::entity::membership::Role;
use imagegraph::id::{FileId, WorkspaceId};
use sea_orm::{ConnectionTrait, EntityTrait, QueryOrder, Statement};
use serde_json::json;

use super::socket::{Socket, beginning};
use super::{FOLLOW, from, kinds};
use crate::harness::{ADMIN, Database, Server, config, eventually};

/// The selection of these tests, which needs no rows beside the event's.
const BARE: &str = "subscription($workspace: ID!, $after: String) { assetEvents(workspaceId: $workspace, after: $after) { cursor fileId } }";

async fn append(app: &App, to: &impl ConnectionTrait, workspace: WorkspaceId) -> FileId {
    let file = FileId::new(app.clock.now());
    imagegraph::rows::event::append(to, EventKind::FileUpdated, workspace, file, None, app.clock.now())
        .await
        .unwrap();
    file
}

/// A transaction that was assigned its number first and commits last is not missed. (SQLite has one writer at a
/// time.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_commit_is_not_missed() {
    if !Database::Postgres.is_there() {
        return;
    }
    let server = Server::start(Database::Postgres).await;
    let (app, workspace) = (&server.running.app, server.workspace.parse().unwrap());
    let mut socket = Socket::connect(&server, ADMIN).await;
    socket.subscribe("a", BARE, from(&server, &beginning(&server))).await;
    let slow = app.db.begin().await.unwrap();
    let first = append(app, &slow, workspace).await;
    let fast = app.db.begin().await.unwrap();
    let second = append(app, &fast, workspace).await;
    fast.commit().await.unwrap();
    assert_eq!(socket.event().await["fileId"], second.to_string());
    slow.commit().await.unwrap();
    assert_eq!(socket.event().await["fileId"], first.to_string());
}

both! {
    /// Several writers with transactions of different lengths, and a reader that resumes again and again.
    async fn no_gaps_and_no_duplicates(database: Database) {
        const WRITERS: usize = 4;
        const EACH: usize = 25;
        let server = Server::start_with(database, |config| config.database_connections = 8).await;
        let workspace: WorkspaceId = server.workspace.parse().unwrap();
        let writers: Vec<_> = (0..WRITERS).map(|_| {
            let app = server.running.app.clone();
            tokio::spawn(async move {
                for _ in 0..EACH {
                    let transaction = app.db.begin().await.unwrap();
                    append(&app, &transaction, workspace).await;
                    let pause = rand::random_range(0..15);
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                    append(&app, &transaction, workspace).await;
                    transaction.commit().await.unwrap();
                }
            })
        }).collect();
        let (mut cursor, mut seen) = (beginning(&server), Vec::new());
        while seen.len() < WRITERS * EACH * 2 {
            let mut socket = Socket::connect(&server, ADMIN).await;
            socket.subscribe("a", BARE, from(&server, &cursor)).await;
            let until = (seen.len() + rand::random_range(1..30)).min(WRITERS * EACH * 2);
            while seen.len() < until {
                let event = socket.event().await;
                cursor = event["cursor"].as_str().unwrap().to_owned();
                seen.push(event["fileId"].as_str().unwrap().to_owned());
            }
        }
        for writer in writers {
            writer.await.unwrap();
        }
        let rows = Entity::find().order_by_asc(Column::Seq).all(&server.running.app.db.read).await.unwrap();
        let all: Vec<_> = rows.iter().map(|row| row.file_id.to_string()).collect();
        assert_eq!(seen, all);
    }

    /// A server sees events of another one on the same database: by notifications on PostgreSQL, by polling on
    /// SQLite.
    async fn two_servers(database: Database) {
        let told = database == Database::Postgres;
        let server = Server::start_with(database, |config| {
            if told {
                config.event_poll = Duration::from_secs(3600);
            }
        }).await;
        let dir = tempfile::TempDir::new().unwrap();
        let mut settings = config(&dir, Some(server.running.app.config.database_url()));
        if told {
            settings.event_poll = Duration::from_secs(3600);
        }
        let running = imagegraph::server::start(settings, server.clock.clone()).await.unwrap();
        let url = running.public_url.as_str().trim_end_matches('/').to_owned();
        let second = Server { running, url, workspace: server.workspace.clone(), http: server.http.clone(), clock: server.clock.clone(), dir };
        let mut socket = Socket::connect(&second, ADMIN).await;
        socket.subscribe("a", FOLLOW, from(&server, &beginning(&server))).await;
        let app = &second.running.app;
        eventually("a follower", || async { (app.event_notifier.subscriber_count() == 1).then_some(()) }).await;
        server.file("a.txt", b"text".to_vec()).await;
        assert_eq!(kinds(&socket.events(2).await), ["FILE_CREATED", "FILE_READY"]);
        if told {
            // Every listener loses its connection; events in the meantime are found after it reconnects.
            let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'";
            app.db.read.execute_unprepared(ended).await.unwrap();
            server.file("b.txt", b"more".to_vec()).await;
            assert_eq!(kinds(&socket.events(2).await), ["FILE_CREATED", "FILE_READY"]);
            let back = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'";
            eventually("both listen again", || async {
                (app.db.read.execute_unprepared(back).await.unwrap().rows_affected() == 2).then_some(())
            }).await;
            server.file("c.txt", b"last".to_vec()).await;
            assert_eq!(kinds(&socket.events(2).await), ["FILE_CREATED", "FILE_READY"]);
        }
        second.running.stop().await;
    }

    /// Every read of events is a range of one index, without a sort, for admins and members, at both ends of the
    /// list.
    async fn reads_are_index_ranges(database: Database) {
        let server = Server::start_with(database, |config| {
            config.worker_interval = Duration::from_secs(3600);
            config.event_poll = Duration::from_secs(1);
        }).await;
        let other = server.other_workspace("other").await;
        let member = server.token("member@example.org", Some((&server.workspace, Role::Viewer))).await;
        server.token("member@example.org", Some((&other, Role::Viewer))).await;
        server.file("a.txt", b"text".to_vec()).await;
        server.upload_as(ADMIN, json!({ "workspaceId": other }), "b.txt", "", b"text".to_vec()).await;
        let db = &server.running.app.db;
        let many = "INSERT INTO event (workspace_id, kind, file_id, image_id, at)
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
            SELECT workspace_id, kind, file_id, image_id, at FROM event CROSS JOIN n";
        db.write.execute_unprepared(many).await.unwrap();
        if database == Database::Postgres {
            db.write.execute_unprepared("ANALYZE event").await.unwrap();
        }
        for token in [ADMIN, member.as_str()] {
            let statements = db.recorded(async {
                let mut socket = Socket::connect(&server, token).await;
                socket.subscribe("a", BARE, from(&server, &beginning(&server))).await;
                socket.events(250).await;
                let mut newest = Socket::connect(&server, token).await;
                newest.subscribe("a", BARE, json!({ "workspace": server.workspace })).await;
                eventually("two follow", || async { (server.running.app.event_notifier.subscriber_count() == 2).then_some(()) }).await;
                // One more than the poll reads.
                tokio::time::sleep(Duration::from_millis(1500)).await;
            }).await;
            let reads: Vec<_> = statements.iter().filter(|statement| statement.sql.contains("FROM \"event\"")).collect();
            assert!(reads.len() >= 5, "{reads:?}");
            for statement in reads {
                let (explain, column) = match database {
                    Database::Sqlite => ("EXPLAIN QUERY PLAN", "detail"),
                    Database::Postgres => ("EXPLAIN", "QUERY PLAN"),
                };
                let explained = Statement { sql: format!("{explain} {}", statement.sql), ..statement.clone() };
                let rows = db.read.query_all_raw(explained).await.unwrap();
                let plan: Vec<String> = rows.iter().map(|row| row.try_get::<String>("", column).unwrap()).collect();
                let plan = plan.join("\n");
                assert!(plan.contains("event_by_workspace"), "{}\n{plan}", statement.sql);
                for word in ["Sort", "TEMP B-TREE", "Seq Scan", "SCAN event"] {
                    assert!(!plan.contains(word), "{}\n{plan}", statement.sql);
                }
            }
            eventually("all subscriptions end", || async { (server.running.app.event_notifier.subscriber_count() == 0).then_some(()) }).await;
        }
    }
}
