//! Signatures of the server's own URLs. Their secret is created when it is first needed, and shared by all servers on one
//! database.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sea_orm::{ActiveModelTrait, EntityTrait, IntoActiveModel};
use sha2::Sha256;

use crate::app::App;
use crate::entity::secret;
use crate::error::{Code, Error, Result};

/// Name of the secret in the table of secrets.
const SECRET_NAME: &str = "url-signing";

/// Signs messages with the secret.
pub struct Signer(Hmac<Sha256>);

impl Signer {
    /// A signer with the secret of the database.
    pub async fn load(app: &App) -> Result<Signer> {
        let secret = app.url_secret.get_or_try_init(|| load_or_create(app)).await?;
        let mac = Hmac::<Sha256>::new_from_slice(secret);
        mac.map(Signer).map_err(|error| Error::fault("signing a URL", error))
    }

    /// HMAC-SHA256 of a message in base64url. Messages for different purposes must have different prefixes.
    pub fn sign(&self, message: &str) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.mac(message).finalize().into_bytes())
    }

    fn mac(&self, message: &str) -> Hmac<Sha256> {
        self.0.clone().chain_update(message.as_bytes())
    }
}

/// Requires that a signature is the one of the message. The comparison takes constant time.
///
/// # Errors
/// `FORBIDDEN`.
pub async fn require_valid(app: &App, message: &str, signature: &str) -> Result<()> {
    let mac = Signer::load(app).await?.mac(message);
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(signature);
    if decoded.is_ok_and(|signature| mac.verify_slice(&signature).is_ok()) {
        return Ok(());
    }
    let message = "The signature of this URL is not valid: use the URL exactly as the API returned it.";
    Err(Error::refuse(Code::Forbidden, message))
}

/// Loads the secret, and creates it if there is none. If another server creates one at the same time, that is used.
async fn load_or_create(app: &App) -> Result<Vec<u8>> {
    if let Some(existing) = secret::named(SECRET_NAME).one(&app.db.read).await? {
        return Ok(existing.value);
    }
    let value: [u8; 32] = rand::random();
    let row =
        secret::Model { name: SECRET_NAME.to_owned(), value: value.to_vec(), created_at: app.clock.now() };
    secret::Entity::insert(row.into_active_model().reset_all())
        .on_conflict_do_nothing()
        .exec_without_returning(&app.db.write)
        .await?;
    let stored = secret::named(SECRET_NAME).one(&app.db.write).await?;
    stored.map(|stored| stored.value).ok_or_else(|| Error::fault("signing a URL", "the secret is missing"))
}
