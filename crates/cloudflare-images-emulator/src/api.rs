//! The management API: one function per call.

mod account;
mod direct_upload;
mod filter;
mod image_fields;
mod images;
mod keys;
mod list;
mod variants;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};

use super::Emulator;
use super::account::{Permission, batch_token};
use super::error::ApiError;
use super::response::success;
use super::route::ApiCall;

pub(super) use images::to_wire;

/// Answers a call of a caller with this permission.
pub(super) async fn respond(
    emulator: &Emulator,
    permission: Permission,
    call: ApiCall,
    request: Request,
) -> Response {
    dispatch(emulator, permission, call, request).await.unwrap_or_else(IntoResponse::into_response)
}

async fn dispatch(
    emulator: &Emulator,
    permission: Permission,
    call: ApiCall,
    request: Request,
) -> Result<Response, ApiError> {
    if permission == Permission::Read && call.is_write() {
        return Err(ApiError::missing_permission());
    }
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    Ok(match call {
        ApiCall::CreateImage => success(images::create(emulator, &parts.headers, body).await?),
        ApiCall::ListImages => success(list::v1(emulator, query).await?),
        ApiCall::ListImagesV2 => success(list::v2(emulator, query).await?),
        ApiCall::GetImage(id) => success(images::get(emulator, &id).await?),
        ApiCall::EditImage(id) => success(images::edit(emulator, &id, &parts.headers, body).await?),
        ApiCall::DeleteImage(id) => success(images::delete(emulator, &id).await?),
        ApiCall::GetBlob(id) => images::blob(emulator, &id).await?,
        ApiCall::CreateDirectUpload => success(direct_upload::create(emulator, &parts.headers, body).await?),
        ApiCall::ListKeys => success(keys::list(emulator).await?),
        ApiCall::PutKey(name) => success(keys::put(emulator, &name).await?),
        ApiCall::DeleteKey(name) => success(keys::delete(emulator, &name).await?),
        ApiCall::GetStats => success(account::stats(emulator).await?),
        ApiCall::ListVariants => success(variants::list(emulator).await?),
        ApiCall::CreateVariant => success(variants::create(emulator, body).await?),
        ApiCall::GetVariant(id) => success(variants::get(emulator, &id).await?),
        ApiCall::EditVariant(id) => success(variants::edit(emulator, &id, body).await?),
        ApiCall::DeleteVariant(id) => success(variants::delete(emulator, &id).await?),
        ApiCall::GetConfig => success(account::config(emulator).await?),
        ApiCall::EditConfig => success(account::edit_config(emulator, body).await?),
        ApiCall::GetBatchToken => success(batch_token(emulator, permission, super::now())),
    })
}
