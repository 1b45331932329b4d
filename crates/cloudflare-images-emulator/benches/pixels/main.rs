//! What a rendition of a photograph costs: the emulator beside sharp, in time on a processor.
//!
//! Run with `npm ci --prefix crates/cloudflare-images-emulator/benches/pixels` once, and
//! `cargo bench -p cloudflare-images-emulator --bench pixels`. On Linux, whose `/proc` tells the time.
//!
//! Both make the same: shrink on load, Lanczos, then baseline JPEG with optimised Huffman tables and colours at half the
//! resolution, or WebP at effort 4, on one thread. They take turns, so that a busy machine is busy for both. What they make
//! is compared; of the times the median is taken.

#![expect(clippy::unwrap_used, reason = "a failed step of a benchmark ends it")]

mod makers;
mod photo;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use image::RgbImage;
use makers::{Emulator, Sharp, Wanted};

#[derive(Parser)]
struct Settings {
    /// A photograph to use in place of the one that is made
    #[arg(long)]
    photo: Option<PathBuf>,
    /// How often each rendition is made
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Width of the renditions, in pixels
    #[arg(long, default_value_t = 640)]
    width: u32,
    /// Quality of the renditions
    #[arg(long, default_value_t = 85)]
    quality: u8,
    /// The flag that cargo passes to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// Decibels that two results must be alike: they are two encoders' results of two decoders and two resamplers.
const MIN_LIKENESS: f64 = 32.0;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Settings::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: Settings) -> Result<(), String> {
    let _ = settings.bench;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut sharp = Sharp::start()?;
    let dir = tempfile::TempDir::new().map_err(|error| error.to_string())?;
    let bytes = match &settings.photo {
        Some(path) => std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?,
        None => photo::jpeg(),
    };
    let photo = dir.path().join("photo.jpg");
    std::fs::write(&photo, &bytes).unwrap();
    let emulator =
        Emulator::start(dir.path(), reqwest::Client::builder().no_proxy().build().unwrap()).await?;
    println!(
        "{} bytes of JPEG, {} pixels wide, quality {}, {}",
        bytes.len(),
        settings.width,
        settings.quality,
        sharp.version
    );
    println!(
        "\n| result | emulator ms | sharp ms | **ratio** | again ms | emulator bytes | sharp bytes | alike dB |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (format, name) in [("webp", "WebP"), ("jpeg", "JPEG")] {
        let wanted = Wanted { format, width: settings.width, quality: settings.quality };
        let row = compare(&emulator, &mut sharp, &bytes, &photo, wanted, settings.rounds).await?;
        println!("| {name} {row}");
    }
    Ok(())
}

/// Makes a rendition by turns; returns the rest of its row.
async fn compare(
    emulator: &Emulator,
    sharp: &mut Sharp,
    bytes: &[u8],
    photo: &Path,
    wanted: Wanted,
    rounds: usize,
) -> Result<String, String> {
    let (mut ours, mut theirs, mut again) = (Vec::new(), Vec::new(), Vec::new());
    let result = photo.with_extension(wanted.format);
    let mut files = None;
    // One round more, which is not counted: programs load what they need.
    for round in 0..=rounds {
        let base = emulator.upload(bytes).await;
        let (file, cpu) = emulator.make(&base, wanted).await;
        let (repeated, cached) = emulator.make(&base, wanted).await;
        assert!(repeated == file, "the cached rendition is another");
        let (other, their_cpu) = sharp.make(photo, &result, wanted).await;
        if round > 0 {
            ours.push(cpu);
            again.push(cached);
            theirs.push(their_cpu);
        }
        files = Some((file, other));
    }
    let (file, other) = files.ok_or("no rounds")?;
    let alike = likeness(&file, &other)?;
    if wanted.format == "jpeg" && frame(&file) != frame(&other) {
        return Err("the two JPEG files have other sizes or colours at another resolution".to_owned());
    }
    let (ours, theirs, again) = (median(ours), median(theirs), median(again));
    let ratio = ours / theirs;
    let (length, other_length) = (file.len(), other.len());
    Ok(format!(
        "| {ours:.1} | {theirs:.1} | **{ratio:.2}** | {again:.2} | {length} | {other_length} | {alike:.1} |"
    ))
}

/// In milliseconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

/// The signal-to-noise ratio of two pictures' pixels, in decibels; an error if they are not the same picture.
fn likeness(one: &[u8], other: &[u8]) -> Result<f64, String> {
    let pixels = |file: &[u8]| image::load_from_memory(file).map(|image| image.into_rgb8());
    let (one, other): (RgbImage, RgbImage) =
        (pixels(one).map_err(|error| error.to_string())?, pixels(other).map_err(|error| error.to_string())?);
    if one.dimensions() != other.dimensions() {
        return Err(format!("the sizes differ: {:?} and {:?}", one.dimensions(), other.dimensions()));
    }
    let squares: f64 = one.iter().zip(other.iter()).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
    let decibels = 10.0 * (255.0_f64.powi(2) / (squares / one.len() as f64)).log10();
    if decibels < MIN_LIKENESS {
        return Err(format!("the pictures differ: {decibels:.1} dB"));
    }
    Ok(decibels)
}

/// The frame header of a baseline JPEG, with size and sampling of its components; of each its id, sampling and table.
fn frame(jpeg: &[u8]) -> Option<&[u8]> {
    let at = jpeg.windows(4).position(|bytes| bytes == [0xff, 0xc0, 0, 17])?;
    jpeg.get(at..at + 19)
}
