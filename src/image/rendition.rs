//! Images ready to show: signed and sized delivery URLs. What the account must be asked for is asked once a minute, so
//! that a page of any length costs no call and no statement.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use url::Url;

use crate::app::App;
use crate::delivery::srcset::{self, Candidate, SrcSet};
use crate::delivery::transform::Transform;
use crate::delivery::{self, Rendition, Signer};
use crate::entity::image::{Format, Model};
use crate::entity::workspace::ExifPolicy;
use crate::error::{Code, Error, Result};
use crate::provision::refusal;
use crate::provision::settings::METADATA_FIELD;
use cloudflare_images::wire::{self, Metadata, Variant};

/// The variant that every account has and nobody can delete.
const PUBLIC: &str = "public";

/// What is asked for of one image's rendition: a named variant or a transformation.
#[derive(Debug, Clone)]
pub struct RenditionRequest {
    pub variant: Option<String>,
    pub transform: Option<Transform>,
    /// Seconds a signed URL stays valid at least.
    pub expires_in: Option<i64>,
}

/// What is asked for of one image's `srcset`.
#[derive(Debug, Clone)]
pub struct SrcSetRequest {
    pub widths: Vec<i32>,
    pub sizes: String,
    pub transform: Option<Transform>,
    /// Seconds a signed URL stays valid at least.
    pub expires_in: Option<i64>,
}

/// The URL of the `public` variant and, for a private image, when it stops working. Where that variant keeps metadata
/// that the workspace's policy does not let out, the URL is that of what comes nearest.
///
/// # Errors
/// `UPSTREAM_ERROR` for a private image while the account has never told its signing keys, and when there is nothing to
/// stand in for a variant that keeps metadata.
pub async fn url(
    app: &App,
    image: &Model,
    policy: impl Future<Output = ExifPolicy>,
) -> Result<(Url, Option<DateTime<Utc>>)> {
    let mut lets_out = LetsOut::new(image, policy);
    // While the account has never told its variants, `public` counts as Cloudflare makes it, which delivers no metadata: a
    // gallery does not go blank because the account's API is down.
    let variants = variants(app).await.ok();
    let public = variants.iter().flat_map(|known| known.iter()).find(|known| known.id == PUBLIC);
    if let Some(public) = public.filter(|public| delivery::keeps_metadata(public))
        && !lets_out.everything().await
    {
        let made = without_metadata(app, image, public, None, &mut lets_out).await?;
        return made.map(|made| (made.url, made.expires_at)).ok_or_else(all_keep_metadata);
    }
    let signer = signer(app, image.require_signed_urls, None).await?;
    Ok(delivery::url(&app.config.cloudflare_delivery_url, image, PUBLIC, signer.as_ref()))
}

/// One sized version of an image: of a named variant or of a transformation. Where this very one cannot be had of this
/// image, it is the named variant that comes nearest, and says so; `None` when nothing does.
///
/// # Errors
/// `BAD_USER_INPUT` for both or neither, an unknown variant, and an option out of range; `UPSTREAM_ERROR` while the
/// account does not tell what is needed.
pub async fn rendition(
    app: &App,
    image: &Model,
    request: &RenditionRequest,
    policy: impl Future<Output = ExifPolicy>,
) -> Result<Option<Rendition>> {
    check_lifetime(request.expires_in)?;
    let mut lets_out = LetsOut::new(image, policy);
    match (&request.variant, &request.transform) {
        (Some(name), None) => {
            let variants = variants(app).await?;
            let Some(variant) = variants.iter().find(|known| known.id == *name) else {
                let known: Vec<_> = variants.iter().map(|known| known.id.as_str()).collect();
                let message = format!("There is no such variant; the account has {}.", known.join(", "));
                return Err(Error::invalid("variant", message));
            };
            if delivery::keeps_metadata(variant) && !lets_out.everything().await {
                return without_metadata(app, image, variant, request.expires_in, &mut lets_out).await;
            }
            of_variant(app, image, variant, request.expires_in).await.map(Some)
        }
        (None, Some(transform)) => {
            transform.check().map_err(|e| at_or_under("transform", e))?;
            let requested = lets_out.clamped(transform).await;
            let made = nearest_to(app, image, &requested, request.expires_in, &mut lets_out).await?;
            let same = requested == *transform;
            Ok(made.map(|made| Rendition { exact: made.exact && same, ..made }))
        }
        (Some(_), Some(_)) => {
            Err(Error::invalid("transform", "Give `variant` or `transform`, not both of them."))
        }
        (None, None) => Err(Error::invalid("variant", "Give `variant` or `transform`.")),
    }
}

/// Every named variant of an image, by name, less those that keep metadata which the workspace's policy does not let out.
///
/// # Errors
/// As [`rendition`].
pub async fn renditions(
    app: &App,
    image: &Model,
    expires_in: Option<i64>,
    policy: impl Future<Output = ExifPolicy>,
) -> Result<Vec<Rendition>> {
    check_lifetime(expires_in)?;
    let variants = variants(app).await?;
    let mut renditions = Vec::new();
    for variant in LetsOut::new(image, policy).of(&variants).await {
        renditions.push(of_variant(app, image, variant, expires_in).await?);
    }
    Ok(renditions)
}

/// All that an `<img>` needs. Where transformations by URL are not to be had - for private images, and while the account
/// has them switched off - the candidates are the named variants that show the whole image. `None` when there is none,
/// or none may stand in for the transformation that is wanted of each.
///
/// # Errors
/// `BAD_USER_INPUT`, `UPSTREAM_ERROR`.
pub async fn src_set(
    app: &App,
    image: &Model,
    request: &SrcSetRequest,
    policy: impl Future<Output = ExifPolicy>,
) -> Result<Option<SrcSet>> {
    check_lifetime(request.expires_in)?;
    srcset::check_widths(&request.widths)?;
    srcset::check_sizes(&request.sizes)?;
    let mut lets_out = LetsOut::new(image, policy);
    let asked = request.transform.clone().unwrap_or_default();
    let requested = lets_out.clamped(&asked).await;
    let transforms = srcset::transforms(&request.widths, &requested, image)?;
    // A vector image fits every width as it is.
    let sizable = image.format != Format::Svg && image.width.is_some();
    let mut candidates = match sizable && !transforms.is_empty() && is_transformed(app, image).await? {
        true => transformed(app, image, &transforms),
        false if sizable && requested.changes_picture() => return Ok(None),
        false => named(app, image, request, &mut lets_out).await?,
    };
    for (_, candidate) in &mut candidates {
        let stands_in = request.transform.is_some() && candidate.variant.is_some();
        candidate.exact = !stands_in && requested == asked;
    }
    Ok(srcset::assemble(candidates, &request.sizes))
}

/// The delivery URLs that the account tells of an image, less those of variants that keep metadata which the policy of
/// its workspace does not let out. `policy` answers `None` for what is no image of ours.
pub async fn account_urls(
    app: &App,
    image: &wire::Image,
    policy: impl Future<Output = Option<ExifPolicy>>,
) -> Vec<Url> {
    let urls = image.variants.iter().filter_map(|url| Url::parse(url).ok());
    let Ok(variants) = variants(app).await.inspect_err(Error::log) else { return Vec::new() };
    if !variants.iter().any(delivery::keeps_metadata) {
        return urls.collect();
    }
    // One that carries our id and is none of ours any more is on its way out.
    let marked = image.meta.as_ref().is_some_and(|meta| meta.contains_key(METADATA_FIELD));
    if policy.await.map_or(!marked, |policy| policy == ExifPolicy::KeepAll) {
        return urls.collect();
    }
    let keeps = |url: &Url| {
        let name = url.path_segments().and_then(|mut path| path.next_back()).unwrap_or_default();
        variants.iter().find(|known| known.id == name).is_none_or(delivery::keeps_metadata)
    };
    urls.filter(|url| !keeps(url)).collect()
}

/// The account's named variants, by name.
///
/// # Errors
/// `UPSTREAM_ERROR` while the account has never told them.
pub async fn variants(app: &App) -> Result<Arc<Vec<Variant>>> {
    let account = app.cloudflare.clone();
    let fetch = async move {
        let list = account.variants().await.map_err(|problem| refusal::from_account_error(&problem))?;
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
            Err(problem) if problem.is_transient() => Err(refusal::from_account_error(&problem)),
            // Reading the switch is undocumented. Off is the safe side: no URL that would be refused.
            Err(_) => Ok(false),
        }
    };
    app.flexible_variants.get(fetch).await.map(|on| *on)
}

/// What the workspace's policy lets out of an image's metadata, looked up when it matters: for most pages it does not.
struct LetsOut<F> {
    policy: Option<F>,
    everything: bool,
}

impl<F: Future<Output = ExifPolicy>> LetsOut<F> {
    /// A drawing has no EXIF, whatever a variant keeps.
    fn new(image: &Model, policy: F) -> Self {
        let drawing = image.format == Format::Svg;
        LetsOut { policy: (!drawing).then_some(policy), everything: drawing }
    }

    async fn everything(&mut self) -> bool {
        if let Some(policy) = self.policy.take() {
            self.everything = policy.await == ExifPolicy::KeepAll;
        }
        self.everything
    }

    /// Those of the variants whose URLs may be handed out.
    async fn of<'a>(&mut self, variants: &'a [Variant]) -> Vec<&'a Variant> {
        let all = !variants.iter().any(delivery::keeps_metadata) || self.everything().await;
        variants.iter().filter(|variant| all || !delivery::keeps_metadata(variant)).collect()
    }

    /// A transformation with as much metadata as may be handed out: the copyright notice at most.
    async fn clamped(&mut self, transform: &Transform) -> Transform {
        let mut clamped = transform.clone();
        if transform.metadata == Some(Metadata::Keep) && !self.everything().await {
            clamped.metadata = Some(Metadata::Copyright);
        }
        clamped
    }
}

/// Whether transformations of this image are delivered.
async fn is_transformed(app: &App, image: &Model) -> Result<bool> {
    Ok(!image.require_signed_urls && flexible_variants(app).await?)
}

/// What a variant shows, with less metadata.
async fn without_metadata<F: Future<Output = ExifPolicy>>(
    app: &App,
    image: &Model,
    variant: &Variant,
    expires_in: Option<i64>,
    lets_out: &mut LetsOut<F>,
) -> Result<Option<Rendition>> {
    let requested = match Transform::of_variant(&variant.options) {
        Some(requested) if requested.check().is_ok() => requested,
        _ => return stand_in(app, image, &Transform::default(), expires_in, lets_out).await,
    };
    let made = nearest_to(app, image, &requested, expires_in, lets_out).await?;
    Ok(made.map(|made| Rendition { exact: false, ..made }))
}

/// A transformation, or the variant that stands in for it.
async fn nearest_to<F: Future<Output = ExifPolicy>>(
    app: &App,
    image: &Model,
    requested: &Transform,
    expires_in: Option<i64>,
    lets_out: &mut LetsOut<F>,
) -> Result<Option<Rendition>> {
    if requested.is_deliverable(image) && is_transformed(app, image).await? {
        return Ok(Some(of_transform(app, image, requested)));
    }
    stand_in(app, image, requested, expires_in, lets_out).await
}

/// The named variant that comes nearest to a transformation that cannot be had; `None` if none shows the whole image, or
/// the transformation would show something else.
async fn stand_in<F: Future<Output = ExifPolicy>>(
    app: &App,
    image: &Model,
    requested: &Transform,
    expires_in: Option<i64>,
    lets_out: &mut LetsOut<F>,
) -> Result<Option<Rendition>> {
    let variants = variants(app).await?;
    let offered = lets_out.of(&variants).await;
    let variant = match delivery::source(image).filter(|_| image.format != Format::Svg) {
        Some(_) if requested.changes_picture() => None,
        Some(whole) => srcset::nearest(requested.fitted(whole), &offered, image),
        None => unsized_variant(&offered),
    };
    let Some(variant) = variant else { return Ok(None) };
    let made = of_variant(app, image, variant, expires_in).await?;
    Ok(Some(Rendition { exact: false, ..made }))
}

/// For an image of unknown size: the variant that every account has, whatever it makes of the image.
fn unsized_variant<'a>(offered: &[&'a Variant]) -> Option<&'a Variant> {
    offered.iter().find(|known| known.id == PUBLIC).or(offered.first()).copied()
}

fn of_transform(app: &App, image: &Model, transform: &Transform) -> Rendition {
    // Cloudflare leaves drawings as they are, and refuses to turn them into another format.
    let (variant, last) = match image.format {
        Format::Svg => (Some(PUBLIC.to_owned()), PUBLIC.to_owned()),
        _ => (None, transform.options(image)),
    };
    let (url, expires_at) = delivery::url(&app.config.cloudflare_delivery_url, image, &last, None);
    let exact = variant.is_none();
    Rendition { variant, url, size: transform.rendered_size(image), expires_at, exact }
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
    Ok(Rendition { variant: Some(variant.id.clone()), url, size, expires_at, exact: true })
}

fn transformed(app: &App, image: &Model, transforms: &[Transform]) -> Vec<Candidate> {
    let candidates = transforms.iter().map(|transform| {
        let width = delivery::source(image).map(|whole| transform.fitted(whole).0);
        (width, of_transform(app, image, transform))
    });
    candidates.collect()
}

async fn named<F: Future<Output = ExifPolicy>>(
    app: &App,
    image: &Model,
    request: &SrcSetRequest,
    lets_out: &mut LetsOut<F>,
) -> Result<Vec<Candidate>> {
    let variants = variants(app).await?;
    let offered = lets_out.of(&variants).await;
    let mut candidates = Vec::new();
    if image.format != Format::Svg {
        for (width, variant) in srcset::named(&request.widths, &offered, image) {
            candidates.push((Some(width), of_variant(app, image, variant, request.expires_in).await?));
        }
    }
    if candidates.is_empty()
        && let Some(variant) = unsized_variant(&offered)
    {
        let rendition = of_variant(app, image, variant, request.expires_in).await?;
        candidates.push((rendition.size.map(|(width, _)| width), rendition));
    }
    Ok(candidates)
}

fn all_keep_metadata() -> Error {
    let message = "Every variant of the account that shows the whole image keeps metadata, which the workspace's EXIF \
                   policy does not let out. Have an admin set `metadata` of `public` to `STRIP` with `updateVariant`.";
    Error::refuse(Code::UpstreamError, message)
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
        account.keys().await.map(|list| list.keys).map_err(|problem| refusal::from_account_error(&problem))
    };
    let keys = app.keys.get(fetch).await?;
    let key = keys.iter().find(|key| key.name == "default").or(keys.first()).cloned();
    let key = key.ok_or_else(|| Error::fault("signing a URL", "the account has no signing key"))?;
    let ttl =
        expires_in.map_or(app.config.signed_url_ttl, |seconds| Duration::from_secs(seconds.unsigned_abs()));
    Ok(Some(Signer { key, ttl, now: app.clock.now() }))
}
