//! MIME types: their syntax, their aliases, and what can be concluded from a declared one.
//!
//! Following the WHATWG MIME Sniffing Standard, the *essence* is `type/subtype` in lower case, without parameters.

use media::sniff;

/// Each list has the names of one type; the first is the canonical one. Some are older than the registration of the type,
/// and some are sent by browsers of one operating system. The types of HEIF differ by content, but are treated as one.
const ALIASES: [&[&str]; 42] = [
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

/// Types with two names; the first is the canonical one.
const ALIAS_PAIRS: [[&str; 2]; 16] = [
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

/// The essence of a MIME type or media range.
pub fn essence(text: &str) -> String {
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The values of one parameter of a MIME type or media range, as `charset` or `q`, without spaces around them. Names of
/// parameters are case-insensitive.
pub fn parameter<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let parameters = text.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    parameters.filter(move |(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// The quality value of a media range in `Accept`; 1 if there is none (RFC 9110, 12.4.2).
pub fn quality(range: &str) -> f32 {
    parameter(range, "q").find_map(|value| value.parse().ok()).unwrap_or(1.0)
}

/// Whether an essence follows the syntax of RFC 6838.
pub fn is_valid(essence: &str) -> bool {
    parse_pattern(essence).is_some_and(|(_, subtype)| subtype.is_some())
}

/// The type, and the subtype unless it is a wildcard, of an essence such as `image/png` or `image/*`. `None` for other
/// text, including `*/*`.
pub fn parse_pattern(essence: &str) -> Option<(&str, Option<&str>)> {
    let (kind, subtype) = essence.split_once('/').filter(|(kind, _)| is_name(kind))?;
    match subtype {
        "*" => Some((kind, None)),
        subtype => is_name(subtype).then_some((kind, Some(subtype))),
    }
}

/// Whether text is a `restricted-name` of RFC 6838, 4.2.
fn is_name(text: &str) -> bool {
    (1..=127).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte))
}

/// All names of the type with this essence, including itself.
pub fn aliases(essence: &str) -> Vec<&str> {
    let lists = ALIASES.into_iter().chain(ALIAS_PAIRS.iter().map(<[_; 2]>::as_slice));
    let mut found = lists.filter(|names| names.contains(&essence));
    found.next().map_or_else(|| vec![essence], <[_]>::to_vec)
}

/// The canonical name of the type with this essence.
pub fn canonical(essence: &str) -> &str {
    aliases(essence).first().copied().unwrap_or(essence)
}

/// The type of a file according to its sender.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeclaredType<'a> {
    /// The MIME type sent with the bytes, as it was sent.
    pub mime_type: Option<&'a str>,
    pub filename: Option<&'a str>,
}

impl DeclaredType<'_> {
    /// The essence of the MIME type sent with the bytes; `None` if it is invalid or generic.
    pub fn essence(&self) -> Option<String> {
        const GENERIC: [&str; 8] = [
            "application/octet-stream",
            "binary/octet-stream",
            "application/binary",
            "application/download",
            "application/x-download",
            "application/force-download",
            "application/unknown",
            "application/x-www-form-urlencoded",
        ];
        self.mime_type
            .map(essence)
            .filter(|essence| is_valid(essence) && !GENERIC.contains(&essence.as_str()))
    }

    /// The declared type of text, by the MIME type or else by the filename extension; `None` if neither declares one.
    pub fn text_type(&self) -> Option<String> {
        self.essence().filter(|essence| is_text(essence)).or_else(|| {
            let (_, extension) = self.filename?.rsplit_once('.')?;
            let extension = extension.to_ascii_lowercase();
            TEXT_EXTENSIONS
                .iter()
                .find(|(known, _)| *known == extension)
                .map(|(_, essence)| (*essence).to_owned())
        })
    }

    /// The type for bytes in which no signature was found: the declared one, unless files of that type have a signature.
    pub fn type_without_signature(&self) -> Option<String> {
        self.essence().filter(|essence| {
            let binary = ["image/", "audio/", "video/", "font/", "model/", "application/"];
            binary.iter().any(|prefix| essence.starts_with(prefix))
                && !is_text(essence)
                && !has_signature(essence)
        })
    }
}

/// Whether files of a type have a signature that the sniffer detects.
pub fn has_signature(essence: &str) -> bool {
    aliases(essence).into_iter().any(sniff::knows)
}

/// Whether files of a type are text.
pub fn is_text(essence: &str) -> bool {
    const TEXT_TYPES: [&str; 32] = [
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
    // The sniffer detects SVG. Text that it did not detect as SVG must not be stored as such because it is declared so.
    let is_svg = essence.starts_with("image/svg");
    !is_svg
        && (essence.starts_with("text/")
            || ["+json", "+xml", "+yaml", "+json-seq"].iter().any(|suffix| essence.ends_with(suffix))
            || TEXT_TYPES.contains(&essence))
}

/// Filename extensions that declare a type of text. Types that browsers execute are missing on purpose: a filename alone
/// does not turn plain text into HTML or a script.
const TEXT_EXTENSIONS: [(&str, &str); 24] = [
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

    /// A name in two lists would have the meaning of the first.
    #[test]
    fn each_alias_is_in_one_list() {
        let all: Vec<&str> =
            ALIASES.iter().copied().flatten().chain(ALIAS_PAIRS.iter().flatten()).copied().collect();
        for name in &all {
            assert_eq!(all.iter().filter(|other| *other == name).count(), 1, "{name}");
            assert!(is_valid(name) && essence(name) == *name, "{name}");
        }
    }

    #[test]
    fn a_pattern_is_a_type_or_a_wildcard_of_one() {
        for good in ["image/png", "image/*", "application/vnd.api+json", "text/x-rust"] {
            assert!(parse_pattern(good).is_some(), "{good}");
        }
        for bad in ["", "image", "image/", "/png", "*/*", "image/png;a=b", "image/p*", "a/b/c", "image /png"]
        {
            assert!(parse_pattern(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn parameters_are_found_by_name() {
        assert_eq!(essence(" Text/HTML ; charset=utf-8"), "text/html");
        assert_eq!(
            parameter("a/b; Charset = UTF-8 ;x;charset=z", "charset").collect::<Vec<_>>(),
            ["UTF-8", "z"]
        );
        for (range, expected) in [("a/b", 1.0), ("a/b;q=0.5", 0.5), ("a/b; x=1; q=0", 0.0), ("a/b;q=x", 1.0)]
        {
            assert!((quality(range) - expected).abs() < f32::EPSILON, "{range}");
        }
    }
}
