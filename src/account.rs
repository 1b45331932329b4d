//! The Cloudflare Images account, for admins: settings, signing keys, variants, and all images of the account.

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

/// Which images of the account are listed, and how.
#[derive(Debug, Clone, Default)]
pub struct AccountImageList {
    pub first: Option<u32>,
    pub after: Option<String>,
    pub oldest_first: bool,
    /// Cloudflare's `creator`; the empty string finds images without one.
    pub creator: Option<String>,
    pub conditions: Vec<MetaFilter>,
}

/// A page of the account's images, each with the cursor of the position after it.
#[derive(Debug, Clone)]
pub struct AccountImagePage {
    pub rows: Vec<(String, wire::Image)>,
    pub has_next: bool,
    pub has_previous: bool,
}

/// Changes to a variant; `None` leaves an option unchanged.
#[derive(Debug, Clone, Default)]
pub struct VariantChange {
    pub fit: Option<Fit>,
    pub width: Option<u32>,
    pub height: Option<u32>,
    pub metadata: Option<Metadata>,
    pub never_require_signed_urls: Option<bool>,
}

/// Requires an admin whose token is not limited to a workspace.
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
    let page = app.cloudflare.list(&query).await.map_err(account_error)?;
    Ok(page.images.first().and_then(cloudflare_images::signing::account_hash))
}

/// How many images the account stores, and how many it may store.
pub async fn stats(app: &App, viewer: &Viewer) -> Result<Stats> {
    require_admin(viewer)?;
    app.cloudflare.stats().await.map_err(account_error)
}

/// The settings of the account.
pub async fn config(app: &App, viewer: &Viewer) -> Result<AccountConfig> {
    require_admin(viewer)?;
    app.cloudflare.config().await.map_err(account_error)
}

/// Switches flexible variants on or off.
pub async fn switch_flexible_variants(app: &App, viewer: &Viewer, on: bool) -> Result<AccountConfig> {
    require_admin(viewer)?;
    let change = AccountConfig { flexible_variants: Some(on), ..AccountConfig::default() };
    change_account(app, async move |app| {
        let config = app.cloudflare.edit_config(&change).await;
        // Also after an error: the change may have been made although the response was lost.
        app.flexible_variants.invalidate();
        config.map_err(account_error)
    })
    .await
}

/// The account's signing keys. Their values are used for signing only, and no API returns them.
pub async fn signing_keys(app: &App, viewer: &Viewer) -> Result<Vec<Key>> {
    require_admin(viewer)?;
    Ok(app.cloudflare.keys().await.map_err(account_error)?.keys)
}

/// Creates a signing key, or gives an existing one a new value.
pub async fn put_signing_key(app: &App, viewer: &Viewer, name: &str) -> Result<Vec<Key>> {
    require_admin(viewer)?;
    checked_name(name, 20)?;
    let name = name.to_owned();
    change_account(app, async move |app| {
        let keys = app.cloudflare.put_key(&name).await;
        // The account rejects URLs signed with a former value.
        app.keys.invalidate();
        keys.map(|list| list.keys).map_err(|problem| {
            let message = "The account has two signing keys, the most that are possible. Delete one first.";
            limit_error(problem, Code::SigningKeyLimitReached, message)
        })
    })
    .await
}

/// Deletes a signing key. URLs that were signed with it stop working.
pub async fn delete_signing_key(app: &App, viewer: &Viewer, name: &str) -> Result<Vec<Key>> {
    require_admin(viewer)?;
    checked_name(name, 20)?;
    let name = name.to_owned();
    change_account(app, async move |app| {
        let keys = app.cloudflare.delete_key(&name).await;
        app.keys.invalidate();
        keys.map(|list| list.keys).map_err(|problem| not_found(problem, "signing key"))
    })
    .await
}

/// Creates a named variant.
///
/// # Errors
/// `FORBIDDEN`, `BAD_USER_INPUT`, `CONFLICT` for a name that is taken, `VARIANT_LIMIT_REACHED`, `UPSTREAM_ERROR`.
pub async fn create_variant(app: &App, viewer: &Viewer, variant: &Variant) -> Result<Variant> {
    require_admin(viewer)?;
    checked_name(&variant.id, 99)?;
    checked_sides(variant.options.width, variant.options.height)?;
    let variant = variant.clone();
    change_account(app, async move |app| {
        let created = app.cloudflare.create_variant(&variant).await;
        app.variants.invalidate();
        created.map_err(|problem| {
            let message = "The account has 100 variants, the most that are possible. Delete one first.";
            limit_error(problem, Code::VariantLimitReached, message)
        })
    })
    .await
}

/// Updates a named variant. Cloudflare then purges the cache of every image.
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
    change_account(app, async move |app| {
        let found = app.cloudflare.find_variant(&name).await.map_err(account_error)?;
        let old = found.ok_or_else(|| Error::not_found("variant").at("name"))?;
        // Cloudflare replaces the options as a whole.
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

/// Deletes a named variant. Cloudflare then purges the cache of every image.
pub async fn delete_variant(app: &App, viewer: &Viewer, name: &str) -> Result<()> {
    require_admin(viewer)?;
    checked_name(name, 99)?;
    if name == "public" {
        return Err(Error::invalid(
            "name",
            "The variant `public` is part of every account and cannot be deleted.",
        ));
    }
    let name = name.to_owned();
    change_account(app, async move |app| {
        let deleted = app.cloudflare.delete_variant(&name).await;
        app.variants.invalidate();
        match deleted.map_err(account_error)? {
            client::DeleteOutcome::Deleted => Ok(()),
            client::DeleteOutcome::NotFound => Err(Error::not_found("variant").at("name")),
        }
    })
    .await
}

/// One image of the account by its Cloudflare id; it may be a draft.
pub async fn find_image(app: &App, viewer: &Viewer, id: &str) -> Result<Option<wire::Image>> {
    require_admin(viewer)?;
    app.cloudflare.find(id).await.map_err(account_error)
}

/// A page of the account's images. Only forward paging is possible, as in Cloudflare's API.
///
/// Cloudflare has a continuation token for the end of a page, and none for a row within it. The cursor of a row holds the
/// token at which its page started and the position of the row on that page, so that a page can start after any row.
pub async fn list_images(app: &App, viewer: &Viewer, list: AccountImageList) -> Result<AccountImagePage> {
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
    let page = app.cloudflare.list(&query).await.map_err(account_error)?;
    let total = u32::try_from(page.images.len()).unwrap_or(MAX_PAGE);
    let next = page.continuation_token;
    let rows = page.images.into_iter().zip(1u32..).skip(skip as usize).map(|(image, place)| {
        let cursor = match &next {
            Some(next) if place == total => encode(Some(next), 0),
            _ => encode(token.as_deref(), place),
        };
        (cursor, image)
    });
    Ok(AccountImagePage {
        rows: rows.collect(),
        has_next: next.is_some(),
        has_previous: list.after.is_some(),
    })
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

/// The refusal of a name that the account does not have, or of any other error.
fn not_found(problem: AccountError, what: &str) -> Error {
    match problem {
        AccountError::NotFound(_) => Error::not_found(what).at("name"),
        other => account_error(other),
    }
}

/// Runs a change of the account to its end even if the client disconnects, so that the caches are updated, too.
async fn change_account<T: Send + 'static, F>(app: &App, change: impl FnOnce(App) -> F) -> Result<T>
where
    F: Future<Output = Result<T>> + Send + 'static,
{
    job::run_to_end(change(app.clone())).await
}

/// The refusal for a call that failed because a limit of the account is reached (error 5453), or for any other error.
fn limit_error(problem: AccountError, code: Code, message: &str) -> Error {
    match problem.code() {
        Some(5453) => Error::refuse(code, message).at("name"),
        _ => account_error(problem),
    }
}

/// An error of the account as a refusal with the text of Cloudflare: the caller is an admin and may read it.
#[expect(clippy::needless_pass_by_value, reason = "the signature that map_err expects")]
fn account_error(problem: AccountError) -> Error {
    match &problem {
        AccountError::Invalid(text) => {
            Error::refuse(Code::InvalidInput, format!("Cloudflare Images rejected the request: {text}."))
        }
        AccountError::Conflict(_) => {
            Error::refuse(Code::Conflict, "This name is already in use in the account.").at("name")
        }
        // The admin may be able to fix this.
        AccountError::Account(text) | AccountError::Unauthorized(text) => {
            Error::refuse(Code::UpstreamError, format!("The Cloudflare account does not allow this: {text}."))
        }
        _ => Error::Refusal(refusal::from_account_error(&problem)),
    }
}
