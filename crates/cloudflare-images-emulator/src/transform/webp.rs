//! Encodes WebP: lossy and lossless still images, and animations, one frame at a time.

use image::{DynamicImage, RgbaImage};

/// Encodes a still image, lossless at quality 100, with an ICC profile and without EXIF.
///
/// Errors are those of libwebp: a side longer than 16,383 pixels, or not enough memory.
pub(crate) fn still(pixels: DynamicImage, quality: u8, icc: Option<&[u8]>) -> Result<Vec<u8>, String> {
    let size = (pixels.width(), pixels.height());
    let alpha = pixels.color().has_alpha();
    let file = match pixels {
        DynamicImage::ImageRgb8(pixels) => encoded(&pixels, webp::PixelLayout::Rgb, size, quality)?,
        other => encoded(&other.into_rgba8(), webp::PixelLayout::Rgba, size, quality)?,
    };
    let Some(icc) = icc else { return Ok(file) };
    let mut body = chunk(b"VP8X", &header(PROFILE | if alpha { ALPHA } else { 0 }, size));
    body.extend(chunk(b"ICCP", icc));
    body.extend(bitstream(&file));
    Ok(riff(&body))
}

/// The encoder of an animation. Of its frames, only the last is in memory as pixels.
pub(crate) struct Animation {
    quality: u8,
    /// 0 for endless repetition.
    loops: u16,
    last: Option<RgbaImage>,
    /// The chunks of the frames so far.
    frames: Vec<u8>,
    /// Offset of the last frame's duration in `frames`.
    duration_at: usize,
    /// Duration of the last frame, in milliseconds.
    duration: u32,
}

impl Animation {
    /// Lossless at quality 100; `loops` is 0 for endless repetition.
    pub(crate) fn new(quality: u8, loops: u16) -> Self {
        Animation { quality, loops, last: None, frames: Vec::new(), duration_at: 0, duration: 0 }
    }

    /// Appends a frame with a duration in milliseconds. All frames must have the same size. If the frame equals the last one,
    /// the duration of that one is extended instead.
    pub(crate) fn push(&mut self, frame: RgbaImage, milliseconds: u32) -> Result<(), String> {
        let full = (0, 0, frame.width(), frame.height());
        let changed = self.last.as_ref().map_or(Some(full), |last| difference(last, &frame));
        let Some((x, y, width, height)) = changed else {
            self.set_duration(self.duration.saturating_add(milliseconds));
            return Ok(());
        };
        let part = image::imageops::crop_imm(&frame, x, y, width, height).to_image();
        let file = encoded(&part, webp::PixelLayout::Rgba, (width, height), self.quality)?;
        let mut payload = Vec::with_capacity(file.len() + 16);
        for number in [x / 2, y / 2, width - 1, height - 1, 0] {
            payload.extend(three_bytes(number));
        }
        payload.push(DO_NOT_BLEND);
        payload.extend(bitstream(&file));
        // The duration follows the name and length of the chunk, and four numbers of three bytes.
        self.duration_at = self.frames.len() + 8 + 12;
        self.frames.extend(chunk(b"ANMF", &payload));
        self.set_duration(milliseconds);
        self.last = Some(frame);
        Ok(())
    }

    /// The file; an error if it has no frames.
    pub(crate) fn finish(self) -> Result<Vec<u8>, String> {
        let last = self.last.ok_or_else(|| "no frames".to_owned())?;
        let mut body = chunk(b"VP8X", &header(ANIMATED | ALPHA, last.dimensions()));
        // The background colour is transparent.
        let [low, high] = self.loops.to_le_bytes();
        body.extend(chunk(b"ANIM", &[0, 0, 0, 0, low, high]));
        body.extend(self.frames);
        Ok(riff(&body))
    }

    fn set_duration(&mut self, milliseconds: u32) {
        self.duration = milliseconds.min(0xff_ffff);
        let range = self.duration_at..self.duration_at + 3;
        if let Some(bytes) = self.frames.get_mut(range) {
            bytes.copy_from_slice(&three_bytes(self.duration));
        }
    }
}

const PROFILE: u8 = 0x20;
const ALPHA: u8 = 0x10;
const ANIMATED: u8 = 0x02;
/// The pixels of a frame replace those of the last one, including transparent ones.
const DO_NOT_BLEND: u8 = 0x02;

fn encoded(
    pixels: &[u8],
    layout: webp::PixelLayout,
    (width, height): (u32, u32),
    quality: u8,
) -> Result<Vec<u8>, String> {
    let encoder = webp::Encoder::new(pixels, layout, width, height);
    let file =
        encoder.encode_simple(quality >= 100, f32::from(quality)).map_err(|error| format!("{error:?}"))?;
    Ok(file.to_vec())
}

/// Left, top, width and height of the area in which two frames differ; `None` if they are equal.
///
/// Left and top are even, because the format stores half of them.
fn difference(last: &RgbaImage, frame: &RgbaImage) -> Option<(u32, u32, u32, u32)> {
    let (mut left, mut top, mut right, mut bottom) = (u32::MAX, u32::MAX, 0, 0);
    for ((x, y, old), new) in last.enumerate_pixels().zip(frame.pixels()) {
        if old != new {
            (left, top) = (left.min(x), top.min(y));
            (right, bottom) = (right.max(x + 1), bottom.max(y + 1));
        }
    }
    let (left, top) = (left & !1, top & !1);
    (right > left).then(|| (left, top, right - left, bottom - top))
}

/// The chunks of a file that contain pixels.
fn bitstream(file: &[u8]) -> Vec<u8> {
    let mut chunks = Vec::with_capacity(file.len());
    let mut rest = file.get(12..).unwrap_or_default();
    while let Some((name, length)) = rest.first_chunk::<8>().map(|head| head.split_at(4)) {
        let length = length.try_into().map_or(0, u32::from_le_bytes) as usize;
        let end = (8 + length + length % 2).min(rest.len());
        if matches!(name, b"ALPH" | b"VP8 " | b"VP8L") {
            chunks.extend(&rest[..end]);
        }
        rest = &rest[end..];
    }
    chunks
}

/// Payload of the `VP8X` chunk: which features the file has, and its size.
fn header(flags: u8, (width, height): (u32, u32)) -> Vec<u8> {
    let mut payload = vec![flags, 0, 0, 0];
    payload.extend(three_bytes(width - 1));
    payload.extend(three_bytes(height - 1));
    payload
}

fn riff(body: &[u8]) -> Vec<u8> {
    chunk(b"RIFF", &[b"WEBP", body].concat())
}

/// A chunk, padded to an even length.
fn chunk(name: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut chunk = [name, &length.to_le_bytes()[..], payload].concat();
    chunk.extend(std::iter::repeat_n(0, payload.len() % 2));
    chunk
}

fn three_bytes(number: u32) -> [u8; 3] {
    let [first, second, third, _] = number.to_le_bytes();
    [first, second, third]
}
