//! Which addresses files are fetched from: only those of the public internet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

use crate::error::{Code, Error, Result};

/// Checks the scheme, the credentials, and an IP address as host. `Url` has parsed other notations of an address (decimal,
/// octal, hexadecimal, shortened) into addresses.
///
/// # Errors
/// `SOURCE_FORBIDDEN`.
pub fn check_url(url: &Url, allow_loopback: bool) -> Result<()> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(forbidden("A file is imported from an http:// or https:// URL."));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(forbidden("The URL of an import must not contain a user name or a password."));
    }
    let address = match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address),
        Some(Host::Ipv6(address)) => IpAddr::V6(address),
        Some(Host::Domain(name)) if !name.is_empty() => return Ok(()),
        _ => return Err(forbidden("The URL of an import needs a host.")),
    };
    check(address, allow_loopback)
}

/// Checks an address before a connection to it is opened.
///
/// # Errors
/// `SOURCE_FORBIDDEN`.
pub fn check(address: IpAddr, allow_loopback: bool) -> Result<()> {
    if is_public(address) || (allow_loopback && address.is_loopback()) {
        return Ok(());
    }
    Err(forbidden("Files are imported from public addresses only; this address is not public."))
}

/// The refusal of a URL or address that files are not imported from.
pub fn forbidden(message: &str) -> Error {
    Error::refuse(Code::SourceForbidden, message)
}

/// Whether an address can be that of a host on the public internet.
/// Source: IANA's registries of special-purpose addresses for IPv4 and IPv6.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    // A public address that Azure reserves for services inside its virtual networks, such as instance metadata.
    const AZURE: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
    address != AZURE
        && !matches!(
            (a, b, c),
            // This network, private, loopback.
            (0 | 10 | 127, ..)
            // Carrier-grade NAT.
            | (100, 64..=127, _)
            // Link-local, which includes the metadata services of clouds.
            | (169, 254, _)
            | (172, 16..=31, _)
            // Protocol assignments, documentation, and the deprecated 6to4 relays.
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            // Benchmarks, documentation.
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
            // Multicast, reserved, broadcast.
            | (224..=255, ..)
        )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    if let Some(embedded) = nat64_target(address) {
        return is_public_v4(embedded);
    }
    // Global unicast is 2000::/3. Outside of it are the unspecified and the loopback address, the unique local, link-local
    // and multicast addresses, and those that contain an IPv4 address: mapped, compatible, and translated for local use.
    (0x2000..=0x3fff).contains(&a)
        // Protocol assignments: Teredo, benchmarks, ORCHID.
        && !(a == 0x2001 && b < 0x0200)
        // Documentation.
        && !(a == 0x2001 && b == 0x0db8)
        && !(a == 0x3fff && b < 0x1000)
        // 6to4.
        && a != 0x2002
}

/// The IPv4 address to which a NAT64 translator connects for an address in 64:ff9b::/96.
fn nat64_target(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [0x0064, 0xff9b, 0, 0, 0, 0, high, low] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses_and_others() {
        for public in ["1.1.1.1", "172.15.0.1", "172.32.0.1", "100.63.0.1", "100.128.0.1", "192.0.1.1"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for public in ["2606:4700:4700::1111", "2a00:1450::1", "2001:4860:4860::8888", "64:ff9b::8.8.8.8"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for other in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::8.8.8.8",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(other.parse().unwrap()), "{other}");
        }
    }
}
