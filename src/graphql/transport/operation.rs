//! One operation on a connection that stays open: whatever it has to say, one after the other.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::parser::types::{ExecutableDocument, OperationType, Selection};
use async_graphql::{Request, Response as Answer, ServerError, Value};
use futures_util::stream::{self, BoxStream, StreamExt};

use crate::auth::{Credential, Viewer};
use crate::error::{Code, Error, FAULT_MESSAGE};
use crate::graphql::document::Document;
use crate::graphql::document::field_order::Order;
use crate::graphql::loader::Sweeps;
use crate::graphql::subscription::delivery::SubscriptionContext;
use crate::graphql::transport::handler::{Face, operation_type, polished};
use crate::graphql::transport::request::Parts;
use crate::http::RequestId;

/// What an operation says.
pub(super) enum Said {
    /// An answer. There may be more.
    Next(Answer),
    /// It is refused, or ended by an error, and over.
    Failed(Vec<ServerError>),
    /// It is over.
    Complete,
    /// The token is not usable any more, so nothing on this connection is.
    Unauthenticated,
}

/// Runs a query, a mutation or a subscription within the limits of every other request, and with a look-up of its
/// viewer. The last thing said is not `Next`.
pub(super) fn run(
    face: Face,
    credential: Arc<Credential>,
    request: Request,
    parts: Parts,
    id: RequestId,
) -> BoxStream<'static, Said> {
    let said = stream::once(begin(face, credential, request, parts, id)).flatten();
    // A panic is a fault of this operation, and costs no other one.
    let said = AssertUnwindSafe(said).catch_unwind().map(move |said| {
        said.unwrap_or_else(|_| {
            tracing::error!("an operation panicked");
            Said::Failed(errors(&Error::fault("running an operation", FAULT_MESSAGE), id))
        })
    });
    said.boxed()
}

async fn begin(
    face: Face,
    credential: Arc<Credential>,
    request: Request,
    parts: Parts,
    id: RequestId,
) -> BoxStream<'static, Said> {
    let viewer = match credential.viewer(&face.app, Duration::ZERO).await {
        Ok(viewer) => viewer,
        Err(Error::Refusal(refusal)) if refusal.code == Code::Unauthenticated => {
            return one(Said::Unauthenticated);
        }
        Err(problem) => {
            problem.log();
            return one(Said::Failed(errors(&problem, id)));
        }
    };
    let document = match face.parse(&request, &viewer) {
        Ok(document) => document,
        Err(problem) => return one(failed(problem, id)),
    };
    if operation_type(&document.executable, request.operation_name.as_deref())
        == Some(OperationType::Subscription)
    {
        return subscribe(&face, document, request, viewer, credential, id);
    }
    let answer = face.run(request, &document, &viewer, parts, id).await;
    if answer.data == Value::Null && !answer.errors.is_empty() {
        return one(Said::Failed(answer.errors));
    }
    stream::iter([Said::Next(answer), Said::Complete]).boxed()
}

fn subscribe(
    face: &Face,
    document: Arc<Document>,
    request: Request,
    viewer: Arc<Viewer>,
    credential: Arc<Credential>,
    id: RequestId,
) -> BoxStream<'static, Said> {
    if let Some(problem) = not_one_field(&document.executable, request.operation_name.as_deref()) {
        return one(failed(problem, id));
    }
    let request = match face.prepare(request, &document, &viewer) {
        Ok(request) => request,
        Err(problems) => return one(Said::Failed(polished(Answer::from_errors(problems), id).errors)),
    };
    let (operation_name, variables) = (request.operation_name.clone(), request.variables.clone());
    let sweeps = Sweeps::default();
    let live = Arc::new(SubscriptionContext::new(face.app.clone(), credential, sweeps.clone()));
    let loaders = live.begin_delivery(Arc::clone(&viewer));
    let request = request.data(viewer).data(loaders).data(Parts::default()).data(live);
    let answers = stream::unfold(face.live.execute_stream(request), move |mut answers| {
        let sweeps = sweeps.clone();
        async move { sweeps.of(answers.next()).await.map(|answer| (answer, answers)) }
    });
    let said = answers.map(move |mut answer| {
        if answer.data == Value::Null || is_null_inside(&answer.data) && !answer.errors.is_empty() {
            return ended(polished(answer, id).errors);
        }
        Order::of(&document.executable, operation_name.as_deref(), &variables).sort(&mut answer.data);
        Said::Next(polished(answer, id))
    });
    until_over(said.boxed())
}

/// Ends after what is not `Next`, and says `Complete` if nothing else does.
fn until_over(said: BoxStream<'static, Said>) -> BoxStream<'static, Said> {
    stream::unfold(Some(said), |said| async move {
        let mut said = said?;
        match said.next().await {
            Some(next @ Said::Next(_)) => Some((next, Some(said))),
            Some(last) => Some((last, None)),
            None => Some((Said::Complete, None)),
        }
    })
    .boxed()
}

/// The end of a subscription by an error: its one field is null, and will never be anything else.
fn ended(errors: Vec<ServerError>) -> Said {
    let unauthenticated = Value::from(Code::Unauthenticated.as_str());
    let codes = errors.iter().filter_map(|error| error.extensions.as_ref()?.get("code"));
    match codes.into_iter().any(|code| *code == unauthenticated) {
        true => Said::Unauthenticated,
        false => Said::Failed(errors),
    }
}

fn is_null_inside(data: &Value) -> bool {
    matches!(data, Value::Object(fields) if fields.values().all(|field| *field == Value::Null))
}

/// The executor would run several fields side by side and pass over fragments; the specification wants one field.
fn not_one_field(document: &ExecutableDocument, name: Option<&str>) -> Option<ServerError> {
    let mut operations = document.operations.iter();
    let (_, operation) = operations.find(|(known, _)| match name {
        Some(name) => known.is_some_and(|known| known == name),
        None => true,
    })?;
    let fields = &operation.node.selection_set.node.items;
    if let [field] = fields.as_slice()
        && let Selection::Field(field) = &field.node
        && !field.node.name.node.starts_with("__")
        && field.node.directives.is_empty()
    {
        return None;
    }
    let message =
        "A subscription selects exactly one field, itself: without a fragment or directive around it.";
    let mut problem = ServerError::new(message, Some(operation.pos));
    problem.extensions.get_or_insert_default().set("code", "GRAPHQL_VALIDATION_FAILED");
    Some(problem)
}

fn one(said: Said) -> BoxStream<'static, Said> {
    stream::iter([said]).boxed()
}

fn failed(problem: ServerError, id: RequestId) -> Said {
    Said::Failed(polished(Answer::from_errors(vec![problem]), id).errors)
}

fn errors(problem: &Error, id: RequestId) -> Vec<ServerError> {
    let refusal = problem.public();
    let mut shown = ServerError::new(refusal.message, None);
    shown.extensions.get_or_insert_default().set("code", refusal.code.as_str());
    polished(Answer::from_errors(vec![shown]), id).errors
}
