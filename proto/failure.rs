//! Failures as data: a code, what follows from the code alone, and figures.
//!
//! The sentence of a failure is for people. Everything that a program does about a failure follows
//! from its code: the remedy, the gRPC status, the exit code of benchctl.

use crate::v1::{Failure, FailureCode, Figure, figure::Value};

/// The prefix of the codes' names in the API.
const PREFIX: &str = "FAILURE_CODE_";

/// The remedy where a fault of ours is the cause.
const UNEXPECTED: &str =
    "try again; when it happens twice, file an issue with the server's and the agent's log";

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
}

impl FailureCode {
    /// The name without its prefix: `CONNECTION_REFUSED`.
    #[must_use]
    pub fn name(self) -> &'static str {
        let name = self.as_str_name();
        name.strip_prefix(PREFIX).unwrap_or(name)
    }

    /// The code of a name without its prefix. `None` for one that this version does not have.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::from_str_name(&format!("{PREFIX}{name}"))
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
        match self {
            Self::Unspecified | Self::Internal => UNEXPECTED,
            Self::FieldOutOfRange => {
                "change the field that is named; GetServer and `benchctl start --help` have the \
                 limits"
            }
            Self::Unsupported => "use one version of benchctl, server and agents",
            Self::NoAgent => "start one with `metronome-agent --server HOST:PORT`",
            Self::AgentNotConnected => "`benchctl agents` lists the agents that are connected",
            Self::AgentsFull => {
                "use fewer clients, more agents, or agents with a higher --clients-max"
            }
            Self::TooManyAgents => "name at most 256 agents with --agent",
            Self::ClientsFull | Self::RefusedFull => {
                "wait for another run to end, or start the server with a higher --max-clients"
            }
            Self::RunsFull => "wait for another run to end, or stop one with `benchctl stop RUN`",
            Self::RunUnknown => "`benchctl runs` lists the runs there are",
            Self::RunNotEnded => "wait for its end: `benchctl watch RUN` follows it",
            Self::RunElsewhere => "ask the server that carries it out",
            Self::RequestIdTaken => "use a new request_id for a new run",
            Self::AgentNameTaken => "give the agent another --name",
            Self::Draining => "start the server again, then the run",
            Self::Upgrading => "try again in a moment",
            Self::UpgradeFailed => "`benchctl server` shows that it goes on; see its log",
            Self::MasterGone => "see the server's log, and start it again",
            Self::HistoryFailed => "see the server's log: disk space and rights of its --database",
            Self::ServerUnreachable => {
                "start one with `metronome-server`, or give its address with --server"
            }
            Self::ServerLost | Self::ServerDied => "see the server's log, and start the run again",
            Self::ServerSilent => "see whether its host is overloaded or a firewall drops packets",
            Self::ServerNotTrusted => {
                "use https:// and --tls-ca, and --tls-cert where the server has --tls-client-ca"
            }
            Self::ServerIncompatible => "give the gRPC address of a Metronome server with --server",
            Self::Interrupted => "give the command again; `benchctl runs` lists the runs there are",
            Self::HostFailed => {
                "see the cause: rights and limits of this user, and free space, on this host"
            }
            Self::TargetUnknown => "give a name that the agent's host resolves, or an address",
            Self::TargetNotAllowed => {
                "give the address of one host; the agent's owner allows it with --allow-target"
            }
            _ => self.remedy_on_the_way(),
        }
    }

    /// The remedy of what happened between an agent and the target, on the agent's host or in a
    /// run.
    fn remedy_on_the_way(self) -> &'static str {
        match self {
            Self::NoRoute => "check the routes from the agent's host to the target",
            Self::ConnectionRefused => {
                "start metronome-server there with --host 0.0.0.0, or give its data port with \
                 --target"
            }
            Self::ConnectionTimedOut => {
                "open the data port in the firewalls between the agent and the target"
            }
            Self::ConnectionClosed | Self::WrongProgram => {
                "give the data port of this very server with --target: another program listens \
                 there"
            }
            Self::RefusedHello => {
                "let --target point at the server that commands the agent, not at another one"
            }
            Self::RefusedLate => "see whether the agent's host or the network is overloaded",
            Self::RefusedRaw => "start the server with --accept-raw",
            Self::RefusedProtocol => "use one version of server and agents",
            Self::RefusedEnded => "start the run again",
            Self::ConnectionBroken => {
                "see the server's log and the network between agent and server"
            }
            Self::EndNotAcknowledged => {
                "see whether the server's host or the network is overloaded"
            }
            Self::NotTried => "see the failure of the client that could not connect",
            Self::AgentClientsFull => {
                "use fewer clients or more agents, or start the agent with a higher --clients-max"
            }
            Self::AgentFilesFull => "raise the limit of open files of the agent (ulimit -n)",
            Self::AgentPortsFull => {
                "widen net.ipv4.ip_local_port_range on the agent's host, or use more agents"
            }
            Self::AgentThreadsFull => {
                "raise the limit of threads of the agent (ulimit -u, pids.max)"
            }
            Self::AgentMemoryFull => "give the agent's host more memory, or use fewer clients",
            Self::OrderNotFollowed => "use one version of server and agents",
            Self::AgentLost => "see the agent's log and the network between it and the server",
            Self::AgentSilent => "see whether the agent's host is overloaded or stopped",
            Self::AgentRestarted => "start the run again; the agent's log has the cause",
            Self::AgentShutDown => "start the agent again, then the run",
            Self::PrepareTimedOut => {
                "see whether the agent reaches the data port, or use fewer clients"
            }
            Self::NoFinalReport | Self::NoClientRecord => "see the agent's log",
            Self::LeaseOver => "see the server's log and the network between agent and server",
            Self::AgentProtocol => "use one version of server and agents",
            Self::NoWorkerRecord => "see the server's log",
            Self::ClientGone => "see the agent's log and the network between agent and server",
            Self::ClientCut => "give the end more time: use fewer clients, or a faster host",
            Self::NotRecovered => "see the server's log for the worker's death",
            Self::Stopped => "start the run again",
            // A code that has been given no remedy: a test refuses it.
            _ => UNEXPECTED,
        }
    }
}

impl From<u64> for Figure {
    fn from(value: u64) -> Self {
        Self::from(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<u128> for Figure {
    fn from(value: u128) -> Self {
        Self::from(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Figure {
    fn from(value: u32) -> Self {
        Self::from(i64::from(value))
    }
}

impl From<usize> for Figure {
    fn from(value: usize) -> Self {
        Self::from(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<i64> for Figure {
    fn from(value: i64) -> Self {
        Self {
            value: Some(Value::Integer(value)),
        }
    }
}

impl From<f64> for Figure {
    fn from(value: f64) -> Self {
        Self {
            value: Some(Value::Number(value)),
        }
    }
}

impl From<&str> for Figure {
    fn from(value: &str) -> Self {
        Self::from(value.to_owned())
    }
}

impl From<String> for Figure {
    fn from(value: String) -> Self {
        Self {
            value: Some(Value::Text(value)),
        }
    }
}

impl std::fmt::Display for Figure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.value {
            Some(Value::Integer(value)) => value.fmt(formatter),
            Some(Value::Number(value)) => value.fmt(formatter),
            Some(Value::Text(value)) => value.fmt(formatter),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every code of this version.
    fn codes() -> impl Iterator<Item = FailureCode> {
        (0..1_000).filter_map(|number| FailureCode::try_from(number).ok())
    }

    #[test]
    fn every_code_has_a_name_and_a_way_out() {
        assert!(codes().count() > 50);
        for code in codes() {
            assert_eq!(FailureCode::from_name(code.name()), Some(code));
            let remedy = code.remedy();
            assert!(
                remedy.len() > 15 && !remedy.ends_with('.'),
                "{code:?}: {remedy}"
            );
            let is_ours = matches!(code, FailureCode::Unspecified | FailureCode::Internal);
            assert_eq!(
                remedy == UNEXPECTED,
                is_ours,
                "{code:?} has a remedy of its own"
            );
        }
        assert_eq!(FailureCode::from_name("FAILURE_CODE_NO_AGENT"), None);
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
            .with("agents", "a, b");
        assert_eq!(failure.figures["clients"].value, Some(Value::Integer(30)));
        assert_eq!(failure.figures["sum"].value, Some(Value::Integer(i64::MAX)));
        assert_eq!(failure.figures["agents"].to_string(), "a, b");
    }
}
