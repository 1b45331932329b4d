//! One operation on a connection that stays open: whatever it has to say, one after the other.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_graphql::async_trait::async_trait;
use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextExecute};
use async_graphql::parser::types::{ExecutableDocument, OperationType, Selection};
use async_graphql::{Data, Request, Response as Answer, ServerError, Value};
use futures_util::stream::{self, BoxStream, StreamExt};

use crate::app::App;
use crate::auth::{Credential, Viewer};
use crate::error::{Code, Error, FAULT_MESSAGE};
use crate::graphql::document::Document;
use crate::graphql::handler::{Face, operation_type, polished};
use crate::graphql::loader::{self, Loaders, Sweeps};
use crate::graphql::order::Order;
use crate::graphql::request::Parts;
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
    let live = Arc::new(Live {
        app: face.app.clone(),
        credential,
        sweeps: sweeps.clone(),
        delivery: Mutex::default(),
    });
    let loaders = live.deliver(Arc::clone(&viewer));
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

/// What a subscription runs with, beyond what every request has.
pub(super) struct Live {
    app: App,
    credential: Arc<Credential>,
    sweeps: Sweeps,
    delivery: Mutex<Option<(Arc<Viewer>, Arc<Loaders>)>>,
}

impl Live {
    /// Whose rights are looked up again and again.
    pub(super) fn credential(&self) -> &Arc<Credential> {
        &self.credential
    }

    /// From here on resolvers see with this viewer's rights, and nothing that was loaded before.
    pub(super) fn deliver(&self, viewer: Arc<Viewer>) -> Arc<Loaders> {
        let loaders = Arc::new(loader::loaders(self.app.clone(), Arc::clone(&viewer), &self.sweeps));
        let mut delivery = self.delivery.lock().unwrap_or_else(PoisonError::into_inner);
        *delivery = Some((viewer, Arc::clone(&loaders)));
        loaders
    }
}

/// Gives each delivery of a subscription its own viewer and loaders, in place of those it began with.
pub(super) struct PerDelivery;

impl ExtensionFactory for PerDelivery {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(PerDelivery)
    }
}

#[async_trait]
impl Extension for PerDelivery {
    async fn execute(
        &self,
        ctx: &ExtensionContext<'_>,
        operation_name: Option<&str>,
        next: NextExecute<'_>,
    ) -> Answer {
        let delivery = ctx
            .data_opt::<Arc<Live>>()
            .and_then(|live| live.delivery.lock().unwrap_or_else(PoisonError::into_inner).clone());
        let Some((viewer, loaders)) = delivery else { return next.run(ctx, operation_name).await };
        let mut data = Data::default();
        data.insert(viewer);
        data.insert(loaders);
        next.run_with_data(ctx, operation_name, data).await
    }
}
