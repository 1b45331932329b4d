//! The program: reads the settings, initializes the log, and runs a command.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};
use imagegraph::config::{Config, LogFormat};
use imagegraph::tls;

use cli::Cli;

mod cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tls::install();
    if let Err(problem) = dotenvy::dotenv()
        && !problem.not_found()
    {
        return fail(2, &format!("the .env file cannot be read: {}", describe_env_error(&problem)));
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(problem) => return usage_error(&problem),
    };
    init_log(&cli.config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // The futures of a GraphQL mutation are nested deeply, and take more of the stack without optimisation.
        .thread_stack_size(8 * 1024 * 1024)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(problem) => return fail(1, &problem.to_string()),
    };
    let secrets = cli.config.secrets();
    match runtime.block_on(cli::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        // The message of a library may contain a setting.
        Err(problem) => {
            let message = problem.to_string();
            fail(1, &secrets.iter().fold(message, |message, secret| message.replace(secret, "…")))
        }
    }
}

/// Describes an error of the `.env` file without the content of the line, which may be a secret.
fn describe_env_error(problem: &dotenvy::Error) -> String {
    let dotenvy::Error::LineParse(line, _) = problem else { return problem.to_string() };
    let name = line.split('=').next().unwrap_or_default().trim();
    let has_name = line.contains('=') && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let place = if has_name { format!("the line of {name}") } else { "one of its lines".to_owned() };
    format!("{place} is not of the form NAME=value; a value with spaces or quotes needs single quotes")
}

fn init_log(config: &Config) {
    let filter = tracing_subscriber::EnvFilter::try_new(&config.log)
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("imagegraph=info,warn"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
}

/// Reports a wrong flag or variable in one line with the names of both.
fn usage_error(problem: &clap::Error) -> ExitCode {
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
    // An argument in the wrong place, such as a value without its flag, may be a secret.
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidSubcommand, ContextKind::InvalidValue] {
        if let Some(ContextValue::String(argument)) = problem.get(kind) {
            text = text.replace(&format!("'{argument}'"), &format!("'{}'", redacted(argument)));
        }
    }
    let lines = text.trim_start_matches("error: ").lines().map(str::trim);
    let mut line = lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    if let Some(variable) = argument.and_then(clap::Arg::get_env) {
        line = format!("{line} (variable {})", variable.to_string_lossy());
    }
    fail(2, &line)
}

/// The part of an argument that is certainly not a secret: a flag without its value, a short word, or an IP address. `…` for
/// anything else.
fn redacted(argument: &str) -> &str {
    let flag = argument.split('=').next().unwrap_or_default();
    let max_length = if flag.starts_with('-') { 60 } else { 30 };
    let word = flag.chars().all(|c| c.is_ascii_alphanumeric() || "-_<>. ".contains(c));
    let address = flag.chars().all(|c| c.is_ascii_hexdigit() || "[]:.".contains(c));
    if flag.len() <= max_length && (word || address) { flag } else { "…" }
}

fn fail(code: u8, message: &str) -> ExitCode {
    eprintln!("imagegraph: {message}");
    ExitCode::from(code)
}
