//! The two processes that make renditions: the emulator's program, and Node.js with sharp.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use reqwest::Client;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

/// A child process with its output; ended when dropped.
struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(mut command: Command) -> Result<Process, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{name} cannot be started: {error}"))?;
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Ok(Process { child, lines })
    }

    fn line(&mut self) -> Option<String> {
        self.lines.next()?.ok()
    }

    /// Time on a processor of all threads since the start. Exact, because all of them wait for work when it is read.
    fn cpu(&self) -> Duration {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let of_thread = |thread: std::fs::DirEntry| {
            let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        };
        Duration::from_nanos(threads.flatten().filter_map(of_thread).sum())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is made of a photograph.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    /// `jpeg` or `webp`.
    pub(crate) format: &'static str,
    pub(crate) width: u32,
    pub(crate) quality: u8,
}

/// The emulator's program, as shipped, over HTTP.
pub(crate) struct Emulator {
    process: Process,
    http: Client,
    api: String,
}

const TOKEN: &str = "pixels-bench-token";

impl Emulator {
    pub(crate) async fn start(dir: &Path, http: Client) -> Result<Emulator, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloudflare-images-emulator"));
        command.env_clear().current_dir(dir).stdin(Stdio::null());
        command.args(["--listen", "127.0.0.1:0", "--account-id", "bench", "--api-token", TOKEN]);
        let mut process = Process::start(command)?;
        let base = loop {
            let line = process.line().ok_or("the emulator ended at once")?;
            if let Some((_, base)) = line.split_once("CLOUDFLARE_BASE_URL=") {
                break base.to_owned();
            }
        };
        let api = format!("{base}/accounts/bench/images/v1");
        let flexible = http.patch(format!("{api}/config")).json(&json!({ "flexible_variants": true }));
        let answer = flexible.bearer_auth(TOKEN).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
        Ok(Emulator { process, http, api })
    }

    /// Uploads a photograph; returns the URL before the name of a variant. Each upload is a picture of its own, of which
    /// nothing is cached.
    pub(crate) async fn upload(&self, photo: &[u8]) -> String {
        let form = Form::new().part("file", Part::bytes(photo.to_vec()).file_name("photo.jpg"));
        let request = self.http.post(&self.api).bearer_auth(TOKEN).multipart(form);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        let public = answer["result"]["variants"][0].as_str().unwrap_or_else(|| panic!("{answer:#}"));
        public.trim_end_matches("public").to_owned()
    }

    /// A rendition, and the time it took on a processor.
    pub(crate) async fn make(&self, base: &str, wanted: Wanted) -> (Vec<u8>, Duration) {
        let Wanted { format, width, quality } = wanted;
        let before = self.process.cpu();
        let url = format!("{base}width={width},quality={quality},format={format}");
        let answer = self.http.get(url).send().await.unwrap();
        let status = answer.status();
        let file = answer.bytes().await.unwrap().to_vec();
        assert!(status.is_success(), "{}", String::from_utf8_lossy(&file));
        settle().await;
        (file, self.process.cpu() - before)
    }
}

/// Node.js with sharp.
pub(crate) struct Sharp {
    process: Process,
    input: ChildStdin,
    /// Versions of sharp and libvips.
    pub(crate) version: String,
}

impl Sharp {
    pub(crate) fn start() -> Result<Sharp, String> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/pixels");
        let missing = || format!("sharp cannot be loaded; install it with: npm ci --prefix {folder}");
        if !Path::new(folder).join("node_modules/sharp").is_dir() {
            return Err(missing());
        }
        let mut command = Command::new("node");
        command.current_dir(folder).arg("sharp.mjs").stdin(Stdio::piped());
        let mut process = Process::start(command)?;
        let input = process.child.stdin.take().ok_or("node has no standard input")?;
        let version = process.line().ok_or_else(missing)?;
        Ok(Sharp { process, input, version })
    }

    /// A rendition, left in a file, and the time it took on a processor.
    pub(crate) async fn make(&mut self, photo: &Path, result: &Path, wanted: Wanted) -> (Vec<u8>, Duration) {
        let Wanted { format, width, quality } = wanted;
        let (photo, result) = (photo.display().to_string(), result.display().to_string());
        let before = self.process.cpu();
        writeln!(self.input, "{format}\t{width}\t{quality}\t{photo}\t{result}").unwrap();
        let length = self.process.line().expect("sharp ended");
        settle().await;
        let cpu = self.process.cpu() - before;
        let file = std::fs::read(result).unwrap();
        assert_eq!(length, file.len().to_string());
        (file, cpu)
    }
}

/// Lets the threads of a process that has answered fall asleep.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}
