//! What only an agent makes of a session that failed. Why a server cannot be reached or does not
//! serve is the subject of [`metronome_proto::rpc_failure`], for every client of the API.

use metronome_proto::{
    features,
    rpc_failure::Server,
    v1::{Failure, FailureCode},
};

/// The server wants to speak a version of the protocol that this agent did not offer.
pub(super) fn speaks_another_version(server: &Server, version: u32) -> Failure {
    let (min, max) = (
        features::PROTOCOL_VERSION_MIN,
        features::PROTOCOL_VERSION_MAX,
    );
    let sentence = format!(
        "the server at {} speaks version {version} of the agent protocol, this agent {min} to \
         {max}",
        server.address
    );
    Failure::new(FailureCode::Unsupported, sentence)
        .with("protocol_version_min", min)
        .with("protocol_version_max", max)
}

/// What the agent does about the failure, for its log: it goes on in every case.
pub(super) fn what_next(code: FailureCode) -> &'static str {
    match code {
        // After an upgrade and after a broken connection a server keeps a name for 3 s for the
        // agent that had it.
        FailureCode::AgentNameTaken => "trying again until the name is free",
        FailureCode::Upgrading | FailureCode::Draining => "trying again until it takes agents",
        FailureCode::Unsupported | FailureCode::ServerIncompatible => {
            "trying again until another version is there"
        }
        _ => "trying again until it is there",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_has_the_versions_that_are_spoken_here() {
        let server = Server {
            address: "http://bench1:50051".into(),
            is_encrypted: false,
            has_responded: true,
        };
        let failure = speaks_another_version(&server, 9);
        assert_eq!(failure.code(), FailureCode::Unsupported);
        for figure in ["protocol_version_min", "protocol_version_max"] {
            assert_eq!(failure.figures[figure], 2_u32.into());
        }
    }
}
