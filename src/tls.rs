//! The cryptography under every TLS connection of the process.

use rustls::crypto::{CryptoProvider, ring};

/// Chooses the provider for the whole process. The first thing a program does that uses this library: HTTP clients are
/// made in many places, and none of them works before.
pub fn install() {
    if CryptoProvider::get_default().is_none() {
        // Failing means that another thread was first, which is as good.
        let _ = ring::default_provider().install_default();
    }
}
