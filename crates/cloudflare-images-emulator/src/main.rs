//! The emulator as a program of its own.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use cloudflare_images_emulator::{Emulator, Settings, serve};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use url::Url;

/// An emulator of Cloudflare Images: management API, batch host, upload host and delivery host.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, env = "CLOUDFLARE_IMAGES_EMULATOR_LISTEN", default_value = "127.0.0.1:8788")]
    listen: SocketAddr,
    /// Folder of the database, the images and the credentials; created if missing
    #[arg(long, env = "CLOUDFLARE_IMAGES_EMULATOR_DATA_DIR", default_value = "./cloudflare-images")]
    data_dir: PathBuf,
    /// Where clients reach the emulator; upload and delivery URLs begin with it [default: http:// and the address it
    /// listens on]
    #[arg(long, env = "CLOUDFLARE_IMAGES_EMULATOR_PUBLIC_URL", value_parser = http_url)]
    public_url: Option<Url>,
    /// Account id to accept [default: a random one, kept in the data folder]
    #[arg(long, env = "CLOUDFLARE_IMAGES_EMULATOR_ACCOUNT_ID", requires = "api_token")]
    account_id: Option<String>,
    /// API token to accept [default: a random one, kept in the data folder]
    #[arg(
        long,
        env = "CLOUDFLARE_IMAGES_EMULATOR_API_TOKEN",
        hide_env_values = true,
        requires = "account_id"
    )]
    api_token: Option<String>,
    /// API token to accept that may only read [default: a random one, kept in the data folder]
    #[arg(long, env = "CLOUDFLARE_IMAGES_EMULATOR_READ_TOKEN", hide_env_values = true)]
    read_token: Option<String>,
    /// Enable fault injection, /faults, for everybody who can reach the emulator
    #[arg(long, env = "CLOUDFLARE_IMAGES_EMULATOR_FAULTS")]
    faults: bool,
    /// Maximum of calls to the API in five minutes, 1200 at Cloudflare; more are refused with 429 [default: no limit]
    #[arg(long, env = "CLOUDFLARE_IMAGES_EMULATOR_RATE")]
    rate: Option<NonZeroU32>,
    /// Maximum of calls to the batch host in a second, 200 at Cloudflare; more are refused with 429 [default: no limit]
    #[arg(long, env = "CLOUDFLARE_IMAGES_EMULATOR_BATCH_RATE")]
    batch_rate: Option<NonZeroU32>,
}

fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let valid = matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none();
    valid
        .then_some(url)
        .ok_or_else(|| "an http or https URL without query and fragment is expected".to_owned())
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cloudflare-images-emulator: {}", with_causes(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<(), Box<dyn Error>> {
    // reqwest needs a provider for uploads from a URL. It can only be set already if this function ran before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind(cli.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", cli.listen))?;
    let address = listener.local_addr()?;
    let settings = Settings {
        data_dir: cli.data_dir,
        public_url: cli.public_url.map_or_else(|| url_of(address).parse(), Ok)?,
        account: cli.account_id.zip(cli.api_token),
        read_token: cli.read_token,
        faults: cli.faults,
        rate: cli.rate,
        batch_rate: cli.batch_rate,
    };
    let emulator = Emulator::open(settings).await?;
    println!("{}", emulator.usage(address));
    let stop = CancellationToken::new();
    let signalled = stop.clone();
    tokio::spawn(async move {
        http_serve::shutdown_signal().await;
        signalled.cancel();
    });
    Ok(serve(listener, &emulator, stop).await?)
}

/// A listener on all interfaces is reached on loopback.
fn url_of(address: SocketAddr) -> String {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) | IpAddr::V6(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

/// An error and its causes on one line.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
