//! The text that a program prints when the emulator has started.

use std::fmt::Write;
use std::net::SocketAddr;

use super::Emulator;

impl Emulator {
    /// The address, the credentials, and how to use them: the variables of a client as `NAME=value` lines, and an
    /// example of an upload with `curl`. The text contains the API tokens.
    pub fn usage(&self, address: SocketAddr) -> String {
        let credentials = self.credentials();
        let url = &self.0.public_url;
        let mut text = format!(
            "The Cloudflare Images emulator listens on {address}. Its account, for a server or an SDK:\n\n"
        );
        for (name, value) in [
            ("CLOUDFLARE_ACCOUNT_ID", credentials.account_id.clone()),
            ("CLOUDFLARE_API_TOKEN", credentials.api_token.clone()),
            ("CLOUDFLARE_BASE_URL", format!("{url}/client/v4")),
            ("CLOUDFLARE_BATCH_URL", format!("{url}/batch")),
            ("CLOUDFLARE_UPLOAD_URL", format!("{url}/upload")),
            ("CLOUDFLARE_DELIVERY_URL", format!("{url}/imagedelivery")),
        ] {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {name}={value}");
        }
        let _ = writeln!(text, "\nAccount hash, in delivery URLs: {}", credentials.account_hash);
        let _ = writeln!(text, "API token that may only read: {}", credentials.read_token);
        if self.0.faults.is_some() {
            let _ = writeln!(text, "Fault injection, for everybody who can reach the emulator: {url}/faults");
        }
        let _ = writeln!(
            text,
            "\nUpload an image:\n\n  curl {url}/client/v4/accounts/{}/images/v1 \\\n    \
             -H 'Authorization: Bearer {}' -F file=@photo.jpg",
            credentials.account_id, credentials.api_token
        );
        text
    }
}
