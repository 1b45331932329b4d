//! The Cloudflare account of a server: the one in the settings, or the embedded emulator.

use std::num::NonZeroU32;

use axum::Router;
use url::Url;

use crate::config::Config;
use cloudflare_images::client::{self, Credentials};

/// Path that the emulator is mounted at.
#[cfg(feature = "emulator")]
pub(super) const EMULATOR_PATH: &str = "/cloudflare";

/// How the client introduces itself to Cloudflare.
const USER_AGENT: &str = concat!("imagegraph/", env!("CARGO_PKG_VERSION"));

/// The Cloudflare account the server talks to, real or emulated.
pub struct Account {
    /// Settings of the client.
    pub settings: client::Settings,
    /// Whether the batch host takes the calls on images that the rate of the management API does not allow at once.
    pub uses_batch_host: bool,
    /// Base URL of image delivery.
    pub delivery: Url,
    /// The router of the emulator, if it is the account.
    pub emulator: Option<Router>,
}

impl Account {
    /// The account in the settings, or the emulator if they contain none. Clients reach the emulator below `public_url`,
    /// and the server itself reaches it below `own_url`.
    pub async fn open(config: &Config, public_url: &Url, own_url: &Url) -> Result<Account, AccountError> {
        match &config.cloudflare_account_id {
            Some(account_id) => Self::real(config, account_id),
            None => Self::emulated(config, public_url, own_url).await,
        }
    }

    fn real(config: &Config, account_id: &str) -> Result<Account, AccountError> {
        let credentials =
            match (&config.cloudflare_api_token, &config.cloudflare_email, &config.cloudflare_api_key) {
                (Some(token), ..) => Credentials::Token(token.clone().into()),
                (None, Some(email), Some(key)) => {
                    Credentials::EmailKey { email: email.clone(), key: key.clone().into() }
                }
                _ => return Err(AccountError::Credentials),
            };
        let settings = client::Settings {
            account_id: account_id.to_owned(),
            credentials,
            api: config.cloudflare_base_url.clone(),
            batch: config.cloudflare_batch_url.clone(),
            delivery: config.cloudflare_delivery_url.clone(),
            upload: config.cloudflare_upload_url.clone(),
            user_agent: USER_AGENT.to_owned(),
            attempt_timeout: config.cloudflare_timeout,
            call_timeout: config.cloudflare_timeout,
            rate: Some(config.cloudflare_rate),
            batch_rate: NonZeroU32::new(config.cloudflare_batch_rate),
        };
        Ok(Account {
            uses_batch_host: settings.batch_rate.is_some(),
            settings,
            delivery: config.cloudflare_delivery_url.clone(),
            emulator: None,
        })
    }

    #[cfg(feature = "emulator")]
    async fn emulated(config: &Config, public_url: &Url, own_url: &Url) -> Result<Account, AccountError> {
        use cloudflare_images_emulator::{Emulator, Settings};
        let (base, own) = (below(public_url, EMULATOR_PATH), below(own_url, EMULATOR_PATH));
        let settings = Settings {
            data_dir: config.data_dir.join("emulator"),
            public_url: base.clone(),
            account: None,
            read_token: None,
            faults: config.emulator_faults,
            rate: None,
            batch_rate: None,
        };
        let emulator =
            Emulator::open(settings).await.map_err(|problem| AccountError::Emulator(Box::new(problem)))?;
        let credentials = emulator.credentials();
        let settings = client::Settings {
            account_id: credentials.account_id.clone(),
            credentials: Credentials::Token(credentials.api_token.clone().into()),
            api: below(&own, "/client/v4"),
            batch: below(&own, "/batch"),
            delivery: below(&base, "/imagedelivery"),
            upload: below(&base, "/upload"),
            user_agent: USER_AGENT.to_owned(),
            attempt_timeout: config.cloudflare_timeout,
            call_timeout: config.cloudflare_timeout,
            // The emulator has no rate limit to stay below.
            rate: None,
            batch_rate: None,
        };
        let delivery = settings.delivery.clone();
        Ok(Account { settings, uses_batch_host: false, delivery, emulator: Some(emulator.router()) })
    }

    #[cfg(not(feature = "emulator"))]
    async fn emulated(_: &Config, _: &Url, _: &Url) -> Result<Account, AccountError> {
        Err(AccountError::NoEmulator)
    }
}

/// Why there is no account.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error("CLOUDFLARE_ACCOUNT_ID needs CLOUDFLARE_API_TOKEN, or CLOUDFLARE_EMAIL with CLOUDFLARE_API_KEY")]
    Credentials,
    #[cfg(feature = "emulator")]
    #[error("the emulator's store cannot be opened")]
    Emulator(#[source] Box<cloudflare_images_emulator::OpenError>),
    #[cfg(not(feature = "emulator"))]
    #[error("this build has no emulator: set CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN")]
    NoEmulator,
}

#[cfg(feature = "emulator")]
fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}
