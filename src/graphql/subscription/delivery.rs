//! The data of each delivery of a subscription: a viewer whose rights were just looked up, and loaders without rows of
//! an earlier delivery.

use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::async_trait::async_trait;
use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextExecute};
use async_graphql::{Data, Response};

use crate::app::App;
use crate::auth::{Credential, Viewer};
use crate::graphql::loader::{self, BatchGate, Loaders};

/// The data of a running subscription.
pub struct SubscriptionContext {
    app: App,
    credential: Arc<Credential>,
    gate: BatchGate,
    delivery: Mutex<Option<(Arc<Viewer>, Arc<Loaders>)>>,
}

impl SubscriptionContext {
    /// The data of a subscription that has delivered nothing yet.
    pub fn new(app: App, credential: Arc<Credential>, gate: BatchGate) -> Self {
        SubscriptionContext { app, credential, gate, delivery: Mutex::default() }
    }

    /// The credential whose rights are looked up again during the subscription.
    pub fn credential(&self) -> &Arc<Credential> {
        &self.credential
    }

    /// Begins a delivery: from now on resolvers have this viewer, and new loaders.
    pub fn begin_delivery(&self, viewer: Arc<Viewer>) -> Arc<Loaders> {
        let loaders = Arc::new(loader::loaders(self.app.clone(), Arc::clone(&viewer), &self.gate));
        let mut delivery = self.delivery.lock().unwrap_or_else(PoisonError::into_inner);
        *delivery = Some((viewer, Arc::clone(&loaders)));
        loaders
    }
}

/// Gives each delivery its own viewer and loaders, in place of those the subscription was started with.
pub struct DeliveryData;

impl ExtensionFactory for DeliveryData {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(DeliveryData)
    }
}

#[async_trait]
impl Extension for DeliveryData {
    async fn execute(
        &self,
        ctx: &ExtensionContext<'_>,
        operation_name: Option<&str>,
        next: NextExecute<'_>,
    ) -> Response {
        let delivery = ctx.data_opt::<Arc<SubscriptionContext>>().and_then(|subscription| {
            subscription.delivery.lock().unwrap_or_else(PoisonError::into_inner).clone()
        });
        let Some((viewer, loaders)) = delivery else { return next.run(ctx, operation_name).await };
        let mut data = Data::default();
        data.insert(viewer);
        data.insert(loaders);
        next.run_with_data(ctx, operation_name, data).await
    }
}
