//! The content codings that a client takes, from `Accept-Encoding` (RFC 9110, 12.5.3).

use axum::http::{HeaderMap, HeaderValue, header};

use crate::content::mime;

/// A content coding of responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    Brotli,
    Gzip,
    Zstd,
}

impl Coding {
    /// The name in `Accept-Encoding` and `Content-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Coding::Brotli => "br",
            Coding::Gzip => "gzip",
            Coding::Zstd => "zstd",
        }
    }

    /// The value of `Content-Encoding`.
    pub fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }
}

/// What a client says about content codings.
pub struct AcceptEncoding<'a> {
    /// The elements of the header, as `gzip` or `br;q=0.5`.
    elements: Vec<&'a str>,
}

impl<'a> AcceptEncoding<'a> {
    /// Reads the header. Without it, nothing is listed and nothing is coded.
    pub fn of(headers: &'a HeaderMap) -> Self {
        let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        AcceptEncoding { elements: values.flat_map(|value| value.split(',')).collect() }
    }

    /// The coding that the client prefers among those that are offered, the first of them where it has no preference. `None`
    /// if it takes none of them, or prefers the response as it is.
    ///
    /// A client that refuses everything that could be sent gets the response as it is: a 406 would come after the request was
    /// executed.
    pub fn preferred(&self, offered: &[Coding]) -> Option<Coding> {
        let mut best = None;
        for &coding in offered {
            let weight = self.weight(coding.name()).unwrap_or_default();
            if weight > best.map_or(0.0, |(_, highest)| highest) {
                best = Some((coding, weight));
            }
        }
        let (coding, weight) = best?;
        self.weight("identity").is_none_or(|identity| identity <= weight).then_some(coding)
    }

    /// Whether the client refuses a response that is not coded.
    pub fn refuses_identity(&self) -> bool {
        self.weight("identity") == Some(0.0)
    }

    /// The quality value of a coding: its own, else that of `*`; `None` if neither is listed.
    fn weight(&self, coding: &str) -> Option<f32> {
        let listed = |name: &str| {
            let mut found = self.elements.iter().filter(|element| is_named(element, name));
            found.next().map(|element| mime::quality(element))
        };
        listed(coding).or_else(|| listed("*"))
    }
}

/// Whether an element is about this coding. `x-gzip` is gzip (RFC 9110, 8.4.1.3).
fn is_named(element: &str, coding: &str) -> bool {
    let name = element.split(';').next().unwrap_or_default().trim();
    name.eq_ignore_ascii_case(coding) || coding == "gzip" && name.eq_ignore_ascii_case("x-gzip")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

    #[test]
    fn the_preferred_coding() {
        for (accepted, coding) in [
            ("gzip", "gzip"),
            ("GZIP", "gzip"),
            ("x-gzip", "gzip"),
            ("br", "br"),
            ("zstd", "zstd"),
            ("gzip, deflate, br, zstd", "zstd"),
            ("gzip, deflate, br", "br"),
            ("gzip;q=1.0, br;q=0.5", "gzip"),
            ("gzip; Q = 0.4 ,br;q=0.3", "gzip"),
            ("gzip;q=0, br", "br"),
            ("gzip;q=0", ""),
            ("*", "zstd"),
            ("*;q=0.1", "zstd"),
            ("zstd;q=0, *", "br"),
            ("gzip, *;q=0", "gzip"),
            ("*;q=0", ""),
            ("identity", ""),
            ("identity;q=0", ""),
            ("identity;q=0, gzip;q=0.1", "gzip"),
            ("identity, gzip;q=0.5", ""),
            ("identity;q=0.5, gzip;q=0.5", "gzip"),
            ("deflate, compress", ""),
            ("", ""),
            (",;q=1,", ""),
            ("gzip;q=nan", ""),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_str(accepted).unwrap());
            let preferred = AcceptEncoding::of(&headers).preferred(&ALL);
            assert_eq!(preferred.map_or("", Coding::name), coding, "{accepted}");
        }
        assert_eq!(AcceptEncoding::of(&HeaderMap::new()).preferred(&ALL), None);
    }

    #[test]
    fn several_lines_are_one_list() {
        let mut headers = HeaderMap::new();
        for line in ["deflate", "br;q=0.1, gzip"] {
            headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(line));
        }
        let accepted = AcceptEncoding::of(&headers);
        assert_eq!(accepted.preferred(&[Coding::Brotli, Coding::Gzip]), Some(Coding::Gzip));
        assert_eq!(accepted.preferred(&[Coding::Brotli]), Some(Coding::Brotli));
        assert_eq!(accepted.preferred(&[]), None);
    }

    #[test]
    fn who_refuses_identity() {
        for (accepted, refuses) in
            [("identity;q=0", true), ("gzip, *;q=0", true), ("*;q=0, identity", false), ("gzip", false)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accepted));
            assert_eq!(AcceptEncoding::of(&headers).refuses_identity(), refuses, "{accepted}");
        }
    }
}
