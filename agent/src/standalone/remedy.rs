//! What to do about a failure of `metronome-agent run`, in terms of its own flags: here the target
//! is --host and --port, and no server commands it. Pure.

use metronome_proto::v1::{Failure, FailureCode};

/// The failure with the remedy for who gave the flags.
pub(super) fn with_own_flags(failure: Failure) -> Failure {
    let remedy = match own_remedy(failure.code()) {
        Some(remedy) => remedy.into(),
        None => failure.remedy,
    };
    Failure { remedy, ..failure }
}

/// `None` where the remedy of the contract names nothing that is missing here.
fn own_remedy(code: FailureCode) -> Option<&'static str> {
    Some(match code {
        FailureCode::TargetUnknown => {
            "give a name that this host resolves, or an address, with --host"
        }
        FailureCode::TargetNotAllowed => "give the address of one host with --host",
        FailureCode::NoRoute => "check the routes from this host to the target",
        FailureCode::ConnectionRefused => {
            "start metronome-server there with --host 0.0.0.0, or give its data port with --host \
             and --port"
        }
        FailureCode::ConnectionTimedOut => {
            "open the data port in the firewalls between this host and the target"
        }
        FailureCode::ConnectionClosed | FailureCode::WrongProgram => {
            "give the data port of a Metronome server with --host and --port: another program \
             listens there"
        }
        FailureCode::HelloNotAnswered => {
            "give the data port of a Metronome server with --host and --port: another program may \
             listen there; else see whether the server's host is overloaded"
        }
        FailureCode::RefusedHello => {
            "start the server with --key-file, and give the same key here with --key-file"
        }
        FailureCode::RefusedRaw => {
            "start the server with --accept-raw, or with --key-file and give the same key here"
        }
        FailureCode::RefusedProtocol => "use one version of metronome-server and metronome-agent",
        FailureCode::ConnectionBroken => "see the server's log and the network to it",
        FailureCode::AgentPortsFull => {
            "widen net.ipv4.ip_local_port_range on this host, or use fewer clients"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command};

    use super::{super::RunArgs, *};

    /// The flags that a remedy may name: those of `metronome-agent run`, and the server's for who
    /// starts it.
    fn flags() -> Vec<String> {
        let run = RunArgs::augment_args(Command::new("run"));
        let own = run.get_arguments().filter_map(|flag| flag.get_long());
        let of_server = ["accept-raw", "max-clients"];
        own.chain(of_server)
            .map(|flag| format!("--{flag}"))
            .collect()
    }

    #[test]
    fn no_remedy_of_a_load_names_a_flag_that_it_does_not_have() {
        let flags = flags();
        assert!(flags.contains(&"--key-file".into()));
        // What can happen to the clients of a load that no server and no agent limits, and that has
        // no payload.
        let not_here = [FailureCode::AgentClientsFull, FailureCode::PayloadNotUsable];
        let codes = (60..90).filter_map(|code| FailureCode::try_from(code).ok());
        let codes = codes.filter(|code| !not_here.contains(code));
        for code in codes {
            let remedy = with_own_flags(Failure::new(code, "it failed")).remedy;
            let words = remedy.split(|c: char| c != '-' && !c.is_ascii_lowercase());
            for flag in words.filter(|word| word.starts_with("--")) {
                assert!(flags.contains(&flag.to_owned()), "{code:?}: {remedy}");
            }
        }
    }

    #[test]
    fn all_but_the_remedy_of_a_failure_stays() {
        let failure =
            Failure::new(FailureCode::WrongProgram, "it is another").with("client", 3_u32);
        let own = with_own_flags(failure.clone());
        assert_ne!(own.remedy, failure.remedy);
        let remedy = failure.remedy.clone();
        assert_eq!(Failure { remedy, ..own }, failure);
    }
}
