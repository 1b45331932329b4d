//! Every call of Cloudflare Images, with errors a caller can act on.
//!
//! [`Client::create`] shows the shape: a method names path and body, `Host` paces, authorises,
//! sends, repeats where that is safe, and turns what comes back into a value or an [`Error`].

use std::sync::Arc;

use percent_encoding::{PercentEncode, utf8_percent_encode};
use reqwest::Method;
use serde::Serialize;

use self::body::Content;
use self::call::{Call, Repeat};
use self::host::Host;
use super::{signing, wire};

mod answer;
mod body;
mod call;
mod error;
mod failures;
mod host;
mod pace;
mod query;
mod settings;

pub use body::{Blob, Body, NewDirectUpload, NewImage, Upload};
pub use error::{Error, Said};
pub use failures::Failures;
pub use query::{ListQuery, MetaFilter, MetaTest, PageQuery, SortOrder};
pub use settings::{Credentials, Secret, Settings};

/// Cloudflare Images with one account's credentials. Cheap to clone; clones share pace and connections.
///
/// Every call waits its turn under Cloudflare's rate, and repeats by itself what is safe to
/// repeat: reads, deletions and idempotent edits after any transient failure, everything else
/// only when Cloudflare cannot have seen it or refused it unread. It answers or fails within
/// [`Settings::deadline`].
#[derive(Debug, Clone)]
pub struct Client {
    /// What the client was made with.
    pub settings: Arc<Settings>,
    /// How many calls failed; clones count together.
    pub failures: Arc<Failures>,
    /// The management API.
    account: Arc<Host>,
    /// The batch host.
    batch: Arc<Host>,
    /// Where calls on images go: one of the two above.
    images: Arc<Host>,
    /// Takes direct uploads; knows no credentials.
    upload: Arc<Host>,
}

/// What a deletion found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It was there.
    Done,
    /// It was not.
    AlreadyGone,
}

impl Client {
    /// Fails with [`Error::Setup`] when a setting cannot be used; makes no connection.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let http = settings.http()?;
        let failures = Arc::new(Failures::default());
        let account = Arc::new(Host::account(&settings, &http, &failures)?);
        Ok(Self {
            batch: Arc::new(Host::batch(&settings, &http, account.clone(), &failures)),
            upload: Arc::new(Host::upload(&settings, &http, &failures)),
            failures,
            images: account.clone(),
            account,
            settings: Arc::new(settings),
        })
    }

    /// The same client with its image calls sent to the batch host, which has a rate of its own.
    ///
    /// The batch host serves `create`, `find`, `list`, `list_v1`, `edit`, `delete` and
    /// `direct_upload`; the rest still goes to the account's API. Its token is fetched when first
    /// needed, kept until it expires, and renewed when it is refused.
    pub fn batch(&self) -> Self {
        Self { images: self.batch.clone(), ..self.clone() }
    }

    /// Uploads an image (`POST v1`).
    ///
    /// Without an id of its own a repeated upload makes a second image: when the error is
    /// [ambiguous](Error::ambiguous), look for a stray (see [`MetaFilter`]) before trying again.
    pub async fn create(&self, image: NewImage<'_>, body: Body) -> Result<wire::Image, Error> {
        let call = Call::new(Method::POST, "/v1").content(body::image_form(&image, body)?);
        Ok(self.images.call(call).await?)
    }

    /// One image, draft or not (`GET v1/{id}`).
    pub async fn find(&self, id: &str) -> Result<Option<wire::Image>, Error> {
        optional(self.images.call(Call::new(Method::GET, image_path(id)?)).await.map_err(Error::from))
    }

    /// One page of images, newest first unless asked otherwise; no drafts (`GET v2`).
    pub async fn list(&self, query: &ListQuery) -> Result<wire::ImagePage, Error> {
        Ok(self.images.call(Call::new(Method::GET, "/v2").query(query.pairs()?)).await?)
    }

    /// One numbered page of images (`GET v1`, deprecated by Cloudflare).
    pub async fn list_v1(&self, query: &PageQuery) -> Result<wire::ImageList, Error> {
        Ok(self.images.call(Call::new(Method::GET, "/v1").query(query.pairs())).await?)
    }

    /// Changes what is known about an image (`PATCH v1/{id}`).
    ///
    /// A change of `require_signed_urls` gives the image a **new id**: store the one in the answer.
    pub async fn edit(&self, id: &str, edit: &wire::ImageEdit) -> Result<wire::Image, Error> {
        // After a change of access the old id is gone, and a repetition would report it missing.
        let repeat = if edit.require_signed_urls.is_some() { Repeat::Unseen } else { Repeat::Always };
        let call = Call::new(Method::PATCH, image_path(id)?).content(json(edit)?).repeat(repeat);
        Ok(self.images.call(call).await?)
    }

    /// Deletes an image or a draft, and its cached copies (`DELETE v1/{id}`).
    pub async fn delete(&self, id: &str) -> Result<Deleted, Error> {
        self.images.delete(image_path(id)?).await
    }

    /// The stored bytes, as they arrive (`GET v1/{id}/blob`).
    ///
    /// Large images may come back as a near-lossless copy of what was uploaded.
    pub async fn blob(&self, id: &str) -> Result<Blob, Error> {
        let path = format!("{}/blob", image_path(id)?);
        self.account.open(Call::new(Method::GET, path).accept("image/*, application/json;q=0.5")).await
    }

    /// Opens a place for one upload without credentials (`POST v2/direct_upload`).
    pub async fn direct_upload(&self, new: &NewDirectUpload<'_>) -> Result<wire::DirectUpload, Error> {
        let call = Call::new(Method::POST, "/v2/direct_upload").content(body::direct_upload_form(new)?);
        Ok(self.images.call(call).await?)
    }

    /// As [`Client::direct_upload`] in its first version, as JSON (`POST v1/direct_upload`, retired by Cloudflare).
    ///
    /// The only description of it that has more fields than `expiry` has no `creator`; one that is given is sent.
    pub async fn direct_upload_v1(&self, new: &NewDirectUpload<'_>) -> Result<wire::DirectUpload, Error> {
        let call = Call::new(Method::POST, "/v1/direct_upload").content(body::direct_upload_json(new)?);
        Ok(self.account.call(call).await?)
    }

    /// Sends bytes to the one-time URL of a direct upload, without credentials.
    ///
    /// Refuses a URL outside [`Settings::upload`] with [`Error::Invalid`].
    pub async fn upload(&self, upload_url: &str, upload: Upload) -> Result<wire::Image, Error> {
        let path = self
            .upload
            .path_below(upload_url)
            .ok_or_else(|| Error::Invalid(Said::ours("the upload URL does not belong to the upload host")))?;
        let call = Call::new(Method::POST, path).content(body::upload_form(upload)?);
        Ok(self.upload.call(call).await?)
    }
}

/// Signing keys, statistics, settings.
impl Client {
    /// All signing keys (`GET v1/keys`).
    pub async fn keys(&self) -> Result<wire::KeyList, Error> {
        Ok(self.account.call(Call::new(Method::GET, "/v1/keys")).await?)
    }

    /// Makes a signing key, or gives an existing one a new value; answers all keys (`PUT v1/keys/{name}`).
    pub async fn put_key(&self, name: &str) -> Result<wire::KeyList, Error> {
        // A repetition would rotate the key once more, under whoever has read it in between.
        let call = Call::new(Method::PUT, key_path(name)?).content(Content::Empty);
        Ok(self.account.call(call).await?)
    }

    /// Deletes a signing key; answers the keys left, among them a new one if it was the last
    /// (`DELETE v1/keys/{name}`).
    pub async fn delete_key(&self, name: &str) -> Result<wire::KeyList, Error> {
        // A repetition could delete the key that replaced the last one under the same name.
        let call = Call::new(Method::DELETE, key_path(name)?).repeat(Repeat::Unseen);
        Ok(self.account.call(call).await?)
    }

    /// Images stored and allowed (`GET v1/stats`).
    pub async fn stats(&self) -> Result<wire::Stats, Error> {
        Ok(self.account.call(Call::new(Method::GET, "/v1/stats")).await?)
    }

    /// The account's switches (`GET v1/config`; undocumented, Cloudflare may refuse it).
    pub async fn config(&self) -> Result<wire::AccountConfig, Error> {
        Ok(self.account.call(Call::new(Method::GET, "/v1/config")).await?)
    }

    /// Sets the switches that are present; answers all of them (`PATCH v1/config`).
    pub async fn edit_config(&self, edit: &wire::AccountConfig) -> Result<wire::AccountConfig, Error> {
        let call = Call::new(Method::PATCH, "/v1/config").content(json(edit)?).repeat(Repeat::Always);
        Ok(self.account.call(call).await?)
    }

    /// A fresh token for the batch host (`GET v1/batch_token`); [`Client::batch`] sees to its own.
    pub async fn batch_token(&self) -> Result<wire::BatchToken, Error> {
        self.account.batch_token().await
    }
}

/// Named variants.
impl Client {
    /// All variants by id (`GET v1/variants`).
    pub async fn variants(&self) -> Result<wire::VariantList, Error> {
        Ok(self.account.call(Call::new(Method::GET, "/v1/variants")).await?)
    }

    /// One variant (`GET v1/variants/{id}`).
    pub async fn find_variant(&self, id: &str) -> Result<Option<wire::Variant>, Error> {
        let answer = self.account.call(Call::new(Method::GET, variant_path(id)?)).await;
        Ok(optional(answer.map_err(Error::from))?.map(|wire::VariantResult { variant }| variant))
    }

    /// Adds a variant (`POST v1/variants`); [`Error::Conflict`] when the id is taken.
    pub async fn create_variant(&self, variant: &wire::Variant) -> Result<wire::Variant, Error> {
        let call = Call::new(Method::POST, "/v1/variants").content(json(variant)?);
        Ok(self.account.call::<wire::VariantResult>(call).await?.variant)
    }

    /// Changes a variant (`PATCH v1/variants/{id}`); its cached copies are purged.
    pub async fn edit_variant(&self, id: &str, edit: &wire::VariantEdit) -> Result<wire::Variant, Error> {
        let call = Call::new(Method::PATCH, variant_path(id)?).content(json(edit)?).repeat(Repeat::Always);
        Ok(self.account.call::<wire::VariantResult>(call).await?.variant)
    }

    /// Deletes a variant and its cached copies (`DELETE v1/variants/{id}`).
    ///
    /// `public` cannot be deleted: Cloudflare says done and keeps it.
    pub async fn delete_variant(&self, id: &str) -> Result<Deleted, Error> {
        self.account.delete(variant_path(id)?).await
    }
}

/// "Not found" as an absence.
fn optional<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn image_path(id: &str) -> Result<String, Error> {
    Ok(format!("/v1/{}", segment(id)?))
}

fn key_path(name: &str) -> Result<String, Error> {
    Ok(format!("/v1/keys/{}", segment(name)?))
}

fn variant_path(id: &str) -> Result<String, Error> {
    Ok(format!("/v1/variants/{}", segment(id)?))
}

/// A name as one segment of a path, its slashes encoded too.
fn segment(name: &str) -> Result<PercentEncode<'_>, Error> {
    // No encoding keeps these from being taken for a parent folder or the list itself.
    if matches!(name, "" | "." | "..") {
        return Err(Error::Invalid(Said::ours("an id or name cannot be empty, `.` or `..`")));
    }
    Ok(utf8_percent_encode(name, signing::NAME))
}

fn json(value: &impl Serialize) -> Result<Content, Error> {
    let text = serde_json::to_vec(value).map_err(|error| Error::Invalid(Said::ours(error.to_string())))?;
    Ok(Content::Json(text.into()))
}
