//! A reader of a page: does what it says, and compares.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::answer::Bindings;
use super::block::{self, Block};
use crate::harness::Program;

/// Where the pages have the server and the emulator.
const SERVER: &str = "http://127.0.0.1:8080";
const EMULATOR: &str = "127.0.0.1:8090";

/// Runs a block, and takes the variables over into the next one.
const SCRIPT: &str = r#"set -eu -o pipefail
[ ! -e "$STATE" ] || source "$STATE"
eval "$BLOCK"
declare -px | grep -vE ' (BLOCK|STATE|SHLVL|PWD|OLDPWD)=' > "$STATE"
"#;

/// A folder with the examples, a server that was started in it for the first time, and what has come of the page so far.
pub(super) struct Page {
    dir: TempDir,
    bindings: Bindings,
    greeting: String,
    programs: Vec<Program>,
}

impl Page {
    /// Starts the server as `cargo run` does, and knows its greeting as the README shows it.
    pub(super) async fn open(name: &str) -> Page {
        let dir = TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("examples")).unwrap();
        for entry in std::fs::read_dir(super::root().join("examples")).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, dir.path().join("examples").join(path.file_name().unwrap())).unwrap();
        }
        std::fs::write(dir.path().join(".curlrc"), "silent\nshow-error\n").unwrap();
        let mut page =
            Page { dir, bindings: Bindings::default(), greeting: String::new(), programs: Vec::new() };
        let mut command = page.command(env!("CARGO_BIN_EXE_imagegraph"));
        command.env("IMAGEGRAPH_LISTEN", "127.0.0.1:0");
        let mut program = Program::start(command);
        page.greeting = program.said_until("-F 0=@photo.jpg").await;
        page.programs.push(program);
        let address =
            page.greeting.lines().find_map(|line| line.split_once(" listens on ")).unwrap().1.to_owned();
        page.bindings.bind(SERVER, &format!("http://{address}")).unwrap();
        page.bindings.bind("127.0.0.1:8080", &address).unwrap();
        let readme = block::blocks(Path::new("README.md"));
        let shown = readme.iter().find(|block| block.text.starts_with("imagegraph ")).unwrap();
        let compared = page.bindings.text(&shown.text, &page.greeting);
        compared.unwrap_or_else(|problem| panic!("{name}: {}: {problem}", shown.place));
        page
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let own = Path::new(env!("CARGO_BIN_EXE_imagegraph")).parent().unwrap().display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env_clear()
            .env("PATH", format!("{own}:{path}"))
            .env("HOME", self.dir.path())
            .env("CURL_HOME", self.dir.path())
            .env("IMAGEGRAPH_DATA_DIR", self.dir.path().join("data"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// Does all that a page says.
    pub(super) async fn run(&mut self, name: &str) {
        self.run_until(name, "\0").await;
    }

    /// The same up to and with the first block that begins like this.
    pub(super) async fn run_until(&mut self, name: &str, last: &str) {
        let blocks = block::blocks(Path::new(name));
        let mut run = 0;
        for (block, next) in blocks.iter().zip(blocks.iter().skip(1).map(Some).chain([None])) {
            let shown = next.filter(|next| next.follows && ["json", "text"].contains(&next.kind.as_str()));
            if block.text.starts_with("imagegraph emulator ") {
                self.start(block, shown.unwrap()).await;
            } else if super::is_run(block) {
                run += 1;
                self.try_block(block, shown).await;
            }
            if block.text.starts_with(last) {
                break;
            }
        }
        assert!(run > 0, "{name} has no commands");
    }

    /// Starts a program that goes on.
    async fn start(&mut self, block: &Block, shown: &Block) {
        let mut command = self.command("bash");
        command.args(["-c", &format!("exec {}", block.text.replace(EMULATOR, "127.0.0.1:0"))]);
        let mut program = Program::start(command);
        let last = shown.text.lines().last().unwrap();
        let said = program.said_until(last.split(EMULATOR).next().unwrap()).await;
        let address = said.split(" listens on ").nth(1).unwrap().split(". ").next().unwrap();
        self.bindings.bind(EMULATOR, address).unwrap();
        self.compare(shown, &said).unwrap_or_else(|problem| panic!("{}: {problem}", shown.place));
        self.programs.push(program);
    }

    /// Runs a block and compares its output. A query is asked again for a while: some answers come by and by.
    async fn try_block(&mut self, block: &Block, shown: Option<&Block>) {
        let patience = if block.text.starts_with("curl -G ") { 50 } else { 1 };
        for tries in 1..=patience {
            let output = self.bash(block);
            let compared = match shown {
                Some(shown) => self.compare(shown, &output),
                None => refused(&output).map_or(Ok(()), |problem| Err(format!("{problem}\nin {output}"))),
            };
            match compared {
                Ok(()) => return,
                Err(problem) if tries == patience => panic!("{}: {problem}", shown.unwrap_or(block).place),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    fn bash(&self, block: &Block) -> String {
        let mut command = self.command("bash");
        command
            .args(["-c", SCRIPT])
            .env("BLOCK", self.bindings.apply(&block.text))
            .env("STATE", self.dir.path().join(".state"));
        let output = command.output().unwrap();
        let (said, complained) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}: {}\n{complained}{said}", block.place, output.status);
        said.into_owned()
    }

    fn compare(&mut self, shown: &Block, real: &str) -> Result<(), String> {
        match shown.kind.as_str() {
            "json" => self.bindings.json(&shown.text, real),
            // Comments of an event stream are signs of life, and come at any time.
            _ => self.bindings.text(&shown.text, &real.replace(":\n\nevent: ", "event: ")),
        }
    }
}

/// The errors in an output of JSON that is not shown.
fn refused(output: &str) -> Option<String> {
    let values = serde_json::Deserializer::from_str(output).into_iter::<Value>().map_while(Result::ok);
    values.into_iter().find_map(|value| {
        if value.get("errors").is_some() || value.get("error").is_some() {
            return Some("errors that are not shown".to_owned());
        }
        let mut payloads = value.get("data")?.as_object()?.values();
        let problems =
            payloads.find_map(|payload| payload["userErrors"].as_array().filter(|list| !list.is_empty()));
        problems.map(|problems| format!("{problems:?} is not shown"))
    })
}
