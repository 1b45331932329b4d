//! Secrets do not appear in any output, and other users of the machine cannot read the data.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{ADMIN, Database, Remote, Server};
use crate::pictures::{photo, png};

/// A placeholder for secrets in these tests.
const HIDDEN: &str = "hunter2-must-not-be-shown";

/// Runs the program with these settings only until it ends; returns its output.
fn output(dir: &TempDir, arguments: &[&str], variables: &[(&str, String)]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_imagegraph"))
        .env_clear()
        .env("IMAGEGRAPH_DATA_DIR", dir.path().join("data"))
        .env("IMAGEGRAPH_LISTEN", "127.0.0.1:0")
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .current_dir(dir.path())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success(), "{arguments:?} {variables:?} runs");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// An invalid setting is reported in one line that names it and contains no secret.
#[test]
fn invalid_settings_show_no_secret() {
    let dir = TempDir::new().unwrap();
    for (name, value) in [
        ("DATABASE_URL", format!("postgres://u:{HIDDEN}@h:abc/x")),
        ("DATABASE_URL", format!("postgres://u:{HIDDEN}@h:99999/x")),
        ("DATABASE_URL", format!("postgres://u:{HIDDEN}@[h/x")),
        ("DATABASE_URL", format!("postgres://u:{HIDDEN}#1@h/x")),
        ("DATABASE_URL", format!("postgres://u:{HIDDEN}@127.0.0.1:1/x")),
        ("DATABASE_URL", format!("postgres://u@127.0.0.1:1/x?password={HIDDEN}")),
        ("DATABASE_URL", format!("postgres://u@127.0.0.1:1/x?passwort={HIDDEN}")),
        ("DATABASE_URL", format!("postgres://u:{HIDDEN}@127.0.0.1:1/x?sslmode=perhaps")),
        ("DATABASE_URL", format!("mysql://u:{HIDDEN}@h/x")),
        ("DATABASE_URL", format!("u:{HIDDEN}@h/x")),
        ("IMAGEGRAPH_STORE_URL", format!("s3://id:{HIDDEN}@bucket/x")),
        ("IMAGEGRAPH_STORE_URL", format!("s3://bucket/x?secret={HIDDEN}")),
        ("IMAGEGRAPH_STORE_URL", format!("https://id:{HIDDEN}@bucket/x")),
        ("AWS_ENDPOINT_URL", format!("https://id:{HIDDEN}@host")),
        ("AWS_ENDPOINT_URL", format!("id:{HIDDEN}@host:abc")),
        ("IMAGEGRAPH_PUBLIC_URL", format!("https://u:{HIDDEN}@host")),
        ("CLOUDFLARE_BASE_URL", format!("https://u:{HIDDEN}@host:abc")),
        ("IMAGEGRAPH_ADMIN_TOKEN", HIDDEN.to_owned()),
    ] {
        let line = output(&dir, &[], &[(name, value.clone())]);
        assert!(!line.contains("hunter2") && !line.contains("must-not-be-shown"), "{value}: {line}");
        assert!(line.contains(name), "{name}: {line}");
        assert_eq!(line.lines().filter(|line| line.starts_with("imagegraph: ")).count(), 1, "{line}");
    }
}

/// Misspelt or misplaced flags do not show the values meant for them.
#[test]
fn misused_flags_show_no_secret() {
    let dir = TempDir::new().unwrap();
    let url = format!("postgres://u:{HIDDEN}@h/x");
    let inline = format!("--databse-url={url}");
    let token = format!("--admin-tokn=imgr_{HIDDEN}");
    let email = format!("--cloudflare-email={HIDDEN}");
    for arguments in [
        vec!["--database-url", "postgres://u:hunter2-must-not-be-shown@h:abc/x"],
        vec![inline.as_str()],
        vec![token.as_str()],
        vec![email.as_str()],
        vec![url.as_str()],
        vec!["serve", url.as_str()],
        vec!["--listen", url.as_str()],
        vec!["--max-batch", url.as_str()],
        vec!["--log-format", url.as_str()],
        vec!["--admin-token", HIDDEN],
        vec!["token", "create", "--role", url.as_str(), "--workspace", "wsp_01m7y351kae4tvr2wd6zca7vfx"],
    ] {
        let line = output(&dir, &arguments, &[]);
        assert!(!line.contains("hunter2"), "{arguments:?}: {line}");
        assert_eq!(line.lines().count(), 1, "{line}");
    }
}

/// The content of an unreadable `.env` file is not shown.
#[test]
fn a_damaged_env_file_is_not_shown() {
    let dir = TempDir::new().unwrap();
    for text in
        [format!("IMAGEGRAPH_ADMIN_TOKEN=\"{HIDDEN}"), format!("{HIDDEN} and more"), format!("A B={HIDDEN}")]
    {
        std::fs::write(dir.path().join(".env"), &text).unwrap();
        let line = output(&dir, &[], &[("DATABASE_URL", "mysql://x".to_owned())]);
        assert!(!line.contains("hunter2") && line.contains(".env"), "{text}: {line}");
    }
}

/// `--help` shows no values of settings that are secrets or URLs, which may contain one.
#[test]
fn help_shows_no_secret() {
    let dir = TempDir::new().unwrap();
    let help = |variables: &[(&str, String)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imagegraph"));
        command.env_clear().envs(variables.iter().map(|(name, value)| (name, value))).current_dir(dir.path());
        String::from_utf8(command.arg("--help").output().unwrap().stdout).unwrap()
    };
    let names: Vec<String> = help(&[])
        .split("[env: ")
        .skip(1)
        .map(|rest| rest.split(['=', ']']).next().unwrap().to_owned())
        .collect();
    assert!(names.len() > 40, "{names:?}");
    let variables: Vec<(&str, String)> =
        names.iter().map(|name| (name.as_str(), format!("value-of-{name}-"))).collect();
    let shown = help(&variables);
    // Numbers, words and paths; the values of all other settings are hidden.
    let harmless = [
        "LISTEN",
        "DATA_DIR",
        "MAX_",
        "LOG",
        "TIMEOUT",
        "INTERVAL",
        "WAIT",
        "TTL",
        "AGE",
        "CONCURRENCY",
        "CONNECTIONS",
        "DURABILITY",
        "REGION",
        "ACCOUNT_ID",
        "FLEXIBLE",
        "RATE_LIMIT",
        "KEEP_ALIVE",
        "EVENT_POLL",
    ];
    for name in &names {
        let is_shown = shown.contains(&format!("value-of-{name}-"));
        assert!(!is_shown || harmless.iter().any(|part| name.contains(part)), "{name} shows its value");
    }
    assert!(shown.contains("value-of-IMAGEGRAPH_LOG-"), "{shown}");
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path)
        .unwrap_or_else(|problem| panic!("{}: {problem}", path.display()))
        .permissions()
        .mode()
        & 0o777
}

/// Asserts that other users can read no file below a folder whose parents they may enter.
#[cfg(unix)]
fn assert_closed(data: &Path) {
    assert_eq!(mode(data), 0o700);
    for name in [
        "imagegraph.sqlite",
        "imagegraph.sqlite-wal",
        "imagegraph.sqlite-shm",
        "emulator/credentials.json",
        "emulator/emulator.sqlite",
        "emulator/emulator.sqlite-wal",
    ] {
        assert_eq!(mode(&data.join(name)), 0o600, "{name}");
    }
    assert_eq!(mode(&data.join("emulator")), 0o700);
}

/// Folders and databases are closed from the moment they are created, and existing ones are closed.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_closed_to_other_users() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let mut server = Remote::start(&dir, &[]).await;
    server.file("a.png", png(1)).await;
    assert_closed(&data);
    server.program.stop();
    for (name, mode) in [
        ("", 0o755),
        ("imagegraph.sqlite", 0o644),
        ("emulator", 0o755),
        ("emulator/credentials.json", 0o644),
        ("emulator/emulator.sqlite", 0o644),
    ] {
        std::fs::set_permissions(data.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    for log in ["imagegraph.sqlite-wal", "imagegraph.sqlite-shm"] {
        assert!(!data.join(log).exists(), "{log}: the database was not closed");
        std::fs::write(data.join(log), "").unwrap();
        std::fs::set_permissions(data.join(log), std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    let mut server = Remote::start(&dir, &[]).await;
    server.file("b.png", png(2)).await;
    assert_closed(&data);
    server.program.stop();
    // A shared folder keeps its permissions.
    let shared = TempDir::new().unwrap();
    std::fs::set_permissions(shared.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let elsewhere = dir.path().join("elsewhere/db.sqlite");
    std::fs::create_dir(elsewhere.parent().unwrap()).unwrap();
    std::fs::set_permissions(elsewhere.parent().unwrap(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let variables = [
        ("IMAGEGRAPH_DATA_DIR", shared.path().display().to_string()),
        ("DATABASE_URL", format!("sqlite://{}", elsewhere.display())),
    ];
    let mut server = Remote::start(&dir, &variables).await;
    assert_eq!(
        (mode(shared.path()), mode(&elsewhere), mode(elsewhere.parent().unwrap())),
        (0o755, 0o600, 0o755)
    );
    server.program.stop();
}

const CREATE: &str = "mutation($input: CreateDirectUploadInput!) { createDirectUpload(input: $input) {
    directUpload { id uploadUrl } userErrors { code } } }";

/// With full logging the log contains no token, signature, or URL that is a permission.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_logging_shows_no_secret() {
    let dir = TempDir::new().unwrap();
    let log = dir.path().join("log");
    let file = std::fs::File::create(&log).unwrap();
    let command = Command::new(env!("CARGO_BIN_EXE_imagegraph"));
    let variables = [("IMAGEGRAPH_LOG", "trace".to_owned()), ("RUST_LOG", "trace".to_owned())];
    let mut server = Remote::start_as(command, &dir, &variables, file).await;
    let mut secrets = vec![ADMIN.to_owned()];
    for transport in ["PUT", "FORM_POST"] {
        let input = json!({ "workspaceId": server.workspace, "filename": "a.png", "mimeType": "image/png", "transport": transport });
        let created =
            server.query(CREATE, json!({ "input": input })).await["createDirectUpload"]["directUpload"]
                .clone();
        let url = created["uploadUrl"].as_str().unwrap().to_owned();
        let (path, query) = url.split_once('?').unwrap_or((&url, ""));
        match query.split_once("signature=") {
            Some((_, signature)) => secrets.push(signature.to_owned()),
            // The path of a one-time URL is a permission.
            None => secrets.push(path.split_once("/upload/").unwrap().1.to_owned()),
        }
        let sent = match transport {
            "PUT" => server.http.put(&url).body(photo(1)),
            _ => {
                let part = reqwest::multipart::Part::bytes(png(7)).file_name("a.png");
                server.http.post(&url).multipart(reqwest::multipart::Form::new().part("file", part))
            }
        };
        assert_eq!(sent.send().await.unwrap().status(), 200);
        // A second use is refused, which is logged.
        assert!(server.http.put(&url).body("again").send().await.unwrap().status().is_client_error());
        server
            .query(
                "mutation($id: ID!) { completeDirectUpload(input: { id: $id }) { userErrors { code } } }",
                json!({ "id": created["id"] }),
            )
            .await;
    }
    let made = server.query("mutation($w: ID!) { createApiToken(input: { name: \"t\", workspaceId: $w, scopes: [FILES_READ] }) { secret } }", json!({ "w": server.workspace })).await;
    secrets.extend(made["createApiToken"]["secret"].as_str().map(str::to_owned));
    let files = server.query("{ files(first: 5) { nodes { downloadUrl } } }", json!({})).await;
    for node in files["files"]["nodes"].as_array().unwrap() {
        let url = node["downloadUrl"].as_str().unwrap();
        secrets.push(url.split_once("signature=").unwrap().1.to_owned());
        assert_eq!(server.http.get(url).send().await.unwrap().status(), 200);
    }
    let credentials = std::fs::read(dir.path().join("data/emulator/credentials.json")).unwrap();
    let credentials: Value = serde_json::from_slice(&credentials).unwrap();
    secrets.push(credentials["api_token"].as_str().unwrap().to_owned());
    server.program.stop();
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.contains("/uploads/") && log.contains("answered"), "nothing is logged: {log}");
    assert!(secrets.len() > 5, "{secrets:?}");
    for secret in secrets {
        let line = log.lines().find(|line| line.contains(&secret));
        assert_eq!(line, None, "{secret} is in the log");
    }
}

both! {
    /// An e-mail address is not used as a name, because names are visible to others. The command can set and change a
    /// name.
    async fn email_addresses_are_not_names(database: Database) {
        let server = Server::start(database).await;
        let owner = imagegraph::entity::membership::Role::Owner;
        let name = async |token: &str| {
            server.query_as(token, "{ viewer { user { name email } } }", json!({})).await["viewer"]["user"].clone()
        };
        let token = server.token("jane.roe@example.org", Some((&server.workspace, owner))).await;
        let seen = name(&token).await;
        assert_eq!(seen["email"], "jane.roe@example.org");
        let neutral = seen["name"].as_str().unwrap();
        assert!(neutral.starts_with("User ") && !neutral.contains('@') && !neutral.contains("jane"), "{neutral}");
        let other = server.token("john.doe@example.org", Some((&server.workspace, owner))).await;
        assert_ne!(name(&other).await["name"], seen["name"], "users are told apart");
        let members = server.query_as(&other, "{ workspaces(first: 5) { nodes { members(first: 5) { nodes { user { name } } } } } }", json!({})).await;
        assert!(!members.to_string().contains("example.org"), "{members}");
        let db = &server.running.app.db;
        let new = imagegraph::bootstrap::NewToken {
            email: Some("jane.roe@example.org".to_owned()),
            user_name: Some("Jane".to_owned()),
            name: "named".to_owned(),
            scopes: imagegraph::entity::api_token::Scope::ALL.to_vec(),
            workspace: None,
            role: None,
            expires_at: None,
        };
        let named = imagegraph::bootstrap::create_token(db, &server.clock, &new).await.unwrap();
        assert_eq!(name(&named).await["name"], "Jane");
        assert_eq!(name(&token).await["name"], "Jane");
    }
}

/// GraphiQL without its bundle runs only scripts with a known hash, and may only connect to this server.
#[tokio::test]
async fn graphiql_without_its_bundle_is_restricted() {
    let page = include_str!("../../web/fallback.html");
    let mut loaded = 0;
    for tag in page.split('<').filter(|tag| tag.starts_with("script") || tag.starts_with("link")) {
        let tag = tag.split('>').next().unwrap();
        let source = ["src=\"", "href=\""].iter().find_map(|name| tag.split(name).nth(1)).unwrap_or_default();
        if !source.starts_with("http") && !source.starts_with("//") {
            continue;
        }
        loaded += 1;
        assert!(source.starts_with("https://cdn.jsdelivr.net/npm/"), "{tag}");
        let version = source.split('@').nth(1).unwrap().split('/').next().unwrap();
        assert_eq!(
            version.split('.').filter(|part| part.parse::<u32>().is_ok()).count(),
            3,
            "an exact version: {tag}"
        );
        let integrity = tag.split("integrity=\"sha384-").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(integrity.len(), 64, "{tag}");
        assert!(tag.contains("crossorigin=\"anonymous\""), "{tag}");
    }
    assert_eq!(loaded, 4);
    for word in ["import(", "importmap", "createElement('script", "esm.sh", "eval("] {
        assert!(!page.contains(word), "{word}");
    }
    if Path::new("web/dist/index.html").exists() {
        return;
    }
    let server = Server::start(Database::Sqlite).await;
    let answer = server.http.get(&server.url).send().await.unwrap();
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    let body = answer.text().await.unwrap();
    let scripts = policy.split(';').find(|part| part.trim().starts_with("script-src")).unwrap();
    assert!(!scripts.contains("unsafe") && scripts.contains("'sha256-"), "{policy}");
    assert!(policy.contains("connect-src 'self';") && policy.contains("default-src 'none'"), "{policy}");
    let own = body.split_once("<script>").unwrap().1.split_once("</script>").unwrap().0;
    let hash = crate::upload_rules::sha256(own.as_bytes());
    let bytes: Vec<u8> =
        (0..32).map(|at| u8::from_str_radix(&hash[2 * at..2 * at + 2], 16).unwrap()).collect();
    let encoded = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, bytes);
    assert!(scripts.contains(&format!("'sha256-{encoded}'")), "{policy}");
}
