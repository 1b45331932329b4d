//! Conversion of pixels to sRGB by the colour profile of their file.
//!
//! A profile that cannot be read is ignored: the pixels then count as sRGB, as in browsers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use image::{DynamicImage, RgbImage};
use moxcms::{
    Chromaticity, CicpProfile, ColorPrimaries, ColorProfile, DataColorSpace, Layout, ToneReprCurve,
    Transform8BitExecutor, TransformOptions,
};

/// Number of pixels that are converted at a time.
const CHUNK: usize = 4096;

/// The colour space of an image.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Profile {
    /// An ICC profile.
    Icc(Vec<u8>),
    /// Code points of primaries, transfer, matrix and range by ITU-T H.273.
    Cicp([u8; 4]),
    /// The encoding exponent of PNG's `gAMA` chunk, times 100,000, with the primaries of sRGB.
    Gamma(u32),
    /// The encoding exponent and the primaries of PNG's `cHRM` chunk.
    GammaAndPrimaries { gamma: u32, chromaticities: Chromaticities },
}

/// CIE x and y of white, red, green and blue, times 100,000.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Chromaticities(pub(crate) [u32; 8]);

impl Chromaticities {
    /// Whether these are sRGB's, with a tolerance for rounding.
    fn is_srgb(&self) -> bool {
        const SRGB: [u32; 8] = [31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000];
        self.0.iter().zip(SRGB).all(|(found, expected)| found.abs_diff(expected) <= 300)
    }
}

/// Whether the exponent is about 1 / 2.2, which stands for sRGB's transfer function.
fn is_srgb_gamma(gamma: u32) -> bool {
    gamma.abs_diff(45_455) <= 500
}

/// The colour space an ICC profile is for, by its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColourSpace {
    Grey,
    Rgb,
    Cmyk,
}

pub(crate) fn colour_space(icc: &[u8]) -> Option<ColourSpace> {
    match icc.get(16..20)? {
        b"GRAY" => Some(ColourSpace::Grey),
        b"RGB " => Some(ColourSpace::Rgb),
        b"CMYK" => Some(ColourSpace::Cmyk),
        _ => None,
    }
}

/// Converts an 8-bit RGB or RGBA image to sRGB. Without a profile, or with one that cannot be read or is for another colour
/// space, the image stays as it is.
pub fn to_srgb(image: &mut DynamicImage, icc: Option<&[u8]>) {
    if let Some(icc) = icc
        && let Some(conversion) = Conversion::new(&Profile::Icc(icc.to_vec()))
    {
        conversion.apply(image);
    }
}

/// A conversion from the colours of a profile to sRGB.
pub(crate) struct Conversion(Method);

enum Method {
    /// A lookup table that is applied to each channel.
    Levels(Box<[u8; 256]>),
    /// A transform of whole pixels.
    Rgb(Arc<Transform8BitExecutor>),
}

impl Conversion {
    /// `None` for a profile that is sRGB, cannot be read or is not for RGB or grey pixels.
    pub(crate) fn new(profile: &Profile) -> Option<Conversion> {
        catch_panic(|| match profile {
            // libpng's threshold, below which a difference is not visible.
            Profile::Gamma(gamma) if gamma.abs_diff(45_455) <= 2_272 => None,
            Profile::Gamma(gamma) => Some(Conversion(Method::Levels(Box::new(levels(*gamma))))),
            Profile::GammaAndPrimaries { gamma, chromaticities }
                if is_srgb_gamma(*gamma) && chromaticities.is_srgb() =>
            {
                None
            }
            Profile::GammaAndPrimaries { gamma, chromaticities } => {
                from_rgb(&from_png_chunks(*gamma, *chromaticities))
            }
            Profile::Cicp(cicp) => from_rgb(&from_cicp(*cicp)?),
            Profile::Icc(icc) => {
                let profile = ColorProfile::new_from_slice(icc).ok()?;
                match profile.color_space {
                    DataColorSpace::Rgb => from_rgb(&profile),
                    DataColorSpace::Gray => from_grey(&profile),
                    _ => None,
                }
            }
        })
    }

    /// Converts RGB and RGBA pixels of 8 bits; leaves others as they are.
    pub(crate) fn apply(&self, image: &mut DynamicImage) {
        let (bytes, stride) = match image {
            DynamicImage::ImageRgb8(pixels) => (&mut **pixels, 3),
            DynamicImage::ImageRgba8(pixels) => (&mut **pixels, 4),
            _ => return,
        };
        match &self.0 {
            Method::Levels(levels) => {
                for pixel in bytes.chunks_exact_mut(stride) {
                    for channel in &mut pixel[..3] {
                        *channel = levels[usize::from(*channel)];
                    }
                }
            }
            Method::Rgb(transform) => transform_pixels(transform.as_ref(), bytes, stride),
        }
    }
}

/// Transforms the first three bytes of each pixel of `stride` bytes. Stops where the transform fails.
fn transform_pixels(transform: &Transform8BitExecutor, pixels: &mut [u8], stride: usize) {
    let mut before = vec![0; CHUNK * 3];
    let mut after = vec![0; CHUNK * 3];
    for chunk in pixels.chunks_mut(CHUNK * stride) {
        let length = chunk.len() / stride * 3;
        for (from, to) in chunk.chunks_exact(stride).zip(before.chunks_exact_mut(3)) {
            to.copy_from_slice(&from[..3]);
        }
        if catch_panic(|| transform.transform(&before[..length], &mut after[..length]).ok()).is_none() {
            return;
        }
        for (to, from) in chunk.chunks_exact_mut(stride).zip(after.chunks_exact(3)) {
            to[..3].copy_from_slice(from);
        }
    }
}

/// Converts CMYK, four bytes per pixel and 255 for full ink, to sRGB: by its profile, or else with ideal inks, of which each
/// absorbs exactly one channel.
pub(crate) fn from_cmyk(inks: &[u8], (width, height): (u32, u32), icc: Option<&[u8]>) -> Option<RgbImage> {
    let mut pixels = vec![0; inks.len() / 4 * 3];
    let profiled = icc.and_then(|icc| {
        catch_panic(|| {
            let profile = ColorProfile::new_from_slice(icc).ok()?;
            // The layout of four channels is called RGBA, whichever colours they are.
            let transform = (profile.color_space == DataColorSpace::Cmyk)
                .then(|| profile.create_transform_8bit(Layout::Rgba, &srgb(), Layout::Rgb, options()))?;
            transform.ok()?.transform(inks, &mut pixels).ok()
        })
    });
    if profiled.is_none() {
        for (ink, pixel) in inks.chunks_exact(4).zip(pixels.chunks_exact_mut(3)) {
            for (channel, absorbing) in pixel.iter_mut().zip(ink) {
                let light = u32::from(u8::MAX - *absorbing) * u32::from(u8::MAX - ink[3]);
                // At most 255.
                *channel = (light / u32::from(u8::MAX)) as u8;
            }
        }
    }
    RgbImage::from_raw(width, height, pixels)
}

/// Returns `None` if the colour library panics, as it may over a malformed profile.
fn catch_panic<T>(work: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok().flatten()
}

fn from_rgb(profile: &ColorProfile) -> Option<Conversion> {
    let transform = profile.create_transform_8bit(Layout::Rgb, &srgb(), Layout::Rgb, options()).ok()?;
    Some(Conversion(Method::Rgb(transform)))
}

fn from_grey(profile: &ColorProfile) -> Option<Conversion> {
    let transform = profile.create_transform_8bit(Layout::Gray, &srgb(), Layout::Rgb, options()).ok()?;
    let before: Vec<u8> = (0..=u8::MAX).collect();
    let mut after = [0; 256 * 3];
    transform.transform(&before, &mut after).ok()?;
    let mut levels = [0; 256];
    for (level, pixel) in levels.iter_mut().zip(after.chunks_exact(3)) {
        *level = pixel[1];
    }
    Some(Conversion(Method::Levels(Box::new(levels))))
}

/// The lookup table of a gamma correction for a display of gamma 2.2. Source: PNG, section 13.13.
fn levels(gamma: u32) -> [u8; 256] {
    let exponent = 100_000.0 / (f64::from(gamma) * 2.2);
    let mut levels = [0; 256];
    for (level, before) in levels.iter_mut().zip(0..=u8::MAX) {
        *level = ((f64::from(before) / 255.0).powf(exponent) * 255.0).round() as u8;
    }
    levels
}

fn from_png_chunks(gamma: u32, Chromaticities(numbers): Chromaticities) -> ColorProfile {
    let point =
        |at: usize| Chromaticity::new(numbers[at] as f32 / 100_000.0, numbers[at + 1] as f32 / 100_000.0);
    let mut profile = srgb();
    let primaries = ColorPrimaries { red: point(2), green: point(4), blue: point(6) };
    profile.update_rgb_colorimetry(point(0).to_xyyb(), primaries);
    let curve = if is_srgb_gamma(gamma) {
        srgb().red_trc
    } else {
        Some(ToneReprCurve::Parametric(vec![100_000.0 / gamma as f32]))
    };
    profile.red_trc = curve.clone();
    profile.green_trc = curve.clone();
    profile.blue_trc = curve;
    profile
}

/// `None` unless the code points stand for RGB of full range.
fn from_cicp([primaries, transfer, matrix, range]: [u8; 4]) -> Option<ColorProfile> {
    if matrix != 0 || range != 1 {
        return None;
    }
    let cicp = CicpProfile {
        color_primaries: primaries.try_into().ok()?,
        transfer_characteristics: transfer.try_into().ok()?,
        matrix_coefficients: matrix.try_into().ok()?,
        full_range: true,
    };
    let profile = ColorProfile::new_from_cicp(cicp);
    profile.red_trc.is_some().then_some(profile)
}

fn srgb() -> ColorProfile {
    ColorProfile::new_srgb()
}

fn options() -> TransformOptions {
    TransformOptions::default()
}
