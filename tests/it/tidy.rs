//! The invariants of the architecture that can be read in the source.

use std::path::{Path, PathBuf};

/// Rust files below a folder, with their text less comments and unit tests.
fn sources(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join(folder), &mut files);
    assert!(!files.is_empty());
    files
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            (path.strip_prefix(root).unwrap().to_string_lossy().into_owned(), code.join("\n"))
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Asserts that none of the files that `applies` names holds one of the words.
fn forbid(why: &str, words: &[&str], applies: impl Fn(&str) -> bool) {
    let mut found = Vec::new();
    let mut looked_at = 0;
    for (path, code) in sources("src") {
        if !applies(&path) {
            continue;
        }
        looked_at += 1;
        for word in words {
            if let Some(line) = code.lines().find(|line| line.contains(word)) {
                found.push(format!("{path}: {}", line.trim()));
            }
        }
    }
    assert!(looked_at > 0, "{why}: no file is looked at");
    assert!(found.is_empty(), "{why}:\n{}", found.join("\n"));
}

fn in_face(path: &str) -> bool {
    ["src/graphql", "src/rest", "src/http", "src/server"].iter().any(|face| path.starts_with(face))
}

#[test]
fn the_domain_does_not_know_its_faces() {
    let outside = ["src/main.rs", "src/lib.rs"];
    forbid("axum and async-graphql belong to the faces", &["axum", "async_graphql"], |path| {
        !in_face(path) && !outside.contains(&path)
    });
}

#[test]
fn the_faces_contain_no_rule() {
    let words = [
        "sea_orm",
        "ActiveModel",
        "Entity::",
        ".app.db",
        "blobs.put",
        "blobs.get",
        "cloudflare.create",
        "cloudflare.delete",
    ];
    forbid("a face decodes, calls one domain function, encodes", &words, |path| {
        path.starts_with("src/graphql") && !path.ends_with("socket.rs") || path.starts_with("src/rest")
    });
}

#[test]
fn a_read_begins_at_visible_to() {
    forbid("`find()` belongs to entity/ and the worker", &["Entity::find"], |path| {
        !path.starts_with("src/entity") && path != "src/worker.rs"
    });
}

#[test]
fn only_the_top_names_the_emulator() {
    forbid(
        "the emulator is named in server/account.rs and main.rs only",
        &["cloudflare_images_emulator", "Emulator"],
        |path| path != "src/server/account.rs" && path != "src/cli.rs",
    );
}

#[test]
fn only_config_reads_the_environment() {
    forbid("settings are read in config.rs", &["env::var", "from_env", "env = \""], |path| {
        path != "src/config.rs"
    });
}

#[test]
fn files_are_small() {
    let long: Vec<_> = ["src", "crates"]
        .into_iter()
        .flat_map(sources)
        .filter(|(_, code)| code.lines().count() > 500)
        .map(|(path, _)| path)
        .collect();
    assert!(long.is_empty(), "over 500 lines need an answer: {long:?}");
}

#[test]
fn pictures_are_read_in_one_place() {
    let readers = [
        "image::codecs::gif::GifDecoder",
        "PngDecoder",
        "WebPDecoder",
        "JpegDecoder",
        "load_from_memory",
        "kamadak",
    ];
    forbid("the crate media reads pictures, for the API and the emulator alike", &readers, |_| true);
    for (path, code) in sources("crates/media/src") {
        for word in ["crate::emulator", "imagegraph::", "axum", "async_graphql", "sea_orm", "tokio"] {
            assert!(!code.contains(word), "{path} knows {word}");
        }
    }
}

#[test]
fn every_dependency_says_why() {
    let manifest = concat!(include_str!("../../Cargo.toml"), include_str!("../../crates/media/Cargo.toml"));
    let mut previous = "";
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if inside && line.contains('=') {
            // A line without a comment of its own shares the one above it.
            let explained = previous.starts_with('#') || previous.contains('=');
            assert!(explained, "no reason for: {line}");
        }
        previous = line;
    }
}
