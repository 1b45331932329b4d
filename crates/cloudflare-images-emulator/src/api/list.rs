//! Both lists: pages by number (v1 and, in its older description, v2) and by continuation token (v2).

use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sea_orm::sea_query::{Expr, SimpleExpr};
use sea_orm::{EntityTrait, ExprTrait, Order, QueryFilter, QueryOrder, QuerySelect, Select};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::filter::{self, Filter};
use super::images::{show, variant_ids};
use crate::answer::Refusal;
use crate::store::image;
use crate::{Emulator, hex};
use cloudflare_images::wire::{Image, ImageList, ImagePage};

/// `GET v1`: newest first; a page beyond the last is empty.
pub(super) async fn v1(emulator: &Emulator, query: &str) -> Result<ImageList, Refusal> {
    let query = Query::parse(query);
    let per_page = query.number("per_page", 10..=10_000)?.unwrap_or(1000);
    let offset = query.before(per_page)?.unwrap_or(0);
    let rows = query
        .rows(&[])
        .order_by(image::Column::UploadedMs, Order::Desc)
        .order_by(image::Column::Id, Order::Desc)
        .offset(offset)
        .limit(per_page)
        .all(&emulator.0.store.db)
        .await?;
    Ok(ImageList { images: shown(emulator, rows).await? })
}

/// Images of one page of v2.
const MAX_PAGE: u64 = 1000;
/// Images of a whole list of v2, over all its pages.
const MAX_LISTED: u64 = 10_000;

/// `GET v2`: by upload time, filtered by creator and metadata. The list ends after 10,000 images.
pub(super) async fn v2(emulator: &Emulator, query: &str) -> Result<ImagePage, Refusal> {
    let query = Query::parse(query);
    let filters = filter::parse(&query.pairs)?;
    let order = query.order()?;
    let binding = query.binding(&filters, &order);
    let per_page = query.number("per_page", 1..=MAX_PAGE)?.unwrap_or(MAX_PAGE);
    let rows = query.rows(&filters);
    let (rows, listed) = match (query.token(&binding)?, query.before(per_page)?) {
        (None, before) => (rows.offset(before), before.unwrap_or(0)),
        (Some(token), None) => (rows.filter(after(&token, &order)), token.listed),
        (Some(_), Some(_)) => {
            let message = "page and continuation_token exclude each other";
            return Err(Refusal::bad_request(message).at(&["page"]));
        }
    };
    let wanted = std::cmp::min(per_page, MAX_LISTED.saturating_sub(listed));
    let rows = rows.order_by(image::Column::UploadedMs, order.clone()).order_by(image::Column::Id, order);
    let mut rows = rows.limit(wanted + 1).all(&emulator.0.store.db).await?;
    let more = rows.len() as u64 > wanted && listed + wanted < MAX_LISTED;
    rows.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
    let continuation_token = match rows.last() {
        Some(last) if more => Some(Token::of(last, listed + wanted, binding).encode()?),
        _ => None,
    };
    Ok(ImagePage { images: shown(emulator, rows).await?, continuation_token })
}

/// Where the next page begins. Opaque to clients.
#[derive(Debug, Serialize, Deserialize)]
struct Token {
    uploaded_ms: i64,
    id: String,
    /// Images on the pages before it.
    #[serde(default)]
    listed: u64,
    /// What the list was filtered and ordered by: another list has no such page.
    binding: String,
}

impl Token {
    fn of(last: &image::Model, listed: u64, binding: String) -> Self {
        Token { uploaded_ms: last.uploaded_ms, id: last.id.clone(), listed, binding }
    }

    fn encode(&self) -> Result<String, Refusal> {
        Ok(URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).map_err(Refusal::internal)?))
    }

    fn decode(text: &str, binding: &str) -> Result<Self, Refusal> {
        let invalid = |_| Refusal::bad_request("invalid continuation_token").at(&["continuation_token"]);
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|error| invalid(error.to_string()))?;
        let token: Token = serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
        if token.binding != binding {
            let message = "continuation_token belongs to another filter or order";
            return Err(Refusal::bad_request(message).at(&["continuation_token"]));
        }
        Ok(token)
    }
}

/// Query parameters, decoded, in the order they came.
struct Query {
    pairs: Vec<(String, String)>,
    creator: Option<String>,
}

impl Query {
    fn parse(query: &str) -> Self {
        let pairs: Vec<(String, String)> =
            url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let mut query = Query { pairs, creator: None };
        query.creator = query.text("creator").map(str::to_owned);
        query
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        // SDKs have numbers and no integers, and write some of them as `10.0`.
        match text.strip_suffix(".0").unwrap_or(text).parse() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => {
                let (low, high) = range.into_inner();
                let message = format!("{name} must be a number from {low} to {high}");
                Err(Refusal::bad_request(message).at(&[name]))
            }
        }
    }

    /// Images on the pages before the numbered one that is asked for.
    fn before(&self, per_page: u64) -> Result<Option<u64>, Refusal> {
        let page = self.number("page", 1..=u32::MAX.into())?;
        Ok(page.map(|page| (page - 1) * per_page))
    }

    fn token(&self, binding: &str) -> Result<Option<Token>, Refusal> {
        let text = self.text("continuation_token").filter(|token| !token.is_empty());
        text.map(|text| Token::decode(text, binding)).transpose()
    }

    fn order(&self) -> Result<Order, Refusal> {
        match self.text("sort_order") {
            None | Some("desc") => Ok(Order::Desc),
            Some("asc") => Ok(Order::Asc),
            Some(_) => Err(Refusal::bad_request("sort_order must be asc or desc").at(&["sort_order"])),
        }
    }

    /// Images with bytes that match.
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
        hex(&Sha256::digest(text)[..8])
    }
}

/// Rows behind the token's. Keys are compared as a pair, which is one range of the index.
fn after(token: &Token, order: &Order) -> SimpleExpr {
    let key = Expr::tuple([Expr::col(image::Column::UploadedMs), Expr::col(image::Column::Id)]);
    let last = Expr::tuple([Expr::val(token.uploaded_ms), Expr::val(token.id.as_str())]);
    if *order == Order::Asc { key.gt(last) } else { key.lt(last) }
}

async fn shown(emulator: &Emulator, rows: Vec<image::Model>) -> Result<Vec<Image>, Refusal> {
    let variants = variant_ids(emulator).await?;
    rows.into_iter().map(|row| show(emulator, row, &variants)).collect()
}
