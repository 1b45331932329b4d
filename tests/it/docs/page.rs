//! Runs the commands of a page and compares their output.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::answer::Bindings;
use super::block::{self, Block};
use crate::harness::Program;

/// Addresses of the server and the emulator on the pages.
const SERVER: &str = "http://127.0.0.1:8080";
const EMULATOR: &str = "127.0.0.1:8090";

/// Runs a block with the exported variables of the one before, and saves them for the next one.
const SCRIPT: &str = r#"set -eu -o pipefail
[ ! -e "$STATE" ] || source "$STATE"
eval "$BLOCK"
declare -px | grep -vE ' (BLOCK|STATE|SHLVL|PWD|OLDPWD)=' > "$STATE"
"#;

/// A folder with the examples, a server that was started in it for the first time, and the values bound so far.
pub(super) struct Page {
    dir: TempDir,
    bindings: Bindings,
    start_output: String,
    programs: Vec<Program>,
}

impl Page {
    /// Starts the server as `cargo run` does, and compares its output with the README.
    pub(super) async fn open(name: &str) -> Page {
        let dir = TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("examples")).unwrap();
        for entry in std::fs::read_dir(super::root().join("examples")).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, dir.path().join("examples").join(path.file_name().unwrap())).unwrap();
        }
        std::fs::write(dir.path().join(".curlrc"), "silent\nshow-error\n").unwrap();
        let mut page =
            Page { dir, bindings: Bindings::default(), start_output: String::new(), programs: Vec::new() };
        let mut command = page.command(env!("CARGO_BIN_EXE_imagegraph"));
        command.env("IMAGEGRAPH_LISTEN", "127.0.0.1:0");
        let mut program = Program::start(command);
        page.start_output = program.output_until("-F 0=@photo.jpg").await;
        page.programs.push(program);
        let address =
            page.start_output.lines().find_map(|line| line.split_once(" listens on ")).unwrap().1.to_owned();
        page.bindings.bind(SERVER, &format!("http://{address}")).unwrap();
        page.bindings.bind("127.0.0.1:8080", &address).unwrap();
        let readme = block::blocks(Path::new("README.md"));
        let shown = readme.iter().find(|block| block.text.starts_with("imagegraph ")).unwrap();
        let compared = page.bindings.text(&shown.text, &page.start_output);
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

    /// Runs all commands of a page.
    pub(super) async fn run(&mut self, name: &str) {
        self.run_until(name, "\0").await;
    }

    /// Runs the commands of a page up to the first block that begins with `last`, which is included.
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

    /// Starts a program that keeps running, and compares its first output.
    async fn start(&mut self, block: &Block, shown: &Block) {
        let mut command = self.command("bash");
        command.args(["-c", &format!("exec {}", block.text.replace(EMULATOR, "127.0.0.1:0"))]);
        let mut program = Program::start(command);
        let last = shown.text.lines().last().unwrap();
        let output = program.output_until(last.split(EMULATOR).next().unwrap()).await;
        let address = output.split(" listens on ").nth(1).unwrap().split(". ").next().unwrap();
        self.bindings.bind(EMULATOR, address).unwrap();
        self.compare(shown, &output).unwrap_or_else(|problem| panic!("{}: {problem}", shown.place));
        self.programs.push(program);
    }

    /// Runs a block and compares its output. A query is repeated for up to 10 seconds, because some results appear later.
    async fn try_block(&mut self, block: &Block, shown: Option<&Block>) {
        let attempts = if block.text.starts_with("curl -G ") { 50 } else { 1 };
        for attempt in 1..=attempts {
            let output = self.bash(block);
            let compared = match shown {
                Some(shown) => self.compare(shown, &output),
                None => unexpected_errors(&output)
                    .map_or(Ok(()), |problem| Err(format!("{problem}\nin {output}"))),
            };
            match compared {
                Ok(()) => return,
                Err(problem) if attempt == attempts => panic!("{}: {problem}", shown.unwrap_or(block).place),
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
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}: {}\n{stderr}{stdout}", block.place, output.status);
        stdout.into_owned()
    }

    fn compare(&mut self, shown: &Block, real: &str) -> Result<(), String> {
        match shown.kind.as_str() {
            "json" => self.bindings.json(&shown.text, real),
            // The keep-alive comments of an event stream come at any time, and are ignored.
            _ => self.bindings.text(&shown.text, &real.replace(":\n\nevent: ", "event: ")),
        }
    }
}

/// The errors in JSON output that the page does not show.
fn unexpected_errors(output: &str) -> Option<String> {
    let values = serde_json::Deserializer::from_str(output).into_iter::<Value>().map_while(Result::ok);
    values.into_iter().find_map(|value| {
        if value.get("errors").is_some() || value.get("error").is_some() {
            return Some("errors that are not shown on the page".to_owned());
        }
        let mut payloads = value.get("data")?.as_object()?.values();
        let problems =
            payloads.find_map(|payload| payload["userErrors"].as_array().filter(|list| !list.is_empty()));
        problems.map(|problems| format!("{problems:?} is not shown on the page"))
    })
}
