//! Why a client did not end cleanly, from what either end reports of it.

use metronome_proto::{
    handshake::Refusal,
    v1::{Failure, FailureCode},
};
use metronome_telemetry::sanitise;

use super::{
    rows::Row,
    sentence::{figures, write},
};
use crate::model::ClientEnd;

const HANDLER_FAILED: (FailureCode, &str) = (
    FailureCode::HandlerFailed,
    "the server ended the connection of client {client}: its packet handler failed three times in \
     a row on the same packets",
);

/// `None` when the client ended cleanly: it exchanged ends, its agent has reported its packets, and
/// neither end reports a failure. What its agent reports comes first: it was nearer. Only of a
/// packet handler that failed has it seen no more than a connection that was closed.
pub(super) fn client_failure(row: &Row<'_>) -> Option<Failure> {
    let Some(reported) = row.reported else {
        return Some(without_record(row));
    };
    let end = row.counted.map(|counted| counted.end);
    if end == Some(ClientEnd::HandlerFailed) {
        let (code, template) = HANDLER_FAILED;
        return Some(failure(code, template, row));
    }
    if let Some(failure) = &reported.failure {
        return Some(failure.clone());
    }
    if reported.counts.is_none() && reported.attempts == 0 {
        let template = "agent {agent} did not try to connect client {client}";
        return Some(failure(FailureCode::NotTried, template, row));
    }
    if reported.counts.is_none() {
        return Some(no_client_record(row));
    }
    let Some(counted) = row.counted else {
        let template = if row.receiver.is_some() {
            "no worker has a record of client {client}"
        } else {
            "the workers' record of the run is missing, and so that of client {client}"
        };
        return Some(failure(FailureCode::NoWorkerRecord, template, row));
    };
    if let Some((code, template)) = cause(counted.end) {
        return Some(failure(code, template, row));
    }
    if reported.acknowledged.is_none() {
        let template = "the end of client {client} was not acknowledged";
        return Some(failure(FailureCode::EndNotAcknowledged, template, row));
    }
    let template = "no worker has seen the end of client {client}";
    counted
        .reported_sent
        .is_none()
        .then(|| failure(FailureCode::ClientGone, template, row))
}

/// An agent that has no record of its client either failed, or gave an incomplete report.
fn without_record(row: &Row<'_>) -> Failure {
    let Some(missing) = row.agent.missing() else {
        return no_client_record(row);
    };
    let sentence = sanitise::sentence(&format!(
        "its agent {} is missing: {}",
        row.agent.name, missing.sentence
    ));
    Failure {
        sentence,
        ..missing
    }
}

fn no_client_record(row: &Row<'_>) -> Failure {
    let template = "agent {agent} gave no record of client {client}";
    failure(FailureCode::NoClientRecord, template, row)
}

fn failure(code: FailureCode, template: &str, row: &Row<'_>) -> Failure {
    let figures = figures([
        ("client", row.client.into()),
        ("agent", row.agent.name.as_str().into()),
    ]);
    Failure {
        figures: figures.clone(),
        ..Failure::new(code, write(template, &figures))
    }
}

/// The code of how a connection ended, and its sentence. `None` for a clean end.
fn cause(end: ClientEnd) -> Option<(FailureCode, &'static str)> {
    Some(match end {
        ClientEnd::Clean => return None,
        ClientEnd::NotYet => (
            FailureCode::ClientNotEnded,
            "client {client} had not ended when the workers' record was taken",
        ),
        ClientEnd::Cut => (
            FailureCode::ClientCut,
            "the server cut the connection of client {client}, since the run was over",
        ),
        ClientEnd::Abrupt => (
            FailureCode::ClientGone,
            "the connection of client {client} ended before its end came",
        ),
        ClientEnd::Broken => (
            FailureCode::ConnectionBroken,
            "the connection of client {client} broke",
        ),
        ClientEnd::Unrecoverable => (
            FailureCode::NotRecovered,
            "what a worker left behind of client {client} does not fit the kernel's count",
        ),
        ClientEnd::HandlerFailed => HANDLER_FAILED,
        ClientEnd::Refused(number) => refused(number),
    })
}

/// A number that this version does not have is that of a frame out of place.
fn refused(number: u8) -> (FailureCode, &'static str) {
    let refusal = Refusal::from_number(number).unwrap_or(Refusal::Protocol);
    let template = match refusal {
        Refusal::Full => "the server refused client {client}: it is full",
        Refusal::Hello => "the server refused client {client}: it could not verify the hello",
        Refusal::Late => "the server refused client {client}: the hello was not complete in time",
        Refusal::Raw => "the server refused client {client}: it sent no hello",
        Refusal::Protocol => {
            "the server ended the connection of client {client}: a frame came where it does not \
             belong"
        }
        Refusal::Version => {
            "the server refused client {client}: its connections begin as another version has it"
        }
        Refusal::Ended => "the server ended the connection of client {client}: the run is over",
    };
    (refusal.code(), template)
}

#[cfg(test)]
mod tests {
    use metronome_proto::{failure::is_phrase, v1};

    use super::{super::samples::Sample, *};

    #[track_caller]
    fn fails(code: FailureCode, spoil: impl FnOnce(&mut Sample)) -> Failure {
        let mut sample = Sample::of(1, 2);
        spoil(&mut sample);
        let client = sample.conclude().clients.remove(1);
        let failure = client.failure.expect("it did not end cleanly");
        assert_eq!(failure.code(), code);
        assert_eq!(failure.remedy, code.remedy());
        assert!(is_phrase(&failure.sentence), "{failure:?}");
        failure
    }

    #[test]
    fn a_client_fails_with_the_code_of_what_either_end_has_seen() {
        for (end, code) in [
            (ClientEnd::NotYet, FailureCode::ClientNotEnded),
            (ClientEnd::Cut, FailureCode::ClientCut),
            (ClientEnd::Abrupt, FailureCode::ClientGone),
            (ClientEnd::Broken, FailureCode::ConnectionBroken),
            (ClientEnd::Unrecoverable, FailureCode::NotRecovered),
            (ClientEnd::HandlerFailed, FailureCode::HandlerFailed),
            (ClientEnd::Refused(1), FailureCode::RefusedFull),
            (ClientEnd::Refused(2), FailureCode::RefusedHello),
            (ClientEnd::Refused(3), FailureCode::RefusedLate),
            (ClientEnd::Refused(4), FailureCode::RefusedRaw),
            (ClientEnd::Refused(5), FailureCode::RefusedProtocol),
            (ClientEnd::Refused(6), FailureCode::RefusedEnded),
            (ClientEnd::Refused(7), FailureCode::RefusedProtocol),
            (ClientEnd::Refused(77), FailureCode::RefusedProtocol),
        ] {
            fails(code, |sample| {
                sample.counted(1, |counted| counted.end = end);
            });
        }
        fails(FailureCode::EndNotAcknowledged, |sample| {
            sample.reported(1, |reported| reported.acknowledged = None);
        });
        fails(FailureCode::ClientGone, |sample| {
            sample.counted(1, |counted| counted.reported_sent = None);
        });
        fails(FailureCode::NoWorkerRecord, |sample| {
            sample.counters().clients.truncate(1);
        });
        fails(FailureCode::NoWorkerRecord, |sample| sample.counters = None);
    }

    #[test]
    fn what_its_agent_reports_comes_first() {
        fails(FailureCode::NoRoute, |sample| {
            sample.reported(1, |reported| {
                reported.failure = Some(Failure::new(FailureCode::NoRoute, "there is no route"));
            });
            sample.counted(1, |counted| counted.end = ClientEnd::Broken);
        });
        // Which its agent sees as a connection that was closed.
        fails(FailureCode::HandlerFailed, |sample| {
            sample.reported(1, |reported| {
                reported.failure = Some(Failure::new(FailureCode::ConnectionBroken, "it broke"));
            });
            sample.counted(1, |counted| counted.end = ClientEnd::HandlerFailed);
        });
        fails(FailureCode::NoClientRecord, |sample| {
            sample.reported(1, |reported| {
                (reported.counts, reported.attempts) = (None, 1);
            });
        });
        fails(FailureCode::NotTried, |sample| {
            sample.reported(1, |reported| {
                (reported.counts, reported.attempts) = (None, 0);
            });
        });
    }

    #[test]
    fn a_client_without_a_record_fails_with_its_agent() {
        let failure = fails(FailureCode::NoFinalReport, |sample| sample.forget_agent(0));
        assert_eq!(failure.figures["agent"], "agent-0".into());
        let failure = fails(FailureCode::AgentLost, |sample| {
            sample.forget_agent(0);
            sample.agents[0].fail(Failure::new(FailureCode::AgentLost, "its stream broke"));
        });
        assert_eq!(
            failure.sentence,
            "its agent agent-0 is missing: its stream broke"
        );
        fails(FailureCode::NoClientRecord, |sample| {
            sample.forget_agent(0);
            sample.agents[0].finish(v1::Finished::default());
        });
    }

    #[test]
    fn a_failure_has_the_figures_of_its_sentence() {
        let failure = fails(FailureCode::ConnectionBroken, |sample| {
            sample.counted(1, |counted| counted.end = ClientEnd::Broken);
        });
        assert_eq!(failure.figures["client"], 1_u32.into());
        assert_eq!(failure.figures["agent"], "agent-0".into());
    }
}
