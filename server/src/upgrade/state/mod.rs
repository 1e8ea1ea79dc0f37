//! What the old server process sends to the new one besides descriptors: one value, one codec.
//!
//! | file | subject |
//! |---|---|
//! | `master` | the master's part: connections, workers, what was counted |
//! | `control` | the control plane's part: its counters, reports that could not be stored |
//! | `run` | a run as it stands, saved and restored |
//! | `protobuf` | messages of the API among other fields |
//!
//! Pure data: no I/O, no clock. What arrives is checked, not trusted, because it may come from any
//! process: [`State::decode`] and [`SavedRun::restore`] refuse what makes no sense, whatever the
//! bytes are. Every change of a type in this folder raises [`super::offer::FORMAT_VERSION`]; a test
//! below fails when that is forgotten.

mod control;
mod master;
mod protobuf;
mod run;

use serde::Deserialize;

pub(crate) use control::{ControlState, SavedCounters, UnstoredReport};
pub(crate) use master::{EncodedMaster, MasterState, SavedConnection, SavedWorker};
pub(crate) use protobuf::Protobuf;
pub(crate) use run::{RestoredRun, SavedRun};

/// All of it.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct State {
    pub(crate) master: MasterState<'static>,
    pub(crate) control: ControlState,
    /// The runs that have not ended; all are RUNNING.
    pub(crate) runs: Vec<SavedRun>,
}

/// The bytes that go over the socket: a [`State`]. An error is one sentence.
pub(super) fn encode(
    master: EncodedMaster,
    control: &ControlState,
    runs: &[SavedRun],
) -> Result<Vec<u8>, String> {
    // postcard puts the fields of a value one behind the other, so the parts are the whole.
    let rest = postcard::to_stdvec(&(control, runs))
        .map_err(|error| format!("this server's state cannot be encoded: {error}"))?;
    let mut bytes = master.bytes;
    bytes.extend(rest);
    Ok(bytes)
}

impl State {
    /// The bytes that [`encode`] makes of the same state.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn encode(&self) -> Result<Vec<u8>, String> {
        encode(self.master.encode()?, &self.control, &self.runs)
    }

    /// Reads the bytes that go over the socket. An error is one sentence.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let state: Self = postcard::from_bytes(bytes)
            .map_err(|error| format!("the old server's state cannot be decoded: {error}"))?;
        state.master.check()?;
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use super::{control::tests::control_state, run::tests::saved_run};
    use crate::{master::example::master_state, upgrade::offer::FORMAT_VERSION};

    fn state(seed: u64) -> State {
        State {
            master: master_state(1, seed),
            control: control_state(seed),
            runs: vec![saved_run(2, 3, seed), saved_run(1, 1, seed ^ 1)],
        }
    }

    /// FNV-1a: no cryptography, only so that no byte changes unnoticed.
    fn fingerprint(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
            (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        })
    }

    #[test]
    fn a_change_of_the_state_raises_the_format_version() {
        let bytes = state(0x0123_4567_89ab_cdef).encode().unwrap();
        assert_eq!(
            (FORMAT_VERSION, fingerprint(&bytes)),
            (11, 298_034_239_241_011_115),
            "raise FORMAT_VERSION and note the new fingerprint"
        );
    }

    proptest! {
        #[test]
        fn the_state_comes_back_as_it_was(seed: u64) {
            let before = state(seed);
            let bytes = before.encode().unwrap();
            let after = State::decode(&bytes).unwrap();
            prop_assert_eq!(after.encode().unwrap(), bytes);
            prop_assert_eq!((&after.control, &after.runs), (&before.control, &before.runs));
        }

        #[test]
        fn garbage_is_refused_or_makes_sense_and_never_a_panic(
            bytes: Vec<u8>,
            at: prop::sample::Index,
            byte: u8,
            cut: prop::sample::Index,
        ) {
            let mut damaged = state(77).encode().unwrap();
            let position = at.index(damaged.len());
            damaged[position] = byte;
            let shorter = damaged[..cut.index(damaged.len())].to_vec();
            for bytes in [bytes, damaged, shorter] {
                if let Ok(state) = State::decode(&bytes) {
                    for key in &state.master.admission_keys {
                        let _ = key.restore();
                    }
                    for run in state.runs {
                        let _ = run.restore();
                    }
                }
            }
        }
    }
}
