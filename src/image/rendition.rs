//! Renditions of images: delivery URLs of variants and transformations, with their sizes and signatures. The account's variants,
//! signing keys and settings are cached for a minute, so a page of images needs neither a call to Cloudflare nor a statement.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use url::Url;

use crate::app::App;
use crate::delivery::srcset::{self, Candidate, SrcSet};
use crate::delivery::transform::Transform;
use crate::delivery::{self, Rendition, Signer};
use crate::entity::image::{Column, Format, Model};
use crate::entity::workspace::{self, ExifPolicy};
use crate::error::{Code, Error, Result};
use crate::id::WorkspaceId;
use crate::provision::refusal;
use crate::provision::settings::METADATA_FIELD;
use cloudflare_images::signing::{DeliveryUrls, SigningKey};
use cloudflare_images::wire::{self, Metadata, Variant};

/// The variant that every account has; it cannot be deleted.
const PUBLIC: &str = "public";

/// Arguments of a rendition: a named variant or a transformation.
#[derive(Debug, Clone)]
pub struct RenditionRequest {
    pub variant: Option<String>,
    pub transform: Option<Transform>,
    /// Minimum validity of a signed URL in seconds.
    pub expires_in: Option<i64>,
}

/// Arguments of a `srcset`.
#[derive(Debug, Clone)]
pub struct SrcSetRequest {
    pub widths: Vec<i32>,
    pub sizes: String,
    pub transform: Option<Transform>,
    /// Minimum validity of a signed URL in seconds.
    pub expires_in: Option<i64>,
}

/// What the renditions of a page of images depend on besides the images: fetched once, so that each of them is computed without
/// waiting.
pub struct DeliveryFacts {
    urls: DeliveryUrls,
    now: DateTime<Utc>,
    signed_url_ttl: Duration,
    variants: Result<Arc<Vec<Variant>>, Arc<Error>>,
    /// Whether transformations by URL are on; not fetched unless needed.
    flexible: Result<bool, Arc<Error>>,
    /// `None` unless an image requires signed URLs.
    signing_key: Option<Result<SigningKey, Arc<Error>>>,
    /// The workspaces whose URLs may deliver all metadata.
    keeping_all: HashSet<WorkspaceId>,
}

/// Which renditions are needed.
#[derive(Debug, Clone, Copy)]
pub enum Renditions<'a> {
    /// The URL of the `public` variant.
    Public,
    /// One of these.
    Requested(&'a RenditionRequest),
    /// Those of all variants.
    AllVariants,
    /// Those of a `srcset`.
    SrcSet(&'a SrcSetRequest),
}

impl Renditions<'_> {
    /// Whether a transformation may be among them by itself.
    fn transforms(self) -> bool {
        match self {
            Renditions::Public | Renditions::AllVariants => false,
            Renditions::Requested(request) => request.transform.is_some(),
            Renditions::SrcSet(_) => true,
        }
    }

    /// Whether what they deliver may keep metadata that a workspace's policy does not allow.
    fn may_keep_metadata(self, variants: &[Variant]) -> bool {
        let keeps =
            |name: &str| variants.iter().any(|known| known.id == name && delivery::keeps_metadata(known));
        let asked = |transform: Option<&Transform>| {
            transform.is_some_and(|transform| transform.metadata == Some(Metadata::Keep))
        };
        match self {
            Renditions::Public => keeps(PUBLIC),
            Renditions::Requested(RenditionRequest { variant: Some(name), .. }) => keeps(name),
            Renditions::Requested(request) => {
                asked(request.transform.as_ref()) || variants.iter().any(delivery::keeps_metadata)
            }
            Renditions::AllVariants => variants.iter().any(delivery::keeps_metadata),
            Renditions::SrcSet(request) => {
                asked(request.transform.as_ref()) || variants.iter().any(delivery::keeps_metadata)
            }
        }
    }
}

impl DeliveryFacts {
    /// The columns of an image that its renditions depend on.
    pub const COLUMNS: [Column; 9] = [
        Column::WorkspaceId,
        Column::Format,
        Column::RequireSignedUrls,
        Column::CfImageId,
        Column::AccountHash,
        Column::Width,
        Column::Height,
        Column::FocalX,
        Column::FocalY,
    ];

    /// The columns that the URL of an image depends on, unless it [`replaces_public`](DeliveryFacts::replaces_public).
    pub const URL_COLUMNS: [Column; 5] =
        [Column::Id, Column::WorkspaceId, Column::RequireSignedUrls, Column::CfImageId, Column::AccountHash];

    /// Fetches what these renditions of some images need. What cannot be fetched fails each rendition that depends on it.
    /// `keeping_all` finds those of some workspaces whose policy keeps all metadata; it is called only if that matters.
    pub async fn fetch<F>(
        app: &App,
        images: &[&Model],
        renditions: Renditions<'_>,
        keeping_all: impl FnOnce(HashSet<WorkspaceId>) -> F,
    ) -> DeliveryFacts
    where
        F: Future<Output = HashSet<WorkspaceId>>,
    {
        let variants = variants(app).await.map_err(Arc::new);
        let known = variants.as_ref().map_or(&[][..], |known| known.as_slice());
        let may_keep_metadata = renditions.may_keep_metadata(known);
        // A variant that may not be delivered is replaced by a transformation.
        let flexible = match may_keep_metadata || renditions.transforms() {
            true => flexible_variants(app).await.map_err(Arc::new),
            false => Ok(false),
        };
        let signing_key = match images.iter().any(|image| image.require_signed_urls) {
            true => Some(signing_key(app).await.map_err(Arc::new)),
            false => None,
        };
        let of_images = images.iter().filter(|image| may_keep_metadata && image.format != Format::Svg);
        let workspaces: HashSet<_> = of_images.map(|image| image.workspace_id).collect();
        let keeping_all = if workspaces.is_empty() { workspaces } else { keeping_all(workspaces).await };
        DeliveryFacts {
            urls: DeliveryUrls::new(&app.config.cloudflare_delivery_url),
            now: app.clock.now(),
            signed_url_ttl: app.config.signed_url_ttl,
            variants,
            flexible,
            signing_key,
            keeping_all,
        }
    }

    /// The URL of the `public` variant and, for a private image, when it expires. If that variant keeps metadata that the
    /// workspace's policy does not allow, the URL is that of a fallback.
    ///
    /// # Errors
    /// `UPSTREAM_ERROR` for a private image while the account's signing keys are unknown, and if there is no fallback for a
    /// variant that keeps metadata.
    pub fn url(&self, image: &Model) -> Result<(String, Option<DateTime<Utc>>)> {
        let renderer = Renderer { facts: self, image, expires_in: None };
        if let Some(public) = self.public_keeping_metadata()
            && !renderer.allows_all_metadata()
        {
            let fallback = renderer.variant_without_metadata(public)?;
            return fallback
                .map(|rendition| (rendition.url, rendition.expires_at))
                .ok_or_else(all_variants_keep_metadata);
        }
        let signer = renderer.signer(image.require_signed_urls)?;
        Ok(delivery::url(&self.urls, image, PUBLIC, signer.as_ref()))
    }

    /// Whether the URL of an image may be that of a fallback, because the `public` variant keeps metadata. It depends on all of
    /// [`COLUMNS`](DeliveryFacts::COLUMNS) then.
    pub fn replaces_public(&self, image: &Model) -> bool {
        self.public_keeping_metadata().is_some() && !self.keeping_all.contains(&image.workspace_id)
    }

    /// The `public` variant, if it keeps metadata. If the account's variants are unknown, it is assumed to be as Cloudflare creates
    /// it, which delivers none. So images stay visible while the account's API is down.
    fn public_keeping_metadata(&self) -> Option<&Variant> {
        let variants = self.variants.as_ref().map_or(&[][..], |known| known.as_slice());
        variants.iter().find(|known| known.id == PUBLIC).filter(|public| delivery::keeps_metadata(public))
    }

    /// A rendition of an image: a named variant or a transformation. If it cannot be delivered for this image, the result is
    /// the nearest named variant, with `exact` false; `None` if no variant is suitable.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` for both or neither, for an unknown variant, and for an option out of range; `UPSTREAM_ERROR` while
    /// variants or signing keys of the account are unknown.
    pub fn rendition(&self, image: &Model, request: &RenditionRequest) -> Result<Option<Rendition>> {
        check_expires_in(request.expires_in)?;
        let renderer = Renderer { facts: self, image, expires_in: request.expires_in };
        match (&request.variant, &request.transform) {
            (Some(name), None) => renderer.named_variant(name),
            (None, Some(transform)) => {
                transform.check().map_err(|e| at_or_under("transform", e))?;
                let allowed = renderer.restrict(transform);
                let rendition = renderer.transform_or_fallback(&allowed)?;
                let is_allowed = allowed == *transform;
                Ok(rendition.map(|rendition| Rendition { exact: rendition.exact && is_allowed, ..rendition }))
            }
            (Some(_), Some(_)) => {
                Err(Error::invalid("transform", "Give `variant` or `transform`, not both."))
            }
            (None, None) => Err(Error::invalid("variant", "Give `variant` or `transform`.")),
        }
    }

    /// The renditions of all named variants, by name, without those that keep metadata that the workspace's policy does not
    /// allow.
    ///
    /// # Errors
    /// As [`DeliveryFacts::rendition`].
    pub fn renditions(&self, image: &Model, expires_in: Option<i64>) -> Result<Vec<Rendition>> {
        check_expires_in(expires_in)?;
        let renderer = Renderer { facts: self, image, expires_in };
        renderer.allowed_variants()?.into_iter().map(|variant| renderer.variant(variant)).collect()
    }

    /// The attributes of a responsive `<img>`. If transformations cannot be delivered, because the image is private or the
    /// account has them disabled, the candidates are named variants that show the whole image. `None` if there are none, or if
    /// they are no fallback for the requested transformation.
    ///
    /// # Errors
    /// `BAD_USER_INPUT`, `UPSTREAM_ERROR`.
    pub fn src_set(&self, image: &Model, request: &SrcSetRequest) -> Result<Option<SrcSet>> {
        check_expires_in(request.expires_in)?;
        srcset::check_widths(&request.widths)?;
        srcset::check_sizes(&request.sizes)?;
        let renderer = Renderer { facts: self, image, expires_in: request.expires_in };
        let requested = request.transform.clone().unwrap_or_default();
        let allowed = renderer.restrict(&requested);
        let transforms = match image.require_signed_urls {
            // No transformation can be delivered.
            true => srcset::check_base(&allowed).map(|_| Vec::new())?,
            false => srcset::transforms_for_widths(&request.widths, &allowed, image)?,
        };
        // An SVG is delivered unchanged, whatever the width.
        let is_resizable = image.format != Format::Svg && image.width.is_some();
        let mut candidates = match is_resizable && !transforms.is_empty() && renderer.can_transform()? {
            true => renderer.transform_candidates(&transforms),
            false if is_resizable && allowed.changes_content() => return Ok(None),
            false => renderer.variant_candidates(&request.widths)?,
        };
        for (_, candidate) in &mut candidates {
            let is_fallback = request.transform.is_some() && candidate.variant.is_some();
            candidate.exact = !is_fallback && allowed == requested;
        }
        Ok(srcset::assemble(candidates, &request.sizes))
    }

    fn variants(&self) -> Result<&[Variant]> {
        self.variants.as_ref().map(|known| known.as_slice()).map_err(|error| error.duplicate())
    }
}

/// Those of some workspaces whose policy keeps all metadata, in one statement. If the policies cannot be read, none does.
pub async fn keeping_all(app: &App, workspaces: HashSet<WorkspaceId>) -> HashSet<WorkspaceId> {
    let policies = workspace::exif_policies(&app.db.read, workspaces).await.map_err(Error::from);
    let policies = policies.inspect_err(Error::log).unwrap_or_default();
    policies.into_iter().filter(|(_, policy)| *policy == ExifPolicy::KeepAll).map(|(id, _)| id).collect()
}

/// The delivery URLs in the account's record of an image, without those of variants that keep metadata that the workspace's
/// policy does not allow. `policy` returns `None` for an image that is not in the database.
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
    // An image with our id in its metadata that is not in the database is being deleted. Its policy is unknown.
    let was_ours = image.meta.as_ref().is_some_and(|meta| meta.contains_key(METADATA_FIELD));
    if policy.await.map_or(!was_ours, |policy| policy == ExifPolicy::KeepAll) {
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
/// `UPSTREAM_ERROR` while they are unknown because the account does not answer.
pub async fn variants(app: &App) -> Result<Arc<Vec<Variant>>> {
    let account = app.cloudflare.clone();
    let fetch = async move {
        let list = account.variants().await.map_err(|error| refusal::from_account_error(&error))?;
        Ok(list.variants.into_values().collect())
    };
    app.variants.get(fetch).await
}

/// Whether the account delivers transformations by URL options.
///
/// # Errors
/// `UPSTREAM_ERROR` while this is unknown because the account does not answer.
pub async fn flexible_variants(app: &App) -> Result<bool> {
    if let Some(configured) = app.config.cloudflare_flexible_variants.filter(|_| !app.config.emulated()) {
        return Ok(configured);
    }
    let account = app.cloudflare.clone();
    let fetch = async move {
        match account.config().await {
            Ok(config) => Ok(config.flexible_variants.unwrap_or(false)),
            Err(error) if error.is_transient() => Err(refusal::from_account_error(&error)),
            // The call that reads this setting is undocumented. Without it, transformations count as disabled, so that no URL
            // is returned that Cloudflare rejects.
            Err(_) => Ok(false),
        }
    };
    app.flexible_variants.get(fetch).await.map(|on| *on)
}

/// The account's key for signed URLs.
async fn signing_key(app: &App) -> Result<SigningKey> {
    let account = app.cloudflare.clone();
    let fetch = async move {
        account.keys().await.map(|list| list.keys).map_err(|error| refusal::from_account_error(&error))
    };
    let keys = app.keys.get(fetch).await?;
    let key = keys.iter().find(|key| key.name == "default").or(keys.first());
    key.map(|key| SigningKey::new(&key.value))
        .ok_or_else(|| Error::fault("signing a URL", "the account has no signing key"))
}

/// Computes the renditions of one image.
struct Renderer<'a> {
    facts: &'a DeliveryFacts,
    image: &'a Model,
    /// Minimum validity of a signed URL in seconds.
    expires_in: Option<i64>,
}

impl<'a> Renderer<'a> {
    /// Whether URLs may deliver all metadata. An SVG has no EXIF.
    fn allows_all_metadata(&self) -> bool {
        self.image.format == Format::Svg || self.facts.keeping_all.contains(&self.image.workspace_id)
    }

    /// The variants whose metadata is allowed.
    fn allowed_variants(&self) -> Result<Vec<&'a Variant>> {
        let all = self.allows_all_metadata();
        let variants = self.facts.variants()?.iter();
        Ok(variants.filter(|variant| all || !delivery::keeps_metadata(variant)).collect())
    }

    /// The transformation with the metadata that is allowed: at most the copyright notice if the policy restricts it.
    fn restrict(&self, transform: &Transform) -> Transform {
        let mut allowed = transform.clone();
        if transform.metadata == Some(Metadata::Keep) && !self.allows_all_metadata() {
            allowed.metadata = Some(Metadata::Copyright);
        }
        allowed
    }

    /// Whether transformations of this image can be delivered.
    fn can_transform(&self) -> Result<bool> {
        if self.image.require_signed_urls {
            return Ok(false);
        }
        self.facts.flexible.as_ref().copied().map_err(|error| error.duplicate())
    }

    /// The variant with this name, or its fallback if it keeps metadata that is not allowed.
    fn named_variant(&self, name: &str) -> Result<Option<Rendition>> {
        let variants = self.facts.variants()?;
        let Some(variant) = variants.iter().find(|known| known.id == name) else {
            let known: Vec<_> = variants.iter().map(|known| known.id.as_str()).collect();
            let message = format!("This variant does not exist; the account has {}.", known.join(", "));
            return Err(Error::invalid("variant", message));
        };
        if delivery::keeps_metadata(variant) && !self.allows_all_metadata() {
            return self.variant_without_metadata(variant);
        }
        self.variant(variant).map(Some)
    }

    /// The fallback for a variant that keeps metadata: the same as a transformation, or another variant.
    fn variant_without_metadata(&self, variant: &Variant) -> Result<Option<Rendition>> {
        let transform = match Transform::from_variant(&variant.options) {
            Some(transform) if transform.check().is_ok() => transform,
            _ => return self.fallback_variant(&Transform::default()),
        };
        let rendition = self.transform_or_fallback(&transform)?;
        Ok(rendition.map(|rendition| Rendition { exact: false, ..rendition }))
    }

    /// A transformation if it can be delivered, or else its fallback.
    fn transform_or_fallback(&self, requested: &Transform) -> Result<Option<Rendition>> {
        if requested.is_deliverable(self.image) && self.can_transform()? {
            return Ok(Some(self.transform(requested)));
        }
        self.fallback_variant(requested)
    }

    /// The named variant that is nearest to a transformation; `None` if none shows the whole image, or if the transformation
    /// changes the content of the image.
    fn fallback_variant(&self, requested: &Transform) -> Result<Option<Rendition>> {
        let allowed = self.allowed_variants()?;
        let resizable_size = delivery::original_size(self.image).filter(|_| self.image.format != Format::Svg);
        let variant = match resizable_size {
            Some(_) if requested.changes_content() => None,
            Some(original) => srcset::nearest_variant(requested.fitted_size(original), &allowed, self.image),
            None => default_variant(&allowed),
        };
        let Some(variant) = variant else { return Ok(None) };
        let rendition = self.variant(variant)?;
        Ok(Some(Rendition { exact: false, ..rendition }))
    }

    fn transform(&self, transform: &Transform) -> Rendition {
        // Cloudflare delivers an SVG unchanged, and rejects its conversion to another format.
        let (variant, segment) = match self.image.format {
            Format::Svg => (Some(PUBLIC.to_owned()), PUBLIC.to_owned()),
            _ => (None, transform.url_options(self.image)),
        };
        let (url, expires_at) = delivery::url(&self.facts.urls, self.image, &segment, None);
        let exact = variant.is_none();
        Rendition { variant, url, size: transform.rendered_size(self.image), expires_at, exact }
    }

    fn variant(&self, variant: &Variant) -> Result<Rendition> {
        let signer = self.signer(self.image.require_signed_urls && !variant.never_require_signed_urls)?;
        let (url, expires_at) = delivery::url(&self.facts.urls, self.image, &variant.id, signer.as_ref());
        let size = delivery::rendered_size(self.image, &variant.options);
        Ok(Rendition { variant: Some(variant.id.clone()), url, size, expires_at, exact: true })
    }

    fn transform_candidates(&self, transforms: &[Transform]) -> Vec<Candidate> {
        let candidates = transforms.iter().map(|transform| {
            let width = delivery::original_size(self.image).map(|original| transform.fitted_size(original).0);
            (width, self.transform(transform))
        });
        candidates.collect()
    }

    fn variant_candidates(&self, widths: &[i32]) -> Result<Vec<Candidate>> {
        let allowed = self.allowed_variants()?;
        let mut candidates = Vec::new();
        if self.image.format != Format::Svg {
            for (width, variant) in srcset::variants_for_widths(widths, &allowed, self.image) {
                candidates.push((Some(width), self.variant(variant)?));
            }
        }
        if candidates.is_empty()
            && let Some(variant) = default_variant(&allowed)
        {
            let rendition = self.variant(variant)?;
            candidates.push((rendition.size.map(|(width, _)| width), rendition));
        }
        Ok(candidates)
    }

    /// What signs a URL, if `signed`.
    fn signer(&self, signed: bool) -> Result<Option<Signer<'a>>> {
        if !signed {
            return Ok(None);
        }
        let unknown = || Error::fault("signing a URL", "the signing keys were not fetched");
        let key = self.facts.signing_key.as_ref().ok_or_else(unknown)?;
        let key = key.as_ref().map_err(|error| error.duplicate())?;
        let ttl = match self.expires_in {
            Some(seconds) => Duration::from_secs(seconds.unsigned_abs()),
            None => self.facts.signed_url_ttl,
        };
        Ok(Some(Signer { key, ttl, now: self.facts.now }))
    }
}

/// The variant for an image of unknown size: `public`, or another if that is not allowed.
fn default_variant<'a>(allowed: &[&'a Variant]) -> Option<&'a Variant> {
    allowed.iter().find(|known| known.id == PUBLIC).or(allowed.first()).copied()
}

fn all_variants_keep_metadata() -> Error {
    let message = "Every variant of the account that shows the whole image keeps metadata, which the workspace's EXIF \
                   policy does not allow. An admin can set `metadata` of `public` to `STRIP` with `updateVariant`.";
    Error::refuse(Code::UpstreamError, message)
}

fn check_expires_in(expires_in: Option<i64>) -> Result<()> {
    if expires_in.is_none_or(|seconds| (60..=604_800).contains(&seconds)) {
        return Ok(());
    }
    Err(Error::invalid("expiresIn", "`expiresIn` must be from 60 to 604800 seconds."))
}

/// Adds the argument of a transformation to the path of an error: as the parent of an option, or by itself.
fn at_or_under(field: &str, error: Error) -> Error {
    match error.public().field {
        Some(_) => error.under(field),
        None => error.at(field),
    }
}
