//! grpc.health.v1: SERVING, except while the server drains or one of its workers dies again and
//! again.

use std::time::Duration;

use metronome_proto::v1::{
    agent_service_server::AgentServiceServer, operator_service_server::OperatorServiceServer,
};
use tokio::time;
use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

use super::operator::Operator;
use crate::control::{agents::AgentService, master_client::MasterClient};

/// How often the workers' state is read.
const READ_EVERY: Duration = Duration::from_secs(1);

/// The status of the server as a whole and of each service: always the same.
#[derive(Clone)]
pub(crate) struct Health(HealthReporter);

impl Health {
    pub(super) fn new(reporter: HealthReporter) -> Self {
        Self(reporter)
    }

    /// Sets the status of all of them.
    pub(crate) async fn set(&self, is_serving: bool) {
        let status = if is_serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        let reporter = &self.0;
        reporter.set_service_status("", status).await;
        if is_serving {
            reporter
                .set_serving::<OperatorServiceServer<Operator>>()
                .await;
            reporter
                .set_serving::<AgentServiceServer<AgentService>>()
                .await;
        } else {
            reporter
                .set_not_serving::<OperatorServiceServer<Operator>>()
                .await;
            reporter
                .set_not_serving::<AgentServiceServer<AgentService>>()
                .await;
        }
    }

    /// Follows the workers' health for as long as the server does not drain.
    pub(crate) async fn follow_workers(
        self,
        master_client: MasterClient,
        draining: CancellationToken,
    ) {
        let mut was_degraded = false;
        while !draining.is_cancelled() {
            time::sleep(READ_EVERY).await;
            let Some(status) = master_client.read_server().await else {
                return;
            };
            let crash_loops = status.recoveries.crash_loops;
            let is_degraded = !crash_loops.is_empty();
            if is_degraded != was_degraded && !draining.is_cancelled() {
                was_degraded = is_degraded;
                self.set(!is_degraded).await;
                tracing::warn!(
                    degraded = is_degraded,
                    workers = ?crash_loops,
                    "health has changed"
                );
            }
        }
    }
}
