//! grpc.health.v1: SERVING, but for a server that drains and one whose workers die again and again.

use std::{sync::Arc, time::Duration};

use metronome_proto::v1::{
    agent_service_server::AgentServiceServer, operator_service_server::OperatorServiceServer,
};
use tokio::time;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::control::{agents::AgentService, api::operator::Operator, lifecycle::shared::Shared};

/// How often the workers are asked after.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The status of the server as a whole and of each service: always the same.
#[derive(Clone)]
pub(crate) struct Health(HealthReporter);

impl Health {
    pub(crate) fn new(reporter: HealthReporter) -> Self {
        Self(reporter)
    }

    pub(crate) async fn set(&self, is_serving: bool) {
        let status = if is_serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        self.0.set_service_status("", status).await;
        if is_serving {
            self.0
                .set_serving::<OperatorServiceServer<Operator>>()
                .await;
            self.0
                .set_serving::<AgentServiceServer<AgentService>>()
                .await;
        } else {
            self.0
                .set_not_serving::<OperatorServiceServer<Operator>>()
                .await;
            self.0
                .set_not_serving::<AgentServiceServer<AgentService>>()
                .await;
        }
    }

    /// Follows the workers' health for as long as the server does not drain.
    pub(crate) async fn follow_workers(self, shared: Arc<Shared>) {
        let mut was_degraded = false;
        while !shared.is_draining() {
            time::sleep(LOOK_EVERY).await;
            let Some(reading) = shared.master_client.read_server().await else {
                return;
            };
            let is_degraded = !reading.recoveries.crash_loops.is_empty();
            if is_degraded != was_degraded && !shared.is_draining() {
                was_degraded = is_degraded;
                self.set(!is_degraded).await;
                tracing::warn!(degraded = is_degraded, workers = ?reading.recoveries.crash_loops, "health has changed");
            }
        }
    }
}
