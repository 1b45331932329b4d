//! The cost of a query: reported in `extensions.cost` of its response, and charged to the rate limit of the token before the
//! query is executed.

use std::sync::{Arc, OnceLock};

use async_graphql::async_trait::async_trait;
use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextRequest, NextValidation};
use async_graphql::{Response, ServerError, SimpleObject, ValidationResult, Value, value};

use crate::app::App;
use crate::app::Balance;
use crate::auth::Viewer;
use crate::auth::rate;
use crate::error::{Code, Error};
use crate::graphql::error::top_level;
use crate::graphql::types::scalar::DateTime;

/// The rate limit of a token. A query costs one point for each of its fields, times the page size inside connections,
/// and at least one.
#[derive(Debug, Clone, SimpleObject)]
pub struct RateLimit {
    /// Points this request costs.
    cost: i32,
    /// Points of the token in use when it has made no request in the last minute.
    limit: i32,
    /// Points left after this request. They are restored at a constant rate.
    remaining: i32,
    /// When all points are restored, without further requests.
    reset_at: DateTime,
}

impl From<Balance> for RateLimit {
    fn from(balance: Balance) -> Self {
        let points = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        RateLimit {
            cost: points(balance.cost),
            limit: points(balance.limit),
            remaining: points(balance.remaining),
            reset_at: DateTime(balance.reset_at),
        }
    }
}

/// The rate-limit balance of a token after a query was charged; part of the request's data.
#[derive(Default)]
pub struct QueryCost(OnceLock<Balance>);

impl QueryCost {
    /// `None` when the server has no rate limit.
    pub fn balance(&self) -> Option<Balance> {
        self.0.get().copied()
    }
}

/// Charges the cost of each query, and reports it in the response.
pub struct CostExtension;

impl ExtensionFactory for CostExtension {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(ValidatedCost::default())
    }
}

/// The cost of one request; set when the query has been validated.
#[derive(Default)]
struct ValidatedCost(OnceLock<ValidationResult>);

#[async_trait]
impl Extension for ValidatedCost {
    async fn request(&self, ctx: &ExtensionContext<'_>, next: NextRequest<'_>) -> Response {
        let response = next.run(ctx).await;
        match self.0.get() {
            Some(cost) => {
                let value = value!({ "complexity": cost.complexity, "depth": cost.depth });
                response.extension("cost", value)
            }
            None => response,
        }
    }

    async fn validation(
        &self,
        ctx: &ExtensionContext<'_>,
        next: NextValidation<'_>,
    ) -> Result<ValidationResult, Vec<ServerError>> {
        let validated = next.run(ctx).await;
        if let Ok(cost) = &validated {
            let _ = self.0.set(*cost);
        }
        // An invalid query has no cost and took time to validate, so it is charged one point.
        charge(ctx, validated.as_ref().map_or(1, |cost| cost.complexity))?;
        validated
    }
}

fn charge(ctx: &ExtensionContext<'_>, points: usize) -> Result<(), Vec<ServerError>> {
    let (app, viewer) = (ctx.data_unchecked::<App>(), ctx.data_unchecked::<Arc<Viewer>>());
    let balance = rate::take(app, viewer, points).map_err(|problem| vec![to_server_error(problem)])?;
    if let (Some(balance), Some(cost)) = (balance, ctx.data_opt::<Arc<QueryCost>>()) {
        let _ = cost.0.set(balance);
    }
    Ok(())
}

/// An error of the whole request.
pub fn to_server_error(problem: Error) -> ServerError {
    let problem = top_level(problem);
    let mut error = ServerError::new(problem.message, None);
    error.extensions = problem.extensions;
    error
}

/// After how many seconds to repeat a request that exceeded the rate limit.
pub fn retry_after(response: &Response) -> Option<u64> {
    let extensions = response.errors.first()?.extensions.as_ref()?;
    let limited = extensions.get("code") == Some(&Value::from(Code::RateLimited.as_str()));
    let Some(Value::Number(seconds)) = extensions.get("retryAfter") else { return None };
    seconds.as_u64().filter(|_| limited)
}
