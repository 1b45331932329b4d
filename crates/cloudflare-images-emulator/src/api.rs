//! The management API: one function per call, all under the envelope.

mod account;
mod direct_upload;
mod filter;
mod images;
mod keys;
mod list;
mod particulars;
mod variants;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};

use super::Emulator;
use super::account::{Permission, batch_token};
use super::answer::{Refusal, success};
use super::route::Call;

pub(super) use images::to_wire;

/// Answers a call whose credentials were checked and found to give a permission.
pub(super) async fn answer(
    emulator: &Emulator,
    permission: Permission,
    call: Call,
    request: Request,
) -> Response {
    dispatch(emulator, permission, call, request).await.unwrap_or_else(IntoResponse::into_response)
}

async fn dispatch(
    emulator: &Emulator,
    permission: Permission,
    call: Call,
    request: Request,
) -> Result<Response, Refusal> {
    if permission == Permission::Read && call.changes() {
        return Err(Refusal::not_permitted());
    }
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    Ok(match call {
        Call::CreateImage => success(images::create(emulator, &parts.headers, body).await?),
        Call::ListImages => success(list::v1(emulator, query).await?),
        Call::ListImagesV2 => success(list::v2(emulator, query).await?),
        Call::GetImage(id) => success(images::get(emulator, &id).await?),
        Call::EditImage(id) => success(images::edit(emulator, &id, &parts.headers, body).await?),
        Call::DeleteImage(id) => success(images::delete(emulator, &id).await?),
        Call::GetBlob(id) => images::blob(emulator, &id).await?,
        Call::CreateDirectUpload => success(direct_upload::create(emulator, &parts.headers, body).await?),
        Call::ListKeys => success(keys::list(emulator).await?),
        Call::PutKey(name) => success(keys::put(emulator, &name).await?),
        Call::DeleteKey(name) => success(keys::delete(emulator, &name).await?),
        Call::GetStats => success(account::stats(emulator).await?),
        Call::ListVariants => success(variants::list(emulator).await?),
        Call::CreateVariant => success(variants::create(emulator, body).await?),
        Call::GetVariant(id) => success(variants::get(emulator, &id).await?),
        Call::EditVariant(id) => success(variants::edit(emulator, &id, body).await?),
        Call::DeleteVariant(id) => success(variants::delete(emulator, &id).await?),
        Call::GetConfig => success(account::config(emulator).await?),
        Call::EditConfig => success(account::edit_config(emulator, body).await?),
        Call::GetBatchToken => success(batch_token(emulator, permission, super::now())),
    })
}
