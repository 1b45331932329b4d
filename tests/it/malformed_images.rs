//! Image files that contain more or less than their format allows, as phones and programs write them: they are
//! accepted if browsers show them, and what the API reports is what is delivered.

use image::{DynamicImage, GenericImageView, ImageFormat};
use serde_json::{Value, json};

use crate::golden::{Delivered, flexible, get};
use crate::harness::{ADMIN, Server};
use crate::pictures::{QUADRANTS, crc32, encoded, quadrants, with_exif};

/// The four colours of an image in its quadrants, from the top left to the bottom right.
fn colours(pixels: &DynamicImage) -> [[u8; 3]; 4] {
    let (width, height) = pixels.dimensions();
    let at = |x: u32, y: u32| {
        let [red, green, blue, _] = pixels.get_pixel(width * x / 4, height * y / 4).0;
        [red, green, blue]
    };
    [at(1, 1), at(3, 1), at(1, 3), at(3, 3)]
}

/// Uploads an image and compares what the API reports with what is delivered: the upright size, and the places of its
/// colours.
async fn assert_shows(
    server: &Server,
    what: &str,
    bytes: Vec<u8>,
    size: (u32, u32),
    places: [usize; 4],
) -> Value {
    let payload = server.upload_as(ADMIN, json!({}), what, "", bytes).await;
    assert_eq!(payload["userErrors"], json!([]), "{what}: {payload:#}");
    let told = payload["file"]["image"].clone();
    assert_eq!(payload["file"]["imageStatus"], "READY", "{what}: {payload:#}");
    assert_eq!((&told["width"], &told["height"]), (&size.0.into(), &size.1.into()), "{what}");
    let base = told["url"].as_str().unwrap().rsplit_once('/').unwrap().0;
    for options in ["f=png", "f=webp", "f=jpeg"] {
        let Delivered { status, bytes, .. } = get(server, base, options, "*/*").await;
        assert_eq!(status, 200, "{what}: {}", String::from_utf8_lossy(&bytes));
        let pixels = image::load_from_memory(&bytes).unwrap();
        assert_eq!(pixels.dimensions(), size, "{what} {options}");
        for (found, place) in colours(&pixels).iter().zip(places) {
            let near = found.iter().zip(QUADRANTS[place]).all(|(one, other)| one.abs_diff(other) < 40);
            assert!(near, "{what} {options}: {found:?} for {:?}", QUADRANTS[place]);
        }
    }
    told
}

const UPRIGHT: [usize; 4] = [0, 1, 2, 3];
/// Orientation 6: the image is rotated by 90 degrees clockwise to be upright.
const TURNED: [usize; 4] = [2, 0, 3, 1];

fn jpeg() -> Vec<u8> {
    encoded(quadrants(60, 40), ImageFormat::Jpeg)
}

fn segment(marker: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 2).unwrap().to_be_bytes();
    [&[0xff, marker], &length[..], body].concat()
}

/// A TIFF header and a directory with these entries: tag, type, count and value.
fn tiff(entries: &[(u16, u16, &[u8])]) -> Vec<u8> {
    let mut head = b"II*\0\x08\0\0\0".to_vec();
    head.extend(u16::try_from(entries.len()).unwrap().to_le_bytes());
    let mut tail: Vec<u8> = Vec::new();
    let behind = 8 + 2 + entries.len() * 12 + 4;
    for (tag, kind, value) in entries {
        let unit = match kind {
            3 => 2,
            4 => 4,
            _ => 1,
        };
        head.extend(tag.to_le_bytes());
        head.extend(kind.to_le_bytes());
        head.extend(u32::try_from(value.len() / unit).unwrap().to_le_bytes());
        if value.len() <= 4 {
            head.extend(value.iter().chain(&[0; 4]).take(4));
        } else {
            head.extend(u32::try_from(behind + tail.len()).unwrap().to_le_bytes());
            tail.extend(*value);
        }
    }
    [head, vec![0; 4], tail].concat()
}

fn orientation(number: u8) -> Vec<u8> {
    tiff(&[(0x0112, 3, &[number, 0])])
}

fn named(exif: &[u8]) -> Vec<u8> {
    [b"Exif\0\0", exif].concat()
}

/// The segments of a JPEG before its pixels, and the rest of the file.
fn parts(jpeg: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let (mut segments, mut at) = (Vec::new(), 2);
    while jpeg[at + 1] != 0xda {
        let length = usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        segments.push(jpeg[at..at + 2 + length].to_vec());
        at += 2 + length;
    }
    (segments, jpeg[at..].to_vec())
}

/// A JPEG with `before` inserted before each of its markers but the first two, which are its signature.
fn before_markers(jpeg: &[u8], before: &[u8]) -> Vec<u8> {
    let (segments, rest) = parts(jpeg);
    let mut bytes = [&jpeg[..2], &segments[0]].concat();
    for segment in segments[1..].iter().chain([&rest]) {
        bytes.extend(before);
        bytes.extend(segment);
    }
    bytes
}

/// A JPEG with additional segments before its own.
fn with_segments(jpeg: &[u8], segments: &[Vec<u8>]) -> Vec<u8> {
    [&jpeg[..2], &segments.concat(), &jpeg[2..]].concat()
}

/// Data after a JPEG, or a missing end marker, makes no difference.
#[tokio::test]
async fn jpegs_end_with_their_image() {
    let server = flexible().await;
    let plain = jpeg();
    let whole = plain.len();
    let other = encoded(image::RgbImage::new(16, 16), ImageFormat::Jpeg);
    let video =
        [&b"\0\0\0\x18ftypmp42"[..], &[0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 7, 7, 0xff, 0xd8, 0xff, 0xd9, 1]]
            .concat();
    let mpf = segment(0xe2, b"MPF\0II*\0\x08\0\0\0\0\0");
    for (what, bytes) in [
        ("a video behind it", [&plain[..], &video].concat()),
        ("the start of a scan behind it", [&plain[..], &[0xff, 0xda]].concat()),
        ("another picture behind it", [&plain[..], &other].concat()),
        ("two pictures, told of", [&with_segments(&plain, &[mpf])[..], &other].concat()),
        ("half another picture behind it", [&plain[..], &other[..other.len() / 2]].concat()),
        ("zeros behind it", [&plain[..], &[0; 4000]].concat()),
        ("no end", plain[..whole - 2].to_vec()),
        ("half an end", plain[..whole - 1].to_vec()),
        ("zeros for an end", [&plain[..whole - 2], &[0; 64]].concat()),
        ("fill bytes first", [&plain[..2], &[0xff; 3], &plain[2..]].concat()),
        ("fill bytes before markers", before_markers(&plain, &[0xff; 5])),
        ("something else before markers", before_markers(&plain, b"junk\0\0")),
        ("fill bytes and more", before_markers(&plain, &[0, 7, 0xff, 0xff, 0, 0xff])),
        ("fill bytes before its end", [&plain[..whole - 2], &[0xff; 9], &[0xd9]].concat()),
    ] {
        assert_shows(&server, what, bytes, (60, 40), UPRIGHT).await;
    }
}

/// A JPEG that ends within its pixels is damaged, with an end marker or without, even if the `image` crate accepts
/// it.
#[tokio::test]
async fn truncated_jpegs_are_refused() {
    let server = flexible().await;
    let noisy =
        image::RgbImage::from_fn(90, 60, |x, y| image::Rgb([(x * y) as u8, (x * 7) as u8, (y * 5) as u8]));
    let plain = encoded(noisy, ImageFormat::Jpeg);
    for part in [60, 80, 95] {
        let bytes = plain[..plain.len() * part / 100].to_vec();
        let file = server.file(&format!("{part}.jpg"), bytes).await;
        assert_eq!(file["imageStatus"], "FAILED", "{file:#}");
    }
}

fn gif() -> Vec<u8> {
    encoded(DynamicImage::from(quadrants(60, 40)).into_rgba8(), ImageFormat::Gif)
}

/// Offset of the first image descriptor of a GIF.
fn descriptor(gif: &[u8]) -> usize {
    let mut at = 13 + if gif[10] & 0x80 == 0 { 0 } else { 3 << ((gif[10] & 7) + 1) };
    while gif[at] == 0x21 {
        at += 2;
        while gif[at] != 0 {
            at += 1 + usize::from(gif[at]);
        }
        at += 1;
    }
    assert_eq!(gif[at], 0x2c);
    at
}

#[tokio::test]
async fn gifs_are_read_as_browsers_do() {
    let server = flexible().await;
    let plain = gif();
    let (at, whole) = (descriptor(&plain), plain.len());
    assert_eq!(plain[whole - 1], 0x3b);
    let between = |bytes: &[u8]| [&plain[..at], bytes, &plain[at..]].concat();
    let mut narrow = plain.clone();
    narrow[6..10].copy_from_slice(&[10, 0, 10, 0]);
    let mut empty = plain.clone();
    empty[6..10].copy_from_slice(&[0; 4]);
    for (what, bytes) in [
        ("no trailer", plain[..whole - 1].to_vec()),
        ("zeros between blocks", between(&[0; 3])),
        ("zeros before the trailer", [&plain[..whole - 1], &[0, 0, 0x3b]].concat()),
        ("zeros for a trailer", [&plain[..whole - 1], &[0; 40]].concat()),
        ("more behind it", [&plain[..], b"\x2c\x21 and more"].concat()),
        ("another trailer", [&plain[..whole - 1], b"\x7fjunk"].concat()),
        ("a comment", between(b"\x21\xfe\x05hello\0")),
        ("an unknown block", between(b"\x21\x42\x03abc\0")),
        ("a screen smaller than its picture", narrow),
        ("no screen", empty),
    ] {
        assert_shows(&server, what, bytes, (60, 40), UPRIGHT).await;
    }
}

fn chunk(name: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let named = [&name[..], payload].concat();
    [&u32::try_from(payload.len()).unwrap().to_be_bytes()[..], &named, &crc32(&named).to_be_bytes()].concat()
}

/// A chunk with a wrong checksum.
fn chunk_with_wrong_checksum(name: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut bytes = chunk(name, payload);
    let last = bytes.len() - 1;
    bytes[last] ^= 0xff;
    bytes
}

fn png() -> Vec<u8> {
    encoded(quadrants(60, 40), ImageFormat::Png)
}

/// A PNG with additional chunks before its pixels, and between those and its end.
fn with_chunks(before: &[u8], behind: &[u8]) -> Vec<u8> {
    let plain = png();
    let end = plain.len() - 12;
    [&plain[..33], before, &plain[33..end], behind, &plain[end..]].concat()
}

#[tokio::test]
async fn pngs_are_read_as_browsers_do() {
    let server = flexible().await;
    let plain = png();
    let whole = plain.len();
    for (what, bytes) in [
        ("no end", plain[..whole - 12].to_vec()),
        ("half an end", plain[..whole - 5].to_vec()),
        ("no checksum of its pixels", plain[..whole - 16].to_vec()),
        ("more behind it", [&plain[..], &jpeg()].concat()),
        ("a wrong checksum of a text", with_chunks(&chunk_with_wrong_checksum(b"tEXt", b"Title\0text"), &[])),
        ("a wrong checksum of a gamma", with_chunks(&chunk_with_wrong_checksum(b"gAMA", &[0, 0, 1, 0]), &[])),
        ("a wrong checksum of EXIF", with_chunks(&chunk_with_wrong_checksum(b"eXIf", &orientation(6)), &[])),
        ("a profile that is none", with_chunks(&chunk(b"iCCP", b"x\0\0no profile"), &[])),
        ("transparency of another kind", with_chunks(&chunk(b"tRNS", &[0; 5]), &[])),
        ("an unknown chunk", with_chunks(&chunk(b"abCd", b"?"), &chunk(b"abCd", b"?"))),
        ("a chunk of nothing", with_chunks(&chunk(b"tIME", b""), &[])),
    ] {
        assert_shows(&server, what, bytes, (60, 40), UPRIGHT).await;
    }
}

fn riff(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut body = b"WEBP".to_vec();
    for (name, payload) in chunks {
        body.extend(*name);
        body.extend(u32::try_from(payload.len()).unwrap().to_le_bytes());
        body.extend(*payload);
        body.extend(std::iter::repeat_n(0, payload.len() % 2));
    }
    [b"RIFF", &u32::try_from(body.len()).unwrap().to_le_bytes()[..], &body].concat()
}

/// The `VP8X` payload of a file of 60 × 40 pixels.
fn extended(flags: u8) -> [u8; 10] {
    [flags, 0, 0, 0, 59, 0, 0, 39, 0, 0]
}

/// The pixels of a lossy WebP of 60 × 40 pixels, encoded by the emulator, because the encoders in the tests are
/// lossless.
async fn vp8(server: &Server) -> Vec<u8> {
    let told = server.file("source.png", png()).await["image"].clone();
    let base = told["url"].as_str().unwrap().rsplit_once('/').unwrap().0.to_owned();
    let file = get(server, &base, "f=webp,q=90", "*/*").await.bytes;
    assert_eq!(&file[12..16], b"VP8 ");
    let length = u32::from_le_bytes([file[16], file[17], file[18], file[19]]) as usize;
    file[20..20 + length].to_vec()
}

#[tokio::test]
async fn webps_are_read_as_browsers_do() {
    let server = flexible().await;
    let pixels = vp8(&server).await;
    let plain = riff(&[(b"VP8 ", &pixels)]);
    let sized = |length: u32| [&plain[..4], &length.to_le_bytes(), &plain[8..]].concat();
    for (what, bytes) in [
        ("told to have alpha", riff(&[(b"VP8X", &extended(0x10)), (b"VP8 ", &pixels)])),
        ("told to have everything", riff(&[(b"VP8X", &extended(0x3c)), (b"VP8 ", &pixels)])),
        ("more behind it", [&plain[..], b"odd"].concat()),
        ("a chunk that does not end", [&plain[..], b"EXIF\xff\0\0\0"].concat()),
        ("no length", sized(0)),
        ("too great a length", sized(u32::MAX)),
        ("an unknown chunk first", riff(&[(b"VP8X", &extended(0)), (b"abcd", b"123"), (b"VP8 ", &pixels)])),
        ("two pictures", riff(&[(b"VP8X", &extended(0)), (b"VP8 ", &pixels), (b"VP8 ", b"no more")])),
    ] {
        assert_shows(&server, what, bytes, (60, 40), UPRIGHT).await;
    }
}

/// Animations keep all their frames, upright, wherever the file ends.
#[tokio::test]
async fn animations_end_with_their_frames() {
    let server = flexible().await;
    let moving = crate::pictures::gif(3);
    let whole = moving.len();
    let second = moving.windows(3).rposition(|bytes| bytes == [0x21, 0xf9, 4]).unwrap();
    let webp = include_bytes!("fixtures/animated.webp").to_vec();
    let flags = webp.windows(4).position(|name| name == b"VP8X").unwrap() + 8;
    let mut promising = webp.clone();
    promising[flags] |= 0x2c;
    let turned = {
        let exif = orientation(6);
        let length = u32::try_from(exif.len()).unwrap().to_le_bytes();
        let mut bytes = [&webp[..], b"EXIF", &length, &exif].concat();
        let length = u32::try_from(bytes.len() - 8).unwrap().to_le_bytes();
        bytes[4..8].copy_from_slice(&length);
        bytes
    };
    for (what, bytes, size) in [
        ("GIF, no trailer", moving[..whole - 1].to_vec(), (30, 20)),
        ("GIF, zeros between frames", [&moving[..second], &[0; 5], &moving[second..]].concat(), (30, 20)),
        ("GIF, more behind it", [&moving[..], &moving].concat(), (30, 20)),
        ("WebP, more behind it", [&webp[..], b"odd"].concat(), (48, 32)),
        ("WebP, flags for what is not there", promising, (48, 32)),
        ("WebP, turned", turned, (32, 48)),
    ] {
        let told = server.file(what, bytes).await["image"].clone();
        assert_eq!(told["animated"], true, "{what}: {told:#}");
        assert_eq!((&told["width"], &told["height"]), (&size.0.into(), &size.1.into()), "{what}");
        let base = told["url"].as_str().unwrap().rsplit_once('/').unwrap().0;
        let delivered = get(&server, base, "f=webp", "*/*").await;
        assert_eq!(delivered.size(), size, "{what}");
        assert_eq!(delivered.bytes.windows(4).filter(|name| name == b"ANMF").count(), 3, "{what}");
    }
    let cut = moving[..whole - 12].to_vec();
    assert_eq!(server.file("cut.gif", cut).await["imageStatus"], "FAILED");
}

/// The first EXIF of a file counts, with or without the prefix that belongs in JPEG only, wherever the format allows
/// it.
#[tokio::test]
async fn the_first_exif_counts() {
    let server = flexible().await;
    let (one, six) = (orientation(1), orientation(6));
    let (named_one, named_six) = (named(&one), named(&six));
    let exif = |body: &[u8]| segment(0xe1, body);
    let xmp = segment(0xe1, b"http://ns.adobe.com/xap/1.0/\0<x/>");
    let jpeg = |segments: &[Vec<u8>]| with_segments(&jpeg(), segments);
    let pixels = vp8(&server).await;
    let webp = |first: &[u8], second: &[u8]| {
        riff(&[(b"VP8X", &extended(8)), (b"VP8 ", &pixels), (b"EXIF", first), (b"EXIF", second)])
    };
    let hexadecimal: String = named_six.iter().map(|byte| format!("{byte:02x}")).collect();
    let raw = format!("Raw profile type exif\0\nexif\n{:8}\n{hexadecimal}\n", named_six.len());
    let mut padded = named_six.clone();
    padded[5] = 0xff;
    for (what, bytes, turned) in [
        ("JPEG, 6 then 1", jpeg(&[exif(&named_six), exif(&named_one)]), true),
        ("JPEG, 1 then 6", jpeg(&[exif(&named_one), exif(&named_six)]), false),
        ("JPEG, none then 6", jpeg(&[exif(&named(&tiff(&[]))), exif(&named_six)]), false),
        (
            "JPEG, behind XMP and others",
            jpeg(&[
                segment(0xe0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"),
                xmp,
                segment(0xed, b"Photoshop"),
                exif(&named_six),
            ]),
            true,
        ),
        ("JPEG, padded otherwise", jpeg(&[exif(&padded)]), true),
        ("JPEG, without its name", jpeg(&[exif(&six)]), false),
        ("JPEG, long", jpeg(&[exif(&named(&tiff(&[(0x0112, 4, &[6, 0, 0, 0])])))]), true),
        ("JPEG, 9", jpeg(&[exif(&named(&orientation(9)))]), false),
        ("PNG", with_chunks(&chunk(b"eXIf", &six), &[]), true),
        ("PNG, named", with_chunks(&chunk(b"eXIf", &named_six), &[]), true),
        ("PNG, behind its pixels", with_chunks(&[], &chunk(b"eXIf", &six)), true),
        ("PNG, 6 then 1", with_chunks(&[chunk(b"eXIf", &six), chunk(b"eXIf", &one)].concat(), &[]), true),
        ("PNG, 1 then 6", with_chunks(&chunk(b"eXIf", &named_one), &chunk(b"eXIf", &six)), false),
        ("PNG, as text", with_chunks(&chunk(b"tEXt", raw.as_bytes()), &[]), true),
        (
            "PNG, as text and otherwise",
            with_chunks(&chunk(b"tEXt", raw.as_bytes()), &chunk(b"eXIf", &one)),
            false,
        ),
        ("WebP, 6 then 1", webp(&six, &one), true),
        ("WebP, named", webp(&named_six, &one), true),
        ("WebP, 1 then 6", webp(&one, &named_six), false),
    ] {
        let (size, places) = if turned { ((40, 60), TURNED) } else { ((60, 40), UPRIGHT) };
        let told = assert_shows(&server, what, bytes, size, places).await;
        let said = told["exif"]["Orientation"].as_u64().unwrap_or(1);
        assert_eq!(said == 6, turned, "{what}: {told:#}");
    }
}

/// EXIF that is kept in a delivered image has no orientation to apply again.
#[tokio::test]
async fn delivered_exif_is_upright() {
    let server = flexible().await;
    let bytes = with_segments(&with_exif(&jpeg(), 6), &[segment(0xe1, &named(&orientation(8)))]);
    let told = server.file("twice.jpg", bytes).await["image"].clone();
    assert_eq!((&told["width"], &told["height"]), (&40.into(), &60.into()));
    let base = told["url"].as_str().unwrap().rsplit_once('/').unwrap().0;
    let delivered = get(&server, base, "metadata=keep,f=jpeg", "*/*").await.bytes;
    let again = server.file("again.jpg", delivered).await["image"].clone();
    assert_eq!((&again["width"], &again["height"]), (&40.into(), &60.into()));
    assert_eq!(again["exif"]["Orientation"], 1);
}

/// A NUL ends a text, and the bytes after it are ignored; a copyright notice has two parts.
#[tokio::test]
async fn exif_texts_end_at_nul() {
    let server = flexible().await;
    let exif = tiff(&[
        (0x010f, 2, b"ION230\0F\0"),
        (0x0110, 2, b"\0\0\0left\0"),
        (0x0131, 2, b"no end"),
        (0x013b, 2, b"Ann  \0\0\0\0"),
        (0x8298, 2, b"Photographer\0Editor\0rest\0"),
    ]);
    let bytes = with_segments(&jpeg(), &[segment(0xe1, &named(&exif))]);
    let told = server.file("texts.jpg", bytes).await["image"]["exif"].clone();
    assert_eq!(
        told,
        json!({ "Make": "ION230", "Software": "no end", "Artist": "Ann", "Copyright": "Photographer Editor" })
    );
    for (copyright, expected) in [(&b"Photographer\0\0"[..], "Photographer"), (b" \0Editor\0", "Editor")] {
        let exif = tiff(&[(0x8298, 2, copyright)]);
        let bytes = with_segments(&jpeg(), &[segment(0xe1, &named(&exif))]);
        assert_eq!(server.file("notice.jpg", bytes).await["image"]["exif"]["Copyright"], expected);
    }
}
