//! Why a connection could not be made or used, typed: the one place where an error of the operating
//! system becomes a code of the API. Its text is for people only. Pure.

use std::io;

use metronome_proto::v1::FailureCode;
use rustix::io::Errno;

use super::error_text::within_sentence;

/// Why a socket could not be opened, or was not ready in time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    /// A stop was requested meanwhile.
    #[error("the run was stopped")]
    Stopped,
    /// Nothing came until the deadline.
    #[error("timed out")]
    TimedOut,
    /// This host has no address of the target's kind, so no port can be the cause.
    #[error("this host has no address from which to reach it")]
    NoSource,
    /// An error of the operating system.
    #[error("{}", within_sentence(.0))]
    System(#[from] io::Error),
}

impl SocketError {
    /// The code for a connection that is being made, or that breaks before its hello is answered.
    pub(crate) fn code(&self) -> FailureCode {
        match self {
            Self::Stopped => FailureCode::Stopped,
            Self::TimedOut => FailureCode::ConnectionTimedOut,
            Self::NoSource => FailureCode::NoRoute,
            Self::System(error) => system_code(error),
        }
    }
}

/// The code of an error of the operating system while a connection is made. One without a code of
/// its own is internal.
pub(crate) fn system_code(error: &io::Error) -> FailureCode {
    match Errno::from_io_error(error) {
        Some(Errno::CONNREFUSED) => FailureCode::ConnectionRefused,
        // A local firewall gives EPERM or EACCES, a host without IPv6 EAFNOSUPPORT.
        Some(
            Errno::NETUNREACH
            | Errno::HOSTUNREACH
            | Errno::NETDOWN
            | Errno::HOSTDOWN
            | Errno::ACCESS
            | Errno::PERM
            | Errno::AFNOSUPPORT,
        ) => FailureCode::NoRoute,
        Some(Errno::TIMEDOUT) => FailureCode::ConnectionTimedOut,
        Some(Errno::CONNRESET | Errno::CONNABORTED | Errno::PIPE | Errno::NOTCONN) => {
            FailureCode::ConnectionClosed
        }
        Some(Errno::ADDRNOTAVAIL) => FailureCode::AgentPortsFull,
        Some(Errno::MFILE | Errno::NFILE) => FailureCode::AgentFilesFull,
        Some(Errno::NOMEM | Errno::NOBUFS) => FailureCode::AgentMemoryFull,
        _ => FailureCode::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_the_system_has_the_code_of_its_cause() {
        for (errno, code) in [
            (Errno::CONNREFUSED, FailureCode::ConnectionRefused),
            (Errno::NETUNREACH, FailureCode::NoRoute),
            (Errno::HOSTUNREACH, FailureCode::NoRoute),
            (Errno::NETDOWN, FailureCode::NoRoute),
            (Errno::HOSTDOWN, FailureCode::NoRoute),
            (Errno::ACCESS, FailureCode::NoRoute),
            (Errno::PERM, FailureCode::NoRoute),
            (Errno::AFNOSUPPORT, FailureCode::NoRoute),
            (Errno::TIMEDOUT, FailureCode::ConnectionTimedOut),
            (Errno::CONNRESET, FailureCode::ConnectionClosed),
            (Errno::CONNABORTED, FailureCode::ConnectionClosed),
            (Errno::PIPE, FailureCode::ConnectionClosed),
            (Errno::NOTCONN, FailureCode::ConnectionClosed),
            (Errno::ADDRNOTAVAIL, FailureCode::AgentPortsFull),
            (Errno::MFILE, FailureCode::AgentFilesFull),
            (Errno::NFILE, FailureCode::AgentFilesFull),
            (Errno::NOMEM, FailureCode::AgentMemoryFull),
            (Errno::NOBUFS, FailureCode::AgentMemoryFull),
            (Errno::INVAL, FailureCode::Internal),
        ] {
            assert_eq!(SocketError::System(errno.into()).code(), code, "{errno:?}");
        }
        let no_errno = io::Error::other("a text that reads: connection refused");
        assert_eq!(system_code(&no_errno), FailureCode::Internal);
    }

    #[test]
    fn what_is_no_error_of_the_system_has_its_own_code() {
        assert_eq!(SocketError::Stopped.code(), FailureCode::Stopped);
        assert_eq!(
            SocketError::TimedOut.code(),
            FailureCode::ConnectionTimedOut
        );
        assert_eq!(SocketError::NoSource.code(), FailureCode::NoRoute);
    }
}
