//! The invariants of the architecture that can be read in the source.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The Rust files below a folder, without comments and unit tests.
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

/// Asserts that no file that `applies` selects contains one of the words.
fn forbid(why: &str, words: &[&str], applies: impl Fn(&str) -> bool) {
    let mut found = Vec::new();
    let mut checked = 0;
    for (path, code) in sources("src") {
        if !applies(&path) {
            continue;
        }
        checked += 1;
        for word in words {
            if let Some(line) = code.lines().find(|line| line.contains(word)) {
                found.push(format!("{path}: {}", line.trim()));
            }
        }
    }
    assert!(checked > 0, "{why}: no file is selected");
    assert!(found.is_empty(), "{why}:\n{}", found.join("\n"));
}

fn in_face(path: &str) -> bool {
    ["src/graphql", "src/rest", "src/http", "src/server"].iter().any(|face| path.starts_with(face))
}

/// The room of a file below `src`: the module directly below the root. `main.rs`, `cli.rs` and `lib.rs` belong to none.
fn room_of(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("src/")?;
    let room = rest.split('/').next()?.trim_end_matches(".rs");
    (!matches!(room, "main" | "cli" | "lib")).then_some(room)
}

/// The rooms that a piece of code names: the word after each `crate::`, and each first word of `crate::{…}`.
fn rooms_named(code: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut rooms = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            rooms.insert(word(rest));
            continue;
        };
        let (mut depth, mut from) = (0, 0);
        for (here, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                ',' if depth == 0 => {
                    rooms.insert(word(&group[from..]));
                    from = here + 1;
                }
                '}' if depth == 0 => {
                    rooms.insert(word(&group[from..here]));
                    break;
                }
                '}' => depth -= 1,
                _ => {}
            }
        }
    }
    rooms.remove("");
    rooms
}

/// Imports between rooms: for each room, the rooms it imports, each with one of the importing files.
fn imports() -> BTreeMap<String, BTreeMap<String, String>> {
    let mut imports: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (path, code) in sources("src") {
        let Some(room) = room_of(&path) else { continue };
        let others = imports.entry(room.to_owned()).or_default();
        for other in rooms_named(&code) {
            if other != room {
                others.insert(other, path.clone());
            }
        }
    }
    imports
}

/// A path of imports from one room to another, including both.
fn import_path(
    imports: &BTreeMap<String, BTreeMap<String, String>>,
    from: &str,
    to: &str,
    seen: &mut BTreeSet<String>,
) -> Option<Vec<String>> {
    if from == to {
        return Some(vec![to.to_owned()]);
    }
    for next in imports.get(from)?.keys() {
        if seen.insert(next.clone())
            && let Some(mut rest) = import_path(imports, next, to, seen)
        {
            rest.insert(0, from.to_owned());
            return Some(rest);
        }
    }
    None
}

/// Every cycle of imports, as `file -> image -> file`.
fn cycles(imports: &BTreeMap<String, BTreeMap<String, String>>) -> Vec<String> {
    let mut cycles = Vec::new();
    for (room, others) in imports {
        for (other, path) in others {
            if let Some(back) = import_path(imports, other, room, &mut BTreeSet::new()) {
                cycles.push(format!("{room} -> {} (closed by {path})", back.join(" -> ")));
            }
        }
    }
    cycles
}

#[test]
fn rooms_form_layers() {
    let imports = imports();
    // Without these imports the test would find no cycle because it finds no imports at all.
    for (room, below) in [("graphql", "image"), ("server", "rest"), ("file", "ingest"), ("auth", "entity")] {
        assert!(imports[room].contains_key(below), "{room} imports {below}: {:?}", imports[room]);
    }
    let cycles = cycles(&imports);
    assert!(cycles.is_empty(), "rooms of src/ import each other:\n{}", cycles.join("\n"));
}

/// The modules in `lib.rs` are in the order of the layers, from bottom to top.
#[test]
fn lib_lists_the_rooms_by_layer() {
    let order: Vec<&str> = include_str!("../../src/lib.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    let place = |room: &str| order.iter().position(|known| *known == room);
    for (room, others) in imports() {
        for (other, path) in others {
            let (above, below) =
                (place(&room).unwrap(), place(&other).unwrap_or_else(|| panic!("{path}: {other}")));
            assert!(below < above, "{path} imports {other}, which is above {room} in lib.rs");
        }
    }
}

#[test]
fn a_cycle_is_found_and_named() {
    let room = |other: &str| BTreeMap::from([(other.to_owned(), "src/some.rs".to_owned())]);
    let imports = [("a", room("b")), ("b", room("c")), ("c", room("a")), ("d", room("a"))]
        .map(|(a, b)| (a.to_owned(), b));
    let found = cycles(&imports.into());
    assert_eq!(found.len(), 3);
    assert_eq!(found[0], "a -> b -> c -> a (closed by src/some.rs)");
    let named = rooms_named("use crate::{file::{self, list}, image as images, job};\ncrate::rows::x();");
    assert_eq!(named.into_iter().collect::<Vec<_>>(), ["file", "image", "job", "rows"]);
}

#[test]
fn the_domain_is_independent_of_the_faces() {
    let outside = ["src/main.rs", "src/lib.rs"];
    forbid("axum and async-graphql belong to the faces", &["axum", "async_graphql"], |path| {
        !in_face(path) && !outside.contains(&path)
    });
}

#[test]
fn the_faces_contain_no_rules() {
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
        .filter(|(path, _)| !path.contains("/tests/"))
        .filter(|(_, code)| code.lines().count() > 500)
        .map(|(path, _)| path)
        .collect();
    assert!(long.is_empty(), "files of more than 500 lines: {long:?}");
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
            assert!(!code.contains(word), "{path} names {word}");
        }
    }
}

#[test]
fn every_dependency_has_a_reason() {
    let manifest = concat!(
        include_str!("../../Cargo.toml"),
        include_str!("../../crates/cloudflare-images/Cargo.toml"),
        include_str!("../../crates/cloudflare-images-emulator/Cargo.toml"),
        include_str!("../../crates/disposition/Cargo.toml"),
        include_str!("../../crates/http-serve/Cargo.toml"),
        include_str!("../../crates/media/Cargo.toml"),
        include_str!("../../crates/row-object/Cargo.toml"),
        include_str!("../../crates/test-pictures/Cargo.toml"),
        include_str!("../../migration/Cargo.toml"),
    );
    let mut previous = "";
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if inside && line.contains('=') {
            // A dependency without a comment shares the comment of the line above.
            let explained = previous.starts_with('#') || previous.contains('=');
            assert!(explained, "no reason for: {line}");
        }
        previous = line;
    }
}

/// `ARCHITECTURE.md` is read against the code: each name in backticks that reads like a path, a function or a type is
/// there, and its tree names every room.
#[test]
fn the_architecture_names_what_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let folders = ["src", "migration", "tests", "crates"];
    let code: String =
        folders.iter().flat_map(|folder| sources(folder)).map(|(_, text)| text + "\n").collect();
    let words: BTreeSet<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let (mut missing, mut looked_at) = (Vec::new(), 0);
    // Between backticks in prose; fenced blocks stand between lines of their own.
    let prose: String = page.split("```").step_by(2).collect();
    for name in prose.split('`').skip(1).step_by(2) {
        let is_path = folders.iter().any(|folder| name.starts_with(&format!("{folder}/")));
        let call = name.split(['(', ' ']).next().unwrap_or_default();
        // `_unscoped` is the end of names and none itself.
        let is_code = !call.starts_with('_')
            && (call.contains('_') || call.contains("::") || call.starts_with(char::is_uppercase));
        let is_there = if is_path {
            root.join(name).exists()
        } else if is_code && call.chars().all(|c| c.is_alphanumeric() || "_:".contains(c)) {
            call.split("::").all(|part| words.contains(part)) || code.contains(&format!("\"{call}\""))
        } else {
            continue;
        };
        looked_at += 1;
        if !is_there {
            missing.push(name);
        }
    }
    // `path`: `name` …: the name is in that file.
    for pair in prose.split("`: `").collect::<Vec<_>>().windows(2) {
        let (path, name) =
            (pair[0].rsplit('`').next().unwrap_or_default(), pair[1].split('`').next().unwrap_or_default());
        let Ok(text) = std::fs::read_to_string(root.join(path)) else { continue };
        let name = name.rsplit("::").next().unwrap_or_default();
        looked_at += 1;
        if !text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name) {
            missing.push(name);
        }
    }
    assert!(looked_at > 40, "{looked_at} names are too few: is the page read as it is written?");
    assert!(missing.is_empty(), "ARCHITECTURE.md names what is not there: {missing:?}");

    let tree = page.split("```text").find(|block| block.contains("main.rs")).expect("the tree");
    let unnamed: Vec<_> = imports()
        .into_keys()
        .filter(|room| !tree.contains(&format!("{room}.rs")) && !tree.contains(&format!("{room}/")))
        .collect();
    assert!(unnamed.is_empty(), "the tree of ARCHITECTURE.md leaves out {unnamed:?}");
}
