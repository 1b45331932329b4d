//! The program on its first start, on the next one, and when it cannot start.

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Program, http};

/// The program with these arguments and no settings from the environment.
fn program(dir: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imagegraph"));
    command
        .env_clear()
        .env("IMAGEGRAPH_DATA_DIR", dir.path().join("data"))
        .current_dir(dir.path())
        .args(arguments)
        .stdin(Stdio::null());
    command
}

fn run(dir: &TempDir, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    program(dir, arguments).envs(variables.iter().copied()).output().unwrap()
}

#[tokio::test]
async fn the_first_start_prints_the_token_once() {
    let dir = TempDir::new().unwrap();
    let mut first = Program::start(program(&dir, &["--listen", "127.0.0.1:0"]));
    let said = first.output_until("-F 0=@photo.jpg").await;
    let token =
        said.lines().find_map(|line| line.trim().strip_prefix("imgr_")).unwrap_or_else(|| panic!("{said}"));
    let token = format!("imgr_{token}");
    assert!(said.contains(&format!("/#token={token}")), "{said}");
    assert!(!said.contains("?token="), "{said}");
    assert!(said.contains("emulator"), "{said}");
    let url = said
        .lines()
        .find_map(|line| line.trim().strip_suffix(&format!("/#token={token}")))
        .unwrap()
        .to_owned();
    let ask = json!({ "query": "{ viewer { user { role } } workspaces { nodes { id } } }" });
    let answer = http().post(format!("{url}/graphql")).bearer_auth(&token).json(&ask).send().await.unwrap();
    let answer: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(answer["data"]["viewer"]["user"]["role"], "ADMIN");
    assert!(said.contains(answer["data"]["workspaces"]["nodes"][0]["id"].as_str().unwrap()));
    // The printed command uploads a file without changes.
    std::fs::write(dir.path().join("photo.jpg"), crate::pictures::photo(1)).unwrap();
    let line = said.split("Upload a file:").nth(1).unwrap();
    let uploaded = Command::new("sh").args(["-c", line]).current_dir(dir.path()).output().unwrap();
    let uploaded = String::from_utf8_lossy(&uploaded.stdout).into_owned();
    assert!(uploaded.contains("\"imageStatus\":\"READY\""), "{uploaded}");
    first.stop();
    let mut second = Program::start(program(&dir, &["--listen", "127.0.0.1:0"]));
    let said = second.output_until("GraphiQL:").await;
    assert!(!said.contains("imgr_"), "{said}");
    let url = said
        .lines()
        .find_map(|line| line.strip_prefix("GraphiQL: "))
        .unwrap()
        .trim_end_matches('/')
        .to_owned();
    let ask = json!({ "query": "{ images { totalCount nodes { url } } }" });
    let answer = http().post(format!("{url}/graphql")).bearer_auth(&token).json(&ask).send().await.unwrap();
    let answer: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(answer["data"]["images"]["totalCount"], 1, "{answer}");
    second.stop();
}

#[tokio::test]
async fn the_admins_token_can_be_given_and_is_not_printed() {
    let dir = TempDir::new().unwrap();
    let token = "a-token-of-my-own-with-at-least-32-characters";
    let mut command = program(&dir, &["--listen", "127.0.0.1:0"]);
    command.env("IMAGEGRAPH_ADMIN_TOKEN", token);
    let mut server = Program::start(command);
    let said = server.output_until("-F 0=@photo.jpg").await;
    assert!(!said.contains(token), "{said}");
    let url = said
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("http://"))
        .unwrap()
        .trim_end_matches('/')
        .to_owned();
    let answer = http().get(format!("{url}/api/images")).bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    // The other commands while the server runs.
    let listen = url.trim_start_matches("http://").to_owned();
    let healthy = run(&dir, &["healthcheck", "--listen", &listen], &[]);
    assert!(healthy.status.success(), "{}", String::from_utf8_lossy(&healthy.stderr));
    let workspaces = json!({ "query": "{ workspaces { nodes { id } } }" });
    let answer =
        http().post(format!("{url}/graphql")).bearer_auth(token).json(&workspaces).send().await.unwrap();
    let answer: serde_json::Value = answer.json().await.unwrap();
    let workspace = answer["data"]["workspaces"]["nodes"][0]["id"].as_str().unwrap().to_owned();
    let made = run(
        &dir,
        &[
            "token",
            "create",
            "--email",
            "ann@example.org",
            "--workspace",
            &workspace,
            "--role",
            "viewer",
            "--scopes",
            "FILES_READ,IMAGES_READ",
            "--expires-in-days",
            "1",
        ],
        &[],
    );
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let secret = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let ask = json!({ "query": "{ viewer { user { email role } scopes tokenExpiresAt } workspaces { nodes { viewerRole } } }" });
    let answer = http().post(format!("{url}/graphql")).bearer_auth(&secret).json(&ask).send().await.unwrap();
    let answer: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(answer["data"]["viewer"]["user"], json!({ "email": "ann@example.org", "role": "MEMBER" }));
    assert_eq!(answer["data"]["viewer"]["scopes"], json!(["FILES_READ", "IMAGES_READ"]));
    assert!(answer["data"]["viewer"]["tokenExpiresAt"].is_string());
    assert_eq!(answer["data"]["workspaces"]["nodes"], json!([{ "viewerRole": "VIEWER" }]));
    server.stop();
    let dead = run(&dir, &["healthcheck", "--listen", &listen], &[]);
    assert_eq!(dead.status.code(), Some(1));
}

#[test]
fn failures_are_reported_in_one_line() {
    let dir = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let file = dir.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let below_file = file.join("data").display().to_string();
    for (arguments, variables, words) in [
        (vec!["--listen", &address], vec![], vec!["cannot listen", &address, "IMAGEGRAPH_LISTEN"]),
        (
            vec!["--listen", "127.0.0.1:0"],
            vec![("IMAGEGRAPH_DATA_DIR", below_file.as_str())],
            vec!["data folder", "IMAGEGRAPH_DATA_DIR"],
        ),
        (vec![], vec![("IMAGEGRAPH_LISTEN", "abc")], vec!["abc", "--listen", "IMAGEGRAPH_LISTEN"]),
        (vec![], vec![("IMAGEGRAPH_ADMIN_TOKEN", "short")], vec!["32", "IMAGEGRAPH_ADMIN_TOKEN"]),
        (vec![], vec![("DATABASE_URL", "mysql://x")], vec!["sqlite", "postgres", "DATABASE_URL"]),
        (vec![], vec![("IMAGEGRAPH_STORE_URL", "ftp://x")], vec!["s3", "IMAGEGRAPH_STORE_URL"]),
        (vec![], vec![("IMAGEGRAPH_PUBLIC_URL", "x")], vec!["IMAGEGRAPH_PUBLIC_URL"]),
        (vec![], vec![("IMAGEGRAPH_CLOUDFLARE_TIMEOUT", "46")], vec!["45", "IMAGEGRAPH_CLOUDFLARE_TIMEOUT"]),
        (
            vec!["--listen", "127.0.0.1:0"],
            vec![("CLOUDFLARE_ACCOUNT_ID", "abc")],
            vec!["CLOUDFLARE_API_TOKEN"],
        ),
        (
            vec!["--listen", "127.0.0.1:0"],
            vec![("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")],
            vec!["database", "DATABASE_URL"],
        ),
        (vec!["--nonsense"], vec![], vec!["--nonsense"]),
    ] {
        let output = run(&dir, &arguments, &variables);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{arguments:?} {variables:?}");
        let lines: Vec<_> = said.lines().filter(|line| line.starts_with("imagegraph: ")).collect();
        assert_eq!((lines.len(), said.lines().count()), (1, 1), "{arguments:?} {variables:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
        assert!(!said.contains("short"), "{said}");
    }
}

#[test]
fn schema_and_help_are_printed() {
    let dir = TempDir::new().unwrap();
    let schema = run(&dir, &["schema"], &[]);
    assert_eq!(String::from_utf8(schema.stdout).unwrap(), include_str!("../../schema.graphql"));
    assert!(!dir.path().join("data").exists());
    let secret = ("IMAGEGRAPH_ADMIN_TOKEN", "a-secret-that-must-not-be-shown-by-help");
    let help = String::from_utf8(run(&dir, &["--help"], &[secret]).stdout).unwrap();
    for variable in [
        "IMAGEGRAPH_LISTEN",
        "IMAGEGRAPH_DATA_DIR",
        "DATABASE_URL",
        "CLOUDFLARE_ACCOUNT_ID",
        "CLOUDFLARE_API_TOKEN",
        "IMAGEGRAPH_STORE_URL",
    ] {
        assert!(help.contains(variable), "{variable}");
        assert!(include_str!("../../docs/configuration.md").contains(variable), "{variable}");
    }
    assert!(!help.contains("must-not-be-shown") && !help.contains("CRASH_POINT"), "{help}");
}

#[tokio::test]
async fn the_emulator_runs_alone_and_serves_a_server() {
    let dir = TempDir::new().unwrap();
    let mut emulator = Program::start(program(
        &dir,
        &[
            "emulator",
            "--listen",
            "127.0.0.1:0",
            "--account-id",
            "abc123",
            "--api-token",
            "the-api-token-of-this-account",
            "--read-token",
            "the-token-that-reads",
        ],
    ));
    let said = emulator.output_until("may read and change nothing").await;
    assert!(said.contains("change nothing: the-token-that-reads\n"), "{said}");
    let settings: Vec<(String, String)> = said
        .lines()
        .filter_map(|line| line.trim().split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    assert!(settings.contains(&("CLOUDFLARE_ACCOUNT_ID".to_owned(), "abc123".to_owned())), "{said}");
    let mut command = program(&dir, &["--listen", "127.0.0.1:0"]);
    command.envs(settings).env("IMAGEGRAPH_ADMIN_TOKEN", crate::harness::ADMIN);
    let mut server = Program::start(command);
    let said = server.output_until("-F 0=@photo.jpg").await;
    assert!(!said.contains("built-in emulator"), "{said}");
    std::fs::write(dir.path().join("photo.jpg"), crate::pictures::photo(1)).unwrap();
    let line = said
        .split("Upload a file:")
        .nth(1)
        .unwrap()
        .replace("$IMAGEGRAPH_ADMIN_TOKEN", crate::harness::ADMIN);
    let uploaded = Command::new("sh").args(["-c", &line]).current_dir(dir.path()).output().unwrap();
    let uploaded: serde_json::Value = serde_json::from_slice(&uploaded.stdout).unwrap();
    let file = &uploaded["data"]["uploadFile"]["file"];
    assert_eq!(file["imageStatus"], "READY", "{uploaded}");
    assert_eq!(http().get(file["image"]["url"].as_str().unwrap()).send().await.unwrap().status(), 200);
    server.stop();
    emulator.stop();
    tokio::time::sleep(Duration::from_millis(10)).await;
}
