//! Requests that upload pictures, each another one.

use std::io::Cursor;
use std::net::SocketAddr;

use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};
use serde_json::json;

use crate::process::ADMIN;

const UPLOAD: &str = "mutation($input: UploadFileInput!) { uploadFile(input: $input) {
    file { id imageStatus image { id url width height } } userErrors { code } } }";
const BOUNDARY: &str = "a-boundary-that-no-picture-has";

/// A photograph-like JPEG, and the parts of the requests that send it.
pub(crate) struct Pictures {
    jpeg: Vec<u8>,
}

impl Pictures {
    /// A picture of about so many bytes.
    pub(crate) fn new(bytes: usize) -> Pictures {
        let mut side = 64;
        loop {
            let jpeg = noisy(side);
            if jpeg.len() >= bytes {
                return Pictures { jpeg };
            }
            side += 16;
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.jpeg.len()
    }

    /// The picture with a comment behind its start, so that no two have the same hash.
    fn picture(&self, number: u64) -> Vec<u8> {
        let (start, rest) = self.jpeg.split_at(2);
        [start, &[0xff, 0xfe, 0, 18], format!("{number:016x}").as_bytes(), rest].concat()
    }

    /// The picture as a body, for the floor.
    pub(crate) fn plain(&self, address: SocketAddr, number: u64) -> Vec<u8> {
        let picture = self.picture(number);
        let head = format!(
            "POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n",
            picture.len()
        );
        [head.as_bytes(), &picture].concat()
    }

    /// A multipart request of GraphQL.
    pub(crate) fn mutation(&self, address: SocketAddr, workspace: &str, number: u64) -> Vec<u8> {
        let input = json!({ "workspaceId": workspace, "file": null });
        let operations = json!({ "query": UPLOAD, "variables": { "input": input } });
        let part = |name: &str| format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"");
        let mut body = format!(
            "{}\r\n\r\n{operations}\r\n{}\r\n\r\n{}\r\n{}; filename=\"{number}.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n",
            part("operations"),
            part("map"),
            r#"{"0":["variables.input.file"]}"#,
            part("0"),
        )
        .into_bytes();
        body.extend(self.picture(number));
        body.extend(format!("\r\n--{BOUNDARY}--\r\n").bytes());
        let head = format!(
            "POST /graphql HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {ADMIN}\r\nContent-Type: multipart/form-data; \
             boundary={BOUNDARY}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        [head.into_bytes(), body].concat()
    }
}

/// A square with soft colours and some noise, as a camera's.
fn noisy(side: u32) -> Vec<u8> {
    let mut state = 1u32;
    let pixels = RgbImage::from_fn(side, side, |x, y| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = state >> 28;
        let shade = |value: u32| u8::try_from((value * 200 / side + noise) % 256).unwrap();
        Rgb([shade(x), shade(y), shade((x + y) / 2)])
    });
    let mut bytes = Cursor::new(Vec::new());
    JpegEncoder::new_with_quality(&mut bytes, 85).encode_image(&pixels).unwrap();
    bytes.into_inner()
}
