//! A client for every call of the Cloudflare Images API.
//!
//! A method of [`Client`] names the path and the body of a request. A `Host` limits the rate, authenticates, sends the
//! request, retries it where that is safe, and turns the response into a result or an [`Error`].

use std::sync::Arc;

use percent_encoding::{PercentEncode, utf8_percent_encode};
use reqwest::Method;
use serde::de::DeserializeOwned;

use self::call::{Attempts, Call, FailedCall, Retry, deletion, required};
use self::hosts::{Choice, Hosts};
use self::rate_limit::Priority;
use self::request::RequestBody;
use super::{signing, wire};

mod blob;
mod call;
mod error;
mod failures;
mod host;
mod hosts;
mod query;
mod rate_limit;
mod request;
mod response;
mod settings;

pub use blob::Blob;
pub use error::{Error, ErrorDetails};
pub use failures::Failures;
pub use query::{ListQuery, MetaFilter, MetaTest, PageQuery, SortOrder};
pub use request::{Body, NewDirectUpload, NewImage, Upload};
pub use settings::{Credentials, Secret, Settings};

/// A client for Cloudflare Images with the credentials of one account.
///
/// Cloning is cheap: clones share connections, rate limit and counters.
///
/// # Retries
///
/// A call makes up to five attempts with exponential backoff, or after the pause that `Retry-After` asks for. Reads,
/// deletions of images and variants, and idempotent edits are retried after any [`Error::RateLimited`] or
/// [`Error::Unavailable`]. All other calls are retried only if Cloudflare cannot have carried out the failed attempt.
/// A call that sends a file is not retried once reading the file has begun.
///
/// # Time
///
/// A call ends within [`Settings::call_timeout`], except while the bytes of a file move.
///
/// # Errors
///
/// Every method may return [`Error::Unauthorized`], [`Error::Account`], [`Error::RateLimited`], [`Error::Unavailable`] and
/// [`Error::InvalidResponse`]; its documentation names further ones. Ids and names that cannot be a segment of a path
/// (empty, `.` and `..`) are an [`Error::Invalid`], and no request is made.
#[derive(Debug, Clone)]
pub struct Client {
    /// The settings that the client was made with.
    pub settings: Arc<Settings>,
    /// Numbers of failed calls of this client and its clones.
    pub failures: Arc<Failures>,
    hosts: Arc<Hosts>,
    /// Where calls on images go.
    choice: Choice,
    /// The priority of calls on images.
    priority: Priority,
}

/// The result of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// It existed and was deleted by this call.
    Deleted,
    /// It did not exist.
    NotFound,
}

impl Client {
    /// Makes a client. No connection is opened.
    ///
    /// # Errors
    /// [`Error::Settings`] if a setting cannot be used.
    ///
    /// # Panics
    /// If the program has not installed a cryptography provider of rustls.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let failures = Arc::new(Failures::default());
        Ok(Self {
            hosts: Arc::new(Hosts::new(&settings, &failures)?),
            failures,
            choice: Choice::Account,
            priority: Priority::Interactive,
            settings: Arc::new(settings),
        })
    }

    /// A client that sends its calls on images to the batch host, which has a rate limit of its own: 200 calls per second.
    ///
    /// These are `create`, `find`, `list`, `list_v1`, `edit`, `delete` and `direct_upload`; all other calls go to the
    /// management API. The client fetches a token when it is first needed, and a new one when it expires or is rejected.
    pub fn batch(&self) -> Self {
        Self { choice: Choice::Batch, ..self.clone() }
    }

    /// A client that sends its calls on images to the management API as long as its rate allows them at once, and to the
    /// batch host beyond that.
    ///
    /// If the batch host fails, the management API takes these calls for half a minute. A call that sends a file is then
    /// made again by the caller, if [`Error::may_succeed_at_once`].
    pub fn balanced(&self) -> Self {
        Self { choice: Choice::Either, ..self.clone() }
    }

    /// A client for work that nobody waits for: its calls on images leave half of those that the rates of the hosts allow
    /// at once to others.
    pub fn background(&self) -> Self {
        Self { priority: Priority::Background, ..self.clone() }
    }

    /// Makes a call on images that has a result.
    async fn call_on_images<T: DeserializeOwned>(&self, call: Call) -> Result<T, FailedCall> {
        required(&call, self.hosts.answer(&call, self.choice, self.attempts()).await)
    }

    fn attempts(&self) -> Attempts {
        Attempts::new(self.settings.call_timeout, self.priority)
    }
}

/// Images.
impl Client {
    /// Creates an image (`POST v1`).
    ///
    /// Without a custom id a second call creates a second image: after an error with [`Error::maybe_applied`], list the
    /// images with the metadata of this one (see [`MetaFilter`]) before calling again.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the custom id is in use, [`Error::TooLarge`], [`Error::Unsupported`],
    /// [`Error::UploadSource`], and [`Error::Invalid`] for unacceptable properties or a URL that Cloudflare cannot fetch.
    pub async fn create(&self, image: NewImage<'_>, body: Body) -> Result<wire::Image, Error> {
        let call = Call::new(Method::POST, "/v1").body(RequestBody::image_form(&image, body)?);
        Ok(self.call_on_images(call).await?)
    }

    /// Returns an image or a draft, or `None` if there is none with this id (`GET v1/{id}`).
    pub async fn find(&self, id: &str) -> Result<Option<wire::Image>, Error> {
        optional(self.call_on_images(Call::new(Method::GET, image_path(id)?)).await.map_err(Error::from))
    }

    /// Returns one page of images without drafts, by default the newest first (`GET v2`).
    ///
    /// # Errors
    /// [`Error::Invalid`] if Cloudflare rejects the query, such as a token of a list with other filters.
    pub async fn list(&self, query: &ListQuery) -> Result<wire::ImagePage, Error> {
        Ok(self.call_on_images(Call::new(Method::GET, "/v2").query(query.pairs()?)).await?)
    }

    /// Returns one page of images by its number (`GET v1`, which Cloudflare has deprecated).
    ///
    /// # Errors
    /// [`Error::Invalid`] if Cloudflare rejects the query.
    pub async fn list_v1(&self, query: &PageQuery) -> Result<wire::ImageList, Error> {
        Ok(self.call_on_images(Call::new(Method::GET, "/v1").query(query.pairs())).await?)
    }

    /// Changes the properties of an image (`PATCH v1/{id}`).
    ///
    /// A change of `require_signed_urls` gives the image a **new id**, which the returned image contains.
    ///
    /// # Errors
    /// [`Error::NotFound`], and [`Error::Invalid`] for unacceptable properties, such as `require_signed_urls` for an image
    /// with a custom id.
    pub async fn edit(&self, id: &str, edit: &wire::ImageEdit) -> Result<wire::Image, Error> {
        // After a change of access the old id does not exist, so a retry would report a missing image.
        let retry = if edit.require_signed_urls.is_some() { Retry::IfNotApplied } else { Retry::Always };
        let call = Call::new(Method::PATCH, image_path(id)?).body(RequestBody::json(edit)?).retry(retry);
        Ok(self.call_on_images(call).await?)
    }

    /// Deletes an image or a draft, and its cached copies (`DELETE v1/{id}`).
    pub async fn delete(&self, id: &str) -> Result<DeleteOutcome, Error> {
        let call = Call::new(Method::DELETE, image_path(id)?);
        deletion(self.hosts.answer(&call, self.choice, self.attempts()).await)
    }

    /// Returns the stored bytes of an image as a stream (`GET v1/{id}/blob`).
    ///
    /// For large images Cloudflare may return a near-lossless copy instead of the uploaded bytes.
    ///
    /// # Errors
    /// [`Error::NotFound`], also for a draft.
    pub async fn blob(&self, id: &str) -> Result<Blob, Error> {
        let path = format!("{}/blob", image_path(id)?);
        self.hosts
            .account
            .download(Call::new(Method::GET, path).accept("image/*, application/json;q=0.5"))
            .await
    }
}

/// Direct uploads: one-time URLs by which somebody without credentials can upload one image.
impl Client {
    /// Creates a direct upload, whose image is a draft until the bytes arrive (`POST v2/direct_upload`).
    ///
    /// # Errors
    /// [`Error::Conflict`] if the custom id is in use, and [`Error::Invalid`] for unacceptable properties or expiry.
    pub async fn direct_upload(&self, new: &NewDirectUpload<'_>) -> Result<wire::DirectUpload, Error> {
        let body = RequestBody::direct_upload_form(new)?;
        Ok(self.call_on_images(Call::new(Method::POST, "/v2/direct_upload").body(body)).await?)
    }

    /// Creates a direct upload by version 1 of the API (`POST v1/direct_upload`, which Cloudflare has retired). The
    /// request is JSON.
    ///
    /// Descriptions of this version do not mention `creator`; it is sent nevertheless if it is set.
    ///
    /// # Errors
    /// Those of [`Client::direct_upload`].
    pub async fn direct_upload_v1(&self, new: &NewDirectUpload<'_>) -> Result<wire::DirectUpload, Error> {
        let body = RequestBody::direct_upload_json(new)?;
        Ok(self.hosts.account.call(Call::new(Method::POST, "/v1/direct_upload").body(body)).await?)
    }

    /// Sends a file to the URL of a direct upload, without credentials (`POST` on the upload host).
    ///
    /// # Errors
    /// [`Error::Invalid`] if the URL is not below [`Settings::upload`], [`Error::NotFound`] if there is no such upload,
    /// [`Error::Conflict`] if it was used already, [`Error::TooLarge`], [`Error::Unsupported`] and
    /// [`Error::UploadSource`].
    pub async fn upload(&self, upload_url: &str, upload: Upload) -> Result<wire::Image, Error> {
        let path = self
            .hosts
            .upload
            .relative_path(upload_url)
            .ok_or_else(|| Error::invalid("the upload URL does not belong to the upload host"))?;
        let call = Call::new(Method::POST, path).body(RequestBody::upload_form(upload)?);
        Ok(self.hosts.upload.call(call).await?)
    }
}

/// Signing keys, statistics and settings of the account.
impl Client {
    /// Returns all signing keys with their values (`GET v1/keys`).
    pub async fn keys(&self) -> Result<wire::KeyList, Error> {
        Ok(self.hosts.account.call(Call::new(Method::GET, "/v1/keys")).await?)
    }

    /// Creates a signing key, or gives an existing key a new value; returns all keys (`PUT v1/keys/{name}`).
    ///
    /// # Errors
    /// [`Error::Invalid`] for an unacceptable name; [`Error::Account`] if the account has the maximum of two keys.
    pub async fn put_key(&self, name: &str) -> Result<wire::KeyList, Error> {
        // A retry would replace the key once more, after somebody may have read its value.
        let call = Call::new(Method::PUT, key_path(name)?).body(RequestBody::Empty);
        Ok(self.hosts.account.call(call).await?)
    }

    /// Deletes a signing key; returns the remaining keys (`DELETE v1/keys/{name}`).
    ///
    /// If it was the last one, Cloudflare creates a new key named `default`.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn delete_key(&self, name: &str) -> Result<wire::KeyList, Error> {
        // A retry could delete the key that replaced the last one under the same name.
        let call = Call::new(Method::DELETE, key_path(name)?).retry(Retry::IfNotApplied);
        Ok(self.hosts.account.call(call).await?)
    }

    /// Returns the number of stored images and the allowance of the account (`GET v1/stats`).
    pub async fn stats(&self) -> Result<wire::Stats, Error> {
        Ok(self.hosts.account.call(Call::new(Method::GET, "/v1/stats")).await?)
    }

    /// Returns the settings of the account (`GET v1/config`, which Cloudflare does not document and may reject).
    pub async fn config(&self) -> Result<wire::AccountConfig, Error> {
        Ok(self.hosts.account.call(Call::new(Method::GET, "/v1/config")).await?)
    }

    /// Changes the settings that are `Some`; returns all settings (`PATCH v1/config`).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a value out of range.
    pub async fn edit_config(&self, edit: &wire::AccountConfig) -> Result<wire::AccountConfig, Error> {
        let body = RequestBody::json(edit)?;
        let call = Call::new(Method::PATCH, "/v1/config").body(body).retry(Retry::Always);
        Ok(self.hosts.account.call(call).await?)
    }

    /// Returns a new token for the batch host (`GET v1/batch_token`). A client made by [`Client::batch`] fetches its own.
    pub async fn batch_token(&self) -> Result<wire::BatchToken, Error> {
        self.hosts.account.batch_token().await
    }
}

/// Variants: named presets of image delivery.
impl Client {
    /// Returns all variants by their ids (`GET v1/variants`).
    pub async fn variants(&self) -> Result<wire::VariantList, Error> {
        Ok(self.hosts.account.call(Call::new(Method::GET, "/v1/variants")).await?)
    }

    /// Returns a variant, or `None` if there is none with this id (`GET v1/variants/{id}`).
    pub async fn find_variant(&self, id: &str) -> Result<Option<wire::Variant>, Error> {
        let found = self.hosts.account.call(Call::new(Method::GET, variant_path(id)?)).await;
        Ok(optional(found.map_err(Error::from))?.map(|wire::VariantResult { variant }| variant))
    }

    /// Creates a variant (`POST v1/variants`).
    ///
    /// # Errors
    /// [`Error::Conflict`] if the id is in use, [`Error::Invalid`] for an unacceptable id or option, [`Error::Account`] if
    /// the account has the maximum of 100 variants.
    pub async fn create_variant(&self, variant: &wire::Variant) -> Result<wire::Variant, Error> {
        let call = Call::new(Method::POST, "/v1/variants").body(RequestBody::json(variant)?);
        Ok(self.hosts.account.call::<wire::VariantResult>(call).await?.variant)
    }

    /// Changes a variant and purges its cached copies (`PATCH v1/variants/{id}`).
    ///
    /// # Errors
    /// [`Error::NotFound`], and [`Error::Invalid`] for an unacceptable option.
    pub async fn edit_variant(&self, id: &str, edit: &wire::VariantEdit) -> Result<wire::Variant, Error> {
        let body = RequestBody::json(edit)?;
        let call = Call::new(Method::PATCH, variant_path(id)?).body(body).retry(Retry::Always);
        Ok(self.hosts.account.call::<wire::VariantResult>(call).await?.variant)
    }

    /// Deletes a variant and its cached copies (`DELETE v1/variants/{id}`).
    ///
    /// The variant `public` cannot be deleted: Cloudflare reports success and keeps it.
    pub async fn delete_variant(&self, id: &str) -> Result<DeleteOutcome, Error> {
        self.hosts.account.delete(variant_path(id)?).await
    }
}

/// Turns "not found" into `None`.
fn optional<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn image_path(id: &str) -> Result<String, Error> {
    Ok(format!("/v1/{}", path_segment(id)?))
}

fn key_path(name: &str) -> Result<String, Error> {
    Ok(format!("/v1/keys/{}", path_segment(name)?))
}

fn variant_path(id: &str) -> Result<String, Error> {
    Ok(format!("/v1/variants/{}", path_segment(id)?))
}

/// An id or a name as one segment of a path, with slashes encoded.
fn path_segment(name: &str) -> Result<PercentEncode<'_>, Error> {
    // Even encoded, these are resolved as relative segments or address the list.
    if matches!(name, "" | "." | "..") {
        return Err(Error::invalid("an id or a name cannot be empty, `.` or `..`"));
    }
    Ok(utf8_percent_encode(name, signing::PATH_SEGMENT))
}
