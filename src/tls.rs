//! The cryptography provider of all TLS connections of the process.

use rustls::crypto::{CryptoProvider, ring};

/// Installs the provider for the process. Programs that use this library must call it first, because building an HTTP client
/// panics without a provider.
pub fn install() {
    if CryptoProvider::get_default().is_none() {
        // An error means that another thread has installed one in the meantime.
        let _ = ring::default_provider().install_default();
    }
}
