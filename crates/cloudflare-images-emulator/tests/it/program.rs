//! The program: what it prints, how it stops, and why it does not start.

use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Program, command, http, send};

/// The value of a variable in the program's output.
fn variable<'a>(output: &'a str, name: &str) -> &'a str {
    let value = output.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name} in {output}"))
}

/// The printed URL and token work; SIGTERM and Ctrl-C end the program, and the credentials are the same afterwards.
#[tokio::test]
async fn it_prints_its_account_and_stops() {
    let dir = TempDir::new().unwrap();
    let mut tokens = Vec::new();
    for signal in ["-TERM", "-INT"] {
        let mut program = Program::start(dir.path(), &["--listen", "127.0.0.1:0"]);
        let output = program.output_with("photo.jpg").await;
        let (account, token) =
            (variable(&output, "CLOUDFLARE_ACCOUNT_ID"), variable(&output, "CLOUDFLARE_API_TOKEN"));
        let url = format!("{}/accounts/{account}/images/v1/stats", variable(&output, "CLOUDFLARE_BASE_URL"));
        let (status, stats) = send(http().get(url).bearer_auth(token)).await;
        assert_eq!((status, &stats["result"]["count"]["current"]), (200, &0.into()));
        assert!(output.contains("Account hash") && !output.contains("/faults"), "{output}");
        tokens.push(token.to_owned());
        program.stop(signal);
    }
    assert_eq!(tokens[0], tokens[1]);
    assert!(dir.path().join("cloudflare-images/credentials.json").is_file());
}

/// All settings have a flag and an environment variable.
#[tokio::test]
async fn settings_are_flags_or_variables() {
    let dir = TempDir::new().unwrap();
    let help = command(dir.path(), &["--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for name in [
        "listen",
        "data-dir",
        "public-url",
        "account-id",
        "api-token",
        "read-token",
        "faults",
        "rate",
        "batch-rate",
    ] {
        let variable = format!("CLOUDFLARE_IMAGES_EMULATOR_{}", name.to_uppercase().replace('-', "_"));
        assert!(help.contains(&format!("--{name}")) && help.contains(&variable), "{name}: {help}");
    }
    let arguments = "--listen 127.0.0.1:0 --data-dir data --public-url https://images.example.com/emulator/ \
                     --account-id demo --api-token secret --read-token reader --faults --rate 1200 --batch-rate 200";
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let mut program = Program::start(dir.path(), &arguments);
    let output = program.output_with("photo.jpg").await;
    assert_eq!(variable(&output, "CLOUDFLARE_ACCOUNT_ID"), "demo");
    assert_eq!(variable(&output, "CLOUDFLARE_API_TOKEN"), "secret");
    let delivery = variable(&output, "CLOUDFLARE_DELIVERY_URL");
    assert_eq!(delivery, "https://images.example.com/emulator/imagedelivery");
    assert!(output.contains("only read: reader"), "{output}");
    assert!(output.contains("https://images.example.com/emulator/faults"), "{output}");
    let address = output.split(" listens on ").nth(1).unwrap().split(". ").next().unwrap();
    let faults: Value = send(http().get(format!("http://{address}/faults"))).await.1;
    assert_eq!(faults["faults"], Value::Array(vec![]));
}

/// Standard error of a program that must fail: one line.
fn failure(dir: &Path, arguments: &[&str]) -> String {
    let output = command(dir, arguments).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}: {text}");
    text
}

/// A port in use, a folder that cannot be created and a damaged file are errors of one line.
#[test]
fn failures_are_one_line() {
    let dir = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    std::fs::write(dir.path().join("file"), "").unwrap();
    std::fs::create_dir(dir.path().join("damaged")).unwrap();
    std::fs::write(dir.path().join("damaged/credentials.json"), "{").unwrap();
    for (arguments, expected) in [
        (["--listen", address.as_str(), "--data-dir", "data"], format!("cannot listen on {address}: ")),
        (["--listen", "127.0.0.1:0", "--data-dir", "file/data"], "cannot use file/data".to_owned()),
        (["--listen", "127.0.0.1:0", "--data-dir", "damaged"], "does not contain the emulator's".to_owned()),
    ] {
        let text = failure(dir.path(), &arguments);
        assert!(text.starts_with("cloudflare-images-emulator: ") && text.contains(&expected), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    for arguments in [["--account-id", "demo"], ["--public-url", "ftp://example.com"], ["--listen", "8788"]] {
        assert!(failure(dir.path(), &arguments).starts_with("error: "), "{arguments:?}");
    }
}
