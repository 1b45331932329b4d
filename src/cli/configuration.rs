//! Generates `docs/configuration.md` from the definitions of the commands and settings.

use std::fmt::Write as _;

use clap::{Arg, Command};

const INTRODUCTION: &str = "\
# Configuration

Every command and every setting of imagegraph.
This page is generated from the program's own definitions, which `--help` shows too; `imagegraph configuration` prints it.
[Deployment](deployment.md) says which settings a server for others needs.

Every setting has a variable and a flag.
Flags win over environment variables, which win over a `.env` file in the current folder or one of its parents.
Flags may be given before or after the command.
Durations are seconds and may have a fraction; sizes are bytes.
Keys, tokens, passwords and URLs, which may hold one, are shown neither by `--help` nor by an error.
";

/// The whole page.
pub(super) fn markdown(mut program: Command) -> String {
    program.build();
    let mut page = INTRODUCTION.to_owned();
    page.push_str("\n## Commands\n\nWith cargo, write `cargo run -- migrate` for `imagegraph migrate`.\n");
    let commands = commands(&program, "imagegraph");
    table(
        &mut page,
        &["command", "what it does"],
        commands
            .iter()
            .map(|(name, command)| vec![code(name), command.get_about().map_or_else(String::new, cell)]),
    );
    for (name, command) in &commands {
        let own: Vec<&Arg> = command.get_arguments().filter(|argument| !argument.is_global_set()).collect();
        let own: Vec<&Arg> = own.into_iter().filter(|argument| is_shown(argument)).collect();
        if !own.is_empty() {
            let _ = write!(page, "\n### `{name}`\n");
            table(
                &mut page,
                &["flag", "default", "meaning"],
                own.into_iter().map(|argument| row(argument, false)),
            );
        }
    }
    page.push_str("\n## Settings\n");
    for heading in headings(&program) {
        let _ = write!(page, "\n### {heading}\n");
        let settings = settings(&program).filter(|setting| setting.get_help_heading() == Some(heading));
        table(
            &mut page,
            &["variable", "flag", "default", "meaning"],
            settings.map(|setting| row(setting, true)),
        );
    }
    page
}

/// The commands that have no subcommands, with their full names.
fn commands<'a>(command: &'a Command, name: &str) -> Vec<(String, &'a Command)> {
    let shown =
        command.get_subcommands().filter(|command| command.get_name() != "help" && !command.is_hide_set());
    shown
        .flat_map(|command| {
            let name = format!("{name} {}", command.get_name());
            let subcommands = commands(command, &name);
            if subcommands.is_empty() { vec![(name, command)] } else { subcommands }
        })
        .collect()
}

fn settings(program: &Command) -> impl Iterator<Item = &Arg> {
    program.get_arguments().filter(|argument| argument.is_global_set() && is_shown(argument))
}

/// Headings of the settings, in the order of `--help`.
fn headings(program: &Command) -> Vec<&str> {
    let mut found = Vec::new();
    for heading in settings(program).filter_map(Arg::get_help_heading) {
        if !found.contains(&heading) {
            found.push(heading);
        }
    }
    found
}

fn is_shown(argument: &Arg) -> bool {
    !argument.is_hide_set() && !["help", "version"].contains(&argument.get_id().as_str())
}

/// The cells of an argument: the variable if requested, flag, default and meaning. A default that is not constant is written
/// as `[default: …]` in the help text.
fn row(argument: &Arg, with_variable: bool) -> Vec<String> {
    let help = argument.get_long_help().or_else(|| argument.get_help()).map_or_else(String::new, cell);
    let (mut meaning, described_default) = match help.split_once(" [default: ") {
        Some((before, rest)) => {
            let (default, after) = rest.split_once(']').unwrap_or((rest, ""));
            (format!("{before}{after}"), default.to_owned())
        }
        None => (help, String::new()),
    };
    let values: Vec<String> = if argument.get_action().takes_values() {
        argument.get_possible_values().iter().map(|value| code(value.get_name())).collect()
    } else {
        Vec::new()
    };
    if !values.is_empty() {
        let _ = write!(meaning, ". Values: {}", values.join(", "));
    }
    let defaults: Vec<String> =
        argument.get_default_values().iter().map(|value| code(&value.to_string_lossy())).collect();
    let default = if defaults.is_empty() { described_default } else { defaults.join(", ") };
    let flag = code(&format!("--{}", argument.get_long().unwrap_or_default()));
    let variable = argument.get_env().map(|name| code(&name.to_string_lossy()));
    let mut cells = if with_variable { vec![variable.unwrap_or_default()] } else { Vec::new() };
    cells.extend([flag, default, meaning]);
    cells
}

fn table(page: &mut String, head: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let _ = write!(page, "\n| {} |\n|{}\n", head.join(" | "), " --- |".repeat(head.len()));
    for row in rows {
        let _ = writeln!(page, "| {} |", row.join(" | "));
    }
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

/// Text as a cell of a Markdown table: one line, with `|` escaped.
fn cell(text: &clap::builder::StyledStr) -> String {
    text.to_string().split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
