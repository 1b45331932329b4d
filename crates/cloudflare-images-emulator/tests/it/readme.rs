//! The README: its `sh` blocks with `curl` are run, in order, against the program as the README starts it.
//!
//! A `json` or `text` block right after a command is its output. `…` in a line stands for any text.

use std::process::Command;

use tempfile::TempDir;
use test_pictures::photo;

use crate::harness::Program;

const README: &str = include_str!("../../README.md");
/// The address in the README.
const ADDRESS: &str = "127.0.0.1:8788";
/// Beginning of the block that starts the program.
const START: &str = "cloudflare-images-emulator ";

/// The fenced blocks of the README, with their language.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let fenced = README.split("\n```").skip(1).step_by(2);
    fenced.map(|block| block.split_once('\n').unwrap()).collect()
}

/// Whether a line is the one shown, in which `…` stands for any text.
fn matches(shown: &str, line: &str) -> bool {
    let Some((start, rest)) = shown.split_once('…') else { return shown == line };
    let Some(line) = line.strip_prefix(start) else { return false };
    rest.is_empty() || (0..=line.len()).any(|at| line.is_char_boundary(at) && matches(rest, &line[at..]))
}

/// Compares without regard to indentation and blank lines.
fn assert_shown(shown: &str, output: &str) {
    let lines = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
    };
    let (expected, found) = (lines(shown), lines(output));
    let equal = expected.len() == found.len()
        && expected.iter().zip(&found).all(|(shown, line)| matches(shown, line));
    assert!(equal, "the README shows:\n{shown}\nthe output is:\n{output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_of_the_readme_work() {
    let curl = Command::new("curl").arg("--version").output();
    assert!(curl.is_ok_and(|output| output.status.success()), "curl must be installed to test the README");
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("photo.jpg"), photo(1)).unwrap();
    let blocks = blocks();
    let shown_after = |index: usize| {
        blocks
            .get(index + 1)
            .filter(|(language, _)| ["json", "text"].contains(language))
            .map(|(_, text)| *text)
    };
    let start = blocks.iter().position(|(_, text)| text.starts_with(START)).unwrap();
    let command = blocks[start].1.replace("\\\n", " ").replace(ADDRESS, "127.0.0.1:0");
    let arguments: Vec<&str> = command.split_whitespace().skip(1).collect();
    let mut program = Program::start(dir.path(), &arguments);
    let output = program.output_with("photo.jpg").await;
    let address = output.split(" listens on ").nth(1).unwrap().split(". ").next().unwrap().to_owned();
    assert_shown(shown_after(start).unwrap(), &output.replace(&address, ADDRESS));
    // One shell for all blocks, because later ones use variables of earlier ones. Each output ends with a mark.
    let mut script = "set -eu\n".to_owned();
    let mut shown = Vec::new();
    for (index, (language, text)) in blocks.iter().enumerate() {
        if *language == "sh" && text.contains("curl ") {
            script.push_str(&format!("{text}\nprintf '\\036'\n"));
            shown.push(shown_after(index));
        }
    }
    assert!(shown.len() >= 5, "{shown:?}");
    std::fs::write(dir.path().join(".curlrc"), "silent\nshow-error\nfail-with-body\n").unwrap();
    let run = Command::new("bash")
        .args(["-c", &script.replace(ADDRESS, &address)])
        .current_dir(dir.path())
        .env("CURL_HOME", dir.path())
        .env("NO_PROXY", "*")
        .output()
        .unwrap();
    let output = String::from_utf8(run.stdout).unwrap().replace(&address, ADDRESS);
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{output}\n{errors}");
    for (shown, output) in shown.iter().zip(output.split('\u{1e}')) {
        if let Some(shown) = shown {
            assert_shown(shown, output);
        }
    }
}
