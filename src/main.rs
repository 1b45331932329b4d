//! The program: settings, log, and the command that was asked for.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};
use imagegraph::config::{Config, LogFormat};
use imagegraph::tls;

use cli::Cli;

mod cli;

fn main() -> ExitCode {
    tls::install();
    if let Err(problem) = dotenvy::dotenv()
        && !problem.not_found()
    {
        return fail(2, &format!("the .env file cannot be read: {}", unread(&problem)));
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(problem) => return misused(&problem),
    };
    log(&cli.config);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(problem) => return fail(1, &problem.to_string()),
    };
    let secrets = cli.config.secrets();
    match runtime.block_on(cli::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        // Whatever a library has put into it.
        Err(problem) => {
            fail(1, &secrets.iter().fold(problem.to_string(), |line, secret| line.replace(secret, "…")))
        }
    }
}

/// What is wrong with a `.env` file, without the line that is wrong: it may hold a secret.
fn unread(problem: &dotenvy::Error) -> String {
    let dotenvy::Error::LineParse(line, _) = problem else { return problem.to_string() };
    let name = line.split('=').next().unwrap_or_default().trim();
    let named = line.contains('=') && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let place = if named { format!("the line of {name}") } else { "one of its lines".to_owned() };
    format!("{place} is no NAME=value; a value with spaces or quotes stands in single quotes")
}

fn log(config: &Config) {
    let filter = tracing_subscriber::EnvFilter::try_new(&config.log)
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("imagegraph=info,warn"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
}

/// A wrong flag or variable, in one line that names both.
fn misused(problem: &clap::Error) -> ExitCode {
    if matches!(
        problem.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        let _ = problem.print();
        return ExitCode::SUCCESS;
    }
    let mut text = problem.to_string();
    let mut command = Cli::command();
    command.build();
    let argument = match problem.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(shown)) => {
            command.get_arguments().find(|argument| argument.to_string() == *shown)
        }
        _ => None,
    };
    if let (Some(true), Some(ContextValue::String(secret))) =
        (argument.map(clap::Arg::is_hide_env_values_set), problem.get(ContextKind::InvalidValue))
    {
        text = text.replacen(&format!("'{secret}' "), "", 1);
    }
    // A value without its flag, with a misspelt one, or with the one of another: nobody knows what it is.
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidSubcommand, ContextKind::InvalidValue] {
        if let Some(ContextValue::String(stray)) = problem.get(kind) {
            text = text.replace(&format!("'{stray}'"), &format!("'{}'", shown(stray)));
        }
    }
    let lines = text.trim_start_matches("error: ").lines().map(str::trim);
    let mut line = lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    if let Some(variable) = argument.and_then(clap::Arg::get_env) {
        line = format!("{line} (variable {})", variable.to_string_lossy());
    }
    fail(2, &line)
}

/// As much of an argument as is surely no secret: a flag without its value, a short word, or an address.
fn shown(argument: &str) -> &str {
    let flag = argument.split('=').next().unwrap_or_default();
    let most = if flag.starts_with('-') { 60 } else { 30 };
    let word = flag.chars().all(|c| c.is_ascii_alphanumeric() || "-_<>. ".contains(c));
    let address = flag.chars().all(|c| c.is_ascii_hexdigit() || "[]:.".contains(c));
    if flag.len() <= most && (word || address) { flag } else { "…" }
}

fn fail(code: u8, message: &str) -> ExitCode {
    eprintln!("imagegraph: {message}");
    ExitCode::from(code)
}
