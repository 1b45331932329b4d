//! Faults on demand: whoever tests a program against the emulator says what goes wrong, for which calls and how often.
//!
//! `POST /faults` adds a fault, `GET /faults` shows those there are and how often each call was made,
//! `DELETE /faults` takes all away, `DELETE /faults/{id}` one, and `DELETE /faults/calls` begins to count anew.

mod kind;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answer::Refusal;
use super::form;
use super::route::{FaultCall, NAMES};
use kind::Fault;

/// The faults there are, and how often each call was made since the start.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Ledger>);

#[derive(Debug, Default)]
struct Ledger {
    last_id: u64,
    faults: Vec<Waiting>,
    calls: BTreeMap<&'static str, u64>,
}

/// Body of `POST /faults`: what goes wrong, and with which calls. A call must meet all that is said.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// A call's name; `images.*` are all that begin so, `*` are all.
    #[serde(default = "every")]
    call: String,
    /// HTTP method.
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    /// Part of the path, as it is written in the URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    fault: Fault,
    /// How many calls it strikes, less those it has struck; all if absent.
    times: Option<u64>,
    /// How many of its calls it lets through first, less those it has.
    #[serde(default)]
    skip: u64,
    /// How likely it strikes each call, above 0 and up to 1.
    #[serde(default = "certain")]
    probability: f64,
}

/// A fault that was added.
#[derive(Debug, Clone, Serialize)]
struct Waiting {
    id: u64,
    #[serde(flatten)]
    rule: Rule,
    /// How many calls it has struck.
    struck: u64,
}

/// A call as faults see it.
#[derive(Debug)]
pub(super) struct Seen {
    /// Name of the call.
    pub(super) call: &'static str,
    pub(super) method: String,
    /// As written in the URL.
    pub(super) path: String,
    /// Whether errors of this call are text by themselves.
    pub(super) in_text: bool,
}

impl Faults {
    /// Answers a call, spoiled if a fault is due for it.
    pub(super) async fn around(&self, seen: Seen, answer: impl Future<Output = Response>) -> Response {
        match self.next(&seen) {
            Some(fault) => fault.strike(&seen, answer).await,
            None => answer.await,
        }
    }

    /// Counts the call and takes the first fault that is due for it.
    fn next(&self, seen: &Seen) -> Option<Fault> {
        let mut ledger = self.ledger();
        *ledger.calls.entry(seen.call).or_default() += 1;
        ledger.faults.iter_mut().find_map(|waiting| waiting.due(seen))
    }

    fn add(&self, rule: Rule) -> u64 {
        let mut ledger = self.ledger();
        // Those that are used up were there to be looked at until now.
        ledger.faults.retain(|waiting| waiting.rule.times != Some(0));
        ledger.last_id += 1;
        let id = ledger.last_id;
        ledger.faults.push(Waiting { id, rule, struck: 0 });
        id
    }

    fn remove(&self, id: u64) -> Result<(), Refusal> {
        let mut ledger = self.ledger();
        let place = ledger.faults.iter().position(|waiting| waiting.id == id);
        let place =
            place.ok_or_else(|| Refusal::new(axum::http::StatusCode::NOT_FOUND, 5404, "No such fault"))?;
        ledger.faults.remove(place);
        Ok(())
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Its fault, if it strikes this call.
    fn due(&mut self, seen: &Seen) -> Option<Fault> {
        if !self.rule.is_for(seen) || self.rule.times == Some(0) {
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

impl Rule {
    fn is_for(&self, seen: &Seen) -> bool {
        let named = match self.call.strip_suffix('*') {
            Some(start) => seen.call.starts_with(start),
            None => seen.call == self.call,
        };
        named
            && self.method.as_ref().is_none_or(|method| method.eq_ignore_ascii_case(&seen.method))
            && self.path.as_ref().is_none_or(|path| seen.path.contains(path))
    }

    /// Refuses what could never strike, or not as it is meant.
    fn checked(self) -> Result<Self, Refusal> {
        let known = match self.call.strip_suffix('*') {
            Some(start) => NAMES.iter().any(|name| name.starts_with(start)),
            None => NAMES.contains(&self.call.as_str()),
        };
        if !known {
            let message = format!("unknown call `{}`, expected one of {}", self.call, NAMES.join(", "));
            return Err(Refusal::bad_request(message).at(&["call"]));
        }
        if !(self.probability > 0.0 && self.probability <= 1.0) {
            return Err(
                Refusal::bad_request("probability must be above 0 and at most 1").at(&["probability"])
            );
        }
        self.fault.check()?;
        Ok(self)
    }
}

/// Serves `/faults`.
pub(super) async fn control(faults: &Faults, call: FaultCall, request: Request) -> Response {
    carry_out(faults, call, request)
        .await
        .map_or_else(IntoResponse::into_response, IntoResponse::into_response)
}

async fn carry_out(
    faults: &Faults,
    call: FaultCall,
    request: Request,
) -> Result<Json<serde_json::Value>, Refusal> {
    match call {
        FaultCall::Show => {
            let ledger = faults.ledger();
            return Ok(Json(json!({ "calls": ledger.calls, "faults": ledger.faults })));
        }
        FaultCall::Add => {
            let rule = form::json::<Rule>(request.into_body()).await?.checked()?;
            return Ok(Json(json!({ "id": faults.add(rule) })));
        }
        FaultCall::Clear => faults.ledger().faults.clear(),
        FaultCall::Remove(id) => faults.remove(id)?,
        FaultCall::ResetCounts => faults.ledger().calls.clear(),
    }
    Ok(Json(json!({})))
}

fn every() -> String {
    "*".to_owned()
}

fn certain() -> f64 {
    1.0
}
