//! An emulator for one test, as a library and as a program, and clients to call it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cloudflare_images::client::{Body, Client, Credentials, Error, NewImage, Upload};
use cloudflare_images::wire::Image;
use cloudflare_images_emulator::{Emulator, Settings, serve};
use futures_util::{StreamExt, stream};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use test_pictures::png;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The account of a running emulator.
pub(crate) struct Account {
    pub(crate) client: Client,
    pub(crate) emulator: Emulator,
    /// Base URL of the emulator, without a trailing slash.
    pub(crate) root: String,
    pub(crate) dir: TempDir,
}

impl Account {
    /// Starts an emulator with fault injection.
    pub(crate) async fn open() -> Account {
        Self::open_with(|_| {}).await
    }

    /// Starts an emulator with other settings.
    pub(crate) async fn open_with(change: impl FnOnce(&mut Settings)) -> Account {
        // reqwest, in the client, needs a provider. Another test may have installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = TempDir::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let root = format!("http://{}", listener.local_addr().unwrap());
        let mut settings = settings(dir.path());
        settings.public_url = root.parse().unwrap();
        change(&mut settings);
        let emulator = Emulator::open(settings).await.unwrap();
        let served = emulator.clone();
        tokio::spawn(async move { serve(listener, &served, CancellationToken::new()).await });
        let at = |path: &str| format!("{root}{path}").parse().unwrap();
        let client = cloudflare_images::client::Settings {
            api: at("/client/v4"),
            batch: at("/batch"),
            delivery: at("/imagedelivery"),
            upload: at("/upload"),
            attempt_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(40),
            rate: None,
            ..cloudflare_images::client::Settings::new(
                emulator.credentials().account_id.as_str(),
                Credentials::Token(emulator.credentials().api_token.clone().into()),
            )
        };
        Account { client: Client::new(client).unwrap(), emulator, root, dir }
    }

    /// URL of a call of the API; `path` begins with the version.
    pub(crate) fn api(&self, path: &str) -> String {
        format!("{}/client/v4/accounts/{}/images{path}", self.root, self.emulator.credentials().account_id)
    }

    /// A call of the API with the token that has all permissions.
    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        http().request(method, self.api(path)).bearer_auth(&self.emulator.credentials().api_token)
    }

    /// Uploads a PNG that is different for each seed.
    pub(crate) async fn image(&self, seed: u32) -> Image {
        create(&self.client, NewImage::default(), png(seed)).await.unwrap()
    }

    /// Status of a delivery URL.
    pub(crate) async fn status(&self, url: impl AsRef<str>) -> u16 {
        http().get(url.as_ref()).send().await.unwrap().status().as_u16()
    }

    /// Adds a fault that applies to one call.
    pub(crate) async fn fault(&self, call: &str, fault: Value) {
        let fault = json!({ "call": call, "fault": fault, "times": 1 });
        let response = http().post(format!("{}/faults", self.root)).json(&fault).send().await.unwrap();
        assert_eq!(response.status(), 200);
    }

    pub(crate) fn hash(&self) -> &str {
        &self.emulator.credentials().account_hash
    }
}

/// Settings with random credentials and fault injection.
pub(crate) fn settings(data_dir: &Path) -> Settings {
    Settings {
        data_dir: data_dir.to_owned(),
        public_url: "http://127.0.0.1:1".parse().unwrap(),
        account: None,
        read_token: None,
        faults: true,
        rate: None,
        batch_rate: None,
    }
}

/// An HTTP client with a timeout, which trusts no certificates.
pub(crate) fn http() -> reqwest::Client {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls);
    client.timeout(Duration::from_secs(60)).no_proxy().build().unwrap()
}

/// Sends a request; returns status and JSON body.
pub(crate) async fn send(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// A file for the client, in several chunks.
pub(crate) fn upload(bytes: Vec<u8>) -> Upload {
    let length = bytes.len() as u64;
    let chunks: Vec<_> = bytes.chunks(10_000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    let stream = stream::iter(chunks).boxed();
    Upload { filename: "süße katze.jpg".to_owned(), content_type: "image/jpeg".to_owned(), length, stream }
}

pub(crate) async fn create(client: &Client, new: NewImage<'_>, bytes: Vec<u8>) -> Result<Image, Error> {
    client.create(new, Body::Upload(upload(bytes))).await
}

/// The program in a process of its own; killed when dropped.
pub(crate) struct Program {
    child: Child,
    output: Arc<Mutex<String>>,
}

impl Program {
    /// Starts the program in a folder, with these arguments and no other settings.
    pub(crate) fn start(dir: &Path, arguments: &[&str]) -> Program {
        let mut child = command(dir, arguments).stdout(Stdio::piped()).spawn().unwrap();
        let output = Arc::new(Mutex::new(String::new()));
        let (stdout, written) = (child.stdout.take().unwrap(), Arc::clone(&output));
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let mut written = written.lock().unwrap();
                written.push_str(&line);
                written.push('\n');
            }
        });
        Program { child, output }
    }

    /// Waits until the standard output contains `text`, and returns it.
    pub(crate) async fn output_with(&mut self, text: &str) -> String {
        for _ in 0..400 {
            let output = self.output.lock().unwrap().clone();
            if output.contains(text) {
                return output;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("ended with {status} before it wrote {text:?}: {output}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("did not write {text:?}: {}", self.output.lock().unwrap());
    }

    /// Sends a signal, such as `-TERM`, and waits for a successful end.
    pub(crate) fn stop(&mut self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        for _ in 0..200 {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "ended with {status}");
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("does not end after {signal}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program's command, in a folder, with these arguments and no other settings.
pub(crate) fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloudflare-images-emulator"));
    command.env_clear().current_dir(dir).args(arguments).stdin(Stdio::null());
    command
}
