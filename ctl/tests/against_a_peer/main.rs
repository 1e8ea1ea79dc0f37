//! benchctl against a peer that plays a script.
//!
//! | module | subject |
//! |---|---|
//! | [`verdicts`] | how a run ended: what is printed, and the exit code |
//! | [`failures`] | what a server refuses, and text of its that is hostile |
//! | [`interruptions`] | broken streams, lost responses, Ctrl-C |
//! | [`requests`] | what the commands ask of a server, and what they print of its answer |

#[path = "../common/mod.rs"]
mod common;
mod failures;
mod interruptions;
#[path = "../peer/mod.rs"]
mod peer;
mod requests;
mod verdicts;

use common::{Ended, benchctl};
use peer::{Peer, Script, Watch};

fn peer_that(watches: &[Watch]) -> Peer {
    Peer::start(Script {
        watches: watches.to_vec(),
        ..Script::default()
    })
}

fn ask(peer: &Peer, arguments: &[&str]) -> Ended {
    benchctl(&[&["--server", &peer.address], arguments].concat())
}

/// The one object on standard output.
fn json(ended: &Ended) -> serde_json::Value {
    serde_json::from_str(&ended.stdout).expect("one JSON value and nothing else")
}
