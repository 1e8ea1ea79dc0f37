//! What a server reports about itself: health, reflection, status and limits.

use metronome_proto::{
    limits,
    v1::{self, fleet_service_client::FleetServiceClient},
};
use prost::Message as _;
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{v1 as reflection, v1alpha};

use crate::common::Server;

/// The services of the API, by role.
const SERVICES: [&str; 4] = [
    "metronome.v1.AdminService",
    "metronome.v1.AgentService",
    "metronome.v1.FleetService",
    "metronome.v1.RunService",
];

#[tokio::test]
async fn every_service_is_healthy() {
    let server = Server::start(&[]);
    let mut health = HealthClient::new(server.channel().await);
    for service in SERVICES.into_iter().chain([""]) {
        let request = HealthCheckRequest {
            service: service.into(),
        };
        let response = health.check(request).await.unwrap().into_inner();
        assert_eq!(response.status(), ServingStatus::Serving, "{service}");
    }
    let unknown = HealthCheckRequest {
        service: "no.such.Service".into(),
    };
    assert_eq!(
        health.check(unknown).await.unwrap_err().code(),
        Code::NotFound
    );
}

/// The answer of reflection to one question.
async fn reflect(
    server: &Server,
    question: reflection::server_reflection_request::MessageRequest,
) -> Result<reflection::server_reflection_response::MessageResponse, tonic::Status> {
    let request = reflection::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(question),
    };
    let channel = server.channel().await;
    let mut client = reflection::server_reflection_client::ServerReflectionClient::new(channel);
    let responses = client
        .server_reflection_info(tokio_stream::once(request))
        .await?;
    let response = responses.into_inner().message().await?.unwrap();
    Ok(response.message_response.unwrap())
}

#[tokio::test]
async fn reflection_lists_every_service_in_both_versions_unless_switched_off() {
    use reflection::{
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };

    let server = Server::start(&[]);
    let ask = || MessageRequest::ListServices(String::new());
    let MessageResponse::ListServicesResponse(list) = reflect(&server, ask()).await.unwrap() else {
        panic!("no list of services")
    };
    let names: Vec<_> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    for service in SERVICES.into_iter().chain(["grpc.health.v1.Health"]) {
        assert!(names.iter().any(|name| name == service), "{names:?}");
    }

    let ask_alpha = v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
        "metronome.v1.Plan".into(),
    );
    let alpha = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(ask_alpha),
    };
    let mut client =
        v1alpha::server_reflection_client::ServerReflectionClient::new(server.channel().await);
    let responses = client
        .server_reflection_info(tokio_stream::once(alpha))
        .await;
    let response = responses.unwrap().into_inner().message().await.unwrap();
    let is_file = |response| {
        matches!(
            response,
            v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(_)
        )
    };
    assert!(is_file(response.unwrap().message_response.unwrap()));

    let silent = Server::start(&["--no-reflection"]);
    let status = reflect(&silent, ask()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn reflection_has_the_comments_of_the_api_which_are_its_manual() {
    use reflection::{
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };

    let server = Server::start(&[]);
    let ask = MessageRequest::FileContainingSymbol("metronome.v1.RunService".into());
    let MessageResponse::FileDescriptorResponse(files) = reflect(&server, ask).await.unwrap()
    else {
        panic!("no file")
    };
    let file = prost_types::FileDescriptorProto::decode(&*files.file_descriptor_proto[0]).unwrap();
    // The first service (6) of the file, and its first method (2).
    let methods = &file.service[0].method;
    let of_start_run = methods
        .iter()
        .position(|method| method.name() == "StartRun")
        .unwrap();
    let path = [6, 0, 2, of_start_run as i32];
    let locations = file.source_code_info.unwrap().location;
    let comment = locations
        .iter()
        .find(|location| location.path == path)
        .and_then(|location| location.leading_comments.as_deref())
        .unwrap();
    assert!(
        comment.contains("Starts a run and returns at once"),
        "{comment}"
    );
    assert!(
        comment.contains("UNAVAILABLE: DRAINING, UPGRADING"),
        "{comment}"
    );
}

#[tokio::test]
async fn the_server_reports_what_it_is_and_its_limits() {
    let server = Server::start(&["--workers", "2", "--max-clients", "7", "--accept-raw"]);
    let status = server.status().await;
    assert_eq!(
        (status.grpc_address.as_str(), status.data_address.as_str()),
        (server.grpc.as_str(), server.data.as_str())
    );
    assert!(status.accept_raw);
    assert_eq!(status.workers.len(), 2);
    assert_eq!((status.runs_active, status.draining), (0, false));
    assert_eq!(status.database, server.database().to_str().unwrap());
    assert!(status.workers.iter().all(|worker| worker.pid != status.pid));
    assert_eq!(status.limits.unwrap(), limits::to_proto(7, 15));
    assert_eq!(status.capabilities, metronome_proto::features::CAPABILITIES);
    let recoveries = status.recoveries.unwrap();
    assert_eq!((recoveries.deaths, recoveries.pause), (0, None));
}

#[tokio::test]
async fn calls_that_are_cancelled_at_once_leave_the_others_of_their_connection_alone() {
    let server = Server::start(&[]);
    let channel = server.channel().await;
    // How often this task waits decides how far the calls are when they are dropped: those whose
    // request and reset leave together are dropped before the server takes them up.
    for waits in 0..6 {
        let calls = (0..60).map(|_| {
            let mut fleet = FleetServiceClient::new(channel.clone());
            tokio::spawn(async move { fleet.get_server(v1::GetServerRequest {}).await })
        });
        let calls: Vec<_> = calls.collect();
        for _ in 0..waits {
            tokio::task::yield_now().await;
        }
        calls.iter().for_each(tokio::task::JoinHandle::abort);
    }
    let mut fleet = FleetServiceClient::new(channel);
    fleet.get_server(v1::GetServerRequest {}).await.unwrap();
}
