//! Uploads a file and prints the image's id and delivery URLs.
//!
//! ```sh
//! CLOUDFLARE_ACCOUNT_ID=… CLOUDFLARE_API_TOKEN=… cargo run --example upload photo.jpg
//! ```
//!
//! `CLOUDFLARE_BASE_URL` is the base URL of another server with the same management API, such as
//! `http://127.0.0.1:8788/client/v4`.

#![expect(clippy::disallowed_methods, reason = "the example takes its account from the environment")]

use std::env;
use std::path::Path;

use cloudflare_images::client::{Body, Client, Credentials, NewImage, Settings, Upload};
use futures_util::{StreamExt, stream};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    rustls::crypto::ring::default_provider().install_default().expect("no other provider is installed");

    let path = env::args().nth(1).ok_or("usage: upload FILE")?;
    let variable = |name: &str| env::var(name).map_err(|error| format!("{name}: {error}"));
    let token = variable("CLOUDFLARE_API_TOKEN")?;
    let mut settings = Settings::new(variable("CLOUDFLARE_ACCOUNT_ID")?, Credentials::Token(token.into()));
    if let Ok(base_url) = env::var("CLOUDFLARE_BASE_URL") {
        settings.api = base_url.parse()?;
    }
    let client = Client::new(settings)?;

    let bytes = tokio::fs::read(&path).await?;
    let filename = Path::new(&path).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let upload = Upload {
        filename,
        // Cloudflare detects the type from the bytes.
        content_type: "application/octet-stream".to_owned(),
        length: bytes.len() as u64,
        stream: stream::iter([Ok(bytes.into())]).boxed(),
    };
    let image = client.create(NewImage::default(), Body::Upload(upload)).await?;

    println!("{}", image.id);
    for url in image.variants {
        println!("{url}");
    }
    Ok(())
}
