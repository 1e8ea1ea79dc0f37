//! Why a gRPC call to a server failed, as a failure: one account for every client of the API.
//!
//! What the server reports is the failure among the google.rpc details of its status. What went
//! wrong on the way follows from the types of the errors and from the gRPC code. No decision is
//! taken from a text: those are for people. Nothing is dialled here.

use std::{error::Error, io, iter, time::Duration};

use tonic::{Code, ConnectError, Status, TimeoutExpired};

use crate::{
    tls_cause::tls_cause,
    v1::{Failure, FailureCode},
};

/// A server that was dialled, as far as a failure depends on it.
#[derive(Clone, Debug)]
pub struct Server {
    /// What the failure shows as its address: HOST:PORT, with or without a scheme.
    pub address: String,
    /// Whether the connection is to have TLS.
    pub is_encrypted: bool,
    /// Whether a response, or a failure that it reported, has come from there.
    pub has_responded: bool,
}

impl Server {
    /// Why no connection was made.
    #[must_use]
    pub fn not_dialled(&self, error: &(dyn Error + 'static)) -> Failure {
        // Errors of rustls are InvalidData; a peer that wants none of the handshake closes.
        let in_handshake = [
            io::ErrorKind::InvalidData,
            io::ErrorKind::UnexpectedEof,
            io::ErrorKind::ConnectionReset,
        ];
        let cause = root_cause(error);
        if self.is_encrypted && has_io_error(error, &in_handshake) {
            return self.not_trusted(&cause);
        }
        let sentence = format!("no server answers at {}: {cause}", self.address);
        self.failure(FailureCode::ServerUnreachable, sentence)
    }

    /// Why a call failed that was to take at most `time_max`; `None` where no time was set: what
    /// the server reports, else what went wrong on the way.
    #[must_use]
    pub fn of_status(&self, status: &Status, time_max: Option<Duration>) -> Failure {
        Failure::from_details(status.details()).unwrap_or_else(|| self.on_the_way(status, time_max))
    }

    /// What went wrong on the way, in a call whose status has no failure of the server.
    #[must_use]
    pub fn on_the_way(&self, status: &Status, time_max: Option<Duration>) -> Failure {
        let source = status.source();
        if status.code() == Code::DeadlineExceeded || source.is_some_and(is_a::<TimeoutExpired>) {
            return self.silent(time_max);
        }
        if let Some(error) = source.filter(|error| is_a::<ConnectError>(*error)) {
            return self.not_dialled(error);
        }
        let cause = match (source, status.message()) {
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
        if source.is_none() && !may_be_broken {
            self.incompatible(&cause)
        } else if self.is_encrypted && !self.has_responded {
            // With TLS 1.3 a certificate is refused after the connection is established, in one of
            // several ways; the first call finds it broken, and the alert may be lost with it.
            match source.and_then(tls_cause) {
                Some(words) => self.not_trusted(&words),
                None => self.not_trusted(&format!(
                    "it ended the connection after the handshake ({cause}), as one does that asks \
                     for a certificate of this end (--tls-cert)"
                )),
            }
        } else {
            self.lost(&cause)
        }
    }

    /// The connection broke, or the server closed it without a status.
    #[must_use]
    pub fn lost(&self, cause: &str) -> Failure {
        let address = &self.address;
        let sentence = format!("the connection to the server at {address} broke: {cause}");
        self.failure(FailureCode::ServerLost, sentence)
    }

    /// The server did not answer within `time_max`; `None` where that time is not known here.
    #[must_use]
    pub fn silent(&self, time_max: Option<Duration>) -> Failure {
        let address = &self.address;
        let Some(time_max) = time_max else {
            let sentence = format!("the server at {address} did not answer in time");
            return self.failure(FailureCode::ServerSilent, sentence);
        };
        let seconds = time_max.as_secs();
        let sentence = format!("the server at {address} did not answer within {seconds} s");
        self.failure(FailureCode::ServerSilent, sentence)
            .with("deadline_ns", time_max.as_nanos())
    }

    /// TLS could not be agreed upon, or the peer asks for it and this end does not.
    #[must_use]
    pub fn not_trusted(&self, cause: &str) -> Failure {
        let address = &self.address;
        let sentence =
            format!("TLS could not be agreed upon with the server at {address}: {cause}");
        self.failure(FailureCode::ServerNotTrusted, sentence)
    }

    /// What answers does not speak this API.
    #[must_use]
    pub fn incompatible(&self, cause: &str) -> Failure {
        let address = &self.address;
        let sentence =
            format!("what answers at {address} is no Metronome server of this version: {cause}");
        self.failure(FailureCode::ServerIncompatible, sentence)
    }

    fn failure(&self, code: FailureCode, sentence: String) -> Failure {
        Failure::new(code, sentence).with("address", self.address.as_str())
    }
}

/// Whether nothing listens at the address that was dialled.
#[must_use]
pub fn is_refused(error: &(dyn Error + 'static)) -> bool {
    has_io_error(error, &[io::ErrorKind::ConnectionRefused])
}

/// The error and its causes, the innermost last.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |&error| error.source())
}

/// Libraries wrap the cause in general words; the innermost error has the particular ones.
fn root_cause(error: &(dyn Error + 'static)) -> String {
    if let Some(words) = tls_cause(error) {
        return words;
    }
    let innermost = chain(error).last().unwrap_or(error);
    innermost.to_string().to_lowercase()
}

fn is_a<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|error| error.is::<E>())
}

fn has_io_error(error: &(dyn Error + 'static), kinds: &[io::ErrorKind]) -> bool {
    chain(error)
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| kinds.contains(&error.kind()))
}

#[cfg(test)]
mod tests {
    use FailureCode::{
        ServerIncompatible, ServerLost, ServerNotTrusted, ServerSilent, ServerUnreachable,
    };

    use super::*;
    use crate::failure::is_phrase;

    const ADDRESS: &str = "http://bench1:50051";

    fn server(is_encrypted: bool, has_responded: bool) -> Server {
        Server {
            address: ADDRESS.into(),
            is_encrypted,
            has_responded,
        }
    }

    /// A status of the library's making.
    fn caused_by(error: impl Error + Send + Sync + 'static) -> Status {
        Status::from_error(Box::new(error))
    }

    /// An error whose words are those of others.
    fn io_error(kind: io::ErrorKind) -> io::Error {
        io::Error::new(kind, "Timeout expired; certificate expired; no agent")
    }

    #[track_caller]
    fn check(failure: &Failure, code: FailureCode) {
        assert_eq!(failure.code(), code, "{failure:?}");
        assert!(is_phrase(&failure.sentence), "{failure:?}");
        assert!(failure.sentence.contains(ADDRESS), "{failure:?}");
        assert_eq!(failure.figures["address"], ADDRESS.into());
        assert_eq!(failure.remedy, code.remedy());
    }

    #[test]
    fn what_the_server_reports_is_read_from_the_details_and_never_from_the_status() {
        let reported = Failure::new(
            FailureCode::AgentNameTaken,
            "another agent named a is there",
        )
        .with("agent", "a");
        for code in [
            Code::AlreadyExists,
            Code::DeadlineExceeded,
            Code::Unavailable,
        ] {
            let details = reported.to_details(code as i32, "qwertz");
            let status = Status::with_details(code, "qwertz", details.into());
            assert_eq!(server(true, false).of_status(&status, None), reported);
        }
    }

    #[test]
    fn what_went_wrong_on_the_way_is_read_from_types_and_codes() {
        let reset = || caused_by(io_error(io::ErrorKind::ConnectionReset));
        let dial = |kind| caused_by(ConnectError(Box::new(io_error(kind))));
        for (status, is_encrypted, has_responded, code) in [
            (caused_by(TimeoutExpired(())), false, false, ServerSilent),
            (Status::deadline_exceeded(""), false, true, ServerSilent),
            (Status::deadline_exceeded(""), true, false, ServerSilent),
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
            (
                Status::cancelled("Timeout expired"),
                false,
                true,
                ServerLost,
            ),
            (reset(), false, false, ServerLost),
            (reset(), true, true, ServerLost),
            // A certificate that the server refused.
            (reset(), true, false, ServerNotTrusted),
            (
                dial(io::ErrorKind::ConnectionRefused),
                true,
                true,
                ServerUnreachable,
            ),
            (
                dial(io::ErrorKind::InvalidData),
                true,
                true,
                ServerNotTrusted,
            ),
            (
                dial(io::ErrorKind::InvalidData),
                false,
                true,
                ServerUnreachable,
            ),
        ] {
            check(
                &server(is_encrypted, has_responded).of_status(&status, None),
                code,
            );
        }
    }

    #[test]
    fn a_dial_fails_for_want_of_a_server_or_of_trust() {
        for (kind, is_encrypted, code) in [
            (io::ErrorKind::ConnectionRefused, false, ServerUnreachable),
            (io::ErrorKind::ConnectionRefused, true, ServerUnreachable),
            (io::ErrorKind::InvalidData, false, ServerUnreachable),
            (io::ErrorKind::InvalidData, true, ServerNotTrusted),
            (io::ErrorKind::UnexpectedEof, true, ServerNotTrusted),
        ] {
            let error = ConnectError(Box::new(io_error(kind)));
            check(&server(is_encrypted, false).not_dialled(&error), code);
            let refused = kind == io::ErrorKind::ConnectionRefused;
            assert_eq!(is_refused(&error), refused);
        }
    }

    #[test]
    fn silence_has_its_deadline_where_one_is_known() {
        let status = Status::deadline_exceeded("");
        let server = server(false, true);
        let silent = server.of_status(&status, Some(Duration::from_secs(5)));
        check(&silent, ServerSilent);
        assert_eq!(silent.figures["deadline_ns"], 5_000_000_000_u64.into());
        let silent = server.of_status(&status, None);
        assert!(!silent.figures.contains_key("deadline_ns"), "{silent:?}");
    }
}
