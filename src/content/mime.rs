//! Names of MIME types: which of them mean the same, and what a declared one is worth.

use media::sniff;

/// Names of one type each, the one to go by first. Some were in use before a type was registered, some are what browsers
/// of one system send; those of HEIF differ by what is inside and are wanted, or not, together.
const NAMES: [&[&str]; 42] = [
    &["image/jpeg", "image/jpg", "image/pjpeg", "image/x-jpeg", "image/x-jpg", "image/jfif"],
    &["image/png", "image/x-png", "image/apng", "image/vnd.mozilla.apng"],
    &["image/gif", "image/x-gif"],
    &["image/webp", "image/x-webp"],
    &["image/svg+xml", "image/svg", "image/svg-xml", "image/svg+xml-compressed"],
    &[
        "image/heic",
        "image/heif",
        "image/heic-sequence",
        "image/heif-sequence",
        "image/x-heic",
        "image/x-heif",
    ],
    &["image/avif", "image/avif-sequence"],
    &["image/bmp", "image/x-bmp", "image/x-ms-bmp", "image/x-windows-bmp"],
    &["image/tiff", "image/tif", "image/x-tiff", "image/x-tif"],
    &["image/vnd.microsoft.icon", "image/x-icon", "image/ico", "image/icon"],
    &["image/x-win-bitmap", "image/x-cursor", "image/cur"],
    &[
        "image/vnd.adobe.photoshop",
        "image/x-photoshop",
        "image/psd",
        "image/x-psd",
        "application/x-photoshop",
    ],
    &["image/jp2", "image/jpeg2000", "image/x-jp2", "image/jpx", "image/jpm"],
    &["image/x-jp2-codestream", "image/j2c", "image/x-j2c"],
    &["image/x-portable-pixmap", "image/x-ppm"],
    &["image/x-portable-greymap", "image/x-portable-graymap", "image/x-pgm"],
    &["image/x-portable-bitmap", "image/x-pbm"],
    &["image/x-tga", "image/x-targa", "image/tga", "image/targa", "application/tga"],
    &["image/x-exr", "image/exr", "image/aces"],
    &["image/vnd.ms-dds", "image/vnd-ms.dds", "image/x-dds", "image/dds"],
    &["image/x-qoi", "image/qoi"],
    &["image/x-fuji-raf", "image/x-fujifilm-raf", "image/raf"],
    &["image/vnd.radiance", "image/x-hdr"],
    &["image/x-xpixmap", "image/x-xpm"],
    &["application/postscript", "image/x-eps", "image/eps", "application/eps", "application/x-eps"],
    &["application/pdf", "application/x-pdf", "image/pdf", "application/acrobat", "text/pdf"],
    &["application/zip", "application/x-zip-compressed", "application/x-zip", "application/zip-compressed"],
    &["application/gzip", "application/x-gzip", "application/x-gunzip", "application/gzip-compressed"],
    &["application/x-bzip2", "application/x-bzip", "application/bzip2"],
    &["application/vnd.rar", "application/x-rar-compressed", "application/x-rar"],
    &["application/x-7z-compressed", "application/7z"],
    &["text/xml", "application/xml"],
    &[
        "text/javascript",
        "application/javascript",
        "application/x-javascript",
        "application/ecmascript",
        "text/ecmascript",
    ],
    &["application/json", "text/json", "application/x-json"],
    &[
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonlines",
        "application/jsonlines",
    ],
    &["text/csv", "application/csv", "text/x-csv", "application/x-csv", "text/comma-separated-values"],
    &["text/markdown", "text/x-markdown"],
    &["application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"],
    &["audio/mpeg", "audio/mp3", "audio/x-mp3", "audio/x-mpeg", "audio/mpeg3"],
    &["audio/x-wav", "audio/wav", "audio/wave", "audio/vnd.wave"],
    &["audio/m4a", "audio/x-m4a", "audio/mp4"],
    &["video/mp4", "video/x-m4v", "video/m4v"],
];

/// More types with two names, in pairs.
const PAIRS: [[&str; 2]; 16] = [
    ["audio/x-flac", "audio/flac"],
    ["audio/aac", "audio/x-aac"],
    ["audio/x-aiff", "audio/aiff"],
    ["audio/midi", "audio/x-midi"],
    ["audio/ogg", "application/ogg"],
    ["video/x-msvideo", "video/avi"],
    ["video/quicktime", "video/x-quicktime"],
    ["video/x-matroska", "video/matroska"],
    ["application/rtf", "text/rtf"],
    ["application/x-tar", "application/tar"],
    ["application/vnd.microsoft.portable-executable", "application/x-msdownload"],
    ["application/vnd.sqlite3", "application/x-sqlite3"],
    ["application/toml", "text/x-toml"],
    ["application/x-sh", "text/x-shellscript"],
    ["image/vnd.ms-photo", "image/jxr"],
    ["image/vnd.dxf", "image/x-dxf"],
];

/// A type in lower case and without parameters.
pub fn bare(text: &str) -> String {
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether it is written as RFC 6838 has it, in at most 255 bytes.
pub fn is_type(bare: &str) -> bool {
    bare.len() <= 255 && bare.split_once('/').is_some_and(|(kind, subtype)| is_name(kind) && is_name(subtype))
}

/// A name as RFC 6838 has them in types.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte))
}

/// All names of the type that a bare name names, itself among them.
pub fn names(bare: &str) -> Vec<&str> {
    let lists = NAMES.into_iter().chain(PAIRS.iter().map(<[_; 2]>::as_slice));
    let mut found = lists.filter(|names| names.contains(&bare));
    found.next().map_or_else(|| vec![bare], <[_]>::to_vec)
}

/// The name to go by.
pub fn canonical(bare: &str) -> &str {
    names(bare).first().copied().unwrap_or(bare)
}

/// What somebody says a file is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Declared<'a> {
    /// The type that came with the bytes.
    pub mime_type: Option<&'a str>,
    pub filename: Option<&'a str>,
}

impl Declared<'_> {
    /// The type that came with the bytes, bare; `None` if it says nothing.
    pub fn bare(&self) -> Option<String> {
        const NOTHING: [&str; 8] = [
            "application/octet-stream",
            "binary/octet-stream",
            "application/binary",
            "application/download",
            "application/x-download",
            "application/force-download",
            "application/unknown",
            "application/x-www-form-urlencoded",
        ];
        self.mime_type.map(bare).filter(|bare| is_type(bare) && !NOTHING.contains(&bare.as_str()))
    }

    /// The kind of text that it is said to be, by the type or else by the ending of the name; `None` if nothing says it.
    pub fn text(&self) -> Option<String> {
        self.bare().filter(|bare| is_text(bare)).or_else(|| {
            let (_, ending) = self.filename?.rsplit_once('.')?;
            let ending = ending.to_ascii_lowercase();
            ENDINGS.iter().find(|(known, _)| *known == ending).map(|(_, bare)| (*bare).to_owned())
        })
    }

    /// The type of bytes without any signature: what they are said to be, unless they would be known then.
    pub fn unsigned(&self) -> Option<String> {
        self.bare().filter(|bare| {
            let telling = ["image/", "audio/", "video/", "font/", "model/", "application/"];
            telling.iter().any(|kind| bare.starts_with(kind)) && !is_text(bare) && !is_known(bare)
        })
    }
}

/// Whether files of a type have a signature that would have been found.
pub fn is_known(bare: &str) -> bool {
    names(bare).into_iter().any(sniff::detects)
}

/// Whether files of a type are written in letters.
pub fn is_text(bare: &str) -> bool {
    const LETTERS: [&str; 32] = [
        "application/csv",
        "application/dart",
        "application/ecmascript",
        "application/graphql",
        "application/javascript",
        "application/json",
        "application/json5",
        "application/jsonl",
        "application/jsonlines",
        "application/ndjson",
        "application/pgp-signature",
        "application/sql",
        "application/toml",
        "application/typescript",
        "application/vnd.apple.mpegurl",
        "application/x-csv",
        "application/x-javascript",
        "application/x-json",
        "application/x-jsonlines",
        "application/x-ndjson",
        "application/x-sh",
        "application/x-subrip",
        "application/x-tex",
        "application/x-yaml",
        "application/xml",
        "application/yaml",
        "image/vnd.dxf",
        "image/x-dxf",
        "image/x-xbitmap",
        "image/x-xbm",
        "message/rfc822",
        "model/obj",
    ];
    // What looks like a drawing and is none is not taken for one.
    let drawing = bare.starts_with("image/svg");
    !drawing
        && (bare.starts_with("text/")
            || ["+json", "+xml", "+yaml", "+json-seq"].iter().any(|suffix| bare.ends_with(suffix))
            || LETTERS.contains(&bare))
}

/// Endings that tell a kind of text. Those of what a browser runs are not among them: their name alone does not make
/// plain text anything to be careful with.
const ENDINGS: [(&str, &str); 24] = [
    ("csv", "text/csv"),
    ("tsv", "text/tab-separated-values"),
    ("tab", "text/tab-separated-values"),
    ("json", "application/json"),
    ("map", "application/json"),
    ("geojson", "application/geo+json"),
    ("jsonld", "application/ld+json"),
    ("webmanifest", "application/manifest+json"),
    ("ndjson", "application/x-ndjson"),
    ("jsonl", "application/x-ndjson"),
    ("ipynb", "application/x-ipynb+json"),
    ("md", "text/markdown"),
    ("markdown", "text/markdown"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("toml", "application/toml"),
    ("ics", "text/calendar"),
    ("vcf", "text/vcard"),
    ("srt", "application/x-subrip"),
    ("vtt", "text/vtt"),
    ("sql", "application/sql"),
    ("tex", "application/x-tex"),
    ("xbm", "image/x-xbitmap"),
    ("dxf", "image/vnd.dxf"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// No name is in two lists, or which type it means would depend on their order.
    #[test]
    fn a_name_means_one_type() {
        let all: Vec<&str> = NAMES.iter().copied().flatten().chain(PAIRS.iter().flatten()).copied().collect();
        for name in &all {
            assert_eq!(all.iter().filter(|other| *other == name).count(), 1, "{name}");
            assert!(is_type(name) && bare(name) == *name, "{name}");
        }
    }
}
