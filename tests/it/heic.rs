//! HEIC: the reported size is that of the image that is shown, as computed by libheif.

use serde_json::{Value, json};

use crate::harness::{Database, Server};

macro_rules! fixtures {
    ($($name:literal: $width:literal x $height:literal,)+) => {
        [$((
            $name,
            include_bytes!(concat!("fixtures/heic/", $name, ".", $width, "x", $height, ".heic")).as_slice(),
            ($width, $height),
        ),)+]
    };
}

/// Created, and measured with libheif, by `fixtures/heic/make.py`.
const FIXTURES: [(&str, &[u8], (u32, u32)); 21] = fixtures! {
    "odd": 137 x 73,
    "turned_and_exif": 73 x 137,
    "exif_alone": 137 x 73,
    "second_of_two": 200 x 100,
    "first_of_two": 137 x 73,
    "turned_0": 137 x 73,
    "turned_90": 73 x 137,
    "turned_180": 137 x 73,
    "turned_270": 73 x 137,
    "mirrored": 137 x 73,
    "turned_and_mirrored": 73 x 137,
    "turned_then_cut": 50 x 101,
    "cut_in_fractions": 103 x 52,
    "larger_first": 64 x 64,
    "larger_last": 64 x 64,
    "tiles": 100 x 90,
    "tiles_turned": 90 x 100,
    "wide_numbers": 73 x 137,
    "large_lengths": 137 x 73,
    "other_boxes_first": 137 x 73,
    "by_structure": 137 x 73,
};

fn boxed(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&u32::try_from(body.len() + 8).unwrap().to_be_bytes()[..], kind, &body].concat()
}

/// A sequence without a primary item, whose only track has the size in its header.
fn sequence(width: u16, height: u16, turned: bool) -> Vec<u8> {
    let matrix = if turned { [0, 1, 0, -1, 0, 0] } else { [1, 0, 0, 0, 1, 0] };
    let matrix: Vec<u8> = matrix.iter().flat_map(|one: &i32| (one << 16).to_be_bytes()).collect();
    let side = |side: u16| (u32::from(side) << 16).to_be_bytes();
    let header = boxed(
        b"tkhd",
        &[&[0; 40], &matrix, &[0; 8], &0x4000_0000_u32.to_be_bytes(), &side(width), &side(height)],
    );
    let handler = boxed(b"hdlr", &[&[0; 8], b"pict", &[0; 13]]);
    let track = boxed(b"trak", &[&header, &boxed(b"mdia", &[&handler])]);
    [
        boxed(b"ftyp", &[b"hevc", &[0; 4], b"msf1", b"hevc"]),
        boxed(b"mdat", &[&[0; 100]]),
        boxed(b"moov", &[&boxed(b"mvhd", &[&[0; 100]]), &track]),
    ]
    .concat()
}

/// The metadata of an image of 64 × 64 pixels, in QuickTime's box without a version and in that of HEIF.
fn metadata_boxes(parts: &[&[u8]]) -> Vec<u8> {
    [boxed(b"ftyp", &[b"heic", &[0; 4], b"mif1"]), boxed(b"meta", parts)].concat()
}

/// `pitm` for the item 1, and its `ispe`.
fn items() -> [Vec<u8>; 3] {
    let side = 64_u32.to_be_bytes();
    let size = boxed(b"ispe", &[&[0; 4], &side, &side]);
    let associated = boxed(b"ipma", &[&[0; 4], &1_u32.to_be_bytes(), &[0, 1, 1, 1]]);
    [
        boxed(b"hdlr", &[&[0; 8], b"pict", &[0; 13]]),
        boxed(b"pitm", &[&[0; 4], &[0, 1]]),
        boxed(b"iprp", &[&boxed(b"ipco", &[&size]), &associated]),
    ]
}

both! {
    /// Clean aperture, rotation and mirroring of the primary item in their order; EXIF is reported and not applied.
    async fn the_size_is_that_of_the_shown_image(database: Database) {
        let server = Server::start(database).await;
        for (name, bytes, (width, height)) in FIXTURES {
            let file = server.file(&format!("{name}.heic"), bytes.to_vec()).await;
            let image = &file["image"];
            assert_eq!((&image["width"], &image["height"]), (&json!(width), &json!(height)), "{name}: {file:#}");
            assert_eq!((&image["format"], &file["imageStatus"]), (&json!("HEIC"), &json!("READY")), "{name}");
            let expected = if name == "by_structure" { "image/heif" } else { "image/heic" };
            assert_eq!(file["mimeType"], expected, "{name}");
            if name.contains("exif") {
                assert_eq!(image["exif"]["Orientation"], 6, "{name}");
            }
            let delivered = server.http.get(image["url"].as_str().unwrap()).send().await.unwrap();
            assert_eq!(delivered.bytes().await.unwrap(), bytes, "{name}");
        }
    }
}

/// A sequence has the size of its track, and boxes may be written as QuickTime does.
#[tokio::test]
async fn other_structures() {
    let server = Server::start(Database::Sqlite).await;
    let [handler, primary, properties] = items();
    for (name, bytes, mime_type, (width, height)) in [
        ("sequence", sequence(320, 240, false), "image/heic-sequence", (320, 240)),
        ("turned sequence", sequence(320, 240, true), "image/heic-sequence", (240, 320)),
        ("meta of QuickTime", metadata_boxes(&[&handler, &primary, &properties]), "image/heic", (64, 64)),
        ("meta of HEIF", metadata_boxes(&[&[0; 4], &handler, &primary, &properties]), "image/heic", (64, 64)),
    ] {
        let file = server.file(name, bytes).await;
        assert_eq!(
            (&file["mimeType"], &file["imageStatus"]),
            (&json!(mime_type), &json!("READY")),
            "{name}: {file:#}"
        );
        let image = &file["image"];
        assert_eq!((&image["width"], &image["height"]), (&json!(width), &json!(height)), "{name}");
    }
}

/// Files without an image to show are refused, whatever they claim and wherever they end.
#[tokio::test]
async fn invalid_structures_are_refused() {
    let server = Server::start(Database::Sqlite).await;
    let whole = FIXTURES.iter().find(|(name, ..)| *name == "tiles_turned").unwrap().1;
    let [handler, primary, properties] = items();
    let mut endless = whole.to_vec();
    let at = endless.windows(4).position(|name| name == b"ipma").unwrap() + 8;
    endless[at..at + 4].copy_from_slice(&u32::MAX.to_be_bytes());
    let mut cases = vec![
        ("no metadata", whole[..24].to_vec()),
        ("no primary item", metadata_boxes(&[&[0; 4], &handler, &properties])),
        ("no properties", metadata_boxes(&[&[0; 4], &handler, &primary])),
        (
            "a box shorter than its header",
            [&whole[..24], &3_u32.to_be_bytes(), b"meta", &whole[32..]].concat(),
        ),
        ("a box longer than the file", [&whole[..24], &u32::MAX.to_be_bytes(), b"meta"].concat()),
        (
            "a length of 64 bits",
            [&whole[..24], &1_u32.to_be_bytes(), b"meta", &u64::MAX.to_be_bytes()].concat(),
        ),
    ];
    let cuts = [30, 60, 100, 150, 200];
    cases.extend(cuts.map(|cut| ("cut off", whole[..cut].to_vec())));
    for (what, bytes) in cases {
        let payload = server.upload(what, bytes).await;
        assert_eq!(payload["file"], Value::Null, "{what}: {payload:#}");
        assert_eq!(payload["userErrors"][0]["code"], "CORRUPT_IMAGE", "{what}: {payload:#}");
    }
    // More associations are announced than there are bytes: those that exist count.
    let file = server.file("endless", endless).await;
    assert_eq!((&file["image"]["width"], &file["image"]["height"]), (&json!(90), &json!(100)), "{file:#}");
    // An item derived from itself, a hundred times.
    let references: Vec<u8> = (0..100).flat_map(|_| boxed(b"dimg", &[&[0, 1], &[0, 1], &[0, 1]])).collect();
    let bare = boxed(b"iprp", &[&boxed(b"ipco", &[])]);
    let circular =
        metadata_boxes(&[&[0; 4], &handler, &primary, &bare, &boxed(b"iref", &[&[0; 4], &references])]);
    assert_eq!(server.upload("circle", circular).await["userErrors"][0]["code"], "CORRUPT_IMAGE");
}
