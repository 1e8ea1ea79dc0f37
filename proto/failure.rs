//! Failures as data: a code, what follows from the code alone, and figures.
//!
//! The sentence of a failure is for people. Everything that a program does about a failure follows
//! from its code: the remedy, the gRPC status, the exit code of benchctl.

use prost::Message as _;
use prost_types::Any;

use crate::v1::{Failure, FailureCode, Figure};

/// The type of a failure among the google.rpc details of a gRPC error.
const TYPE_URL: &str = "type.googleapis.com/metronome.v1.Failure";

/// `domain` of the google.rpc.ErrorInfo of every failure.
pub const ERROR_DOMAIN: &str = "metronome.v1";

/// The prefix of the codes' names in the API.
const PREFIX: &str = "FAILURE_CODE_";

/// What to do about a failure that nothing more particular is known of.
const REMEDY_DEFAULT: &str =
    "try again; when it happens twice, file an issue with the server's and the agent's log";

/// What to do about each failure: a sentence without its full stop, or several joined by
/// semicolons.
const REMEDIES: &[(&[FailureCode], &str)] = &[
    (
        &[FailureCode::Unspecified, FailureCode::Internal],
        REMEDY_DEFAULT,
    ),
    (
        &[FailureCode::FieldOutOfRange],
        "change what is named; --help of the command has the limits of its flags, and GetServer \
         those of a plan",
    ),
    (
        &[FailureCode::Unsupported],
        "use one version of benchctl, server and agents",
    ),
    (
        &[FailureCode::NoAgent],
        "start one with `metronome-agent --server HOST:PORT`",
    ),
    (
        &[FailureCode::AgentsUnresponsive],
        "see the agents' logs, restart them and wait 60 s, or name one with --agent to try it \
         again",
    ),
    (
        &[FailureCode::AgentNotConnected],
        "`benchctl agents` lists the agents that are connected",
    ),
    (
        &[FailureCode::AgentsFull],
        "use fewer clients, more agents, or agents with a higher --max-clients",
    ),
    (
        &[FailureCode::TooManyAgents],
        "name at most 256 agents with --agent",
    ),
    (
        &[FailureCode::ClientsFull, FailureCode::RefusedFull],
        "wait for another run to end, or start the server with a higher --max-clients",
    ),
    (
        &[FailureCode::RunsFull],
        "wait for another run to end, or stop one with `benchctl stop RUN`",
    ),
    (
        &[FailureCode::RunUnknown],
        "`benchctl runs` lists the runs there are",
    ),
    (
        &[FailureCode::RunNotEnded],
        "wait for its end: `benchctl watch RUN` follows it",
    ),
    (
        &[FailureCode::RunElsewhere],
        "ask the server that carries it out",
    ),
    (
        &[FailureCode::RequestIdTaken],
        "use a new request_id for a new run",
    ),
    (
        &[FailureCode::AgentNameTaken],
        "give the agent another --name, or wait 3 s: the place of an agent whose connection broke \
         is kept for that long",
    ),
    (
        &[FailureCode::Draining],
        "start the server again, then the run",
    ),
    (&[FailureCode::Upgrading], "try again in a moment"),
    (&[FailureCode::RequestIdBusy], "send the same request again"),
    (
        &[FailureCode::EventsMissed],
        "watch again, after the number of the last event: the present state comes first",
    ),
    (
        &[FailureCode::UpgradeIncompatible],
        "let its runs end, then stop this server and start the new one",
    ),
    (
        &[FailureCode::UpgradeNotPossible],
        "stop this server and start the new one",
    ),
    (
        &[FailureCode::RunsNotMovable],
        "try again when the run is RUNNING or has ended",
    ),
    (
        &[FailureCode::HelloNotAnswered],
        "give the data port of this very server with --target: another program may listen \
         there; else see whether the server's host is overloaded",
    ),
    (
        &[FailureCode::RunNotListed],
        "start the run again; the server's log has the cause",
    ),
    (
        &[FailureCode::AnswersFull],
        "repeat the call in a moment; read the answers of calls, or cancel them",
    ),
    (
        &[FailureCode::MessageUnreadable],
        "encode the request with the protos of this version",
    ),
    (
        &[FailureCode::MessageTooLarge],
        "send a smaller message; GetServer has the limit",
    ),
    (
        &[FailureCode::MethodUnknown],
        "use one version of client and server; reflection lists the methods",
    ),
    (
        &[FailureCode::UpgradeFailed],
        "`benchctl server` shows that it goes on; see its log",
    ),
    (
        &[FailureCode::MasterGone],
        "see the server's log, and start it again",
    ),
    (
        &[FailureCode::HistoryFailed],
        "see whether the disk is full, and the rights to the file and its folder; a server's log \
         has the cause, too",
    ),
    (
        &[FailureCode::HistoryLocked],
        "try again once that process has ended or given the lock back; `fuser FILE` shows it",
    ),
    (
        &[FailureCode::HistoryDamaged],
        "name another file with METRONOME_DATABASE (or --database of metronome-server), or move \
         this one away, with its -wal and -shm; `sqlite3 FILE .recover` prints what can be saved, \
         and `benchctl delete RUN` removes one run that cannot be read",
    ),
    (
        &[FailureCode::ServerUnreachable],
        "start one with `metronome-server`, or give its address with --server",
    ),
    (
        &[FailureCode::ServerLost],
        "see whether the server still runs, its log, and the network; then give the command again",
    ),
    (
        &[FailureCode::ServerDied],
        "see the server's log, and start the run again",
    ),
    (
        &[FailureCode::ServerSilent],
        "see whether its host is overloaded, a firewall drops packets, or another program has the \
         port; --server names another address",
    ),
    (
        &[FailureCode::ServerNotTrusted],
        "use https:// and --tls-ca, --tls-name where the certificate is for another name, and \
         --tls-cert where the server has --tls-client-ca",
    ),
    (
        &[FailureCode::ServerIncompatible],
        "give the gRPC address of a Metronome server with --server",
    ),
    (
        &[FailureCode::Interrupted],
        "give the command again; `benchctl runs` lists the runs there are",
    ),
    (
        &[FailureCode::HostFailed],
        "see the cause: rights and limits of this user, and free space, on this host",
    ),
    (
        &[FailureCode::TargetUnknown],
        "give a name that the agent's host resolves, or an address",
    ),
    (
        &[FailureCode::TargetNotAllowed],
        "give the address of one host; the agent's owner allows it with --allow-target",
    ),
    (
        &[FailureCode::NoRoute],
        "check the routes from the agent's host to the target",
    ),
    (
        &[FailureCode::ConnectionRefused],
        "start metronome-server there with --host 0.0.0.0, or give its data port with --target",
    ),
    (
        &[FailureCode::ConnectionTimedOut],
        "open the data port in the firewalls between the agent and the target",
    ),
    (
        &[FailureCode::ConnectionClosed, FailureCode::WrongProgram],
        "give the data port of this very server with --target: another program listens there",
    ),
    (
        &[FailureCode::RefusedHello],
        "let --target point at the server that commands the agent, not at another one",
    ),
    (
        &[FailureCode::RefusedLate],
        "see whether the agent's host or the network is overloaded",
    ),
    (
        &[FailureCode::RefusedRaw],
        "start the server with --accept-raw",
    ),
    (
        &[FailureCode::RefusedProtocol],
        "use one version of server and agents",
    ),
    (&[FailureCode::RefusedEnded], "start the run again"),
    (
        &[FailureCode::ConnectionBroken],
        "see the server's log and the network between agent and server",
    ),
    (
        &[FailureCode::EndNotAcknowledged],
        "see whether the server's host or the network is overloaded",
    ),
    (
        &[FailureCode::NotTried],
        "see the failure of the client that could not connect",
    ),
    (
        &[FailureCode::AgentClientsFull],
        "use fewer clients or more agents, or start the agent with a higher --max-clients",
    ),
    (
        &[FailureCode::AgentFilesFull],
        "raise the limit of open files of the agent (ulimit -n)",
    ),
    (
        &[FailureCode::AgentPortsFull],
        "widen net.ipv4.ip_local_port_range on the agent's host, or use more agents",
    ),
    (
        &[FailureCode::AgentThreadsFull],
        "raise the limit of threads of the agent (ulimit -u, pids.max)",
    ),
    (
        &[FailureCode::AgentMemoryFull],
        "give the agent's host more memory, or use fewer clients",
    ),
    (
        &[FailureCode::OrderNotFollowed],
        "use one version of server and agents",
    ),
    (
        &[FailureCode::AgentLost],
        "see the agent's log and the network between it and the server",
    ),
    (
        &[FailureCode::AgentSilent],
        "see whether the agent's host is overloaded or stopped, and the network between it and the \
         server",
    ),
    (
        &[FailureCode::AgentRestarted],
        "start the run again; the agent's log has the cause",
    ),
    (
        &[FailureCode::AgentShutDown],
        "start the agent again, then the run",
    ),
    (
        &[FailureCode::PrepareTimedOut],
        "see whether the agent reaches the data port, or use fewer clients",
    ),
    (
        &[FailureCode::NoFinalReport, FailureCode::NoClientRecord],
        "see the agent's log",
    ),
    (
        &[FailureCode::LeaseOver],
        "see the server's log and the network between agent and server",
    ),
    (
        &[FailureCode::AgentProtocol],
        "use one version of server and agents",
    ),
    (&[FailureCode::NoWorkerRecord], "see the server's log"),
    (
        &[FailureCode::ClientGone],
        "see the agent's log and the network between agent and server",
    ),
    (
        &[FailureCode::ClientCut],
        "give the end more time: use fewer clients, or a faster host",
    ),
    (
        &[FailureCode::ClientNotEnded],
        "see the server's log: its workers did not see the end in time; use fewer clients, or a \
         faster host",
    ),
    (
        &[FailureCode::HandlerFailed],
        "see the server's log for the worker's end, and mend the handler",
    ),
    (
        &[FailureCode::PayloadNotUsable],
        "give every agent of the group a payload of that name that its packets can carry: a \
         regular file of whole records in its --payload-dir, or a source of its program",
    ),
    (
        &[FailureCode::NotRecovered],
        "see the server's log for the worker's death",
    ),
    (&[FailureCode::Stopped], "start the run again"),
];

/// Whether a text has the form of a failure's sentence, as it stands behind `error: ` or a colon:
/// it begins in lower case, unless with a name in capitals, and has no full stop.
#[must_use]
pub fn is_phrase(sentence: &str) -> bool {
    let mut letters = sentence.chars();
    let begins_low = match (letters.next(), letters.next()) {
        (Some(first), second) if first.is_uppercase() => second.is_some_and(char::is_uppercase),
        (first, _) => first.is_some_and(|first| !first.is_whitespace()),
    };
    begins_low && !sentence.ends_with('.')
}

/// google.rpc.Status, which gRPC has for the details of an error.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// Who can do something about a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FailureKind {
    /// The caller: a field of the request is not allowed.
    Usage,
    /// Something could not be done.
    Other,
}

impl Failure {
    /// A failure with the remedy of its code and no figures yet.
    #[must_use]
    pub fn new(code: FailureCode, sentence: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            sentence: sentence.into(),
            remedy: code.remedy().into(),
            ..Self::default()
        }
    }

    /// The failure with one figure more.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Figure>) -> Self {
        self.figures.insert(name.into(), value.into());
        self
    }

    /// The failure as one of the google.rpc details of a gRPC error.
    #[must_use]
    pub fn to_detail(&self) -> Any {
        Any {
            type_url: TYPE_URL.into(),
            value: self.encode_to_vec(),
        }
    }

    /// The details of a gRPC error with this `grpc_code` and nothing but the failure in them, as
    /// their bytes go over the wire.
    #[must_use]
    pub fn to_details(&self, grpc_code: i32, message: &str) -> Vec<u8> {
        let rpc = RpcStatus {
            code: grpc_code,
            message: message.into(),
            details: vec![self.to_detail()],
        };
        rpc.encode_to_vec()
    }

    /// The failure in the `details` of a gRPC error, the bytes of a google.rpc.Status. `None` when
    /// there is none: then the error is not one of a server of this API. A code that only a later
    /// version has is [`FailureCode::Internal`] to this one.
    #[must_use]
    pub fn from_details(details: &[u8]) -> Option<Self> {
        let rpc = RpcStatus::decode(details).ok()?;
        let mut failure = rpc.details.iter().find_map(Self::from_detail)?;
        if failure.code() == FailureCode::Unspecified {
            failure.set_code(FailureCode::Internal);
        }
        Some(failure)
    }

    /// The failure of which `detail` is the form in a gRPC error. `None` for any other detail.
    #[must_use]
    pub fn from_detail(detail: &Any) -> Option<Self> {
        let value = (detail.type_url == TYPE_URL).then_some(detail.value.as_slice())?;
        Self::decode(value).ok()
    }
}

impl FailureCode {
    /// The name without its prefix: `CONNECTION_REFUSED`.
    #[must_use]
    pub fn name(self) -> &'static str {
        let name = self.as_str_name();
        name.strip_prefix(PREFIX).unwrap_or(name)
    }

    /// Who can do something about it.
    #[must_use]
    pub fn kind(self) -> FailureKind {
        match self {
            Self::FieldOutOfRange => FailureKind::Usage,
            _ => FailureKind::Other,
        }
    }

    /// What to do about it: a sentence without its full stop, or several joined by semicolons.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        let row = REMEDIES.iter().find(|(codes, _)| codes.contains(&self));
        row.map_or(REMEDY_DEFAULT, |(_, remedy)| remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::figure::Value;

    /// Every code of this version.
    fn codes() -> impl Iterator<Item = FailureCode> {
        (0..1_000).filter_map(|number| FailureCode::try_from(number).ok())
    }

    #[test]
    fn every_code_has_a_name_and_a_way_out() {
        assert!(codes().count() > 50);
        for code in codes() {
            let named = FailureCode::from_str_name(&format!("{PREFIX}{}", code.name()));
            assert_eq!(named, Some(code));
            let remedy = code.remedy();
            let rows = REMEDIES.iter().filter(|(codes, _)| codes.contains(&code));
            assert_eq!(rows.count(), 1, "{code:?}");
            assert!(
                remedy.len() > 15 && !remedy.ends_with('.'),
                "{code:?}: {remedy}"
            );
        }
    }

    #[test]
    fn a_change_of_the_sentence_changes_nothing_else() {
        for code in codes() {
            let one = Failure::new(code, "one sentence");
            let other = Failure {
                sentence: one.sentence.clone(),
                ..Failure::new(code, "quite another one")
            };
            assert_eq!(one, other);
        }
    }

    #[test]
    fn figures_keep_their_type_and_saturate() {
        let failure = Failure::new(FailureCode::AgentsFull, "30 clients are too many")
            .with("clients", 30_u32)
            .with("sum", u64::MAX)
            .with("agent_names", "a, b");
        assert_eq!(failure.figures["clients"].value, Some(Value::Integer(30)));
        assert_eq!(failure.figures["sum"].value, Some(Value::Integer(i64::MAX)));
        assert_eq!(failure.figures["agent_names"].to_string(), "a, b");
    }

    #[test]
    fn only_a_field_out_of_its_range_is_the_callers_to_mend() {
        for code in codes() {
            let is_usage = code == FailureCode::FieldOutOfRange;
            assert_eq!(code.kind() == FailureKind::Usage, is_usage, "{code:?}");
        }
    }

    #[test]
    fn a_sentence_begins_low_and_does_not_end() {
        for (sentence, is_one) in [
            ("no agent is connected", true),
            ("TLS could not be agreed upon", true),
            ("10 clients are too many", true),
            ("No agent is connected", false),
            ("A server is busy", false),
            ("no agent is connected.", false),
            (" no agent", false),
            ("", false),
        ] {
            assert_eq!(is_phrase(sentence), is_one, "{sentence:?}");
        }
    }

    #[test]
    fn a_failure_is_the_same_behind_a_grpc_error() {
        let failure = Failure::new(FailureCode::AgentsFull, "30 clients are too many")
            .with("clients", 30_u32)
            .with("sent_percent", 98.5)
            .with("agent", "7");
        let mut detail = failure.to_detail();
        assert_eq!(Failure::from_detail(&detail), Some(failure));
        detail.value.truncate(3);
        assert_eq!(Failure::from_detail(&detail), None);
        let other = Any {
            type_url: "type.googleapis.com/google.rpc.ErrorInfo".into(),
            value: Vec::new(),
        };
        assert_eq!(Failure::from_detail(&other), None);
    }

    #[test]
    fn the_details_of_an_error_have_its_failure_or_none() {
        let failure = Failure::new(FailureCode::NoAgent, "no agent is connected");
        let details = failure.to_details(9, "qwertz");
        assert_eq!(Failure::from_details(&details), Some(failure));
        for details in [&b""[..], b"qwertz", &[0xff; 20]] {
            assert_eq!(Failure::from_details(details), None);
        }
        let of_later_version = Failure {
            code: 999,
            remedy: "wait for spring".into(),
            ..Failure::default()
        };
        let read = Failure::from_details(&of_later_version.to_details(9, "")).unwrap();
        assert_eq!(
            (read.code(), read.remedy.as_str()),
            (FailureCode::Internal, "wait for spring")
        );
    }
}
