//! Finds out what a request is for, from its method and undecoded path.

use axum::http::Method;
use percent_encoding::percent_decode_str;

use super::error::ApiError;

/// What a request is for. Ids are percent-decoded.
#[derive(Debug)]
pub(super) enum Target {
    /// `/client/v4/accounts/{account}/images/…`
    Api { account: String, call: ApiCall },
    /// `/batch/images/…`
    Batch(ApiCall),
    /// `/upload/{hash}/{id…}`
    Upload { hash: String, id: String },
    /// `/imagedelivery/{hash}/{id…}/{variant}`, also below `/cdn-cgi`, as on a custom domain.
    Delivery(DeliveryPath),
    /// `/faults…`
    Faults(FaultCall),
}

/// The parts of a delivery URL.
#[derive(Debug)]
pub(super) struct DeliveryPath {
    pub(super) hash: String,
    pub(super) id: String,
    /// Percent-encoded as in the request, because options are split before they are decoded.
    pub(super) variant: String,
    /// The path on Cloudflare's delivery host, encoded as in the request: `/{hash}/{id}/{variant}`.
    pub(super) canonical: String,
}

/// A call of the management API.
#[derive(Debug)]
pub(super) enum ApiCall {
    CreateImage,
    ListImages,
    ListImagesV2,
    GetImage(String),
    EditImage(String),
    DeleteImage(String),
    GetBlob(String),
    CreateDirectUpload,
    ListKeys,
    PutKey(String),
    DeleteKey(String),
    GetStats,
    ListVariants,
    CreateVariant,
    GetVariant(String),
    EditVariant(String),
    DeleteVariant(String),
    GetConfig,
    EditConfig,
    GetBatchToken,
}

/// A call of the fault injection API.
#[derive(Debug, Clone, Copy)]
pub(super) enum FaultCall {
    /// `GET /faults`
    List,
    /// `POST /faults`
    Add,
    /// `DELETE /faults`
    Clear,
    /// `DELETE /faults/{id}`
    Remove(u64),
    /// `DELETE /faults/calls`
    ResetCounts,
}

impl Target {
    /// The name of the call in fault injection.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Target::Api { call, .. } | Target::Batch(call) => call.name(),
            Target::Upload { .. } => "upload",
            Target::Delivery(_) => "delivery",
            Target::Faults(_) => "faults",
        }
    }
}

impl ApiCall {
    fn name(&self) -> &'static str {
        match self {
            ApiCall::CreateImage => "images.create",
            ApiCall::ListImages | ApiCall::ListImagesV2 => "images.list",
            ApiCall::GetImage(_) => "images.get",
            ApiCall::EditImage(_) => "images.edit",
            ApiCall::DeleteImage(_) => "images.delete",
            ApiCall::GetBlob(_) => "images.blob",
            ApiCall::CreateDirectUpload => "direct_upload.create",
            ApiCall::ListKeys => "keys.list",
            ApiCall::PutKey(_) => "keys.update",
            ApiCall::DeleteKey(_) => "keys.delete",
            ApiCall::GetStats => "stats.get",
            ApiCall::ListVariants => "variants.list",
            ApiCall::CreateVariant => "variants.create",
            ApiCall::GetVariant(_) => "variants.get",
            ApiCall::EditVariant(_) => "variants.edit",
            ApiCall::DeleteVariant(_) => "variants.delete",
            ApiCall::GetConfig => "config.get",
            ApiCall::EditConfig => "config.edit",
            ApiCall::GetBatchToken => "batch_token.get",
        }
    }

    /// Whether the call needs the permission *Images Write*.
    pub(super) fn is_write(&self) -> bool {
        match self {
            ApiCall::CreateImage
            | ApiCall::EditImage(_)
            | ApiCall::DeleteImage(_)
            | ApiCall::CreateDirectUpload
            | ApiCall::PutKey(_)
            | ApiCall::DeleteKey(_)
            | ApiCall::CreateVariant
            | ApiCall::EditVariant(_)
            | ApiCall::DeleteVariant(_)
            | ApiCall::EditConfig => true,
            ApiCall::ListImages
            | ApiCall::ListImagesV2
            | ApiCall::GetImage(_)
            | ApiCall::GetBlob(_)
            | ApiCall::ListKeys
            | ApiCall::GetStats
            | ApiCall::ListVariants
            | ApiCall::GetVariant(_)
            | ApiCall::GetConfig
            | ApiCall::GetBatchToken => false,
        }
    }
}

/// Names of the calls that faults can be injected into.
pub(super) const CALL_NAMES: [&str; 22] = [
    "images.create",
    "images.list",
    "images.get",
    "images.edit",
    "images.delete",
    "images.blob",
    "direct_upload.create",
    "keys.list",
    "keys.update",
    "keys.delete",
    "stats.get",
    "variants.list",
    "variants.create",
    "variants.get",
    "variants.edit",
    "variants.delete",
    "config.get",
    "config.edit",
    "batch_token.get",
    "upload",
    "delivery",
    "*",
];

/// Parses a request; 7003 for an unknown path, 7001 for a method that the path does not have.
pub(super) fn parse(method: &Method, path: &str) -> Result<Target, ApiError> {
    // HEAD is handled as GET; hyper leaves out the body.
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    match segments.as_slice() {
        ["client", "v4", "accounts", account, "images", rest @ ..] => {
            Ok(Target::Api { account: decode(account)?, call: parse_api_call(method, rest, path)? })
        }
        ["batch", "images", rest @ ..] => {
            let call = parse_api_call(method, rest, path)?;
            if is_on_batch_host(&call) {
                Ok(Target::Batch(call))
            } else {
                Err(ApiError::route_not_found(path))
            }
        }
        ["upload", hash, id @ ..] if !id.is_empty() => match *method {
            Method::POST | Method::OPTIONS => Ok(Target::Upload { hash: decode(hash)?, id: join(id)? }),
            _ => Err(ApiError::method_not_allowed(method)),
        },
        ["imagedelivery", rest @ ..] | ["cdn-cgi", "imagedelivery", rest @ ..] => match *method {
            Method::GET | Method::OPTIONS => parse_delivery(rest),
            _ => Err(ApiError::method_not_allowed(method)),
        },
        ["faults"] => match *method {
            Method::GET => Ok(Target::Faults(FaultCall::List)),
            Method::POST => Ok(Target::Faults(FaultCall::Add)),
            Method::DELETE => Ok(Target::Faults(FaultCall::Clear)),
            _ => Err(ApiError::method_not_allowed(method)),
        },
        ["faults", _] if method != Method::DELETE => Err(ApiError::method_not_allowed(method)),
        ["faults", "calls"] => Ok(Target::Faults(FaultCall::ResetCounts)),
        ["faults", id] => match id.parse() {
            Ok(id) => Ok(Target::Faults(FaultCall::Remove(id))),
            Err(_) => Err(ApiError::route_not_found(path)),
        },
        _ => Err(ApiError::route_not_found(path)),
    }
}

fn parse_delivery(segments: &[&str]) -> Result<Target, ApiError> {
    let (hash, id, variant) = match segments {
        [hash, id @ .., variant] => (*hash, id, *variant),
        _ => (segments.first().copied().unwrap_or_default(), &[][..], ""),
    };
    Ok(Target::Delivery(DeliveryPath {
        hash: decode(hash)?,
        id: join(id)?,
        variant: variant.to_owned(),
        canonical: format!("/{}", segments.join("/")),
    }))
}

/// Fixed paths take precedence over image ids of the same name. The suffix `/blob` is recognised last.
fn parse_api_call(method: &Method, segments: &[&str], path: &str) -> Result<ApiCall, ApiError> {
    let (get, post) = (Method::GET, Method::POST);
    let wrong_method = || Err(ApiError::method_not_allowed(method));
    Ok(match segments {
        ["v1"] if method == get => ApiCall::ListImages,
        ["v1"] if method == post => ApiCall::CreateImage,
        ["v2"] if method == get => ApiCall::ListImagesV2,
        ["v1" | "v2", "direct_upload"] if method == post => ApiCall::CreateDirectUpload,
        ["v1", "keys"] if method == get => ApiCall::ListKeys,
        ["v1", "keys", name] => match *method {
            Method::PUT => ApiCall::PutKey(decode(name)?),
            Method::DELETE => ApiCall::DeleteKey(decode(name)?),
            _ => return wrong_method(),
        },
        ["v1", "stats"] if method == get => ApiCall::GetStats,
        ["v1", "variants"] if method == get => ApiCall::ListVariants,
        ["v1", "variants"] if method == post => ApiCall::CreateVariant,
        ["v1", "variants", id] => match *method {
            Method::GET => ApiCall::GetVariant(decode(id)?),
            Method::PATCH => ApiCall::EditVariant(decode(id)?),
            Method::DELETE => ApiCall::DeleteVariant(decode(id)?),
            _ => return wrong_method(),
        },
        ["v1", "config"] if method == get => ApiCall::GetConfig,
        ["v1", "config"] if method == Method::PATCH => ApiCall::EditConfig,
        ["v1", "batch_token"] if method == get => ApiCall::GetBatchToken,
        ["v1"] | ["v2"] | ["v1" | "v2", "direct_upload"] => return wrong_method(),
        ["v1", "keys" | "stats" | "variants" | "config" | "batch_token"] => return wrong_method(),
        ["v1", id @ .., "blob"] if !id.is_empty() && method == get => ApiCall::GetBlob(join(id)?),
        ["v1", id @ ..] => match *method {
            Method::GET => ApiCall::GetImage(join(id)?),
            Method::PATCH => ApiCall::EditImage(join(id)?),
            Method::DELETE => ApiCall::DeleteImage(join(id)?),
            _ => return wrong_method(),
        },
        _ => return Err(ApiError::route_not_found(path)),
    })
}

/// The batch host has the calls for images and direct uploads, and none for the account.
fn is_on_batch_host(call: &ApiCall) -> bool {
    matches!(
        call,
        ApiCall::CreateImage
            | ApiCall::ListImages
            | ApiCall::ListImagesV2
            | ApiCall::GetImage(_)
            | ApiCall::EditImage(_)
            | ApiCall::DeleteImage(_)
            | ApiCall::CreateDirectUpload
    )
}

/// An id whose slashes may be raw or encoded in the request.
fn join(segments: &[&str]) -> Result<String, ApiError> {
    decode(&segments.join("/"))
}

fn decode(text: &str) -> Result<String, ApiError> {
    percent_decode_str(text)
        .decode_utf8()
        .map(|text| text.into_owned())
        .map_err(|_| ApiError::bad_request("the path is not UTF-8"))
}
