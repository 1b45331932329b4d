//! Both lists: pages by number (v1) and by continuation token (v2).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sea_orm::sea_query::{Expr, SimpleExpr};
use sea_orm::{EntityTrait, ExprTrait, Order, QueryFilter, QueryOrder, QuerySelect, Select};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::filter::{self, Filter};
use super::images::{show, variant_ids};
use crate::cloudflare::wire::{Image, ImageList, ImagePage};
use crate::emulator::answer::Refusal;
use crate::emulator::store::image;
use crate::emulator::{Emulator, hex};

/// `GET v1`: newest first; a page beyond the last is empty.
pub(super) async fn v1(emulator: &Emulator, query: &str) -> Result<ImageList, Refusal> {
    let query = Query::parse(query)?;
    let page = query.number("page", u32::MAX.into())?.unwrap_or(1);
    let per_page = query.per_page()?;
    let rows = query
        .rows(&[])
        .order_by(image::Column::UploadedMs, Order::Desc)
        .order_by(image::Column::Id, Order::Desc)
        .offset((page - 1) * per_page)
        .limit(per_page)
        .all(&emulator.0.store.db)
        .await?;
    Ok(ImageList { images: shown(emulator, rows).await? })
}

/// `GET v2`: by upload time, filtered by creator and metadata.
pub(super) async fn v2(emulator: &Emulator, query: &str) -> Result<ImagePage, Refusal> {
    let query = Query::parse(query)?;
    let filters = filter::parse(&query.pairs)?;
    let order = query.order()?;
    let binding = query.binding(&filters, &order);
    let per_page = query.per_page()?;
    let mut select = query.rows(&filters);
    if let Some(token) = query.text("continuation_token").filter(|token| !token.is_empty()) {
        select = select.filter(after(&Token::decode(token, &binding)?, &order));
    }
    let mut rows = select
        .order_by(image::Column::UploadedMs, order.clone())
        .order_by(image::Column::Id, order)
        .limit(per_page + 1)
        .all(&emulator.0.store.db)
        .await?;
    let more = rows.len() as u64 > per_page;
    if more {
        rows.pop();
    }
    let continuation_token = match rows.last() {
        Some(last) if more => Some(Token::of(last, binding).encode()?),
        _ => None,
    };
    Ok(ImagePage { images: shown(emulator, rows).await?, continuation_token })
}

/// Where the next page begins. Opaque to clients.
#[derive(Debug, Serialize, Deserialize)]
struct Token {
    uploaded_ms: i64,
    id: String,
    /// What the list was filtered and ordered by: another list has no such page.
    binding: String,
}

impl Token {
    fn of(last: &image::Model, binding: String) -> Self {
        Token { uploaded_ms: last.uploaded_ms, id: last.id.clone(), binding }
    }

    fn encode(&self) -> Result<String, Refusal> {
        Ok(URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).map_err(Refusal::internal)?))
    }

    fn decode(text: &str, binding: &str) -> Result<Self, Refusal> {
        let invalid = |_| Refusal::bad_request("invalid continuation_token");
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|error| invalid(error.to_string()))?;
        let token: Token = serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
        if token.binding != binding {
            return Err(Refusal::bad_request("continuation_token belongs to another filter or order"));
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
    fn parse(query: &str) -> Result<Self, Refusal> {
        let pairs: Vec<(String, String)> =
            url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let mut query = Query { pairs, creator: None };
        query.creator = query.text("creator").map(str::to_owned);
        Ok(query)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str, max: u64) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.parse() {
            Ok(number) if (1..=max).contains(&number) => Ok(Some(number)),
            _ => Err(Refusal::bad_request(format!("{name} must be a number from 1 to {max}"))),
        }
    }

    fn per_page(&self) -> Result<u64, Refusal> {
        Ok(self.number("per_page", 10_000)?.unwrap_or(1000))
    }

    fn order(&self) -> Result<Order, Refusal> {
        match self.text("sort_order") {
            None | Some("desc") => Ok(Order::Desc),
            Some("asc") => Ok(Order::Asc),
            Some(_) => Err(Refusal::bad_request("sort_order must be asc or desc")),
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
