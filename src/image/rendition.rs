//! Images ready to show: signed and sized delivery URLs. What the account must be asked for is asked once a minute, so
//! that a page of any length costs no call and no statement.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use url::Url;

use crate::app::App;
use crate::cloudflare::wire::Variant;
use crate::entity::image::{Format, Model};
use crate::error::{Code, Error, Result};
use crate::image::delivery::srcset::{self, Candidate, SrcSet};
use crate::image::delivery::transform::Transform;
use crate::image::delivery::{self, Rendition, Signer};
use crate::image::settle;

/// The variant that every account has and nobody can delete.
const PUBLIC: &str = "public";

/// What is asked for of one image's `srcset`.
#[derive(Debug, Clone)]
pub struct SrcSetRequest {
    pub widths: Vec<i32>,
    pub sizes: String,
    pub transform: Option<Transform>,
    /// Seconds a signed URL stays valid at least.
    pub expires_in: Option<i64>,
}

/// The URL of the `public` variant and, for a private image, when it stops working.
///
/// # Errors
/// `UPSTREAM_ERROR` for a private image while the account has never told its signing keys.
pub async fn url(app: &App, image: &Model) -> Result<(Url, Option<DateTime<Utc>>)> {
    let signer = signer(app, image.require_signed_urls, None).await?;
    Ok(delivery::url(&app.config.cloudflare_delivery_url, image, PUBLIC, signer.as_ref()))
}

/// One sized version of an image: of a named variant or of a transformation.
///
/// # Errors
/// `BAD_USER_INPUT` for both or neither, an unknown variant, an option out of range, and a transformation of a private
/// image; `FLEXIBLE_VARIANTS_DISABLED`; `UPSTREAM_ERROR` while the account does not tell what is needed.
pub async fn rendition(
    app: &App,
    image: &Model,
    variant: Option<&str>,
    transform: Option<&Transform>,
    expires_in: Option<i64>,
) -> Result<Rendition> {
    check_lifetime(expires_in)?;
    match (variant, transform) {
        (Some(name), None) => {
            let variants = variants(app).await?;
            let Some(variant) = variants.iter().find(|known| known.id == name) else {
                let known: Vec<_> = variants.iter().map(|known| known.id.as_str()).collect();
                let message = format!("There is no such variant; the account has {}.", known.join(", "));
                return Err(Error::invalid("variant", message));
            };
            of_variant(app, image, variant, expires_in).await
        }
        (None, Some(transform)) => {
            transform.check().map_err(|e| at_or_under("transform", e))?;
            require_flexible(app, image).await?;
            transform.check_output(image).map_err(|e| e.under("transform"))?;
            Ok(of_transform(app, image, transform))
        }
        (Some(_), Some(_)) => {
            Err(Error::invalid("transform", "Give `variant` or `transform`, not both of them."))
        }
        (None, None) => Err(Error::invalid("variant", "Give `variant` or `transform`.")),
    }
}

/// Every named variant of an image, by name.
///
/// # Errors
/// As [`rendition`].
pub async fn renditions(app: &App, image: &Model, expires_in: Option<i64>) -> Result<Vec<Rendition>> {
    check_lifetime(expires_in)?;
    let mut renditions = Vec::new();
    for variant in variants(app).await?.iter() {
        renditions.push(of_variant(app, image, variant, expires_in).await?);
    }
    Ok(renditions)
}

/// All that an `<img>` needs. Where transformations by URL are not to be had - for private images, and while the account
/// has them switched off - the candidates are the named variants that show the whole image.
///
/// # Errors
/// `BAD_USER_INPUT`; with a transformation also what [`rendition`] refuses; `UPSTREAM_ERROR`.
pub async fn src_set(app: &App, image: &Model, request: &SrcSetRequest) -> Result<SrcSet> {
    check_lifetime(request.expires_in)?;
    srcset::check_widths(&request.widths)?;
    srcset::check_sizes(&request.sizes)?;
    let base = request.transform.clone().unwrap_or_default();
    let transforms = srcset::transforms(&request.widths, &base, image)?;
    if request.transform.is_some() {
        require_flexible(app, image).await?;
    }
    // A vector image fits every width as it is.
    let sizable = image.format != Format::Svg && image.width.is_some();
    let candidates = match sizable && !image.require_signed_urls && flexible_variants(app).await? {
        true => transformed(app, image, &transforms)?,
        false if sizable => named(app, image, request).await?,
        false => vec![public(app, image, request.expires_in).await?],
    };
    srcset::assemble(candidates, &request.sizes)
        .ok_or_else(|| Error::fault("making a srcset", "there is no candidate"))
}

/// The account's named variants, by name.
///
/// # Errors
/// `UPSTREAM_ERROR` while the account has never told them.
pub async fn variants(app: &App) -> Result<Arc<Vec<Variant>>> {
    let account = app.cloudflare.clone();
    let fetch = async move {
        let list = account.variants().await.map_err(|problem| settle::refusal(&problem))?;
        Ok(list.variants.into_values().collect())
    };
    app.variants.get(fetch).await
}

/// Whether the account delivers transformations by URL options.
///
/// # Errors
/// `UPSTREAM_ERROR` while the account has never told.
pub async fn flexible_variants(app: &App) -> Result<bool> {
    if let Some(told) = app.config.cloudflare_flexible_variants.filter(|_| !app.config.emulated()) {
        return Ok(told);
    }
    let account = app.cloudflare.clone();
    let fetch = async move {
        match account.config().await {
            Ok(config) => Ok(config.flexible_variants.unwrap_or(false)),
            Err(problem) if problem.is_transient() => Err(settle::refusal(&problem)),
            // Reading the switch is undocumented. Off is the safe side: no URL that would be refused.
            Err(_) => Ok(false),
        }
    };
    app.flexible_variants.get(fetch).await.map(|on| *on)
}

async fn require_flexible(app: &App, image: &Model) -> Result<()> {
    if image.require_signed_urls {
        let message = "Cloudflare Images delivers private images in named variants only. Give `variant`, or leave the \
                       transformation out of a srcset.";
        return Err(Error::invalid("transform", message));
    }
    if flexible_variants(app).await? {
        return Ok(());
    }
    let message = "The account does not deliver transformations by URL. Give `variant`, or have an admin switch \
                   `flexibleVariants` on with `updateCloudflareAccount`.";
    Err(Error::refuse(Code::FlexibleVariantsDisabled, message).at("transform"))
}

fn of_transform(app: &App, image: &Model, transform: &Transform) -> Rendition {
    // Cloudflare leaves drawings as they are, and refuses to turn them into another format.
    let (variant, last) = match image.format {
        Format::Svg => (Some(PUBLIC.to_owned()), PUBLIC.to_owned()),
        _ => (None, transform.options(image)),
    };
    let (url, expires_at) = delivery::url(&app.config.cloudflare_delivery_url, image, &last, None);
    Rendition { variant, url, size: transform.rendered_size(image), expires_at }
}

async fn of_variant(
    app: &App,
    image: &Model,
    variant: &Variant,
    expires_in: Option<i64>,
) -> Result<Rendition> {
    let signed = image.require_signed_urls && !variant.never_require_signed_urls;
    let signer = signer(app, signed, expires_in).await?;
    let delivery = &app.config.cloudflare_delivery_url;
    let (url, expires_at) = delivery::url(delivery, image, &variant.id, signer.as_ref());
    let size = delivery::rendered_size(image, &variant.options);
    Ok(Rendition { variant: Some(variant.id.clone()), url, size, expires_at })
}

fn transformed(app: &App, image: &Model, transforms: &[Transform]) -> Result<Vec<Candidate>> {
    let candidates = transforms.iter().map(|transform| {
        transform.check_output(image).map_err(|e| e.under("transform"))?;
        let width = delivery::source(image).map(|whole| transform.fitted(whole).0);
        Ok((width, of_transform(app, image, transform)))
    });
    candidates.collect()
}

async fn named(app: &App, image: &Model, request: &SrcSetRequest) -> Result<Vec<Candidate>> {
    let variants = variants(app).await?;
    let mut candidates = Vec::new();
    for (width, variant) in srcset::named(&request.widths, &variants, image) {
        candidates.push((Some(width), of_variant(app, image, variant, request.expires_in).await?));
    }
    if candidates.is_empty() {
        candidates.push(public(app, image, request.expires_in).await?);
    }
    Ok(candidates)
}

/// The variant that every account has, whatever it makes of the image.
async fn public(app: &App, image: &Model, expires_in: Option<i64>) -> Result<Candidate> {
    let rendition = rendition(app, image, Some(PUBLIC), None, expires_in).await?;
    Ok((rendition.size.map(|(width, _)| width), rendition))
}

fn check_lifetime(expires_in: Option<i64>) -> Result<()> {
    if expires_in.is_none_or(|seconds| (60..=604_800).contains(&seconds)) {
        return Ok(());
    }
    Err(Error::invalid("expiresIn", "A signed URL stays valid for 60 to 604800 seconds."))
}

/// Names the option, or the transformation as a whole.
fn at_or_under(field: &str, problem: Error) -> Error {
    match problem.public().field {
        Some(_) => problem.under(field),
        None => problem.at(field),
    }
}

async fn signer(app: &App, signed: bool, expires_in: Option<i64>) -> Result<Option<Signer>> {
    if !signed {
        return Ok(None);
    }
    let account = app.cloudflare.clone();
    let fetch = async move {
        account.keys().await.map(|list| list.keys).map_err(|problem| settle::refusal(&problem))
    };
    let keys = app.keys.get(fetch).await?;
    let key = keys.iter().find(|key| key.name == "default").or(keys.first()).cloned();
    let key = key.ok_or_else(|| Error::fault("signing a URL", "the account has no signing key"))?;
    let ttl =
        expires_in.map_or(app.config.signed_url_ttl, |seconds| Duration::from_secs(seconds.unsigned_abs()));
    Ok(Some(Signer { key, ttl, now: app.clock.now() }))
}
