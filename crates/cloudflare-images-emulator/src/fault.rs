//! Fault injection: tests of a program choose what goes wrong, for which calls and how often.
//!
//! `POST /faults` adds a fault, `GET /faults` lists the faults and the number of calls, `DELETE /faults` removes all
//! faults, `DELETE /faults/{id}` one, and `DELETE /faults/calls` resets the numbers of calls.

mod kind;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error::ApiError;
use super::form;
use super::route::{CALL_NAMES, FaultCall};
use kind::Fault;

/// The injected faults, and how often each call was made since the start.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<FaultState>);

#[derive(Debug, Default)]
struct FaultState {
    last_id: u64,
    faults: Vec<InjectedFault>,
    calls: BTreeMap<&'static str, u64>,
}

/// Body of `POST /faults`: a fault and the calls that it applies to. A call must meet every condition.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultRule {
    /// Name of a call. `images.*` matches all names with this prefix, `*` all calls.
    #[serde(default = "all_calls")]
    call: String,
    /// HTTP method.
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    /// Text that the path, as written in the URL, must contain.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    fault: Fault,
    /// To how many more calls it applies; to all if absent.
    times: Option<u64>,
    /// How many more calls it skips before it applies.
    #[serde(default)]
    skip: u64,
    /// Probability with which it applies to each call, above 0 and up to 1.
    #[serde(default = "always")]
    probability: f64,
}

/// A fault that was added, with its id.
#[derive(Debug, Clone, Serialize)]
struct InjectedFault {
    id: u64,
    #[serde(flatten)]
    rule: FaultRule,
    /// To how many calls it has applied.
    struck: u64,
}

/// What rules compare of a call.
#[derive(Debug)]
pub(super) struct CallInfo {
    /// Name of the call.
    pub(super) name: &'static str,
    pub(super) method: String,
    /// As written in the URL.
    pub(super) path: String,
    /// Whether errors of this call are plain text, and not JSON.
    pub(super) has_text_errors: bool,
}

impl Faults {
    /// Answers a call, altered by the first fault that applies to it. `response` carries out the call when it is polled.
    pub(super) async fn apply(&self, call: CallInfo, response: impl Future<Output = Response>) -> Response {
        match self.take(&call) {
            Some(fault) => fault.apply(&call, response).await,
            None => response.await,
        }
    }

    /// Counts the call and returns the first fault that applies to it.
    fn take(&self, call: &CallInfo) -> Option<Fault> {
        let mut state = self.state();
        *state.calls.entry(call.name).or_default() += 1;
        state.faults.iter_mut().find_map(|injected| injected.take(call))
    }

    fn add(&self, rule: FaultRule) -> u64 {
        let mut state = self.state();
        // Faults that apply to no more calls are listed until another one is added.
        state.faults.retain(|injected| injected.rule.times != Some(0));
        state.last_id += 1;
        let id = state.last_id;
        state.faults.push(InjectedFault { id, rule, struck: 0 });
        id
    }

    fn remove(&self, id: u64) -> Result<(), ApiError> {
        let mut state = self.state();
        let index = state.faults.iter().position(|injected| injected.id == id);
        let index =
            index.ok_or_else(|| ApiError::new(axum::http::StatusCode::NOT_FOUND, 5404, "No such fault"))?;
        state.faults.remove(index);
        Ok(())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, FaultState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InjectedFault {
    /// The fault, if it applies to this call.
    fn take(&mut self, call: &CallInfo) -> Option<Fault> {
        if !self.rule.matches(call) || self.rule.times == Some(0) {
            return None;
        }
        if self.rule.skip > 0 {
            self.rule.skip -= 1;
            return None;
        }
        if rand::random::<f64>() >= self.rule.probability {
            return None;
        }
        self.rule.times = self.rule.times.map(|times| times - 1);
        self.struck += 1;
        Some(self.rule.fault.clone())
    }
}

impl FaultRule {
    fn matches(&self, call: &CallInfo) -> bool {
        let name_matches = match self.call.strip_suffix('*') {
            Some(prefix) => call.name.starts_with(prefix),
            None => call.name == self.call,
        };
        name_matches
            && self.method.as_ref().is_none_or(|method| method.eq_ignore_ascii_case(&call.method))
            && self.path.as_ref().is_none_or(|path| call.path.contains(path))
    }

    /// An error for a rule that no call can meet, and for a fault that cannot be injected.
    fn validate(self) -> Result<Self, ApiError> {
        let known = match self.call.strip_suffix('*') {
            Some(prefix) => CALL_NAMES.iter().any(|name| name.starts_with(prefix)),
            None => CALL_NAMES.contains(&self.call.as_str()),
        };
        if !known {
            let message = format!("unknown call `{}`, expected one of {}", self.call, CALL_NAMES.join(", "));
            return Err(ApiError::bad_request(message).with_pointer(&["call"]));
        }
        if !(self.probability > 0.0 && self.probability <= 1.0) {
            return Err(ApiError::bad_request("probability must be above 0 and at most 1")
                .with_pointer(&["probability"]));
        }
        self.fault.validate()?;
        Ok(self)
    }
}

/// Answers a call of the fault injection API.
pub(super) async fn respond(faults: &Faults, call: FaultCall, request: Request) -> Response {
    execute(faults, call, request).await.map_or_else(IntoResponse::into_response, IntoResponse::into_response)
}

async fn execute(
    faults: &Faults,
    call: FaultCall,
    request: Request,
) -> Result<Json<serde_json::Value>, ApiError> {
    match call {
        FaultCall::List => {
            let state = faults.state();
            return Ok(Json(json!({ "calls": state.calls, "faults": state.faults })));
        }
        FaultCall::Add => {
            let rule = form::json::<FaultRule>(request.into_body()).await?.validate()?;
            return Ok(Json(json!({ "id": faults.add(rule) })));
        }
        FaultCall::Clear => faults.state().faults.clear(),
        FaultCall::Remove(id) => faults.remove(id)?,
        FaultCall::ResetCounts => faults.state().calls.clear(),
    }
    Ok(Json(json!({})))
}

fn all_calls() -> String {
    "*".to_owned()
}

fn always() -> f64 {
    1.0
}
