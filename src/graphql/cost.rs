//! What a query costs: shown in `extensions.cost` of its answer, and taken from the points of the token in use before
//! anything of it is executed.

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

/// What a token may still ask for. A query costs one point for each of its fields, times the page size inside
/// connections, and at least one.
#[derive(Debug, Clone, SimpleObject)]
pub struct RateLimit {
    /// Points this request costs.
    cost: i32,
    /// Points the token in use has when it has asked for nothing in the last minute.
    limit: i32,
    /// Points left, this request paid. They come back evenly.
    remaining: i32,
    /// When all points are back, if nothing more is asked for.
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

/// What a request has paid; part of its data.
#[derive(Default)]
pub struct Paid(OnceLock<Balance>);

impl Paid {
    /// `None` while there is no limit.
    pub fn balance(&self) -> Option<Balance> {
        self.0.get().copied()
    }
}

/// Adds the cost to every answer and takes its points.
pub struct Costs;

impl ExtensionFactory for Costs {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Cost::default())
    }
}

/// The cost of one request, once its query is validated.
#[derive(Default)]
struct Cost(OnceLock<ValidationResult>);

#[async_trait]
impl Extension for Cost {
    async fn request(&self, ctx: &ExtensionContext<'_>, next: NextRequest<'_>) -> Response {
        let answer = next.run(ctx).await;
        match self.0.get() {
            Some(cost) => {
                let shown = value!({ "complexity": cost.complexity, "depth": cost.depth });
                answer.extension("cost", shown)
            }
            None => answer,
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
        // A query that is not valid has no cost, and took its time all the same.
        pay(ctx, validated.as_ref().map_or(1, |cost| cost.complexity))?;
        validated
    }
}

fn pay(ctx: &ExtensionContext<'_>, points: usize) -> Result<(), Vec<ServerError>> {
    let (app, viewer) = (ctx.data_unchecked::<App>(), ctx.data_unchecked::<Arc<Viewer>>());
    let balance = rate::take(app, viewer, points).map_err(|problem| vec![refused(problem)])?;
    if let (Some(balance), Some(paid)) = (balance, ctx.data_opt::<Arc<Paid>>()) {
        let _ = paid.0.set(balance);
    }
    Ok(())
}

/// A refusal or fault as an error of the whole request.
pub fn refused(problem: Error) -> ServerError {
    let problem = top_level(problem);
    let mut error = ServerError::new(problem.message, None);
    error.extensions = problem.extensions;
    error
}

/// For how many seconds an answer says to wait because it was refused for want of points.
pub fn wait(answer: &Response) -> Option<u64> {
    let extensions = answer.errors.first()?.extensions.as_ref()?;
    let limited = extensions.get("code") == Some(&Value::from(Code::RateLimited.as_str()));
    let Some(Value::Number(seconds)) = extensions.get("retryAfter") else { return None };
    seconds.as_u64().filter(|_| limited)
}
