//! Execution of a request: its document within the limits, its variables coerced, its cost charged.

use std::sync::Arc;

use async_graphql::parser::types::{DocumentOperations, ExecutableDocument, OperationType};
use async_graphql::{Request, Response, ServerError, Value};

use crate::app::App;
use crate::auth::Viewer;
use crate::auth::rate;
use crate::graphql::Schema;
use crate::graphql::cost::{self, Cost, QueryCost};
use crate::graphql::document::field_order::FieldOrder;
use crate::graphql::document::{Document, Documents};
use crate::graphql::loader::{self, BatchGate};
use crate::graphql::rows::WriteRows;
use crate::graphql::transport::multipart::FileParts;
use crate::graphql::transport::negotiation::EVENT_STREAM;
use crate::graphql::transport::request::RequestRejection;
use crate::graphql::transport::response::finish;
use crate::graphql::{schema, subscription_schema};
use crate::http::RequestId;

/// The GraphQL face of a server.
#[derive(Clone)]
pub struct GraphqlService {
    pub(super) app: App,
    /// Executes queries and mutations.
    schema: Schema,
    /// Executes subscriptions.
    pub(super) subscription_schema: Schema,
    pub(super) documents: Arc<Documents>,
}

impl GraphqlService {
    /// The face of a server, with no documents in its cache.
    pub fn new(app: &App) -> GraphqlService {
        GraphqlService {
            app: app.clone(),
            schema: schema(app),
            subscription_schema: subscription_schema(app),
            documents: Arc::new(Documents::new((&app.config).into())),
        }
    }

    /// Executes a query or mutation.
    ///
    /// # Errors
    /// For an operation that the method or the media type of the HTTP request does not allow.
    pub(super) async fn execute(
        &self,
        request: Request,
        viewer: &Arc<Viewer>,
        files: FileParts,
        queries_only: bool,
        id: RequestId,
    ) -> Result<Response, RequestRejection> {
        let document = match self.parse(&request, viewer) {
            Ok(document) => document,
            Err(problem) => return Ok(finish(Response::from_errors(vec![problem]), id)),
        };
        let operation = operation_type(&document.executable, request.operation_name.as_deref());
        if queries_only && operation != Some(OperationType::Query) {
            return Err(RequestRejection::query_required());
        }
        if operation == Some(OperationType::Subscription) {
            let message = format!("A subscription needs `Accept: {EVENT_STREAM}`, or a WebSocket.");
            return Err(RequestRejection { status: 406, code: "NOT_ACCEPTABLE", message });
        }
        Ok(self.run(request, &document, viewer, files, id).await)
    }

    /// Reads the document of a request within the limits.
    pub(super) fn parse(&self, request: &Request, viewer: &Viewer) -> Result<Arc<Document>, ServerError> {
        self.documents.find(&request.query).map_err(|problem| {
            // A rejected document has no cost and took time to read, so it is charged one point.
            rate::take(&self.app, viewer, 1).map_or_else(cost::to_server_error, |_| problem)
        })
    }

    /// Validates a request, coerces its variables, and charges its cost.
    ///
    /// # Errors
    /// The response to a request that is invalid, exceeds a limit, or costs more than its token has left.
    pub(super) fn admit(
        &self,
        request: Request,
        document: &Document,
        viewer: &Viewer,
    ) -> Result<(Request, Cost), Box<Response>> {
        let charge = |cost: Cost| {
            rate::take(&self.app, viewer, cost.complexity)
                .map_err(|problem| vec![cost::to_server_error(problem)])
        };
        let valid = document.prepare(request).and_then(|(request, cost)| {
            cost.check(&self.app.config).map_err(|problem| vec![problem])?;
            Ok((request, cost))
        });
        let (request, cost) = valid.map_err(|problems| {
            Box::new(Response::from_errors(
                charge(Cost::REFUSED).map_or_else(|limited| limited, |_| problems),
            ))
        })?;
        match charge(cost) {
            Ok(balance) => {
                let request = request.data(QueryCost(balance)).data(WriteRows(!document.merges_fields));
                Ok((request, cost))
            }
            Err(limited) => Err(Box::new(Response::from_errors(limited).extension("cost", cost.extension()))),
        }
    }

    /// Executes a query or mutation whose document has been read.
    pub(super) async fn run(
        &self,
        request: Request,
        document: &Document,
        viewer: &Arc<Viewer>,
        files: FileParts,
        id: RequestId,
    ) -> Response {
        let (request, cost) = match self.admit(request, document, viewer) {
            Ok(admitted) => admitted,
            Err(response) => return finish(*response, id),
        };
        let operation_name = request.operation_name.as_deref();
        let order = FieldOrder::of(&document.executable, operation_name, &request.variables);
        let gate = BatchGate::default();
        let request = request
            .data(Arc::clone(viewer))
            .data(Arc::new(loader::loaders(self.app.clone(), Arc::clone(viewer), &gate)))
            .data(files);
        let mut response = gate.run(self.schema.execute(request)).await;
        if response.data != Value::Null {
            order.sort(&mut response.data);
        }
        finish(response.extension("cost", cost.extension()), id)
    }
}

/// The type of the operation that a request selects; `None` when it selects none.
pub(super) fn operation_type(document: &ExecutableDocument, name: Option<&str>) -> Option<OperationType> {
    match (&document.operations, name) {
        (DocumentOperations::Single(operation), _) => Some(operation.node.ty),
        (DocumentOperations::Multiple(operations), Some(name)) => {
            operations.get(name).map(|operation| operation.node.ty)
        }
        // Without a name one operation is selected. Several are a validation error, which may be reported as that of a
        // query only if all of them are queries.
        (DocumentOperations::Multiple(operations), None) => {
            let mut types = operations.values().map(|operation| operation.node.ty);
            let first = types.next()?;
            (operations.len() == 1 || first == OperationType::Query && types.all(|ty| ty == first))
                .then_some(first)
        }
    }
}
