//! Queries of the API as a ratio to a floor: the same answers by axum, prepared SQL and serde, without GraphQL.
//!
//! `cargo bench --bench queries` makes its data, runs the program as shipped and the floor, and asks both in turn. It runs on
//! SQLite, or with `DATABASE_URL=postgres://…` on an empty PostgreSQL database. `docs/performance.md` explains the figures.

#![expect(clippy::unwrap_used, reason = "a failed step of a benchmark ends it")]
#![expect(clippy::disallowed_methods, reason = "the benchmark reads DATABASE_URL")]

mod cases;
mod data;
mod floor;
mod instructions;
mod load;
mod process;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::cases::Case;
use crate::load::{Endpoint, Load};
use crate::process::{Postgres, Process};
use crate::report::{Figures, Row};

#[derive(Parser)]
#[command(about = "Queries of the API against a floor without GraphQL")]
pub(crate) struct Options {
    /// Number of files; four of five have an image.
    #[arg(long, default_value_t = 1_000_000)]
    files: i64,
    /// Folder for the SQLite database and the data of the server, kept and used again; otherwise a temporary one.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Concurrent connections, one measurement each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64])]
    connections: Vec<usize>,
    /// Seconds of one measurement; each is made `--rounds` times, floor and server in turn.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only the cases whose names begin so, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Counts instructions and allocations of a request with valgrind, instead of times. With `--keep`, the profiles stay there.
    #[arg(long)]
    instructions: bool,
    /// Writes the table as Markdown to this file and the plot beside it, as SVG.
    #[arg(long)]
    write: Option<PathBuf>,
    /// Runs the floor on a database, for the benchmark itself.
    #[arg(long, hide = true, num_args = 2, value_names = ["DATABASE_URL", "DELIVERY_URL"])]
    floor: Option<Vec<String>>,
    /// The flag that cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let _ = options.bench;
    if let Some(floor) = &options.floor {
        return floor::serve(&floor[0], &floor[1]).await;
    }
    let scratch = tempfile::TempDir::new().unwrap();
    let dir = options.keep.clone().unwrap_or_else(|| scratch.path().to_owned());
    std::fs::create_dir_all(&dir).unwrap();
    let url = std::env::var("DATABASE_URL")
        .unwrap_or_else(|_| format!("sqlite://{}?mode=rwc", dir.join("queries.sqlite").display()));

    // One process migrates; the one that is measured starts with the data there.
    drop(Process::program(&url, &dir, None));
    let data = data::make(&url, &dir, options.files).await;
    let wrapper = options.instructions.then_some(instructions::VALGRIND);
    let server = Process::program(&url, &dir, wrapper);
    let delivery = data.delivery_url(&server).await;
    let floor = Process::floor(&url, &delivery, wrapper);
    let cases = cases::all(&server, &data).await;
    let wanted = |case: &&Case| {
        options.only.is_empty() || options.only.iter().any(|name| case.name.starts_with(name.as_str()))
    };
    let cases: Vec<&Case> = cases.iter().filter(wanted).collect();
    for case in &cases {
        case.check(&server, &floor, &data).await;
    }
    if options.instructions {
        return instructions::count(&server, &floor, &cases, &data, options.keep.as_deref()).await;
    }
    let postgres = Postgres::of(&url).await;
    let mut rows = Vec::new();
    for case in cases {
        for &connections in &options.connections {
            let row = measure(case, connections, &options, &server, &floor, &data, postgres.as_ref()).await;
            println!("{row}");
            rows.push(row);
        }
    }
    let about = format!(
        "{} files on {}, server peak memory {} MiB, floor {} MiB",
        options.files,
        if url.starts_with("sqlite") { "SQLite" } else { "PostgreSQL" },
        server.peak_memory(),
        floor.peak_memory(),
    );
    println!("{about}");
    if let Some(path) = &options.write {
        report::write(path, &about, &rows);
    }
}

/// One case with so many connections: floor and server in turn, and of each figure the median of the rounds.
async fn measure(
    case: &Case,
    connections: usize,
    options: &Options,
    server: &Process,
    floor: &Process,
    data: &data::Data,
    postgres: Option<&Postgres>,
) -> Row {
    let time = Duration::from_secs_f64(options.seconds);
    let requests = [case.floor_request(floor, data), case.request(server, data)];
    let (mut of_floor, mut of_server) = (Vec::new(), Vec::new());
    for round in 0..=options.rounds {
        for (process, request, figures) in
            [(floor, &requests[0], &mut of_floor), (server, &requests[1], &mut of_server)]
        {
            let endpoint = Endpoint { address: process.address, request: request.clone() };
            let before = (process.cpu(), postgres.map(Postgres::cpu));
            let load = Load { endpoint, connections, time: if round == 0 { time / 4 } else { time } };
            let outcome = load.run().await;
            let per_request = |used: Duration| used.as_secs_f64() * 1000.0 / outcome.requests as f64;
            // The first round fills caches.
            if round > 0 {
                figures.push(Figures {
                    per_second: outcome.requests as f64 / outcome.elapsed.as_secs_f64(),
                    p50: outcome.percentile(0.5),
                    p99: outcome.percentile(0.99),
                    cpu: per_request(process.cpu() - before.0),
                    database_cpu: postgres.zip(before.1).map(|(now, then)| per_request(now.cpu() - then)),
                });
            }
        }
    }
    let statements = server.statements_of(&requests[1]).await;
    Row {
        case: case.name.clone(),
        what: case.what,
        connections,
        floor: Figures::median(of_floor),
        server: Figures::median(of_server),
        statements,
    }
}
