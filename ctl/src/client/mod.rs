//! The server: its address, the calls with their deadlines, its errors as sentences.
//!
//! An error of the server becomes one sentence and an exit code here, so that no command looks at a
//! gRPC status, except for a watch that may try again.

use std::{error::Error, fmt, io, str::FromStr, time::Duration};

use metronome_proto::{GRPC_ADDRESS_DEFAULT, MESSAGE_BYTES_MAX, v1};
use metronome_tls::ClientTlsConfig;
use tokio::time::{Instant, sleep};
use tonic::{
    Code, Request, Status, Streaming,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

mod rpc_tracing;

use v1::operator_service_client::OperatorServiceClient;

use crate::{exit::Failure, flags};
use rpc_tracing::Traced;

/// A server on the same continent that does not take a connection in this time is not there.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);
/// Every answer but a watch's is a matter of milliseconds.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// What tonic says of a call that took longer than that.
const TOO_LATE: &str = "Timeout expired";
/// A restart takes milliseconds a worker; one that does not quit is killed after 2 s.
const RESTART_MAX: Duration = Duration::from_secs(130);
/// The server itself gives an upgrade up after twice its --upgrade-wait, which may be an hour.
const UPGRADE_MAX: Duration = Duration::from_secs(2 * 60 * 60 + 60);
/// An upgrade waits for 10 s for the runs, unless the server was told otherwise, and then takes
/// milliseconds.
const UPGRADING_MAX: Duration = Duration::from_secs(15);
const UPGRADING_PAUSE: Duration = Duration::from_millis(50);
/// A peer that vanished without a FIN is noticed after interval + time-out.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a server listens for gRPC.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Address {
    /// HOST:PORT.
    authority: String,
    /// http or https, when it was written.
    scheme: Option<&'static str>,
}

impl Default for Address {
    fn default() -> Self {
        Self {
            authority: GRPC_ADDRESS_DEFAULT.into(),
            scheme: None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.authority)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let behind = |scheme: &'static str| {
            Some((
                Some(scheme),
                text.strip_prefix(scheme)?.strip_prefix("://")?,
            ))
        };
        let (scheme, authority) = behind("http")
            .or_else(|| behind("https"))
            .unwrap_or((None, text));
        let authority = authority.trim_end_matches('/');
        let parts = authority.rsplit_once(':');
        let is_address = parts
            .is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok_and(|p| p > 0));
        if !is_address || Endpoint::from_shared(format!("http://{authority}")).is_err() {
            return Err(
                "write HOST:PORT, http:// or https://HOST:PORT, for example 127.0.0.1:50051".into(),
            );
        }
        Ok(Self {
            authority: authority.into(),
            scheme,
        })
    }
}

fn is_host(text: &str) -> bool {
    let inside = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    match inside {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
        }
    }
}

impl Address {
    /// As written before ://, when something was.
    pub(crate) fn scheme(&self) -> Option<&'static str> {
        self.scheme
    }

    /// Without the port; an IPv6 address keeps its brackets.
    pub(crate) fn host(&self) -> &str {
        self.authority
            .rsplit_once(':')
            .map_or(&self.authority, |(host, _)| host)
    }
}

/// A connection to a server. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    api: OperatorServiceClient<Traced<Channel>>,
    address: Address,
    is_encrypted: bool,
}

/// Connects to a server that has to be there; `tls`: `None` when nothing is encrypted.
pub(crate) async fn connect(
    address: &Address,
    tls: Option<ClientTlsConfig>,
) -> Result<Client, Failure> {
    let is_encrypted = tls.is_some();
    dial(address, tls).await.map_err(|error| {
        let cause = cause(&error);
        if is_encrypted && is_of_kind(&error, io::ErrorKind::InvalidData) {
            return Failure::other(format!(
                "no encrypted connection to {address}: {cause}; --tls-ca must name the CA of the server's certificate, --tls-name a name in it, and --tls-cert a certificate that the server's --tls-client-ca has signed"
            ));
        }
        Failure::other(format!(
            "no server answers at {address} ({cause}); start one with `metronome-server --grpc {address}` or leave --server out"
        ))
    })
}

/// Connects to a server if one listens there; `tls` as in [`connect`].
pub(crate) async fn connect_if_listening(
    address: &Address,
    tls: Option<ClientTlsConfig>,
) -> Result<Option<Client>, Failure> {
    match dial(address, tls).await {
        Ok(client) => Ok(Some(client)),
        Err(error) if is_of_kind(&error, io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(Failure::other(format!(
            "no connection to {address}: {}",
            cause(&error)
        ))),
    }
}

async fn dial(
    address: &Address,
    tls: Option<ClientTlsConfig>,
) -> Result<Client, tonic::transport::Error> {
    let is_encrypted = tls.is_some();
    let scheme = if is_encrypted { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?
        .connect_timeout(CONNECT_TIME_MAX)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    if let Some(tls) = tls {
        endpoint = endpoint.tls_config(tls)?;
    }
    let channel = endpoint.connect().await?;
    let api = OperatorServiceClient::new(Traced::new(channel, &address.authority))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    Ok(Client {
        api,
        address: address.clone(),
        is_encrypted,
    })
}

impl Client {
    /// Where this server listens.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Starts a run. An answer that is lost on the way is asked for once more: by its request_id it
    /// is of the same run, and no run goes on of which nobody knows.
    pub(crate) async fn start_run(&self, asked: v1::StartRunRequest) -> Result<v1::Run, Failure> {
        let may_repeat = !asked.request_id.is_empty();
        let call = || async { self.api().start_run(timed(asked.clone())).await };
        let answer = persistently(may_repeat, call)
            .await
            .map_err(|status| self.explain(&status))?;
        answer
            .into_inner()
            .run
            .ok_or_else(|| self.left_out("the run"))
    }

    /// Stops a run in good order.
    pub(crate) async fn stop_run(&self, run_id: &str) -> Result<v1::Run, Failure> {
        let call = || async {
            self.api()
                .stop_run(timed(v1::StopRunRequest {
                    run_id: run_id.into(),
                }))
                .await
        };
        let answer = persistently(true, call)
            .await
            .map_err(|status| self.explain(&status))?;
        answer
            .into_inner()
            .run
            .ok_or_else(|| self.left_out("the run"))
    }

    /// Stops every run; tells their ids.
    pub(crate) async fn stop_all(&self) -> Result<Vec<String>, Failure> {
        let call = || async { self.api().stop_all(timed(v1::StopAllRequest {})).await };
        let answer = persistently(true, call).await;
        Ok(answer
            .map_err(|status| self.explain(&status))?
            .into_inner()
            .run_ids)
    }

    /// One run.
    pub(crate) async fn run(&self, run_id: &str) -> Result<v1::Run, Failure> {
        let asked = timed(v1::GetRunRequest {
            run_id: run_id.into(),
        });
        let answer = self
            .api()
            .get_run(asked)
            .await
            .map_err(|status| self.explain(&status))?;
        answer
            .into_inner()
            .run
            .ok_or_else(|| self.left_out("the run"))
    }

    /// A page of runs, newest first.
    pub(crate) async fn runs(
        &self,
        asked: v1::ListRunsRequest,
    ) -> Result<v1::ListRunsResponse, Failure> {
        let answer = self.api().list_runs(timed(asked)).await;
        Ok(answer.map_err(|status| self.explain(&status))?.into_inner())
    }

    /// Every client row of a run.
    pub(crate) async fn clients(&self, run_id: &str) -> Result<Vec<v1::ClientReport>, Failure> {
        let asked = timed(v1::ListClientsRequest {
            run_id: run_id.into(),
        });
        let mut pages = self
            .api()
            .list_clients(asked)
            .await
            .map_err(|status| self.explain(&status))?
            .into_inner();
        let mut clients = Vec::new();
        while let Some(page) = pages
            .message()
            .await
            .map_err(|status| self.explain(&status))?
        {
            clients.extend(page.clients);
        }
        Ok(clients)
    }

    /// Snapshots of a run until its end. The status stays as it is: a watch may try again.
    pub(crate) async fn watch(
        &self,
        run_id: &str,
    ) -> Result<Streaming<v1::WatchRunResponse>, Status> {
        // No deadline: a run may last a day. Keep-alive notices a server that is gone.
        let asked = v1::WatchRunRequest {
            run_id: run_id.into(),
        };
        Ok(self.api().watch_run(asked).await?.into_inner())
    }

    /// The agents connected now.
    pub(crate) async fn agents(&self) -> Result<Vec<v1::Agent>, Failure> {
        let answer = self
            .api()
            .list_agents(timed(v1::ListAgentsRequest {}))
            .await;
        Ok(answer
            .map_err(|status| self.explain(&status))?
            .into_inner()
            .agents)
    }

    /// The server itself.
    pub(crate) async fn server(&self) -> Result<v1::GetServerResponse, Failure> {
        let answer = self.api().get_server(timed(v1::GetServerRequest {})).await;
        Ok(answer.map_err(|status| self.explain(&status))?.into_inner())
    }

    /// Restarts the workers; how many there were.
    pub(crate) async fn restart_workers(&self) -> Result<u32, Failure> {
        let mut asked = Request::new(v1::RestartWorkersRequest {});
        asked.set_timeout(RESTART_MAX);
        let answer = self.api().restart_workers(asked).await;
        Ok(answer
            .map_err(|status| self.explain(&status))?
            .into_inner()
            .restarted)
    }

    /// Lets a new process take over; its pid.
    pub(crate) async fn upgrade(&self) -> Result<u32, Failure> {
        let mut asked = Request::new(v1::UpgradeRequest {});
        asked.set_timeout(UPGRADE_MAX);
        let answer = self.api().upgrade(asked).await;
        Ok(answer
            .map_err(|status| self.explain(&status))?
            .into_inner()
            .pid)
    }

    /// The status of this server as a sentence with an exit code.
    pub(crate) fn explain(&self, status: &Status) -> Failure {
        explain(status, &self.address, self.is_encrypted)
    }

    fn api(&self) -> OperatorServiceClient<Traced<Channel>> {
        self.api.clone()
    }

    fn left_out(&self, what: &str) -> Failure {
        Failure::other(format!(
            "the server at {} left {what} out of its answer; is it of another version?",
            self.address
        ))
    }
}

/// Whether the connection, and not the request, was at fault, so that trying again may help.
pub(crate) fn is_broken(status: &Status) -> bool {
    // Unknown and Internal are what the library makes of a connection that broke under a stream.
    let codes = [
        Code::Unavailable,
        Code::Cancelled,
        Code::DeadlineExceeded,
        Code::Unknown,
        Code::Internal,
    ];
    codes.contains(&status.code())
}

/// Calls, and again for as long as the server says that it is being upgraded; once more when the
/// connection broke under a call that `may_repeat`, as it does when the server has gone to another
/// process.
async fn persistently<T, F: Future<Output = Result<T, Status>>>(
    may_repeat: bool,
    call: impl Fn() -> F,
) -> Result<T, Status> {
    let give_up_at = Instant::now() + UPGRADING_MAX;
    let mut may_repeat = may_repeat;
    loop {
        let status = match call().await {
            Ok(answer) => return Ok(answer),
            Err(status) => status,
        };
        if is_upgrading(&status) && Instant::now() < give_up_at {
            sleep(UPGRADING_PAUSE).await;
        } else if !std::mem::take(&mut may_repeat) || !is_broken(&status) {
            return Err(status);
        }
    }
}

fn is_upgrading(status: &Status) -> bool {
    status
        .get_details_error_info()
        .is_some_and(|info| info.reason == "UPGRADING")
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ANSWER_TIME_MAX);
    request
}

fn explain(status: &Status, address: &Address, is_encrypted: bool) -> Failure {
    let violations = violations(status);
    let message = status.message();
    match status.code() {
        Code::InvalidArgument if !violations.is_empty() => Failure::usage(violations),
        Code::InvalidArgument => Failure::usage(message),
        // A server that names the way out itself has it in backticks.
        Code::FailedPrecondition if !message.contains('`') => Failure::other(format!(
            "{message}; `benchctl agents` lists the agents connected, `metronome-agent --server {address}` starts one"
        )),
        Code::Unimplemented => Failure::other(format!(
            "what answers at {address} is no Metronome server of this version ({message})"
        )),
        Code::Cancelled | Code::DeadlineExceeded if message.contains(TOO_LATE) => {
            Failure::other(format!(
                "the server at {address} did not answer within {} s",
                ANSWER_TIME_MAX.as_secs()
            ))
        }
        _ => Failure::other(match io_cause(status) {
            // With TLS 1.3 a certificate is refused after the connection stands, in one of several
            // ways.
            Some(cause) if is_encrypted => format!(
                "the connection to the server at {address} broke: {cause}; if it has --tls-client-ca, --tls-cert must name a certificate that this CA has signed"
            ),
            // A server that waits for a handshake answers plain requests with anything but a
            // refusal.
            Some(cause)
                if status
                    .source()
                    .is_none_or(|error| !is_of_kind(error, io::ErrorKind::ConnectionRefused)) =>
            {
                format!(
                    "the connection to the server at {address} broke: {cause}; one with TLS wants https:// or --tls-ca"
                )
            }
            Some(cause) => format!("the connection to the server at {address} broke: {cause}"),
            None if message.is_empty() => {
                format!("the server at {address} answered: {}", status.code())
            }
            None => message.to_owned(),
        }),
    }
}

/// The fields that the server found wrong, by the names of their flags.
fn violations(status: &Status) -> String {
    let Some(request) = status.get_details_bad_request() else {
        return String::new();
    };
    let sentences = request.field_violations.iter().map(|violation| {
        let prefix = format!("{}: ", violation.field);
        // Servers may or may not repeat the field in the text.
        let problem = violation
            .description
            .strip_prefix(&prefix)
            .unwrap_or(&violation.description);
        format!("{}: {problem}", flags::of_field(&violation.field))
    });
    sentences.collect::<Vec<_>>().join("; ")
}

/// Why the transport failed, when it did.
fn io_cause(status: &Status) -> Option<String> {
    // A status that came over the wire has no source; one that the library made has, mostly.
    let made_here = status
        .message()
        .strip_prefix("h2 protocol error: ")
        .map(ToOwned::to_owned);
    status.source().map(deepest).or(made_here)
}

fn cause(error: &tonic::transport::Error) -> String {
    deepest(error).to_lowercase()
}

/// Libraries wrap the cause in general words; the innermost error has the particular ones.
fn deepest(error: &(dyn Error + 'static)) -> String {
    let innermost = chain(error).last();
    innermost.map_or_else(|| error.to_string(), ToString::to_string)
}

/// What the system said of a connection that did not come about; rustls says InvalidData.
fn is_of_kind(error: &(dyn Error + 'static), kind: io::ErrorKind) -> bool {
    chain(error)
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.kind() == kind)
}

/// An error and what caused it, outermost first.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error: &&'a (dyn Error + 'static)| {
        error.source()
    })
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;
    use crate::exit::Exit;

    #[test]
    fn an_address_is_host_and_port_with_or_without_the_scheme() {
        for (text, authority) in [
            ("127.0.0.1:50051", "127.0.0.1:50051"),
            ("http://127.0.0.1:50051/", "127.0.0.1:50051"),
            ("https://bench1:50051", "bench1:50051"),
            ("bench-1.example:1", "bench-1.example:1"),
            ("[::1]:50051", "[::1]:50051"),
        ] {
            assert_eq!(
                text.parse::<Address>().map(|address| address.to_string()),
                Ok(authority.into()),
                "{text}"
            );
        }
        for text in [
            "",
            "host",
            ":1",
            "host:0",
            "host:65536",
            "ftp://h:1",
            "http://",
            "a b:1",
            "::1:5",
            "h:1/path",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_field_that_the_server_refuses_is_named_by_its_flag() {
        let details =
            ErrorDetails::with_bad_request_violation("plan.rate_hz", "1e12 is out of range");
        let status = Status::with_error_details(Code::InvalidArgument, "bad plan", details);
        assert_eq!(
            explain(&status, &Address::default(), false),
            Failure::usage("--rate: 1e12 is out of range")
        );
    }

    #[test]
    fn a_missing_agent_comes_with_the_way_out() {
        let failure = explain(
            &Status::failed_precondition("no agent is connected"),
            &Address::default(),
            false,
        );
        assert_eq!(failure.exit, Exit::Other);
        assert!(
            failure
                .sentence
                .contains("metronome-agent --server 127.0.0.1:50051"),
            "{}",
            failure.sentence
        );
    }
}
