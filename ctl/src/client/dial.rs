//! Connecting to a server, with or without TLS.

use std::time::Duration;

use metronome_proto::rpc_failure::{Server, is_refused};
use metronome_tls::ClientTlsConfig;
use tonic::transport::{Channel, Endpoint};

use super::{address::Address, errors, requests::Client};
use crate::exit::Failure;

/// A server on the same continent that does not take a connection in this time is not there.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);
/// A peer that vanished without a FIN is noticed after interval + time-out.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to a server that has to be there. Without `tls` nothing is encrypted.
pub(crate) async fn connect(
    address: &Address,
    tls: Option<ClientTlsConfig>,
) -> Result<Client, Failure> {
    let server = errors::server(address, tls.is_some(), false);
    let dialled = dial(&server, tls).await;
    let channel = dialled.map_err(|error| server.not_dialled(&error))?;
    Ok(Client::new(channel, address, server.is_encrypted))
}

/// Connects to a server if one listens at an address that was not named. Without `tls` nothing is
/// encrypted, and what is no server of ours is a failure within some 7 s.
pub(crate) async fn connect_if_listening(
    address: &Address,
    tls: Option<ClientTlsConfig>,
) -> Result<Option<Client>, Failure> {
    let server = errors::server(address, tls.is_some(), false);
    match dial(&server, tls).await {
        Ok(channel) => {
            let client = Client::new(channel, address, server.is_encrypted);
            match server.is_encrypted {
                true => Ok(Some(client)),
                false => client.recognised().await.map(Some),
            }
        }
        Err(error) if is_refused(&error) => Ok(None),
        Err(error) => Err(server.not_dialled(&error)),
    }
}

async fn dial(
    server: &Server,
    tls: Option<ClientTlsConfig>,
) -> Result<Channel, tonic::transport::Error> {
    let scheme = if server.is_encrypted { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{}", server.address))?
        .connect_timeout(CONNECT_TIME_MAX)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    if let Some(tls) = tls {
        endpoint = endpoint.tls_config(tls)?;
    }
    endpoint.connect().await
}

#[cfg(test)]
mod tests {
    use metronome_proto::v1::{
        self,
        FailureCode::{ServerIncompatible, ServerLost, ServerNotTrusted, ServerSilent},
        agent_service_server::{AgentService, AgentServiceServer},
        fleet_service_server::{FleetService, FleetServiceServer},
    };
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        time::{Instant, sleep},
    };
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::{Request, Response, Status};

    use super::*;

    /// What a program that listens does with each connection.
    #[derive(Clone, Copy, Debug)]
    enum Program {
        Silent,
        Closes,
        Answers(&'static [u8]),
        /// gRPC, with another service.
        Grpc,
        /// A server of ours that answers GetServer after this time.
        Late(Duration),
    }

    struct Late(Duration);

    #[tonic::async_trait]
    impl FleetService for Late {
        async fn get_server(
            &self,
            _: Request<v1::GetServerRequest>,
        ) -> Result<Response<v1::GetServerResponse>, Status> {
            sleep(self.0).await;
            Ok(Response::new(v1::GetServerResponse::default()))
        }

        async fn list_agents(
            &self,
            _: Request<v1::ListAgentsRequest>,
        ) -> Result<Response<v1::ListAgentsResponse>, Status> {
            Err(Status::unimplemented(""))
        }
    }

    struct Other;

    #[tonic::async_trait]
    impl AgentService for Other {
        type SessionStream = tokio_stream::Empty<Result<v1::AgentServiceSessionResponse, Status>>;

        async fn session(
            &self,
            _: Request<tonic::Streaming<v1::AgentServiceSessionRequest>>,
        ) -> Result<Response<Self::SessionStream>, Status> {
            Err(Status::unimplemented(""))
        }
    }

    async fn listen(program: Program) -> Address {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let mut server = tonic::transport::Server::builder();
        let grpc = match program {
            Program::Grpc => Some(server.add_service(AgentServiceServer::new(Other))),
            Program::Late(time) => Some(server.add_service(FleetServiceServer::new(Late(time)))),
            _ => None,
        };
        match grpc {
            Some(grpc) => {
                let incoming = TcpListenerStream::new(listener);
                tokio::spawn(grpc.serve_with_incoming(incoming));
            }
            None => drop(tokio::spawn(answer(listener, program))),
        }
        address.parse().expect("an address")
    }

    async fn answer(listener: TcpListener, program: Program) {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                match program {
                    Program::Closes => return,
                    Program::Answers(bytes) => stream.write_all(bytes).await.expect("read"),
                    Program::Silent | Program::Grpc | Program::Late(_) => {}
                }
                let _ = stream.read_to_end(&mut Vec::new()).await;
            });
        }
    }

    #[tokio::test]
    async fn another_program_at_the_default_address_is_described_by_what_it_answers() {
        let http1 = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
        let noise = b"\x9b\x07\xff\x00 never \xfe\xee\x13 mind";
        for (program, code, words) in [
            (Program::Answers(http1), ServerIncompatible, "HTTP/1"),
            (
                Program::Answers(noise),
                ServerIncompatible,
                "another protocol",
            ),
            (
                Program::Answers(&[21, 3, 3, 0, 2, 2, 50]),
                ServerNotTrusted,
                "TLS",
            ),
            (Program::Grpc, ServerIncompatible, "no service of Metronome"),
        ] {
            let address = listen(program).await;
            let failure = connect_if_listening(&address, None)
                .await
                .expect_err("foreign");
            assert_eq!(failure.code(), code, "{program:?}: {failure:?}");
            assert!(failure.sentence.contains(words), "{program:?}: {failure:?}");
            assert!(failure.sentence.contains(&address.to_string()));
        }
    }

    #[tokio::test]
    async fn what_may_be_a_server_of_ours_is_never_called_another_program() {
        let failure = async |program| {
            let address = listen(program).await;
            let begun = Instant::now();
            let connected = connect_if_listening(&address, None).await;
            let took = begun.elapsed();
            assert!(took < Duration::from_secs(20), "{program:?}: {took:?}");
            connected.err().map(|failure| failure.code())
        };
        // GetServer itself waits 3 s for the data plane.
        let (slow, busy, silent, closes) = tokio::join!(
            failure(Program::Late(Duration::from_millis(3_200))),
            failure(Program::Late(Duration::from_secs(3600))),
            failure(Program::Silent),
            failure(Program::Closes),
        );
        assert_eq!(slow, None);
        assert_eq!(busy, Some(ServerSilent));
        assert_eq!(silent, Some(ServerSilent));
        assert_eq!(closes, Some(ServerLost));
    }

    #[tokio::test]
    async fn nothing_at_the_default_address_is_no_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        drop(listener);
        let address = address.parse().expect("an address");
        let found = connect_if_listening(&address, None)
            .await
            .expect("no failure");
        assert!(found.is_none());
    }
}
