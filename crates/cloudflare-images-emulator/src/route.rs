//! What a request asks for, read from its method and raw path.

use axum::http::Method;
use percent_encoding::percent_decode_str;

use super::answer::Refusal;

/// A request by host. Ids are decoded.
#[derive(Debug)]
pub(super) enum Target {
    /// `/client/v4/accounts/{account}/images/…`
    Api { account: String, call: Call },
    /// `/batch/images/…`
    Batch(Call),
    /// `/upload/{hash}/{id…}`
    Upload { hash: String, id: String },
    /// `/imagedelivery/{hash}/{id…}/{variant}`, also under `/cdn-cgi` as on a custom domain.
    Delivery(DeliveryPath),
    /// `/faults…`
    Faults(FaultCall),
}

/// A delivery URL taken apart.
#[derive(Debug)]
pub(super) struct DeliveryPath {
    pub(super) hash: String,
    pub(super) id: String,
    /// As written, still percent-encoded: options are split before they are decoded.
    pub(super) variant: String,
    /// What the public delivery host would see, as written: `/{hash}/{id}/{variant}`.
    pub(super) canonical: String,
}

/// A call of the management API.
#[derive(Debug)]
pub(super) enum Call {
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

/// A call of the fault injection endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) enum FaultCall {
    /// `GET /faults`
    Show,
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
    /// The name faults are addressed by.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Target::Api { call, .. } | Target::Batch(call) => call.name(),
            Target::Upload { .. } => "upload",
            Target::Delivery(_) => "delivery",
            Target::Faults(_) => "faults",
        }
    }
}

impl Call {
    fn name(&self) -> &'static str {
        match self {
            Call::CreateImage => "images.create",
            Call::ListImages | Call::ListImagesV2 => "images.list",
            Call::GetImage(_) => "images.get",
            Call::EditImage(_) => "images.edit",
            Call::DeleteImage(_) => "images.delete",
            Call::GetBlob(_) => "images.blob",
            Call::CreateDirectUpload => "direct_upload.create",
            Call::ListKeys => "keys.list",
            Call::PutKey(_) => "keys.update",
            Call::DeleteKey(_) => "keys.delete",
            Call::GetStats => "stats.get",
            Call::ListVariants => "variants.list",
            Call::CreateVariant => "variants.create",
            Call::GetVariant(_) => "variants.get",
            Call::EditVariant(_) => "variants.edit",
            Call::DeleteVariant(_) => "variants.delete",
            Call::GetConfig => "config.get",
            Call::EditConfig => "config.edit",
            Call::GetBatchToken => "batch_token.get",
        }
    }

    /// Whether it needs the permission *Images Write*.
    pub(super) fn changes(&self) -> bool {
        match self {
            Call::CreateImage
            | Call::EditImage(_)
            | Call::DeleteImage(_)
            | Call::CreateDirectUpload
            | Call::PutKey(_)
            | Call::DeleteKey(_)
            | Call::CreateVariant
            | Call::EditVariant(_)
            | Call::DeleteVariant(_)
            | Call::EditConfig => true,
            Call::ListImages
            | Call::ListImagesV2
            | Call::GetImage(_)
            | Call::GetBlob(_)
            | Call::ListKeys
            | Call::GetStats
            | Call::ListVariants
            | Call::GetVariant(_)
            | Call::GetConfig
            | Call::GetBatchToken => false,
        }
    }
}

/// Names of all that faults can be for.
pub(super) const NAMES: [&str; 22] = [
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

/// Reads what is asked for; 7003 for an unknown path, 7001 for a method it does not have.
pub(super) fn target(method: &Method, path: &str) -> Result<Target, Refusal> {
    // HEAD is GET without the body, which the HTTP layer leaves out by itself.
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    match segments.as_slice() {
        ["client", "v4", "accounts", account, "images", rest @ ..] => {
            Ok(Target::Api { account: decode(account)?, call: call(method, rest, path)? })
        }
        ["batch", "images", rest @ ..] => {
            let call = call(method, rest, path)?;
            if served_in_batches(&call) { Ok(Target::Batch(call)) } else { Err(Refusal::no_route(path)) }
        }
        ["upload", hash, id @ ..] if !id.is_empty() => match *method {
            Method::POST | Method::OPTIONS => Ok(Target::Upload { hash: decode(hash)?, id: join(id)? }),
            _ => Err(Refusal::method(method)),
        },
        ["imagedelivery", rest @ ..] | ["cdn-cgi", "imagedelivery", rest @ ..] => match *method {
            Method::GET | Method::OPTIONS => delivery(rest),
            _ => Err(Refusal::method(method)),
        },
        ["faults"] => match *method {
            Method::GET => Ok(Target::Faults(FaultCall::Show)),
            Method::POST => Ok(Target::Faults(FaultCall::Add)),
            Method::DELETE => Ok(Target::Faults(FaultCall::Clear)),
            _ => Err(Refusal::method(method)),
        },
        ["faults", _] if method != Method::DELETE => Err(Refusal::method(method)),
        ["faults", "calls"] => Ok(Target::Faults(FaultCall::ResetCounts)),
        ["faults", id] => match id.parse() {
            Ok(id) => Ok(Target::Faults(FaultCall::Remove(id))),
            Err(_) => Err(Refusal::no_route(path)),
        },
        _ => Err(Refusal::no_route(path)),
    }
}

fn delivery(segments: &[&str]) -> Result<Target, Refusal> {
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

/// Fixed routes win over image ids of the same name; `/blob` is looked for last.
fn call(method: &Method, segments: &[&str], path: &str) -> Result<Call, Refusal> {
    let (get, post) = (Method::GET, Method::POST);
    let wrong_method = || Err(Refusal::method(method));
    Ok(match segments {
        ["v1"] if method == get => Call::ListImages,
        ["v1"] if method == post => Call::CreateImage,
        ["v2"] if method == get => Call::ListImagesV2,
        ["v1" | "v2", "direct_upload"] if method == post => Call::CreateDirectUpload,
        ["v1", "keys"] if method == get => Call::ListKeys,
        ["v1", "keys", name] => match *method {
            Method::PUT => Call::PutKey(decode(name)?),
            Method::DELETE => Call::DeleteKey(decode(name)?),
            _ => return wrong_method(),
        },
        ["v1", "stats"] if method == get => Call::GetStats,
        ["v1", "variants"] if method == get => Call::ListVariants,
        ["v1", "variants"] if method == post => Call::CreateVariant,
        ["v1", "variants", id] => match *method {
            Method::GET => Call::GetVariant(decode(id)?),
            Method::PATCH => Call::EditVariant(decode(id)?),
            Method::DELETE => Call::DeleteVariant(decode(id)?),
            _ => return wrong_method(),
        },
        ["v1", "config"] if method == get => Call::GetConfig,
        ["v1", "config"] if method == Method::PATCH => Call::EditConfig,
        ["v1", "batch_token"] if method == get => Call::GetBatchToken,
        ["v1"] | ["v2"] | ["v1" | "v2", "direct_upload"] => return wrong_method(),
        ["v1", "keys" | "stats" | "variants" | "config" | "batch_token"] => return wrong_method(),
        ["v1", id @ .., "blob"] if !id.is_empty() && method == get => Call::GetBlob(join(id)?),
        ["v1", id @ ..] => match *method {
            Method::GET => Call::GetImage(join(id)?),
            Method::PATCH => Call::EditImage(join(id)?),
            Method::DELETE => Call::DeleteImage(join(id)?),
            _ => return wrong_method(),
        },
        _ => return Err(Refusal::no_route(path)),
    })
}

/// The batch host has images and direct uploads, and nothing that changes the account.
fn served_in_batches(call: &Call) -> bool {
    matches!(
        call,
        Call::CreateImage
            | Call::ListImages
            | Call::ListImagesV2
            | Call::GetImage(_)
            | Call::EditImage(_)
            | Call::DeleteImage(_)
            | Call::CreateDirectUpload
    )
}

/// An id whose slashes came raw, encoded, or both.
fn join(segments: &[&str]) -> Result<String, Refusal> {
    decode(&segments.join("/"))
}

fn decode(text: &str) -> Result<String, Refusal> {
    percent_decode_str(text)
        .decode_utf8()
        .map(|text| text.into_owned())
        .map_err(|_| Refusal::bad_request("the path is not UTF-8"))
}
