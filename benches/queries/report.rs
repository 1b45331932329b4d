//! The table and the plot.

use std::fmt::{self, Display, Formatter, Write as _};
use std::path::Path;

/// What was measured of one side, per request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    /// Milliseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Milliseconds on a processor.
    pub(crate) cpu: f64,
    /// Milliseconds on a processor of PostgreSQL.
    pub(crate) database_cpu: Option<f64>,
}

impl Figures {
    /// Each figure's median.
    pub(crate) fn median(rounds: Vec<Figures>) -> Figures {
        let of = |value: fn(&Figures) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let database = rounds.iter().all(|figures| figures.database_cpu.is_some());
        Figures {
            per_second: of(|figures| figures.per_second),
            p50: of(|figures| figures.p50),
            p99: of(|figures| figures.p99),
            cpu: of(|figures| figures.cpu),
            database_cpu: database.then(|| of(|figures| figures.database_cpu.unwrap_or_default())),
        }
    }
}

pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) what: &'static str,
    pub(crate) connections: usize,
    pub(crate) floor: Figures,
    pub(crate) server: Figures,
    pub(crate) statements: u64,
}

impl Row {
    fn ratio(&self) -> f64 {
        self.server.cpu / self.floor.cpu
    }

    fn database_ratio(&self) -> Option<f64> {
        Some(self.server.database_cpu? / self.floor.database_cpu?)
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<16} {:>3} conn  {:>8.0}/s of {:>8.0}/s  p50 {:>7.2} of {:>7.2} ms  p99 {:>7.2} of {:>7.2} ms  \
             CPU {:>6.3} of {:>6.3} ms = {:>5.2} x",
            self.case,
            self.connections,
            self.server.per_second,
            self.floor.per_second,
            self.server.p50,
            self.floor.p50,
            self.server.p99,
            self.floor.p99,
            self.server.cpu,
            self.floor.cpu,
            self.ratio(),
        )?;
        if let (Some(server), Some(floor)) = (self.server.database_cpu, self.floor.database_cpu) {
            write!(f, "  database {server:>6.3} of {floor:>6.3} ms = {:>5.2} x", server / floor)?;
        }
        write!(f, "  SQL {}", self.statements)
    }
}

/// Writes the table as Markdown, and the plot of the ratios beside it.
pub(crate) fn write(path: &Path, about: &str, rows: &[Row]) {
    let mut table = format!("{about}\n\n");
    table += "| query | connections | requests/s | p50 ms | p99 ms | CPU ms | floor CPU ms | **ratio** | database CPU ratio | SQL |\n";
    table += "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n";
    for row in rows {
        let database = row.database_ratio().map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
        let _ = writeln!(
            table,
            "| {} {} | {} | {:.0} | {:.2} | {:.2} | {:.3} | {:.3} | **{:.2}** | {database} | {} |",
            row.case,
            row.what,
            row.connections,
            row.server.per_second,
            row.server.p50,
            row.server.p99,
            row.server.cpu,
            row.floor.cpu,
            row.ratio(),
            row.statements,
        );
    }
    std::fs::write(path, table).unwrap();
    std::fs::write(path.with_extension("svg"), plot(rows)).unwrap();
}

/// One bar for each row, as long as its ratio to the floor.
fn plot(rows: &[Row]) -> String {
    const BAR: usize = 22;
    const LEFT: f64 = 220.0;
    const WIDTH: f64 = 560.0;
    let longest = rows.iter().map(Row::ratio).fold(1.0, f64::max);
    let height = rows.len() * BAR + 40;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"860\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"12\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/>\
         <text x=\"8\" y=\"18\" font-size=\"13\">CPU of the server per request, as a multiple of the floor's</text>"
    );
    for (i, row) in rows.iter().enumerate() {
        let (y, length) = (30 + i * BAR, row.ratio() / longest * WIDTH);
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}, {} connections</text>\
             <rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"16\" fill=\"#3b6ea5\"/>\
             <text x=\"{:.1}\" y=\"{}\">{:.2}</text>",
            LEFT - 8.0,
            y + 13,
            row.case,
            row.connections,
            LEFT + length + 6.0,
            y + 13,
            row.ratio(),
        );
    }
    let one = LEFT + WIDTH / longest;
    let _ = write!(
        svg,
        "<line x1=\"{one:.1}\" y1=\"26\" x2=\"{one:.1}\" y2=\"{}\" stroke=\"#c0392b\" stroke-dasharray=\"3 3\"/></svg>",
        height - 8
    );
    svg
}
