//! The Cloudflare Images account as admins see and change it: every call of Cloudflare's API that nothing else here makes.

use crate::app::App;
use crate::auth::Viewer;
use crate::error::{Code, Error, Result};
use crate::job;
use crate::provision::refusal;
use crate::query::cursor::{self, CursorVersion};
use cloudflare_images::client::{ListQuery, MetaFilter, SortOrder};
use cloudflare_images::wire::{
    self, AccountConfig, Fit, Key, Metadata, Stats, Variant, VariantEdit, VariantOptions,
};
use cloudflare_images::{Error as AccountError, client};

/// Most images of one page.
pub const MAX_PAGE: u32 = 1000;

/// Which images of the account are listed.
#[derive(Debug, Clone, Default)]
pub struct ImageList {
    pub first: Option<u32>,
    pub after: Option<String>,
    pub oldest_first: bool,
    /// Cloudflare's `creator`; the empty string finds images without one.
    pub creator: Option<String>,
    pub conditions: Vec<MetaFilter>,
}

/// A page of the account's images, each with the cursor that leads behind it.
#[derive(Debug, Clone)]
pub struct ImagePage {
    pub rows: Vec<(String, wire::Image)>,
    pub has_next: bool,
    pub has_previous: bool,
}

/// Changes to a variant; what is left out stays.
#[derive(Debug, Clone, Default)]
pub struct VariantChange {
    pub fit: Option<Fit>,
    pub width: Option<u32>,
    pub height: Option<u32>,
    pub metadata: Option<Metadata>,
    pub never_require_signed_urls: Option<bool>,
}

/// Demands an admin.
///
/// # Errors
/// `FORBIDDEN`.
pub fn require_admin(viewer: &Viewer) -> Result<()> {
    if viewer.manages_server() {
        return Ok(());
    }
    Err(Error::refuse(
        Code::Forbidden,
        "Only admins see and change the Cloudflare account, through a token that is not limited to a workspace.",
    ))
}

/// The hash in the account's delivery URLs, from one of its images; `None` while it has none.
pub async fn hash(app: &App, viewer: &Viewer) -> Result<Option<String>> {
    require_admin(viewer)?;
    let query = ListQuery { per_page: Some(1), ..ListQuery::default() };
    let page = app.cloudflare.list(&query).await.map_err(refused)?;
    Ok(page.images.first().and_then(cloudflare_images::signing::account_hash))
}

/// Images stored against the allowance.
pub async fn stats(app: &App, viewer: &Viewer) -> Result<Stats> {
    require_admin(viewer)?;
    app.cloudflare.stats().await.map_err(refused)
}

/// Account-wide switches.
pub async fn config(app: &App, viewer: &Viewer) -> Result<AccountConfig> {
    require_admin(viewer)?;
    app.cloudflare.config().await.map_err(refused)
}

/// Switches flexible variants on or off.
pub async fn switch_flexible_variants(app: &App, viewer: &Viewer, on: bool) -> Result<AccountConfig> {
    require_admin(viewer)?;
    let change = AccountConfig { flexible_variants: Some(on), ..AccountConfig::default() };
    run_on(app, async move |app| {
        let config = app.cloudflare.edit_config(&change).await;
        // Lost answers too: the change may have been made.
        app.flexible_variants.invalidate();
        config.map_err(refused)
    })
    .await
}

/// The account's signing keys. The values are for signing and never leave the server.
pub async fn signing_keys(app: &App, viewer: &Viewer) -> Result<Vec<Key>> {
    require_admin(viewer)?;
    Ok(app.cloudflare.keys().await.map_err(refused)?.keys)
}

/// Makes a signing key, or gives an existing one a new value.
pub async fn put_signing_key(app: &App, viewer: &Viewer, name: &str) -> Result<Vec<Key>> {
    require_admin(viewer)?;
    checked_name(name, 20)?;
    let name = name.to_owned();
    run_on(app, async move |app| {
        let keys = app.cloudflare.put_key(&name).await;
        // A URL signed with a value of yesterday would be refused.
        app.keys.invalidate();
        keys.map(|list| list.keys).map_err(|problem| {
            let message = "The account has two signing keys, which is all it may have. Delete one first.";
            limited(problem, Code::SigningKeyLimitReached, message)
        })
    })
    .await
}

/// Deletes a signing key; URLs it signed stop working.
pub async fn delete_signing_key(app: &App, viewer: &Viewer, name: &str) -> Result<Vec<Key>> {
    require_admin(viewer)?;
    checked_name(name, 20)?;
    let name = name.to_owned();
    run_on(app, async move |app| {
        let keys = app.cloudflare.delete_key(&name).await;
        app.keys.invalidate();
        keys.map(|list| list.keys).map_err(|problem| not_found(problem, "signing key"))
    })
    .await
}

/// Makes a named variant.
///
/// # Errors
/// `FORBIDDEN`, `BAD_USER_INPUT`, `CONFLICT` for a name that is taken, `VARIANT_LIMIT_REACHED`, `UPSTREAM_ERROR`.
pub async fn create_variant(app: &App, viewer: &Viewer, variant: &Variant) -> Result<Variant> {
    require_admin(viewer)?;
    checked_name(&variant.id, 99)?;
    checked_sides(variant.options.width, variant.options.height)?;
    let variant = variant.clone();
    run_on(app, async move |app| {
        let made = app.cloudflare.create_variant(&variant).await;
        app.variants.invalidate();
        made.map_err(|problem| {
            let message = "The account has as many variants as it may have: 100. Delete one first.";
            limited(problem, Code::VariantLimitReached, message)
        })
    })
    .await
}

/// Changes a named variant; purges the cache of every image.
pub async fn update_variant(
    app: &App,
    viewer: &Viewer,
    name: &str,
    change: VariantChange,
) -> Result<Variant> {
    require_admin(viewer)?;
    checked_name(name, 99)?;
    checked_sides(change.width, change.height)?;
    let name = name.to_owned();
    run_on(app, async move |app| {
        let found = app.cloudflare.find_variant(&name).await.map_err(refused)?;
        let old = found.ok_or_else(|| Error::not_found("variant").at("name"))?;
        // The API takes the options as a whole.
        let options = VariantOptions {
            fit: change.fit.map_or(old.options.fit, Into::into),
            width: change.width.or(old.options.width),
            height: change.height.or(old.options.height),
            metadata: change.metadata.map_or(old.options.metadata, Into::into),
            ..old.options
        };
        let edit = VariantEdit { options, never_require_signed_urls: change.never_require_signed_urls };
        let changed = app.cloudflare.edit_variant(&name, &edit).await;
        app.variants.invalidate();
        changed.map_err(|problem| not_found(problem, "variant"))
    })
    .await
}

/// Deletes a named variant; purges the cache of every image.
pub async fn delete_variant(app: &App, viewer: &Viewer, name: &str) -> Result<()> {
    require_admin(viewer)?;
    checked_name(name, 99)?;
    if name == "public" {
        return Err(Error::invalid("name", "The variant `public` is part of every account and stays."));
    }
    let name = name.to_owned();
    run_on(app, async move |app| {
        let deleted = app.cloudflare.delete_variant(&name).await;
        app.variants.invalidate();
        match deleted.map_err(refused)? {
            client::DeleteOutcome::Deleted => Ok(()),
            client::DeleteOutcome::NotFound => Err(Error::not_found("variant").at("name")),
        }
    })
    .await
}

/// One image of the account by Cloudflare's id, drafts too.
pub async fn find_image(app: &App, viewer: &Viewer, id: &str) -> Result<Option<wire::Image>> {
    require_admin(viewer)?;
    app.cloudflare.find(id).await.map_err(refused)
}

/// A page of the account's images, going forward only, as Cloudflare pages.
///
/// Cloudflare gives a token for the end of a page and none for its rows. A cursor of ours is the token its page began
/// with and the number of rows before it, so that every row can be gone on from.
pub async fn list_images(app: &App, viewer: &Viewer, list: ImageList) -> Result<ImagePage> {
    require_admin(viewer)?;
    let first = list.first.unwrap_or(100);
    if !(1..=MAX_PAGE).contains(&first) {
        return Err(Error::invalid("first", format!("A page has 1 to {MAX_PAGE} items.")));
    }
    let (token, skip) = match &list.after {
        None => (None, 0),
        Some(cursor) => decode(cursor)?,
    };
    let query = ListQuery {
        per_page: Some((first + skip).min(MAX_PAGE)),
        continuation_token: token.clone(),
        sort_order: Some(if list.oldest_first { SortOrder::Asc } else { SortOrder::Desc }),
        creator: list.creator,
        meta: list.conditions,
    };
    let page = app.cloudflare.list(&query).await.map_err(refused)?;
    let total = u32::try_from(page.images.len()).unwrap_or(MAX_PAGE);
    let next = page.continuation_token;
    let rows = page.images.into_iter().zip(1u32..).skip(skip as usize).map(|(image, place)| {
        let cursor = match &next {
            Some(next) if place == total => encode(Some(next), 0),
            _ => encode(token.as_deref(), place),
        };
        (cursor, image)
    });
    Ok(ImagePage { rows: rows.collect(), has_next: next.is_some(), has_previous: list.after.is_some() })
}

fn encode(token: Option<&str>, skip: u32) -> String {
    cursor::encode(&(CursorVersion, token, skip))
}

fn decode(text: &str) -> Result<(Option<String>, u32)> {
    let (_, token, skip) = cursor::decode::<(CursorVersion, Option<String>, u32)>(text)
        .filter(|(_, _, skip)| *skip < MAX_PAGE)
        .ok_or_else(|| cursor::malformed("after"))?;
    Ok((token, skip))
}

fn checked_name(name: &str, max: usize) -> Result<()> {
    if (1..=max).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(Error::invalid("name", format!("A name has 1 to {max} letters and digits.")))
}

fn checked_sides(width: Option<u32>, height: Option<u32>) -> Result<()> {
    for (field, side) in [("width", width), ("height", height)] {
        if side.is_some_and(|side| !(1..=9999).contains(&side)) {
            return Err(Error::invalid(field, "A side has 1 to 9999 pixels."));
        }
    }
    Ok(())
}

fn not_found(problem: AccountError, what: &str) -> Error {
    match problem {
        AccountError::NotFound(_) => Error::not_found(what).at("name"),
        other => refused(other),
    }
}

/// Changes the account and what is kept of it, even if the client leaves in between.
async fn run_on<T: Send + 'static, F>(app: &App, change: impl FnOnce(App) -> F) -> Result<T>
where
    F: Future<Output = Result<T>> + Send + 'static,
{
    job::run_to_end(change(app.clone())).await
}

/// A refusal of something of which the account has only so many.
fn limited(problem: AccountError, code: Code, message: &str) -> Error {
    match problem.code() {
        Some(5453) => Error::refuse(code, message).at("name"),
        _ => refused(problem),
    }
}

/// What the account refused, as a refusal: here the input is the admin's own, so the account's words are for them.
#[expect(clippy::needless_pass_by_value, reason = "the shape map_err wants")]
fn refused(problem: AccountError) -> Error {
    match &problem {
        AccountError::Invalid(said) => {
            Error::refuse(Code::InvalidInput, format!("Cloudflare Images refused it: {said}."))
        }
        AccountError::Conflict(_) => {
            Error::refuse(Code::Conflict, "The account has something of this name.").at("name")
        }
        // The admin may be the one who can mend it.
        AccountError::Account(said) | AccountError::Unauthorized(said) => {
            Error::refuse(Code::UpstreamError, format!("The Cloudflare account does not allow it: {said}."))
        }
        _ => Error::Refusal(refusal::from_account_error(&problem)),
    }
}
