//! One operation over WebSocket or server-sent events, as a stream of events.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::parser::types::{ExecutableDocument, OperationType, Selection};
use async_graphql::{Request, Response, ServerError, Value};
use futures_util::stream::{self, BoxStream, StreamExt};

use crate::auth::{Credential, Viewer};
use crate::error::{Code, Error, FAULT_MESSAGE};
use crate::graphql::document::Document;
use crate::graphql::document::field_order::FieldOrder;
use crate::graphql::loader::BatchGate;
use crate::graphql::subscription::delivery::SubscriptionContext;
use crate::graphql::transport::multipart::FileParts;
use crate::graphql::transport::response::finish;
use crate::graphql::transport::service::{GraphqlService, operation_type};
use crate::http::RequestId;

/// An event of an operation, named as in `graphql-transport-ws`. All but `Next` are the last.
pub(super) enum OperationEvent {
    /// A response; more may follow.
    Next(Response),
    /// The operation was rejected, or ended with an error.
    Error(Vec<ServerError>),
    /// The operation is complete.
    Complete,
    /// The token is no longer usable, which ends the connection.
    Unauthenticated,
}

/// Runs a query, mutation or subscription, within the same limits as over HTTP. The viewer is looked up first: the token may
/// have been revoked since the connection was opened.
pub(super) fn run(
    service: GraphqlService,
    credential: Arc<Credential>,
    request: Request,
    files: FileParts,
    id: RequestId,
) -> BoxStream<'static, OperationEvent> {
    let events = stream::once(start(service, credential, request, files, id)).flatten();
    // A panic ends this operation and not the others of its connection.
    let events = AssertUnwindSafe(events).catch_unwind().map(move |event| {
        event.unwrap_or_else(|_| {
            tracing::error!("an operation panicked");
            OperationEvent::Error(server_errors(&Error::fault("running an operation", FAULT_MESSAGE), id))
        })
    });
    events.boxed()
}

async fn start(
    service: GraphqlService,
    credential: Arc<Credential>,
    request: Request,
    files: FileParts,
    id: RequestId,
) -> BoxStream<'static, OperationEvent> {
    let viewer = match credential.viewer(&service.app, Duration::ZERO).await {
        Ok(viewer) => viewer,
        Err(Error::Refusal(refusal)) if refusal.code == Code::Unauthenticated => {
            return single(OperationEvent::Unauthenticated);
        }
        Err(problem) => {
            problem.log();
            return single(OperationEvent::Error(server_errors(&problem, id)));
        }
    };
    let document = match service.parse(&request, &viewer) {
        Ok(document) => document,
        Err(problem) => return single(rejected(problem, id)),
    };
    if operation_type(&document.executable, request.operation_name.as_deref())
        == Some(OperationType::Subscription)
    {
        return subscribe(&service, document, request, viewer, credential, id);
    }
    let response = service.run(request, &document, &viewer, files, id).await;
    if response.data == Value::Null && !response.errors.is_empty() {
        return single(OperationEvent::Error(response.errors));
    }
    stream::iter([OperationEvent::Next(response), OperationEvent::Complete]).boxed()
}

fn subscribe(
    service: &GraphqlService,
    document: Arc<Document>,
    request: Request,
    viewer: Arc<Viewer>,
    credential: Arc<Credential>,
    id: RequestId,
) -> BoxStream<'static, OperationEvent> {
    if let Some(problem) = check_single_field(&document.executable, request.operation_name.as_deref()) {
        return single(rejected(problem, id));
    }
    let (request, _) = match service.admit(request, &document, &viewer) {
        Ok(admitted) => admitted,
        Err(response) => return single(OperationEvent::Error(finish(*response, id).errors)),
    };
    let (operation_name, variables) = (request.operation_name.clone(), request.variables.clone());
    let gate = BatchGate::default();
    let subscription = Arc::new(SubscriptionContext::new(service.app.clone(), credential, gate.clone()));
    let loaders = subscription.begin_delivery(Arc::clone(&viewer));
    let request = request.data(viewer).data(loaders).data(FileParts::default()).data(subscription);
    let responses =
        stream::unfold(service.subscription_schema.execute_stream(request), move |mut responses| {
            let gate = gate.clone();
            async move { gate.run(responses.next()).await.map(|response| (response, responses)) }
        });
    let events = responses.map(move |mut response| {
        if response.data == Value::Null || has_only_nulls(&response.data) && !response.errors.is_empty() {
            return source_error(finish(response, id).errors);
        }
        FieldOrder::of(&document.executable, operation_name.as_deref(), &variables).sort(&mut response.data);
        OperationEvent::Next(finish(response, id))
    });
    end_with_last_event(events.boxed())
}

/// Ends the stream after the first event that is not `Next`, and adds `Complete` where there is none.
fn end_with_last_event(events: BoxStream<'static, OperationEvent>) -> BoxStream<'static, OperationEvent> {
    stream::unfold(Some(events), |events| async move {
        let mut events = events?;
        match events.next().await {
            Some(next @ OperationEvent::Next(_)) => Some((next, Some(events))),
            Some(last) => Some((last, None)),
            None => Some((OperationEvent::Complete, None)),
        }
    })
    .boxed()
}

/// The last event of a subscription whose source stream ended with an error.
fn source_error(errors: Vec<ServerError>) -> OperationEvent {
    let unauthenticated = Value::from(Code::Unauthenticated.as_str());
    let codes = errors.iter().filter_map(|error| error.extensions.as_ref()?.get("code"));
    match codes.into_iter().any(|code| *code == unauthenticated) {
        true => OperationEvent::Unauthenticated,
        false => OperationEvent::Error(errors),
    }
}

fn has_only_nulls(data: &Value) -> bool {
    matches!(data, Value::Object(fields) if fields.values().all(|field| *field == Value::Null))
}

/// The executor would run several fields concurrently and ignore fragments with directives. The specification requires one
/// field. Other fragments are part of the operation here.
fn check_single_field(document: &ExecutableDocument, name: Option<&str>) -> Option<ServerError> {
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
    let message = "A subscription selects exactly one field, without a directive.";
    let mut problem = ServerError::new(message, Some(operation.pos));
    problem.extensions.get_or_insert_default().set("code", "GRAPHQL_VALIDATION_FAILED");
    Some(problem)
}

fn single(event: OperationEvent) -> BoxStream<'static, OperationEvent> {
    stream::iter([event]).boxed()
}

fn rejected(problem: ServerError, id: RequestId) -> OperationEvent {
    OperationEvent::Error(finish(Response::from_errors(vec![problem]), id).errors)
}

fn server_errors(problem: &Error, id: RequestId) -> Vec<ServerError> {
    let refusal = problem.public();
    let mut shown = ServerError::new(refusal.message, None);
    shown.extensions.get_or_insert_default().set("code", refusal.code.as_str());
    finish(Response::from_errors(vec![shown]), id).errors
}
