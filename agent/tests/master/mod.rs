//! The server's end of the control stream, and an agent process that connects to it.

use std::{
    pin::Pin,
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use metronome_proto::{
    failure::is_phrase,
    features,
    handshake::Key,
    profile::Profile,
    run_id::RunId,
    v1::{
        self, AgentServiceSessionRequest, AgentServiceSessionResponse,
        agent_service_server::{AgentService, AgentServiceServer},
        agent_service_session_request::Message as Report,
        agent_service_session_response::Message as Order,
        start::At,
    },
};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tokio_stream::{
    Stream, StreamExt as _,
    wrappers::{ReceiverStream, TcpListenerStream},
};
use tonic::{Request, Response, Status, Streaming};

use crate::peer::send_signal;

/// Longer than anything here may take; a test that waits this long has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The run that these tests order.
pub(crate) const RUN: &str = "00000000000000aa";

/// What every Welcome of these tests gives the agent for its next Register.
pub(crate) const TOKEN: [u8; 16] = [0xC3; 16];

/// A server whose messages come from the test.
pub(crate) struct Master {
    pub(crate) address: String,
    sessions: mpsc::UnboundedReceiver<Session>,
}

/// One agent's stream.
pub(crate) struct Session {
    pub(crate) registered: v1::Register,
    pub(crate) reports: mpsc::UnboundedReceiver<Report>,
    orders: mpsc::Sender<Result<AgentServiceSessionResponse, Status>>,
}

struct Service {
    /// How many agents yet to turn away, and with what.
    refusals: AtomicU32,
    refusal: v1::Failure,
    sessions: mpsc::UnboundedSender<Session>,
}

#[tonic::async_trait]
impl AgentService for Service {
    type SessionStream =
        Pin<Box<dyn Stream<Item = Result<AgentServiceSessionResponse, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<AgentServiceSessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut incoming = request.into_inner();
        let first = incoming
            .message()
            .await?
            .and_then(|message| message.message);
        let Some(Report::Register(registered)) = first else {
            return Err(Status::invalid_argument(
                "the first message must be Register",
            ));
        };
        let refused = |left: u32| left.checked_sub(1);
        if self
            .refusals
            .fetch_update(Relaxed, Relaxed, refused)
            .is_ok()
        {
            // The status itself has no cause: an agent goes by the details.
            let code = tonic::Code::AlreadyExists;
            let details = self.refusal.to_details(code as i32, "");
            return Err(Status::with_details(code, "", details.into()));
        }
        let (reports_in, reports) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(message)) = incoming.next().await {
                if message
                    .message
                    .is_none_or(|report| reports_in.send(report).is_err())
                {
                    return;
                }
            }
        });
        let (orders, outgoing) = mpsc::channel(64);
        let _ = self.sessions.send(Session {
            registered,
            reports,
            orders,
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }
}

impl Master {
    /// Listens on a free port of loopback.
    pub(crate) async fn start() -> Self {
        Self::start_refusing(0, v1::Failure::default()).await
    }

    /// Turns the first `refusals` agents away.
    pub(crate) async fn start_refusing(refusals: u32, refusal: v1::Failure) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let (sender, sessions) = mpsc::unbounded_channel();
        let service = AgentServiceServer::new(Service {
            sessions: sender,
            refusals: refusals.into(),
            refusal,
        });
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { address, sessions }
    }

    /// The next agent that registers.
    pub(crate) async fn session(&mut self) -> Session {
        timeout(DEADLINE, self.sessions.recv())
            .await
            .expect("an agent comes")
            .expect("the server runs")
    }

    /// The next agent, welcomed with this lease.
    pub(crate) async fn welcomed(&mut self, lease: Duration) -> Session {
        let session = self.session().await;
        let lease = prost_types::Duration::try_from(lease).ok();
        session
            .order(Order::Welcome(v1::Welcome {
                name: session.registered.name.clone(),
                lease,
                protocol_version: features::PROTOCOL_VERSION_MAX,
                capabilities: features::CAPABILITIES
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
                resume_token: TOKEN.to_vec(),
            }))
            .await;
        session
    }
}

impl Session {
    pub(crate) async fn order(&self, order: Order) {
        self.orders
            .send(Ok(AgentServiceSessionResponse {
                message: Some(order),
            }))
            .await
            .expect("the agent listens");
    }

    /// A message of a kind that this agent does not have.
    pub(crate) async fn order_something_unknown(&self) {
        self.orders
            .send(Ok(AgentServiceSessionResponse { message: None }))
            .await
            .expect("the agent listens");
    }

    pub(crate) async fn start(&self) {
        self.start_at(Some(At::StartIn(prost_types::Duration {
            seconds: 0,
            nanos: 20_000_000,
        })))
        .await;
    }

    pub(crate) async fn start_at(&self, at: Option<At>) {
        self.order(Order::Start(v1::Start {
            run_id: RUN.into(),
            at,
        }))
        .await;
    }

    pub(crate) async fn stop(&self) {
        self.order(Order::Stop(v1::Stop { run_id: RUN.into() }))
            .await;
    }

    /// The next report that `wanted` takes; Alive and whatever else comes before it is passed over.
    pub(crate) async fn next<T>(&mut self, wanted: impl Fn(Report) -> Option<T>) -> T {
        let search = async {
            loop {
                let report = self.reports.recv().await.expect("the agent is still there");
                if let Some(found) = wanted(report) {
                    return found;
                }
            }
        };
        timeout(DEADLINE, search).await.expect("the report comes")
    }

    pub(crate) async fn prepared(&mut self) -> v1::Prepared {
        self.next(|report| match report {
            Report::Prepared(prepared) => Some(prepared),
            Report::Failed(failed) => panic!("{failed:?}"),
            _ => None,
        })
        .await
    }

    pub(crate) async fn failed(&mut self) -> v1::Failure {
        self.next(|report| match report {
            Report::Failed(failed) => Some(well_put(failed)),
            _ => None,
        })
        .await
    }

    /// Packets sent, from the next Progress.
    pub(crate) async fn progress(&mut self) -> u64 {
        self.next(|report| match report {
            Report::Progress(progress) => Some(progress.counts.expect("it has begun").sent),
            Report::Finished(_) => panic!("the run has ended"),
            _ => None,
        })
        .await
    }

    /// All records, up to the Finished that follows them.
    pub(crate) async fn finished(&mut self) -> (Vec<v1::ClientRecord>, v1::Finished) {
        let (records, last) = self.ended().await;
        (
            records,
            last.unwrap_or_else(|failure| panic!("{failure:?}")),
        )
    }

    /// All records, up to the Failed that follows them, and its failure.
    pub(crate) async fn cut_short(&mut self) -> (Vec<v1::ClientRecord>, v1::Failure) {
        let (records, last) = self.ended().await;
        (records, last.expect_err("the run went on to its end"))
    }

    async fn ended(&mut self) -> (Vec<v1::ClientRecord>, Result<v1::Finished, v1::Failure>) {
        let mut records = Vec::new();
        loop {
            let report = self.next(|report| match report {
                Report::ClientRecords(_) | Report::Finished(_) | Report::Failed(_) => Some(report),
                _ => None,
            });
            match report.await {
                Report::ClientRecords(more) => {
                    let failures = more
                        .clients
                        .iter()
                        .filter_map(|client| client.failure.as_ref());
                    failures
                        .for_each(|failure| assert!(is_phrase(&failure.sentence), "{failure:?}"));
                    records.extend(more.clients);
                }
                Report::Finished(finished) => return (records, Ok(finished)),
                Report::Failed(failed) => {
                    return (records, Err(well_put(failed)));
                }
                _ => unreachable!("next took only these three"),
            }
        }
    }
}

/// The key of [`RUN`].
pub(crate) fn key() -> Key {
    Key::derive(&[9; 32], RUN.parse::<RunId>().expect("a run id"), 1)
}

/// An order for `clients` clients at 1 kHz, `ms` long, to a port of the server's own host.
pub(crate) fn prepare(port: u16, clients: u32, ms: u32) -> v1::Prepare {
    v1::Prepare {
        warm_up: None,
        probe_every: None,
        run_id: RUN.into(),
        agent_index: 1,
        shares: vec![v1::AgentShare {
            echo_every: 0,
            packet_bytes: 32,
            payload: None,
            group: "default".into(),
            first_client: 0,
            clients,
            clients_total: clients,
            profile: Some(Profile::constant(1_000_000).to_proto()),
            batch: 1,
            phase: v1::Phase::Staggered.into(),
            target: target(&format!(":{port}")),
            first_in_group: 0,
        }],
        duration: millis(ms),
        threads: 2,
        key: key().as_bytes().to_vec(),
        deadline: millis(10_000),
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        requires: vec![features::CONSTANT.into()],
        tracestate: "vendor=1".into(),
        seed: 5,
    }
}

/// So many milliseconds, as an order has them.
pub(crate) fn millis(ms: u32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration {
        seconds: (ms / 1000).into(),
        nanos: (ms % 1000) as i32 * 1_000_000,
    })
}

/// Receivers at HOST:PORT.
pub(crate) fn target(address: &str) -> Option<v1::Target> {
    let address = address.into();
    Some(v1::Target {
        kind: Some(v1::target::Kind::Receivers(v1::Receivers { address })),
    })
}

/// A running agent; killed when the test is over.
pub(crate) struct Agent(Child);

impl Agent {
    /// Starts one that connects to `address`.
    pub(crate) fn start(address: &str, flags: &[&str]) -> Self {
        Self::start_logging(address, flags, Stdio::inherit())
    }

    /// Starts one that connects to `address` and writes its log there.
    pub(crate) fn start_logging(address: &str, flags: &[&str], log: Stdio) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_metronome-agent"));
        command
            .args(["--server", address])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        Self(command.spawn().expect("the agent starts"))
    }

    /// Whether it has not ended by itself.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn terminate(mut self) -> (ExitStatus, String) {
        send_signal(&self.0, rustix::process::Signal::TERM);
        let end = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            let mut stdout = self.0.stdout.take().expect("it is piped");
            std::io::Read::read_to_string(&mut stdout, &mut text).expect("it is text");
            (self.0.wait().expect("it ends"), text)
        });
        timeout(DEADLINE, end)
            .await
            .expect("it ends in time")
            .expect("nothing panics")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The failure of a message, in the form of the contract.
#[track_caller]
fn well_put(failed: v1::Failed) -> v1::Failure {
    let failure = failed.failure.expect("a failure has a cause");
    assert!(is_phrase(&failure.sentence), "{failure:?}");
    assert_eq!(failure.remedy, failure.code().remedy());
    failure
}
