//! grpc.health.v1: SERVING, except while the server drains or one of its workers dies again and
//! again.

use std::time::Duration;

use metronome_proto::v1::{
    admin_service_server::AdminServiceServer, agent_service_server::AgentServiceServer,
    fleet_service_server::FleetServiceServer, run_service_server::RunServiceServer,
};
use tokio::time;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic_health::{ServingStatus, server::HealthReporter};

use super::{admin_service::AdminService, fleet_service::FleetService, run_service::RunService};
use crate::control::{agents::AgentService, master_client::MasterClient};

/// How often the workers' state is read.
const READ_EVERY: Duration = Duration::from_secs(1);

/// The server as a whole, then its services.
const SERVICES: [&str; 5] = [
    "",
    RunServiceServer::<RunService>::NAME,
    FleetServiceServer::<FleetService>::NAME,
    AdminServiceServer::<AdminService>::NAME,
    AgentServiceServer::<AgentService>::NAME,
];

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
        for service in SERVICES {
            self.0.set_service_status(service, status).await;
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
