//! The commands of the program.

mod configuration;

use std::net::SocketAddr;
use std::time::Duration;

use chrono::TimeDelta;
use clap::{CommandFactory, Parser, Subcommand};
use imagegraph::app::Clock;
use imagegraph::bootstrap::{self, FirstStart, NewToken};
use imagegraph::config::Config;
use imagegraph::entity::api_token::Scope;
use imagegraph::entity::membership;
use imagegraph::graphql;
use imagegraph::id::WorkspaceId;
use imagegraph::server::{self, Running};
#[cfg(feature = "emulator")]
use tokio_util::sync::CancellationToken;

/// A GraphQL API server over a unified file and image model, in front of Cloudflare Images.
#[derive(Parser)]
#[command(version, about)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) config: Config,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server (the default)
    Serve,
    /// Migrate the database, then exit
    Migrate,
    /// Print the GraphQL schema
    Schema,
    /// Print every command and setting as Markdown, for docs/configuration.md
    Configuration,
    /// Manage API tokens
    #[command(subcommand)]
    Token(Token),
    /// Run the Cloudflare Images emulator alone
    #[cfg(feature = "emulator")]
    Emulator {
        /// Account id to answer to [default: a random one, kept in the data folder]
        #[arg(long, requires = "api_token")]
        account_id: Option<String>,
        /// API token to accept [default: a random one, kept in the data folder]
        #[arg(long, requires = "account_id")]
        api_token: Option<String>,
        /// API token with read access only [default: a random one, kept in the data folder]
        #[arg(long)]
        read_token: Option<String>,
        /// Maximum of calls to the API in five minutes, 1200 at Cloudflare; more are refused with 429 [default: no limit]
        #[arg(long)]
        rate: Option<std::num::NonZeroU32>,
        /// Maximum of calls to the batch host in a second, 200 at Cloudflare; more are refused with 429 [default: no limit]
        #[arg(long)]
        batch_rate: Option<std::num::NonZeroU32>,
    },
    /// Check whether the server at --listen is alive; exits 0 if it is
    Healthcheck,
}

#[derive(Subcommand)]
enum Token {
    /// Create an API token and print its secret, which is not stored
    Create {
        /// E-mail of the token's user, who is created if unknown [default: the oldest admin]
        #[arg(long)]
        email: Option<String>,
        /// Display name of that user from now on [default: User and a part of its id]
        #[arg(long, requires = "email", value_parser = user_name)]
        user_name: Option<String>,
        /// What the token is for
        #[arg(long, default_value = "made by command")]
        name: String,
        /// What it may do, separated by commas [default: everything]
        #[arg(long, value_enum, value_delimiter = ',')]
        scopes: Vec<Scope>,
        /// Limit it to this workspace (`wsp_` id)
        #[arg(long)]
        workspace: Option<WorkspaceId>,
        /// Make the user a member of that workspace in this role
        #[arg(long, value_enum, ignore_case = true, requires = "workspace")]
        role: Option<Role>,
        /// Days until it stops working [default: never]
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=3650))]
        expires_in_days: Option<u32>,
    },
}

fn user_name(text: &str) -> Result<String, String> {
    let name = text.trim();
    if (1..=100).contains(&name.chars().count()) && !name.chars().any(char::is_control) {
        return Ok(name.to_owned());
    }
    Err("1 to 100 characters are expected".to_owned())
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Role {
    Viewer,
    Editor,
    Owner,
}

/// Runs the command.
pub(crate) async fn run(cli: Cli) -> Result<(), Box<dyn std::error::Error>> {
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => {
            let running = server::start(cli.config, Clock::default()).await?;
            print_start(&running);
            http_serve::shutdown_signal().await;
            running.stop().await;
        }
        Command::Migrate => {
            server::open_database(&cli.config).await?;
        }
        Command::Schema => print!("{}", graphql::sdl()),
        Command::Configuration => print!("{}", configuration::markdown(Cli::command())),
        Command::Token(create) => println!("{}", create_token(&cli.config, create).await?),
        #[cfg(feature = "emulator")]
        Command::Emulator { account_id, api_token, read_token, rate, batch_rate } => {
            let config = &cli.config;
            let settings = cloudflare_images_emulator::Settings {
                data_dir: config.data_dir.join("emulator"),
                // Without one it is made of the address that the emulator listens on.
                public_url: config.public_url.clone().unwrap_or_else(|| server::own_url(config.listen)),
                account: account_id.zip(api_token),
                read_token,
                faults: config.emulator_faults,
                rate,
                batch_rate,
            };
            run_emulator(config, settings).await?;
        }
        Command::Healthcheck => healthcheck(cli.config.listen).await?,
    }
    Ok(())
}

/// Prints the address of the server and, on the first start, the token and how to use it.
fn print_start(running: &Running) {
    let config = &running.app.config;
    let url = running.public_url.as_str().trim_end_matches('/');
    println!("imagegraph {} listens on {}", env!("CARGO_PKG_VERSION"), running.address);
    if config.emulated() {
        println!(
            "The Cloudflare account is the built-in emulator: set CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN to use a real one."
        );
    }
    if config.emulated() && (config.cloudflare_api_token.is_some() || config.cloudflare_api_key.is_some()) {
        println!("NOTE: Cloudflare credentials are set without CLOUDFLARE_ACCOUNT_ID, and are ignored.");
    }
    if config.emulator_faults {
        println!("WARNING: everybody who can reach this server can inject faults into the emulator.");
    }
    match &running.first_start {
        Some(first) => print_first_start(config, url, first),
        None => println!("GraphiQL: {url}/"),
    }
}

fn print_first_start(config: &Config, url: &str, first: &FirstStart) {
    let (token, fragment) = match &config.admin_token {
        Some(_) => ("$IMAGEGRAPH_ADMIN_TOKEN", String::new()),
        None => (first.secret.as_str(), format!("#token={}", first.secret)),
    };
    println!();
    println!(
        "First start: created an admin, the workspace {}, and this token, which is not shown again:",
        first.workspace
    );
    println!();
    println!("  {token}");
    println!();
    println!("GraphiQL, ready to use:");
    println!();
    println!("  {url}/{fragment}");
    println!();
    println!("Upload a file:");
    println!();
    println!(
        r#"  curl {url}/graphql -H "Authorization: Bearer {token}" \
    -F operations='{{"query":"mutation($input: UploadFileInput!) {{ uploadFile(input: $input) {{ file {{ id imageStatus image {{ id url width height }} }} userErrors {{ code message field }} }} }}","variables":{{"input":{{"workspaceId":"{}","file":null}}}}}}' \
    -F map='{{"0":["variables.input.file"]}}' -F 0=@photo.jpg"#,
        first.workspace
    );
    println!();
}

async fn create_token(config: &Config, token: Token) -> Result<String, Box<dyn std::error::Error>> {
    let Token::Create { email, user_name, name, scopes, workspace, role, expires_in_days } = token;
    let (db, clock) = (server::open_database(config).await?, Clock::default());
    let new = NewToken {
        email,
        user_name,
        name,
        scopes: if scopes.is_empty() { Scope::ALL.to_vec() } else { scopes },
        workspace,
        role: role.map(|role| match role {
            Role::Viewer => membership::Role::Viewer,
            Role::Editor => membership::Role::Editor,
            Role::Owner => membership::Role::Owner,
        }),
        expires_at: expires_in_days.map(|days| clock.now() + TimeDelta::days(i64::from(days))),
    };
    Ok(bootstrap::create_token(&db, &clock, &new).await?)
}

/// Runs the emulator until the process is asked to stop.
#[cfg(feature = "emulator")]
async fn run_emulator(
    config: &Config,
    mut settings: cloudflare_images_emulator::Settings,
) -> Result<(), Box<dyn std::error::Error>> {
    use cloudflare_images_emulator::Emulator;
    let listener = tokio::net::TcpListener::bind(config.listen)
        .await
        .map_err(|problem| server::StartError::Listen(config.listen, problem))?;
    let address = listener.local_addr()?;
    if config.public_url.is_none() {
        // The port may have been chosen by the system.
        settings.public_url = server::own_url(address);
    }
    let emulator = Emulator::open(settings).await.map_err(|problem| with_cause(&problem))?;
    println!("{}", emulator.usage(address));
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        http_serve::shutdown_signal().await;
        stopping.cancel();
    });
    Ok(cloudflare_images_emulator::serve(listener, &emulator, stop).await?)
}

/// An error and its cause in one line.
#[cfg(feature = "emulator")]
fn with_cause(problem: &dyn std::error::Error) -> String {
    match problem.source() {
        Some(cause) => format!("{problem}: {cause}"),
        None => problem.to_string(),
    }
}

async fn healthcheck(listen: SocketAddr) -> Result<(), Box<dyn std::error::Error>> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build()?;
    let url = server::own_url(listen).join("/healthz")?;
    let status = client.get(url).send().await.map_err(|problem| problem.without_url())?.status();
    if status.is_success() { Ok(()) } else { Err(format!("the server answered with status {status}").into()) }
}
