//! Instructions and allocations of a request, counted by valgrind's callgrind: the figures that repeat on a busy machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cases::Case;
use crate::data::Data;
use crate::load::{Endpoint, exchange};
use crate::process::Process;

/// Runs a program without counting until `callgrind_control` says so.
pub(crate) const VALGRIND: &[&str] = &[
    "valgrind",
    "--tool=callgrind",
    "--instr-atstart=no",
    "--callgrind-out-file=/tmp/imagegraph-callgrind.%p",
    // The threads of files and of SQLite are more than the 500 that are allowed otherwise.
    "--max-threads=2000",
    "--quiet",
];

/// Name of a profile until it has that of its case.
const NEWEST: &str = "callgrind.out";

/// Requests that are counted for each figure.
const REQUESTS: u64 = 20;

/// Prints instructions and allocations of a request, of the server, of the floor, and as a ratio. With `keep`, the server's
/// profile of each case stays in that folder, for `callgrind_annotate --inclusive=yes`.
pub(crate) async fn count(
    server: &Process,
    floor: &Process,
    cases: &[&Case],
    data: &Data,
    keep: Option<&Path>,
) {
    println!(
        "{:<16} {:>14} {:>14} {:>7} {:>12} {:>12}",
        "", "instructions", "of the floor", "ratio", "allocations", "of the floor"
    );
    for case in cases {
        let of_server =
            counted(server, Endpoint { address: server.address, request: case.request(server, data) }, keep)
                .await;
        if let Some(keep) = keep {
            let named = keep.join(format!("callgrind.{}.out", case.name.replace(' ', "-")));
            std::fs::rename(keep.join(NEWEST), named).unwrap();
        }
        let of_floor = counted(
            floor,
            Endpoint { address: floor.address, request: case.floor_request(floor, data) },
            None,
        )
        .await;
        println!(
            "{:<16} {:>14} {:>14} {:>7.2} {:>12} {:>12}",
            case.name,
            of_server.instructions,
            of_floor.instructions,
            of_server.instructions as f64 / of_floor.instructions as f64,
            of_server.allocations,
            of_floor.allocations
        );
    }
}

struct Counts {
    instructions: u64,
    allocations: u64,
}

async fn counted(process: &Process, endpoint: Endpoint, keep: Option<&Path>) -> Counts {
    for _ in 0..5 {
        exchange(&endpoint).await;
    }
    control(process, &["-i", "on"]);
    for _ in 0..REQUESTS {
        exchange(&endpoint).await;
    }
    control(process, &["-i", "off"]);
    control(process, &["-d"]);
    let counts = newest(process, keep);
    Counts { instructions: counts.instructions / REQUESTS, allocations: counts.allocations / REQUESTS }
}

fn control(process: &Process, arguments: &[&str]) {
    let id = process.id().to_string();
    let output =
        Command::new("callgrind_control").args(arguments).arg(&id).output().expect("valgrind is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Reads the newest dump of a process, and removes it or moves it to a folder.
fn newest(process: &Process, keep: Option<&Path>) -> Counts {
    let prefix = format!("imagegraph-callgrind.{}", process.id());
    let mut dumps: Vec<PathBuf> = std::fs::read_dir("/tmp")
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)))
        .collect();
    dumps.sort();
    let mut total = Counts { instructions: 0, allocations: 0 };
    for dump in dumps {
        let text = std::fs::read_to_string(&dump).unwrap();
        let counts = read(&text);
        total.instructions += counts.instructions;
        total.allocations += counts.allocations;
        // The dump that was asked for is the last one, and the only one that has counts.
        if let Some(keep) = keep {
            std::fs::copy(&dump, keep.join(NEWEST)).unwrap();
        }
        std::fs::remove_file(dump).unwrap();
    }
    total
}

/// Reads callgrind's format: names are written once with a number, `cfn=(12) name`, and then `calls=N …` follows.
fn read(text: &str) -> Counts {
    let mut names = std::collections::HashMap::new();
    let (mut counts, mut allocates) = (Counts { instructions: 0, allocations: 0 }, false);
    for line in text.lines() {
        if let Some(total) = line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")) {
            counts.instructions = total.trim().parse().unwrap_or(counts.instructions);
        } else if let Some(function) = line.strip_prefix("cfn=").or_else(|| line.strip_prefix("fn=")) {
            let (number, name) = function.split_once(' ').unwrap_or((function, ""));
            if !name.is_empty() {
                names.insert(number.to_owned(), is_allocation(name));
            }
            if line.starts_with("cfn=") {
                allocates = names.get(number).copied().unwrap_or_default();
            }
        } else if let Some(calls) = line.strip_prefix("calls=")
            && allocates
        {
            counts.allocations += calls.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    counts
}

/// Functions of the C library's allocator and of mimalloc that give memory.
fn is_allocation(name: &str) -> bool {
    let name = name.split(['\'', '@']).next().unwrap_or_default();
    matches!(name, "malloc" | "calloc" | "realloc" | "posix_memalign" | "aligned_alloc" | "memalign")
        || matches!(
            name,
            "mi_malloc"
                | "mi_zalloc"
                | "mi_realloc"
                | "mi_malloc_aligned"
                | "mi_zalloc_aligned"
                | "mi_realloc_aligned"
        )
}
