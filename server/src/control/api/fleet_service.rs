//! FleetService: the processes that take part.

use std::sync::Arc;

use metronome_proto::v1::{
    Failure, GetServerRequest, GetServerResponse, ListAgentsRequest, ListAgentsResponse,
    fleet_service_server,
};
use tonic::{Request, Response, Status};

use super::{
    list_agents::list_agents, response::response, server_status::get_server, turns::Turns,
};
use crate::control::shared::Shared;

/// The service.
pub(super) struct FleetService {
    shared: Arc<Shared>,
    turns: Turns,
}

impl FleetService {
    pub(super) fn new(shared: Arc<Shared>, turns: Turns) -> Self {
        Self { shared, turns }
    }

    async fn list(&self, request: &ListAgentsRequest) -> Result<ListAgentsResponse, Failure> {
        let _turn = self.turns.take().await?;
        list_agents(self.shared.registry.list(), request)
    }
}

#[tonic::async_trait]
impl fleet_service_server::FleetService for FleetService {
    async fn list_agents(
        &self,
        request: Request<ListAgentsRequest>,
    ) -> Result<Response<ListAgentsResponse>, Status> {
        response(self.list(request.get_ref()).await)
    }

    async fn get_server(
        &self,
        _request: Request<GetServerRequest>,
    ) -> Result<Response<GetServerResponse>, Status> {
        response(get_server(&self.shared).await)
    }
}
