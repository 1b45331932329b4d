//! Colours as they are seen: what a profile says a picture's numbers mean, in sRGB.
//!
//! A profile that cannot be read counts as none, which is sRGB.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use image::{DynamicImage, RgbImage};
use moxcms::{
    Chromaticity, CicpProfile, ColorPrimaries, ColorProfile, DataColorSpace, Layout, ToneReprCurve,
    Transform8BitExecutor, TransformOptions,
};

/// Pixels that are converted at a time.
const AT_ONCE: usize = 4096;

/// What the numbers of a picture mean.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Profile {
    /// An ICC profile.
    Icc(Vec<u8>),
    /// Primaries, transfer, matrix and range by ITU-T H.273.
    Cicp([u8; 4]),
    /// The exponent of encoding, times 100,000, for a display of gamma 2.2.
    Gamma(u32),
    Measured {
        gamma: u32,
        chromaticities: Chromaticities,
    },
}

/// x and y of white, red, green and blue, times 100,000.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Chromaticities(pub(crate) [u32; 8]);

impl Chromaticities {
    /// Those of sRGB, as programs round them.
    fn is_srgb(&self) -> bool {
        const SRGB: [u32; 8] = [31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000];
        self.0.iter().zip(SRGB).all(|(found, expected)| found.abs_diff(expected) <= 300)
    }
}

/// The exponent that counts as sRGB's: 1 / 2.2.
fn is_srgb_gamma(gamma: u32) -> bool {
    gamma.abs_diff(45_455) <= 500
}

/// The colour space an ICC profile is for, by its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    Grey,
    Rgb,
    Cmyk,
}

pub(crate) fn space(icc: &[u8]) -> Option<Space> {
    match icc.get(16..20)? {
        b"GRAY" => Some(Space::Grey),
        b"RGB " => Some(Space::Rgb),
        b"CMYK" => Some(Space::Cmyk),
        _ => None,
    }
}

/// Converts a picture with an RGB profile to sRGB. A profile that cannot be read, or is for other pixels, changes nothing.
pub fn to_srgb(image: &mut DynamicImage, icc: Option<&[u8]>) {
    if let Some(icc) = icc
        && let Some(conversion) = Conversion::new(&Profile::Icc(icc.to_vec()))
    {
        conversion.apply(image);
    }
}

/// A way from the colours of a profile to sRGB.
pub(crate) struct Conversion(How);

enum How {
    /// The same for each channel.
    Levels(Box<[u8; 256]>),
    Rgb(Arc<Transform8BitExecutor>),
}

impl Conversion {
    /// `None` where nothing is to be done, or nobody knows what.
    pub(crate) fn new(profile: &Profile) -> Option<Conversion> {
        guarded(|| match profile {
            // libpng's threshold: less is not seen.
            Profile::Gamma(gamma) if gamma.abs_diff(45_455) <= 2_272 => None,
            Profile::Gamma(gamma) => Some(Conversion(How::Levels(Box::new(levels(*gamma))))),
            Profile::Measured { gamma, chromaticities }
                if is_srgb_gamma(*gamma) && chromaticities.is_srgb() =>
            {
                None
            }
            Profile::Measured { gamma, chromaticities } => from_rgb(&measured(*gamma, *chromaticities)),
            Profile::Cicp(cicp) => from_rgb(&coded(*cicp)?),
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
            How::Levels(levels) => {
                for pixel in bytes.chunks_exact_mut(stride) {
                    for channel in &mut pixel[..3] {
                        *channel = levels[usize::from(*channel)];
                    }
                }
            }
            How::Rgb(transform) => {
                let mut before = vec![0; AT_ONCE * 3];
                let mut after = vec![0; AT_ONCE * 3];
                for part in bytes.chunks_mut(AT_ONCE * stride) {
                    let length = part.len() / stride * 3;
                    for (from, to) in part.chunks_exact(stride).zip(before.chunks_exact_mut(3)) {
                        to.copy_from_slice(&from[..3]);
                    }
                    let done = guarded(|| transform.transform(&before[..length], &mut after[..length]).ok());
                    if done.is_none() {
                        return;
                    }
                    for (to, from) in part.chunks_exact_mut(stride).zip(after.chunks_exact(3)) {
                        to[..3].copy_from_slice(from);
                    }
                }
            }
        }
    }
}

/// CMYK, 255 for full ink, in sRGB: by its profile, or else as if the inks were perfect.
pub(crate) fn from_cmyk(inks: &[u8], (width, height): (u32, u32), icc: Option<&[u8]>) -> Option<RgbImage> {
    let mut pixels = vec![0; inks.len() / 4 * 3];
    let profiled = icc.and_then(|icc| {
        guarded(|| {
            let profile = ColorProfile::new_from_slice(icc).ok()?;
            // Inks are laid out as RGBA is.
            let transform = (profile.color_space == DataColorSpace::Cmyk)
                .then(|| profile.create_transform_8bit(Layout::Rgba, &srgb(), Layout::Rgb, options()))?;
            transform.ok()?.transform(inks, &mut pixels).ok()
        })
    });
    if profiled.is_none() {
        for (ink, pixel) in inks.chunks_exact(4).zip(pixels.chunks_exact_mut(3)) {
            for (channel, ink_of_it) in pixel.iter_mut().zip(ink) {
                let light = u32::from(u8::MAX - *ink_of_it) * u32::from(u8::MAX - ink[3]);
                // At most 255.
                *channel = (light / u32::from(u8::MAX)) as u8;
            }
        }
    }
    RgbImage::from_raw(width, height, pixels)
}

/// A reader of profiles that breaks over one has not read it.
fn guarded<T>(work: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok().flatten()
}

fn from_rgb(profile: &ColorProfile) -> Option<Conversion> {
    let transform = profile.create_transform_8bit(Layout::Rgb, &srgb(), Layout::Rgb, options()).ok()?;
    Some(Conversion(How::Rgb(transform)))
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
    Some(Conversion(How::Levels(Box::new(levels))))
}

/// Source: PNG, section 13.13, for a display of gamma 2.2.
fn levels(gamma: u32) -> [u8; 256] {
    let exponent = 100_000.0 / (f64::from(gamma) * 2.2);
    let mut levels = [0; 256];
    for (level, before) in levels.iter_mut().zip(0..=u8::MAX) {
        *level = ((f64::from(before) / 255.0).powf(exponent) * 255.0).round() as u8;
    }
    levels
}

fn measured(gamma: u32, Chromaticities(numbers): Chromaticities) -> ColorProfile {
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

/// `None` for what is no RGB of full range.
fn coded([primaries, transfer, matrix, range]: [u8; 4]) -> Option<ColorProfile> {
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
