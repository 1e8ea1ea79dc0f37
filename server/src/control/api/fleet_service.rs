//! FleetService: the processes that take part.

use std::sync::Arc;

use metronome_proto::v1::{
    GetServerRequest, GetServerResponse, ListAgentsRequest, ListAgentsResponse,
    fleet_service_server,
};
use tonic::{Request, Response, Status};

use super::{list_agents::list_agents, response::response, server_status::get_server};
use crate::control::shared::Shared;

/// The service.
pub(super) struct FleetService {
    shared: Arc<Shared>,
}

impl FleetService {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

#[tonic::async_trait]
impl fleet_service_server::FleetService for FleetService {
    async fn list_agents(
        &self,
        request: Request<ListAgentsRequest>,
    ) -> Result<Response<ListAgentsResponse>, Status> {
        let agents = self.shared.registry.list();
        response(list_agents(agents, request.get_ref()))
    }

    async fn get_server(
        &self,
        _request: Request<GetServerRequest>,
    ) -> Result<Response<GetServerResponse>, Status> {
        response(get_server(&self.shared).await)
    }
}
