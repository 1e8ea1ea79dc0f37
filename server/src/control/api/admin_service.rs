//! AdminService: what changes the server itself.

use std::sync::Arc;

use metronome_proto::v1::{
    Failure, RestartWorkersRequest, RestartWorkersResponse, UpgradeRequest, UpgradeResponse,
    admin_service_server,
};
use tonic::{Request, Response, Status};

use super::response::response;
use crate::control::{shared::Shared, status};

/// The service.
pub(super) struct AdminService {
    shared: Arc<Shared>,
}

impl AdminService {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn restart(&self) -> Result<RestartWorkersResponse, Failure> {
        let refused = self.shared.upgrade.refuse_change();
        refused.map_err(|upgrading| status::upgrading(&upgrading))?;
        let restarted = self.shared.master_client.restart_workers().await;
        let restarted = restarted.ok_or_else(status::master_is_gone)?;
        Ok(RestartWorkersResponse { restarted })
    }
}

#[tonic::async_trait]
impl admin_service_server::AdminService for AdminService {
    async fn restart_workers(
        &self,
        _request: Request<RestartWorkersRequest>,
    ) -> Result<Response<RestartWorkersResponse>, Status> {
        response(self.restart().await)
    }

    async fn upgrade(
        &self,
        _request: Request<UpgradeRequest>,
    ) -> Result<Response<UpgradeResponse>, Status> {
        let outcome = self.shared.upgrade.ask().await;
        let outcome = outcome.map(|pid| UpgradeResponse { pid });
        response(outcome.map_err(|error| status::not_upgraded(&error)))
    }
}
