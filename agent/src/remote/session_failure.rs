//! Why there is no session with the server, as a failure.
//!
//! What the server reports is the failure among the google.rpc details of its status. What went
//! wrong on the way follows from the types of the errors and from the gRPC code. No decision is
//! taken from a text: those are for people. Nothing is dialled here.

use std::{error::Error, io, time::Duration};

use anyhow::Chain;
use metronome_proto::{
    features,
    v1::{Failure, FailureCode},
};
use tonic::{Code, Status};

/// The server of a session, as far as a failure depends on it.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// Scheme, host and port, without a path.
    pub url: String,
    pub is_encrypted: bool,
}

impl Server {
    /// Why no connection was made.
    pub(super) fn not_dialled(&self, error: &(dyn Error + 'static)) -> Failure {
        // How the TLS of our stack reports a peer whose certificate or records it does not take;
        // a peer that wants none of the handshake closes.
        let in_handshake = [
            io::ErrorKind::InvalidData,
            io::ErrorKind::UnexpectedEof,
            io::ErrorKind::ConnectionReset,
        ];
        let has_failed_handshake = Chain::new(error)
            .filter_map(|error| error.downcast_ref::<io::Error>())
            .any(|error| in_handshake.contains(&error.kind()));
        let (cause, url) = (root_cause(error), &self.url);
        if self.is_encrypted && has_failed_handshake {
            self.not_trusted(&cause)
        } else {
            let sentence = format!("no server answers at {url}: {cause}");
            self.failure(FailureCode::ServerUnreachable, sentence)
        }
    }

    /// Why the session ended, or was refused. `has_answered`: the server has sent something in it.
    pub(super) fn ended(&self, status: &Status, has_answered: bool) -> Failure {
        if let Some(reported) = Failure::from_details(status.details()) {
            return reported;
        }
        let cause = match (status.source(), status.message()) {
            (Some(error), _) => root_cause(error),
            (None, "") => status.code().description().to_owned(),
            (None, message) => message.to_owned(),
        };
        // A status without a source came over the wire, unless the library made it of a stream that
        // broke. A server of this version has a Failure in each of its own.
        let may_be_broken = matches!(
            status.code(),
            Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Internal
        );
        let url = &self.url;
        if status.source().is_none() && !may_be_broken {
            let sentence =
                format!("what answers at {url} is no Metronome server of this version: {cause}");
            self.failure(FailureCode::ServerIncompatible, sentence)
        } else if self.is_encrypted && !has_answered {
            // With TLS 1.3 a certificate is refused after the connection is established.
            self.not_trusted(&cause)
        } else {
            self.lost(&cause)
        }
    }

    /// The connection broke, or the server closed it without a status.
    pub(super) fn lost(&self, cause: &str) -> Failure {
        let sentence = format!(
            "the connection to the server at {} broke: {cause}",
            self.url
        );
        self.failure(FailureCode::ServerLost, sentence)
    }

    /// The server did not answer within `time_max`.
    pub(super) fn silent(&self, time_max: Duration) -> Failure {
        let (url, seconds) = (&self.url, time_max.as_secs());
        let sentence = format!("the server at {url} did not answer within {seconds} s");
        self.failure(FailureCode::ServerSilent, sentence)
            .with("deadline_ns", time_max.as_nanos())
    }

    /// The server wants to speak a version of the protocol that this agent did not offer.
    pub(super) fn speaks_another_version(&self, version: u32) -> Failure {
        let (min, max) = (
            features::PROTOCOL_VERSION_MIN,
            features::PROTOCOL_VERSION_MAX,
        );
        let sentence = format!(
            "the server at {} speaks version {version} of the agent protocol, this agent {min} to \
             {max}",
            self.url
        );
        Failure::new(FailureCode::Unsupported, sentence)
            .with("protocol_version_min", min)
            .with("protocol_version_max", max)
    }

    fn not_trusted(&self, cause: &str) -> Failure {
        let url = &self.url;
        let sentence = format!("TLS could not be agreed upon with the server at {url}: {cause}");
        self.failure(FailureCode::ServerNotTrusted, sentence)
    }

    fn failure(&self, code: FailureCode, sentence: String) -> Failure {
        Failure::new(code, sentence).with("address", self.url.as_str())
    }
}

/// What the agent does about the failure, for its log: it goes on in every case.
pub(super) fn what_next(code: FailureCode) -> &'static str {
    match code {
        // After an upgrade a server keeps a name for 3 s for the agent that had it.
        FailureCode::AgentNameTaken => "trying again until the name is free",
        FailureCode::Upgrading | FailureCode::Draining => "trying again until it takes agents",
        FailureCode::Unsupported | FailureCode::ServerIncompatible => {
            "trying again until another version is there"
        }
        _ => "trying again until it is there",
    }
}

/// Libraries wrap the cause in general words; the innermost error has the particular ones.
fn root_cause(error: &(dyn Error + 'static)) -> String {
    let innermost = Chain::new(error).last();
    innermost.map_or_else(String::new, |error| error.to_string().to_lowercase())
}

#[cfg(test)]
mod tests {
    use metronome_proto::failure::is_phrase;
    use tonic::ConnectError;

    use super::*;

    fn server(is_encrypted: bool) -> Server {
        Server {
            url: "http://bench1:50051".into(),
            is_encrypted,
        }
    }

    fn io_error(kind: io::ErrorKind) -> io::Error {
        io::Error::new(kind, "Certificate expired; the name is taken")
    }

    #[track_caller]
    fn check(failure: &Failure, code: FailureCode) {
        assert_eq!(failure.code(), code, "{failure:?}");
        assert!(is_phrase(&failure.sentence), "{failure:?}");
        assert_eq!(failure.figures["address"], "http://bench1:50051".into());
        assert_eq!(failure.remedy, code.remedy());
    }

    #[test]
    fn what_the_server_reports_is_read_from_the_details_and_never_from_the_status() {
        let reported = Failure::new(
            FailureCode::AgentNameTaken,
            "another agent named a is there",
        )
        .with("agent", "a");
        for code in [Code::AlreadyExists, Code::Internal, Code::Unavailable] {
            let details = reported.to_details(code as i32, "qwertz");
            let status = Status::with_details(code, "qwertz", details.into());
            assert_eq!(server(true).ended(&status, false), reported);
        }
    }

    #[test]
    fn what_went_wrong_on_the_way_is_read_from_types_and_codes() {
        use FailureCode::{ServerIncompatible, ServerLost, ServerNotTrusted};
        let reset = || Status::from_error(Box::new(io_error(io::ErrorKind::ConnectionReset)));
        for (status, is_encrypted, has_answered, code) in [
            (Status::unimplemented(""), false, false, ServerIncompatible),
            (
                Status::already_exists("the name is taken"),
                false,
                false,
                ServerIncompatible,
            ),
            (
                Status::failed_precondition(""),
                true,
                true,
                ServerIncompatible,
            ),
            (Status::unavailable(""), false, true, ServerLost),
            (reset(), false, false, ServerLost),
            (reset(), true, true, ServerLost),
            // A certificate that the server refused.
            (reset(), true, false, ServerNotTrusted),
        ] {
            check(&server(is_encrypted).ended(&status, has_answered), code);
        }
    }

    #[test]
    fn a_dial_fails_for_want_of_a_server_or_of_trust() {
        use FailureCode::{ServerNotTrusted, ServerUnreachable};
        for (kind, is_encrypted, code) in [
            (io::ErrorKind::ConnectionRefused, false, ServerUnreachable),
            (io::ErrorKind::ConnectionRefused, true, ServerUnreachable),
            (io::ErrorKind::InvalidData, false, ServerUnreachable),
            (io::ErrorKind::InvalidData, true, ServerNotTrusted),
            (io::ErrorKind::UnexpectedEof, true, ServerNotTrusted),
        ] {
            let error = ConnectError(Box::new(io_error(kind)));
            check(&server(is_encrypted).not_dialled(&error), code);
        }
    }

    #[test]
    fn silence_and_another_version_have_their_figures() {
        let silent = server(false).silent(Duration::from_secs(5));
        check(&silent, FailureCode::ServerSilent);
        assert_eq!(silent.figures["deadline_ns"], 5_000_000_000_u64.into());
        let other = server(false).speaks_another_version(9);
        assert_eq!(other.code(), FailureCode::Unsupported);
        for figure in ["protocol_version_min", "protocol_version_max"] {
            assert_eq!(other.figures[figure], 1_u32.into());
        }
    }
}
