//! The documents: every command is run, every answer compared, every link followed, every operation validated.
//!
//! The `sh` blocks of a page are run by bash, in their order, in a folder that has `examples/`; exported variables are kept.
//! The `json` or `text` block right after a `sh` block is its expected output. In the output, and in later commands,
//!
//! * `…` matches anything: a part of a text, the other members of an object, or the other items of a list;
//! * an id, token, cursor, signature or time matches any other of its kind, which must then be the same wherever the value
//!   occurs on the page: see [`answer::Bindings`];
//! * `http://127.0.0.1:8080` and `http://127.0.0.1:8090` are the addresses of the server and the emulator;
//! * `extensions`, which every GraphQL answer has, may be omitted.
//!
//! The output of a command without an expected output must not contain errors.

mod answer;

mod block;

mod links;

mod page;

use std::path::{Path, PathBuf};
use std::process::Command;

use apollo_compiler::{ExecutableDocument, Schema};

use block::Block;
use page::Page;

/// Pages whose commands are run.
const GUIDES: [&str; 8] = [
    "docs/deployment.md",
    "docs/emulator.md",
    "docs/graphql.md",
    "docs/images.md",
    "docs/live.md",
    "docs/private-images.md",
    "docs/rest.md",
    "docs/uploads.md",
];

/// Languages of blocks, and how each is tested.
const KINDS: [(&str, &str); 11] = [
    ("sh", "run, unless it begins with one of `NOT_RUN`"),
    ("mermaid", "a diagram"),
    ("json", "compared"),
    ("text", "compared"),
    ("graphql", "validated against schema.graphql"),
    ("dotenv", "every name is a setting"),
    ("js", "equal to a file that tests/clients runs; in the emulator's README run by tests/sdk"),
    ("python", "run by tests/sdk"),
    ("ts", "equal to a file that tests/clients compiles"),
    ("rust", "a part of tests/it/cynic.rs"),
    ("nginx", "not tested, because nginx may not be installed"),
];

/// Commands that are not run, each with the reason.
const NOT_RUN: [(&str, &str); 6] = [
    ("cargo ", "the tests start the built program instead"),
    ("docker ", "it needs a daemon; public CI builds the image and waits until it is healthy"),
    ("(cd web", "it fetches npm packages; `.ci/run` does it"),
    ("cd web", "the same"),
    ("tests/", "suites of their own, run by `.ci/run`"),
    ("sqlite3 ", "sqlite3 may not be installed; `VACUUM INTO` is a feature of SQLite itself"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Paths of all Markdown files of the project, relative to its root.
fn pages() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                let excluded = ["target", "node_modules", "dist", "data"].contains(&name.as_str());
                if !excluded && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if name.ends_with(".md") {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    assert!(found.len() > 12, "{found:?}");
    found
}

fn is_run(block: &Block) -> bool {
    block.kind == "sh" && !NOT_RUN.iter().any(|(beginning, _)| block.text.starts_with(beginning))
}

/// The commands of the README, from the first start to the first image.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_readme_is_correct() {
    let mut page = Page::open("README.md").await;
    page.run("README.md").await;
}

/// The commands of the tour.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tour_is_correct() {
    let mut page = Page::open("docs/tour.md").await;
    page.run("docs/tour.md").await;
}

/// The commands of each guide, on a server of its own to which the tour has uploaded its photo.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guides_are_correct() {
    for guide in GUIDES {
        let mut page = Page::open(guide).await;
        page.run_until("docs/tour.md", "export FILE=").await;
        page.run(guide).await;
    }
}

/// Every command is run, and every other block is tested in the way of its language.
#[test]
fn every_block_is_tested() {
    for page in pages() {
        // The crates' own tests run the commands of their pages, and compile their examples.
        if page.starts_with("crates") {
            continue;
        }
        let runs = ["README.md", "docs/tour.md"].iter().chain(&GUIDES).any(|run| page == Path::new(run));
        let mut command = None;
        for block in block::blocks(&page) {
            assert!(
                KINDS.iter().any(|(kind, _)| *kind == block.kind),
                "{}: a block of the unknown language `{}`",
                block.place,
                block.kind
            );
            assert!(
                runs || !is_run(&block),
                "{}: these commands are not run; add the page to GUIDES",
                block.place
            );
            let answer = ["json", "text"].contains(&block.kind.as_str());
            // `Page::open` compares the output of `cargo run`.
            let compared = block.follows && command == Some(true) || block.text.starts_with("imagegraph ");
            assert!(!runs || !answer || compared, "{}: this output follows no command", block.place);
            command = (block.kind == "sh").then(|| is_run(&block));
        }
    }
}

/// Every operation in the documents is valid.
#[test]
fn every_operation_is_valid() {
    let schema = Schema::parse_and_validate(include_str!("../../schema.graphql"), "schema.graphql").unwrap();
    let mut operations = 0;
    for block in pages().iter().flat_map(|page| block::blocks(page)).filter(|block| block.kind == "graphql") {
        operations += 1;
        if let Err(problem) =
            ExecutableDocument::parse_and_validate(&schema, &block.text, "operation.graphql")
        {
            panic!("{}: {}", block.place, problem.errors);
        }
    }
    assert!(operations > 3);
}

/// The file of every relative link exists, and the heading of every anchor.
#[test]
fn every_link_has_a_target() {
    let broken: Vec<String> = pages().iter().flat_map(|page| links::broken(page)).collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The Rust snippets are parts of `tests/it/cynic.rs`, which is compiled and run.
#[test]
fn rust_snippets_are_those_of_the_test() {
    let client = include_str!("cynic.rs");
    let normalized =
        |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").replace("pub(super) ", "");
    for block in block::blocks(Path::new("docs/clients.md")).iter().filter(|block| block.kind == "rust") {
        let part = normalized(&block.text);
        assert!(normalized(client).contains(&part), "{}: this is not in tests/it/cynic.rs", block.place);
    }
}

/// `docs/configuration.md` is the output of `imagegraph configuration`.
#[test]
fn the_configuration_is_current() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_imagegraph")).arg("configuration").env_clear().output().unwrap();
    let generated = String::from_utf8(output.stdout).unwrap();
    let stored = std::fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    assert!(
        generated == stored,
        "docs/configuration.md differs from the code; if the change is intended, run \
         `cargo run -- configuration > docs/configuration.md`"
    );
    for block in pages().iter().flat_map(|page| block::blocks(page)).filter(|block| block.kind == "dotenv") {
        for (name, _) in block.text.lines().filter_map(|line| line.split_once('=')) {
            assert!(stored.contains(&format!("`{name}`")), "{}: {name} is no setting", block.place);
        }
    }
}

/// The guide to the emulator has every kind of fault in its table, and every call in its list.
#[test]
fn the_emulators_guide_has_every_fault() {
    let guide = include_str!("../../docs/emulator.md");
    for kind in [
        "status",
        "errors",
        "answer",
        "garbage",
        "delay",
        "delay_after",
        "slow",
        "drop",
        "lost_answer",
        "cut",
        "hang",
        "hang_after",
    ] {
        assert!(guide.contains(&format!("| `{kind}` |")), "{kind}");
    }
    let calls = include_str!("../../crates/cloudflare-images-emulator/src/route.rs")
        .split("const CALL_NAMES")
        .nth(1)
        .unwrap();
    let calls: Vec<_> = calls.split("];").next().unwrap().split('"').skip(1).step_by(2).collect();
    assert!(calls.len() > 20, "{calls:?}");
    for call in calls {
        assert!(guide.contains(&format!("`{call}`")), "{call}");
    }
}
