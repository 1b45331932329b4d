//! Uploads of pictures as a ratio to a floor: an axum handler that streams a body to disk and hashes it.
//!
//! `cargo bench --bench uploads` runs the program as shipped in several ways, and the floor, and loads them in turn: with the
//! account in a process of its own and without analysis, which is what a request costs; with relaxed durability; with
//! analysis; and with the embedded emulator. It runs on SQLite, or with `DATABASE_URL=postgres://…` on databases that it
//! makes beside the one named. The disk of the folder for temporary files is measured: `TMPDIR` chooses another.

#![expect(clippy::unwrap_used, reason = "a failed step of a benchmark ends it")]
#![expect(clippy::disallowed_methods, reason = "the benchmark reads DATABASE_URL")]

mod floor;
#[expect(dead_code, reason = "a load of one request is for the other benchmark")]
#[path = "../queries/load.rs"]
mod load;
#[expect(dead_code, reason = "the floor of the other benchmark")]
#[path = "../queries/process.rs"]
mod process;
mod rates;
mod requests;
mod subject;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;

use crate::load::Connection;
use crate::process::Postgres;
use crate::requests::Pictures;
use crate::subject::{Kind, Subject};

#[derive(Parser)]
#[command(about = "Uploads against a floor that streams to disk and hashes")]
pub(crate) struct Options {
    /// Concurrent clients.
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// Uploads of one measurement; each is made `--rounds` times, of all subjects in turn.
    #[arg(long, default_value_t = 1000)]
    uploads: u64,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Bytes of a picture, or a little more.
    #[arg(long, default_value_t = 140_000)]
    bytes: usize,
    /// Only the floor and the subjects whose names begin so, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Instead of the table: queues so many images, and provisions them at the rates that Cloudflare documents.
    #[arg(long, value_name = "IMAGES")]
    documented_rates: Option<u64>,
    /// Runs the floor, for the benchmark itself.
    #[arg(long, hide = true)]
    floor: Option<PathBuf>,
    /// The flag that cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What was measured of one subject, per upload; times in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Figures {
    per_second: f64,
    p50: f64,
    p99: f64,
    max: f64,
    /// On a processor, until the answers.
    cpu: f64,
    /// On a processor after that, until there is nothing left to do.
    cpu_afterwards: f64,
    account_cpu: f64,
    database_cpu: f64,
    statements: f64,
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let _ = options.bench;
    if let Some(folder) = &options.floor {
        return floor::serve(folder).await;
    }
    let pictures = Arc::new(Pictures::new(options.bytes));
    let scratch = tempfile::TempDir::new().unwrap();
    if let Some(images) = options.documented_rates {
        return rates::measure(options.clients, images, pictures, scratch.path()).await;
    }
    let mut subjects = Vec::new();
    let wanted = |kind: &Kind| {
        options.only.is_empty() || options.only.iter().any(|name| kind.name().starts_with(name.as_str()))
    };
    for kind in Kind::ALL.into_iter().filter(|kind| *kind == Kind::Floor || wanted(kind)) {
        subjects.push(Subject::start(kind, scratch.path()).await);
    }
    let numbers = Arc::new(AtomicU64::new(0));
    let mut measured = vec![Vec::new(); subjects.len()];
    for round in 0..=options.rounds {
        for (subject, figures) in subjects.iter().zip(&mut measured) {
            let one = measure(subject, &options, &pictures, &numbers).await;
            // The first round fills caches.
            if round > 0 {
                figures.push(one);
            }
        }
    }
    println!(
        "{} clients, {} uploads of {} bytes, medians of {} rounds; max is of all",
        options.clients,
        options.uploads,
        pictures.bytes(),
        options.rounds
    );
    print(&subjects, &measured);
    for subject in subjects {
        subject.end().await;
    }
}

/// Uploads of so many clients to one subject.
async fn measure(
    subject: &Subject,
    options: &Options,
    pictures: &Arc<Pictures>,
    numbers: &Arc<AtomicU64>,
) -> Figures {
    let cpu = || {
        let of = |process: Option<&process::Process>| process.map_or(Duration::ZERO, |process| process.cpu());
        let database = subject.postgres.as_ref().map_or(Duration::ZERO, Postgres::cpu);
        [subject.process.cpu(), of(subject.account.as_ref()), database]
    };
    let statements = subject.statements().await;
    let (before, began) = (cpu(), Instant::now());
    let end = numbers.load(Ordering::Relaxed) + options.uploads;
    let clients: Vec<_> = (0..options.clients)
        .map(|_| {
            let (pictures, numbers, target) = (Arc::clone(pictures), Arc::clone(numbers), subject.target());
            tokio::spawn(async move {
                let (mut latencies, mut connection) = (Vec::new(), Connection::open(target.address).await);
                loop {
                    let number = numbers.fetch_add(1, Ordering::Relaxed);
                    if number >= end {
                        return latencies;
                    }
                    let request = target.request(&pictures, number);
                    let sent = Instant::now();
                    connection.send(&request).await;
                    latencies.push(sent.elapsed().as_secs_f64() * 1000.0);
                    target.check(&connection.body);
                }
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for client in clients {
        latencies.extend(client.await.unwrap());
    }
    let (elapsed, answered) = (began.elapsed(), cpu());
    let done = subject.idle().await;
    latencies.sort_by(f64::total_cmp);
    let part = |part: f64| latencies[((latencies.len() as f64 * part) as usize).min(latencies.len() - 1)];
    let uploads = latencies.len() as f64;
    let each = |time: Duration| time.as_secs_f64() * 1000.0 / uploads;
    Figures {
        per_second: uploads / elapsed.as_secs_f64(),
        p50: part(0.5),
        p99: part(0.99),
        max: part(1.0),
        cpu: each(answered[0] - before[0]),
        cpu_afterwards: each(done - answered[0]),
        account_cpu: each(answered[1] - before[1]),
        database_cpu: each(answered[2] - before[2]),
        statements: (subject.statements().await - statements) as f64 / uploads,
    }
}

fn print(subjects: &[Subject], measured: &[Vec<Figures>]) {
    let median = |rounds: &[Figures], of: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let floor = median(&measured[0], |figures| figures.cpu);
    println!(
        "| subject | uploads/s | p50 ms | p99 ms | max ms | CPU ms | **ratio** | CPU afterwards ms | account CPU ms | \
         database CPU ms | SQL |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (subject, rounds) in subjects.iter().zip(measured) {
        let figure = |of| median(rounds, of);
        let cpu = figure(|figures| figures.cpu);
        println!(
            "| {} | {:.0} | {:.1} | {:.1} | {:.1} | {cpu:.2} | **{:.2}** | {:.2} | {:.2} | {:.2} | {:.1} |",
            subject.kind.name(),
            figure(|figures| figures.per_second),
            figure(|figures| figures.p50),
            figure(|figures| figures.p99),
            rounds.iter().map(|figures| figures.max).fold(0.0, f64::max),
            cpu / floor,
            figure(|figures| figures.cpu_afterwards),
            figure(|figures| figures.account_cpu),
            figure(|figures| figures.database_cpu),
            figure(|figures| figures.statements),
        );
    }
}
