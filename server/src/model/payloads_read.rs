//! What an agent has read of its own files for the payloads of a run, checked against the plan: a
//! report of it stands in the result, so it has to be one of what was asked for.

use metronome_proto::{
    limits::AGENT_FILES_BYTES_MAX,
    payload::{Payload, SHA256_BYTES, not_records},
    plan::Plan,
    v1,
};

use super::AgentShare;

/// Whether each is a file that the plan names for a group that the agent has clients of, with the
/// hash that the plan asks for and a length that packets of the group can carry, each group once.
/// An error is what is wrong with the message.
pub(super) fn check_payloads(
    read: &[v1::PayloadRead],
    plan: &Plan,
    share: &AgentShare,
) -> Result<(), &'static str> {
    for (index, of) in read.iter().enumerate() {
        let is_its_own = share.shares.iter().any(|it| it.group == of.group);
        let group = plan.groups.iter().find(|it| it.name == of.group);
        let asked = group
            .filter(|_| is_its_own)
            .and_then(|group| match &group.payload {
                Payload::AgentFile { sha256, .. } => Some((group.packet_size, sha256)),
                _ => None,
            });
        let Some((packet_size, sha256)) = asked else {
            return Err("it has read a payload that it was not asked to read");
        };
        if read[..index].iter().any(|it| it.group == of.group) {
            return Err("it has read the payload of a group twice");
        }
        let is_possible = of.sha256.len() == SHA256_BYTES
            && of.size <= AGENT_FILES_BYTES_MAX
            && not_records(of.size, packet_size).is_none();
        if !is_possible || sha256.is_some_and(|sha256| sha256[..] != of.sha256) {
            return Err("it has read another payload than the plan has");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use metronome_proto::{
        packet_size::PacketSize,
        plan::{GROUP_DEFAULT, Group},
    };

    use super::*;
    use crate::{
        model::{AgentRecords, ClockRelation},
        testing::{group_of, plan_of},
    };

    fn plan(payload: Payload) -> Plan {
        plan_of(vec![Group {
            packet_size: PacketSize::new(132).unwrap(),
            payload,
            ..group_of(GROUP_DEFAULT, 2)
        }])
    }

    fn file(sha256: Option<[u8; SHA256_BYTES]>) -> Plan {
        plan(Payload::AgentFile {
            name: "readings.bin".into(),
            sha256,
        })
    }

    fn read(size: u64, sha256: &[u8]) -> v1::PayloadRead {
        v1::PayloadRead {
            group: GROUP_DEFAULT.into(),
            size,
            sha256: sha256.to_vec(),
        }
    }

    fn taken(read: &[v1::PayloadRead], plan: &Plan) -> bool {
        let share = AgentShare::of(0..2, ClockRelation::Same);
        let mut agent = AgentRecords::new("a".into(), share);
        let is_taken = agent.prepared(read.to_vec(), plan).is_ok();
        assert_eq!(agent.payloads(), if is_taken { read } else { &[] });
        is_taken
    }

    #[test]
    fn only_what_the_plan_has_asked_for_is_shown_as_read() {
        let good = [read(500, &[7; 32])];
        assert!(taken(&[], &file(None)));
        assert!(taken(&good, &file(None)));
        assert!(taken(&good, &file(Some([7; 32]))));
        assert!(!taken(&good, &file(Some([8; 32]))), "another hash");
        assert!(!taken(&good, &plan(Payload::Pattern)), "not asked for");
        assert!(
            !taken(&[good[0].clone(), good[0].clone()], &file(None)),
            "twice"
        );
        for (size, sha256) in [
            (0, &[7; 32][..]),
            (501, &[7; 32]),
            (u64::MAX, &[7; 32]),
            (500, &[7; 31]),
            (500, &[]),
        ] {
            assert!(!taken(&[read(size, sha256)], &file(None)), "{size}");
        }
        let elsewhere = v1::PayloadRead {
            group: "other".into(),
            ..good[0].clone()
        };
        assert!(!taken(&[elsewhere], &file(None)));
    }
}
