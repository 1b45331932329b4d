//! The lists of images: pages by number (v1, and v2 as an older version of its documentation has it) and by
//! continuation token (v2).

use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sea_orm::sea_query::{Expr, SimpleExpr};
use sea_orm::{EntityTrait, ExprTrait, Order, QueryFilter, QueryOrder, QuerySelect, Select};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::filter::{self, Filter};
use super::images::{to_wire_with_variants, variant_ids};
use crate::Emulator;
use crate::error::ApiError;
use crate::store::image;
use cloudflare_images::wire::{Image, ImageList, ImagePage};

/// `GET v1`: newest first; a page beyond the last is empty.
pub(super) async fn v1(emulator: &Emulator, query: &str) -> Result<ImageList, ApiError> {
    let query = ListQuery::parse(query);
    let per_page = query.number("per_page", 10..=10_000)?.unwrap_or(1000);
    let offset = query.offset(per_page)?.unwrap_or(0);
    let rows = query
        .rows(&[])
        .order_by(image::Column::UploadedMs, Order::Desc)
        .order_by(image::Column::Id, Order::Desc)
        .offset(offset)
        .limit(per_page)
        .all(&emulator.0.store.db)
        .await?;
    Ok(ImageList { images: to_wire_list(emulator, rows).await? })
}

/// Limit of the images on one page of v2.
const MAX_PAGE: u64 = 1000;
/// Limit of the images on all pages of v2 together.
const MAX_LISTED: u64 = 10_000;

/// `GET v2`: in the order of upload, filtered by creator and metadata. The list ends after 10,000 images.
pub(super) async fn v2(emulator: &Emulator, query: &str) -> Result<ImagePage, ApiError> {
    let query = ListQuery::parse(query);
    let filters = filter::parse(&query.pairs)?;
    let order = query.order()?;
    let binding = query.binding(&filters, &order);
    let per_page = query.number("per_page", 1..=MAX_PAGE)?.unwrap_or(MAX_PAGE);
    let rows = query.rows(&filters);
    let (rows, listed) = match (query.token(&binding)?, query.offset(per_page)?) {
        (None, offset) => (rows.offset(offset), offset.unwrap_or(0)),
        (Some(token), None) => (rows.filter(rows_after(&token, &order)), token.listed),
        (Some(_), Some(_)) => {
            let message = "page and continuation_token exclude each other";
            return Err(ApiError::bad_request(message).with_pointer(&["page"]));
        }
    };
    let limit = std::cmp::min(per_page, MAX_LISTED.saturating_sub(listed));
    let rows = rows.order_by(image::Column::UploadedMs, order.clone()).order_by(image::Column::Id, order);
    let mut rows = rows.limit(limit + 1).all(&emulator.0.store.db).await?;
    let more = rows.len() as u64 > limit && listed + limit < MAX_LISTED;
    rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let continuation_token = match rows.last() {
        Some(last) if more => Some(ContinuationToken::of(last, listed + limit, binding).encode()?),
        _ => None,
    };
    Ok(ImagePage { images: to_wire_list(emulator, rows).await?, continuation_token })
}

/// The position after the last image of a page. Clients treat it as opaque.
#[derive(Debug, Serialize, Deserialize)]
struct ContinuationToken {
    uploaded_ms: i64,
    id: String,
    /// Number of images on this page and the pages before it.
    #[serde(default)]
    listed: u64,
    /// Hash of the filters and the order, to reject a token of another list.
    binding: String,
}

impl ContinuationToken {
    fn of(last: &image::Model, listed: u64, binding: String) -> Self {
        ContinuationToken { uploaded_ms: last.uploaded_ms, id: last.id.clone(), listed, binding }
    }

    fn encode(&self) -> Result<String, ApiError> {
        Ok(URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).map_err(ApiError::internal)?))
    }

    fn decode(text: &str, binding: &str) -> Result<Self, ApiError> {
        let invalid =
            |_| ApiError::bad_request("invalid continuation_token").with_pointer(&["continuation_token"]);
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|error| invalid(error.to_string()))?;
        let token: ContinuationToken =
            serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
        if token.binding != binding {
            let message = "continuation_token belongs to another filter or order";
            return Err(ApiError::bad_request(message).with_pointer(&["continuation_token"]));
        }
        Ok(token)
    }
}

/// Decoded query parameters, in the order of the request.
struct ListQuery {
    pairs: Vec<(String, String)>,
    creator: Option<String>,
}

impl ListQuery {
    fn parse(query: &str) -> Self {
        let pairs: Vec<(String, String)> =
            url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let mut query = ListQuery { pairs, creator: None };
        query.creator = query.text("creator").map(str::to_owned);
        query
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        // One of the SDKs sends integers as floating-point numbers, such as `10.0`.
        match text.strip_suffix(".0").unwrap_or(text).parse() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => {
                let (low, high) = range.into_inner();
                let message = format!("{name} must be a number from {low} to {high}");
                Err(ApiError::bad_request(message).with_pointer(&[name]))
            }
        }
    }

    /// Number of images on the pages before the one that `page` asks for.
    fn offset(&self, per_page: u64) -> Result<Option<u64>, ApiError> {
        let page = self.number("page", 1..=u32::MAX.into())?;
        Ok(page.map(|page| (page - 1) * per_page))
    }

    fn token(&self, binding: &str) -> Result<Option<ContinuationToken>, ApiError> {
        let text = self.text("continuation_token").filter(|token| !token.is_empty());
        text.map(|text| ContinuationToken::decode(text, binding)).transpose()
    }

    fn order(&self) -> Result<Order, ApiError> {
        match self.text("sort_order") {
            None | Some("desc") => Ok(Order::Desc),
            Some("asc") => Ok(Order::Asc),
            Some(_) => {
                Err(ApiError::bad_request("sort_order must be asc or desc").with_pointer(&["sort_order"]))
            }
        }
    }

    /// The images that match; drafts do not.
    fn rows(&self, filters: &[Filter]) -> Select<image::Entity> {
        let mut select = image::Entity::find().filter(image::COLUMN.blob.is_not_null());
        match self.creator.as_deref() {
            None => {}
            Some("") => select = select.filter(image::COLUMN.creator.is_null()),
            Some(creator) => select = select.filter(image::COLUMN.creator.eq(creator)),
        }
        filters.iter().fold(select, |select, filter| select.filter(filter.condition()))
    }

    fn binding(&self, filters: &[Filter], order: &Order) -> String {
        let text = format!("{:?} {filters:?} {order:?}", self.creator);
        hex::encode(&Sha256::digest(text)[..8])
    }
}

/// The rows after the token's. The key is compared as a pair, so that the condition is one range of the index.
fn rows_after(token: &ContinuationToken, order: &Order) -> SimpleExpr {
    let key = Expr::tuple([Expr::col(image::Column::UploadedMs), Expr::col(image::Column::Id)]);
    let last = Expr::tuple([Expr::val(token.uploaded_ms), Expr::val(token.id.as_str())]);
    if *order == Order::Asc { key.gt(last) } else { key.lt(last) }
}

async fn to_wire_list(emulator: &Emulator, rows: Vec<image::Model>) -> Result<Vec<Image>, ApiError> {
    let variants = variant_ids(emulator).await?;
    rows.into_iter().map(|row| to_wire_with_variants(emulator, row, &variants)).collect()
}
