//! The records that one agent reports of its share of a run, checked as they come in and bounded by
//! the share.
//!
//! An agent that reconnects after its stream was lost repeats its last reports; an identical record
//! does not count as a second one.
//!
//! A failure is an agent's word: its texts are made harmless, and what follows from its code is
//! taken from the code, as far as this version has that. That of the agent itself has the agent's
//! name among its figures.

use std::collections::BTreeMap;

use metronome_proto::{
    counters::CounterList as _,
    plan::Plan,
    v1::{self, FailureCode, figure::Value},
};
use metronome_telemetry::sanitise;

use super::{
    agent_share::AgentShare,
    clock_relation::AgentClock,
    environment,
    final_report::{ReportBounds, writes_max, writes_min},
    payloads_read::check_payloads,
    round_trips::RoundTrips,
    run_path::{PathFigures, StartSkew},
};

/// Most bytes of figures that a failure keeps, so that a thousand clients' fit one message.
const FIGURES_BYTES_MAX: usize = 256;
/// What a figure takes beside its name and its texts, bytes.
const FIGURE_BYTES: usize = 16;

/// The figure with the name of the agent that failed.
const AGENT: &str = "agent";

/// What each text of a list takes beside itself, bytes.
const TEXT_BYTES: usize = 4;

/// One agent's share of a run and what the agent reports of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct AgentRecords {
    pub(crate) name: String,
    pub(crate) share: AgentShare,
    /// Final figures of its clients, each client's once.
    records: BTreeMap<u32, v1::ClientRecord>,
    strays: u64,
    finished: Option<v1::Finished>,
    failure: Option<v1::Failure>,
    is_clock_contradicted: bool,
    /// What it has read for the payloads of its shares.
    payloads: Vec<v1::PayloadRead>,
    /// What its probes have shown. `None` for an agent on the server's clock, and for one that does
    /// not probe.
    pub(crate) path: Option<PathFigures>,
    /// `None` where its clock is not known.
    pub(crate) start_skew: Option<StartSkew>,
}

impl AgentRecords {
    /// An agent that has not reported yet.
    pub(crate) fn new(name: String, share: AgentShare) -> Self {
        Self {
            name,
            share,
            ..Self::default()
        }
    }

    /// Takes final records. The first record of a client stands; one that does not belong here is
    /// counted as a stray.
    pub(crate) fn take(&mut self, records: v1::ClientRecords) {
        for mut record in records.clients {
            record.failure = record.failure.map(from_agent).map(harmless);
            let known = self.records.get(&record.client);
            if known == Some(&record) {
                continue;
            }
            if !self.owns(record.client) || known.is_some() {
                self.strays = self.strays.saturating_add(1);
                continue;
            }
            self.records.insert(record.client, record);
        }
    }

    /// What bounds its final report, which comes so long after the start instant, when each of its
    /// clients can have sent at most so many packets.
    pub(crate) fn bounds(&self, plan: &Plan, elapsed_ns: u64, sent_max: u64) -> ReportBounds {
        let mut shares = self.share.shares.iter();
        let reads_replies = shares.any(|share| share.echo_every.is_some());
        let bounds = ReportBounds {
            threads: plan.threads.min(self.share.clients()) + u32::from(reads_replies),
            elapsed_ns,
            sent: 0,
            writes_min: 0,
            writes_max: 0,
        };
        let of_group =
            |record: &v1::ClientRecord| Some((plan.group_of(record.client)?, record.counts?));
        let reported = self.records().filter_map(of_group);
        reported.fold(bounds, |sum, (group, counts)| {
            let sent = counts.sent.min(sent_max);
            let least = writes_min(sent, group.batch);
            let is_paced = !group.profile.is_flood();
            let most = writes_max(sent, is_paced.then_some(counts.blocked));
            ReportBounds {
                sent: sum.sent.saturating_add(sent),
                writes_min: sum.writes_min.saturating_add(least),
                writes_max: sum.writes_max.saturating_add(most),
                ..sum
            }
        })
    }

    /// The agent is prepared, and has read these files; the first answer stands. An error is what
    /// is wrong with the message.
    pub(crate) fn prepared(
        &mut self,
        read: Vec<v1::PayloadRead>,
        plan: &Plan,
    ) -> Result<(), &'static str> {
        check_payloads(&read, plan, &self.share)?;
        if self.payloads.is_empty() {
            self.payloads = read;
        }
        Ok(())
    }

    /// What it has read for the payload of each of its shares that names a file of the agent.
    pub(crate) fn payloads(&self) -> &[v1::PayloadRead] {
        &self.payloads
    }

    /// All clients have the records that they carry: the run goes on without them.
    pub(crate) fn drop_records(&mut self) {
        for share in &mut self.share.shares {
            share.payload = share.payload.described();
        }
    }

    /// The round trips of its clients of one group. `None` before its last report.
    pub(crate) fn add_round_trips(&self, sum: RoundTrips, group: &str) -> Option<RoundTrips> {
        sum.with(&self.finished()?.round_trips, group)
    }

    /// The agent has finished its share; the first report stands.
    pub(crate) fn finish(&mut self, mut finished: v1::Finished) {
        let stated = finished.environment.take();
        finished.environment = stated.map(|stated| environment::of_agent(stated, &self.name));
        self.finished.get_or_insert(finished);
    }

    /// What the agent's clients meet at the target, fit to be shown.
    pub(crate) fn obstacle(&self, failure: v1::Failure) -> v1::Failure {
        self.own(from_agent(failure))
    }

    /// The agent cannot go on, or is gone; the first failure stands.
    pub(crate) fn fail(&mut self, failure: v1::Failure) {
        if self.failure.is_none() {
            self.failure = Some(self.own(failure));
        }
    }

    /// An exchange of readings has shown that the agent is not on this host's clock, although its
    /// share was given to it as if it were.
    pub(crate) fn contradict_clock(&mut self) {
        self.is_clock_contradicted = self.is_recorded_on_our_clock();
    }

    /// Whether that has happened.
    pub(crate) fn is_clock_contradicted(&self) -> bool {
        self.is_clock_contradicted
    }

    /// How its clock relates to this host's, as far as that is known by now.
    pub(crate) fn clock(&self) -> AgentClock {
        if self.is_clock_contradicted {
            return AgentClock::default();
        }
        AgentClock {
            relation: self.share.clock,
            bound_ns: self.share.clock_bound_ns,
            offset: self.path.as_ref().and_then(|path| path.clock),
        }
    }

    /// Whether it reads the same clock as the workers, as far as that is known by now, so that
    /// times of both may be compared.
    pub(crate) fn is_on_our_clock(&self) -> bool {
        self.clock().relation.is_same()
    }

    /// Whether its workers recorded one-way times, also when its clock turned out to be another.
    pub(crate) fn is_recorded_on_our_clock(&self) -> bool {
        self.share.clock.is_same()
    }

    /// Whether the client belongs to this agent's share.
    pub(crate) fn owns(&self, client: u32) -> bool {
        self.share.owns(client)
    }

    /// The indices of its clients.
    pub(crate) fn clients(&self) -> impl Iterator<Item = u32> {
        self.share.indices()
    }

    /// The record of a client, if it has come.
    pub(crate) fn record(&self, client: u32) -> Option<&v1::ClientRecord> {
        self.records.get(&client)
    }

    /// All records, by rising index.
    pub(crate) fn records(&self) -> impl Iterator<Item = &v1::ClientRecord> {
        self.records.values()
    }

    /// Continues with the records that the server process before an upgrade has kept.
    pub(crate) fn restore(
        &mut self,
        records: Vec<v1::ClientRecord>,
        strays: u64,
        finished: Option<v1::Finished>,
        failure: Option<v1::Failure>,
        is_clock_contradicted: bool,
        payloads: Vec<v1::PayloadRead>,
    ) {
        self.payloads = payloads;
        self.is_clock_contradicted = is_clock_contradicted;
        self.take(v1::ClientRecords {
            run_id: String::new(),
            clients: records,
        });
        self.strays = self.strays.saturating_add(strays);
        self.finished = None;
        finished.into_iter().for_each(|it| self.finish(it));
        self.failure = failure.map(|failure| self.own(failure));
    }

    /// Why the agent cannot go on. `None` while it can.
    pub(crate) fn failure(&self) -> Option<&v1::Failure> {
        self.failure.as_ref()
    }

    /// The packets of all its clients. `None` unless it has reported those of every one.
    pub(crate) fn counts(&self) -> Option<v1::GeneratorCounts> {
        self.clients()
            .map(|client| self.record(client)?.counts)
            .try_fold(v1::GeneratorCounts::zero(), |sum, counts| {
                Some(sum.plus(&counts?))
            })
    }

    /// Records that do not belong to this agent, and second records of one client.
    pub(crate) fn strays(&self) -> u64 {
        self.strays
    }

    /// The agent's last report, if it has come.
    pub(crate) fn finished(&self) -> Option<&v1::Finished> {
        self.finished.as_ref()
    }

    /// Why the agent is missing. `None` when it reported to the end.
    pub(crate) fn missing(&self) -> Option<v1::Failure> {
        match (&self.failure, &self.finished) {
            (Some(failure), _) => Some(failure.clone()),
            (None, None) => {
                let sentence = "it gave no final report";
                let failure = v1::Failure::new(FailureCode::NoFinalReport, sentence);
                Some(self.own(failure))
            }
            (None, Some(_)) => None,
        }
    }

    /// A failure of this agent, harmless, with its name. What the agent calls itself there counts
    /// for nothing, nor does it take the room of another figure.
    fn own(&self, mut failure: v1::Failure) -> v1::Failure {
        failure.figures.remove(AGENT);
        harmless(failure).with(AGENT, self.name.as_str())
    }
}

/// A failure that an agent reports, with a code that an agent can report of itself or of a client.
/// A number that this version does not have is kept. Codes of others have consequences that no
/// agent may cause, and become `AGENT_PROTOCOL`; no code at all becomes `INTERNAL`.
pub(crate) fn from_agent(failure: v1::Failure) -> v1::Failure {
    use FailureCode as F;
    let number = failure.code;
    let code = match FailureCode::try_from(number) {
        Err(_) | Ok(F::Unsupported | F::Internal | F::Stopped) => number,
        Ok(F::Unspecified) => F::Internal.into(),
        Ok(_) if matches!(number, 60..=86 | 103 | 107..=109) => number,
        Ok(_) => F::AgentProtocol.into(),
    };
    v1::Failure { code, ..failure }
}

/// A failure from a peer, fit for a report: texts made harmless and short, a full stop at the end
/// of the sentence and figures that are none left out, and the remedy that of the code. A code
/// that this version does not have is kept, with the peer's own remedy; a failure without a
/// sentence has the name of its code.
fn harmless(failure: v1::Failure) -> v1::Failure {
    let code = FailureCode::try_from(failure.code).ok();
    let mut bytes_left = FIGURES_BYTES_MAX;
    let mut fits = |name: &str, figure: &v1::Figure| {
        let text_bytes = match &figure.value {
            Some(Value::Text(text)) => text.len(),
            Some(Value::Texts(texts)) => {
                let lengths = texts.values.iter().map(String::len);
                lengths.map(|bytes| bytes + TEXT_BYTES).sum()
            }
            _ => 0,
        };
        let left = bytes_left.checked_sub(FIGURE_BYTES + name.len() + text_bytes);
        bytes_left = left.unwrap_or(bytes_left);
        left.is_some()
    };
    let figures = failure
        .figures
        .into_iter()
        .filter(|(name, _)| is_figure_name(name))
        .filter_map(|(name, figure)| Some((name, harmless_figure(figure)?)))
        .filter(|(name, figure)| fits(name, figure));
    let sentence = sanitise::sentence(failure.sentence.trim_end_matches('.'));
    let named = || {
        code.map_or_else(
            || format!("failure code {}", failure.code),
            |it| it.name().into(),
        )
    };
    let foreign = || Some(sanitise::sentence(&failure.remedy)).filter(|remedy| !remedy.is_empty());
    let remedy = match code {
        Some(code) => code.remedy().into(),
        None => foreign().unwrap_or_else(|| FailureCode::Internal.remedy().into()),
    };
    v1::Failure {
        code: failure.code,
        sentence: if sentence.is_empty() {
            named()
        } else {
            sentence
        },
        remedy,
        figures: figures.collect(),
    }
}

fn is_figure_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    !name.is_empty() && name.bytes().all(allowed)
}

fn harmless_figure(figure: v1::Figure) -> Option<v1::Figure> {
    match figure.value? {
        Value::Integer(integer) => Some(integer.into()),
        // A number that does not equal itself would make a repeated record another one.
        Value::Number(number) => number.is_finite().then(|| number.into()),
        Value::Text(text) => Some(sanitise::sentence(&text).into()),
        Value::Texts(texts) => {
            let texts = texts.values.iter();
            Some(
                texts
                    .map(|text| sanitise::sentence(text))
                    .collect::<Vec<_>>()
                    .into(),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::ClockRelation, *};

    fn record(client: u32, sent: u64) -> v1::ClientRecord {
        v1::ClientRecord {
            client,
            counts: Some(v1::GeneratorCounts {
                scheduled: sent,
                sent,
                ..v1::GeneratorCounts::default()
            }),
            ..v1::ClientRecord::default()
        }
    }

    fn sent(agent: &AgentRecords, client: u32) -> Option<u64> {
        agent.record(client)?.counts.map(|counts| counts.sent)
    }

    fn take(agent: &mut AgentRecords, clients: Vec<v1::ClientRecord>) {
        agent.take(v1::ClientRecords {
            run_id: String::new(),
            clients,
        });
    }

    fn share(first_client: u32, clients: u32) -> AgentShare {
        AgentShare::of(first_client..first_client + clients, ClockRelation::Same)
    }

    #[test]
    fn the_replies_of_an_agent_are_the_sum_of_its_clients_replies() {
        let mut agent = AgentRecords::new("a".into(), share(0, 2));
        let of_client = |client, read| {
            let mut record = record(client, 10);
            let counts = record.counts.as_mut().unwrap();
            counts.replies_requested = Some(10);
            (counts.replies_read, counts.replies_unexpected) = (Some(read), Some(0));
            record
        };
        take(&mut agent, vec![of_client(0, 10), of_client(1, 7)]);
        let counts = agent.counts().unwrap();
        let replies = (counts.replies_requested, counts.replies_read);
        assert_eq!(replies, (Some(20), Some(17)));
        assert_eq!(counts.replies_unexpected, Some(0));
        // Of a client without them the sum is not known.
        let mut agent = AgentRecords::new("a".into(), share(0, 2));
        take(&mut agent, vec![of_client(0, 10), record(1, 10)]);
        assert_eq!(agent.counts().unwrap().replies_read, None);
    }

    #[test]
    fn a_record_counts_once_and_only_for_a_client_of_its_own() {
        let mut agent = AgentRecords::new("a".into(), share(2, 2));
        let clients = [(1, 9), (2, 5), (2, 6), (3, 7), (4, 9), (u32::MAX, 9)];
        let clients = clients.map(|(client, sent)| record(client, sent));
        take(&mut agent, clients.into());
        assert_eq!(
            [2, 3].map(|client| sent(&agent, client)),
            [Some(5), Some(7)]
        );
        assert_eq!(agent.strays(), 4);
        assert!(agent.record(1).is_none());
    }

    #[test]
    fn a_repeated_record_is_no_second_one() {
        let mut agent = AgentRecords::new("a".into(), share(0, 1));
        let mut failed = record(0, 5);
        let failure = v1::Failure::new(FailureCode::ConnectionBroken, "it broke\x1b");
        failed.failure = Some(failure.with("rtt", f64::NAN));
        for _ in 0..3 {
            take(&mut agent, vec![failed.clone()]);
        }
        assert_eq!(agent.strays(), 0);
        take(&mut agent, vec![record(0, 6)]);
        assert_eq!((agent.strays(), sent(&agent, 0)), (1, Some(5)));
    }

    #[test]
    fn the_counts_of_an_agent_are_known_when_those_of_every_client_are() {
        let mut agent = AgentRecords::new("a".into(), share(0, 3));
        take(&mut agent, vec![record(0, 5), record(2, u64::MAX)]);
        assert_eq!(agent.counts(), None);
        let never_connected = v1::ClientRecord {
            client: 1,
            ..v1::ClientRecord::default()
        };
        let mut lacks_one = agent.clone();
        take(&mut lacks_one, vec![never_connected]);
        assert_eq!(lacks_one.counts(), None);
        take(&mut agent, vec![record(1, 0)]);
        assert_eq!(agent.counts().map(|counts| counts.sent), Some(u64::MAX));
    }

    #[test]
    fn the_replies_of_an_agent_are_known_when_those_of_every_client_are() {
        let with_replies = |client, replies_read| {
            let mut record = record(client, 9);
            let counts = record.counts.as_mut().expect("counts");
            counts.replies_read = replies_read;
            record
        };
        for (others, sum) in [(Some(4), Some(7)), (None, None)] {
            let mut agent = AgentRecords::new("a".into(), share(0, 2));
            take(
                &mut agent,
                vec![with_replies(0, Some(3)), with_replies(1, others)],
            );
            assert_eq!(agent.counts().expect("counts").replies_read, sum);
        }
    }

    #[test]
    fn the_reader_of_replies_takes_cpu_beside_the_pacing_threads() {
        let mut agent = AgentRecords::new("a".into(), share(0, 3));
        let plan = Plan {
            groups: Vec::new(),
            duration: std::time::Duration::from_secs(1),
            warm_up: std::time::Duration::ZERO,
            seed: 1,
            threads: 2,
            thresholds: Vec::new(),
            has_default_objectives: true,
            on_agent_loss: v1::AgentLoss::Continue,
            requires: Vec::new(),
            clock_trust: Default::default(),
            allow: Vec::new(),
        };
        assert_eq!(agent.bounds(&plan, 0, 0).threads, 2);
        agent.share.shares[0].echo_every = std::num::NonZeroU32::new(100);
        assert_eq!(agent.bounds(&plan, 0, 0).threads, 3);
    }

    #[test]
    fn the_first_failure_stands_and_is_made_harmless() {
        let mut agent = AgentRecords::new("a".into(), share(0, 1));
        let missing = agent.missing().expect("it has not reported");
        assert_eq!(missing.code(), FailureCode::NoFinalReport);
        for cpu_ns in [1, 2] {
            agent.finish(v1::Finished {
                cpu_ns: Some(cpu_ns),
                ..v1::Finished::default()
            });
        }
        assert_eq!(
            agent.finished().map(|finished| finished.cpu_ns),
            Some(Some(1))
        );
        assert_eq!((agent.missing(), agent.failure()), (None, None));
        let lost = v1::Failure::new(FailureCode::AgentLost, "its stream\x1b broke.");
        agent.fail(v1::Failure {
            remedy: "pay me".into(),
            ..lost.with("address", "10.0.0.1\r\n").with("agent", "b")
        });
        agent.fail(v1::Failure::new(FailureCode::AgentSilent, "again"));
        let expected = v1::Failure::new(FailureCode::AgentLost, "its stream broke")
            .with("address", "10.0.0.1")
            .with("agent", "a");
        assert_eq!(agent.failure(), Some(&expected));
        assert_eq!(agent.missing(), Some(expected.clone()));
        let mut restored = AgentRecords::new("a".into(), share(0, 1));
        restored.restore(
            Vec::new(),
            0,
            None,
            agent.failure().cloned(),
            false,
            Vec::new(),
        );
        assert_eq!(restored.failure(), Some(&expected));
    }

    #[test]
    fn what_a_peer_puts_into_a_failure_is_bounded_and_only_its_code_has_consequences() {
        let mut failure = v1::Failure {
            code: 9_999,
            sentence: "x".repeat(10_000),
            remedy: format!("ask\x1b[2J {}", "x".repeat(10_000)),
            ..v1::Failure::default()
        };
        for number in 0..100 {
            failure = failure.with(&format!("figure_{number}"), 1_u32);
        }
        failure
            .figures
            .insert("empty".into(), v1::Figure::default());
        failure = failure
            .with("Not a name", 1_u32)
            .with(&"n".repeat(FIGURES_BYTES_MAX), 1_u32)
            .with("figure_long", "t".repeat(FIGURES_BYTES_MAX))
            .with("a_number", f64::INFINITY)
            .with("figure_texts", vec![String::new(); FIGURES_BYTES_MAX]);
        let harmless = harmless(failure);
        assert_eq!((harmless.code, harmless.figures.len()), (9_999, 10));
        assert!(
            harmless
                .figures
                .keys()
                .all(|name| name.starts_with("figure_"))
        );
        for text in [&harmless.sentence, &harmless.remedy] {
            assert!(text.len() <= sanitise::SENTENCE_BYTES_MAX && !text.contains('\x1b'));
        }
        assert!(harmless.remedy.starts_with("ask"), "{}", harmless.remedy);
    }

    #[test]
    fn an_agent_reports_only_codes_that_are_an_agents() {
        use FailureCode as F;
        for (reported, expected) in [
            (F::Interrupted.into(), F::AgentProtocol.into()),
            (F::AgentRestarted.into(), F::AgentProtocol.into()),
            (F::NoWorkerRecord.into(), F::AgentProtocol.into()),
            (F::FieldOutOfRange.into(), F::AgentProtocol.into()),
            (0, F::Internal.into()),
            (9_999, 9_999),
            (-1, -1),
        ] {
            let mut agent = AgentRecords::new("a".into(), share(0, 1));
            let mut failed = record(0, 5);
            failed.failure = Some(v1::Failure {
                code: reported,
                ..v1::Failure::default()
            });
            take(&mut agent, vec![failed.clone(), failed]);
            let failure = agent.record(0).and_then(|record| record.failure.as_ref());
            assert_eq!(failure.map(|failure| failure.code), Some(expected));
            assert_eq!(agent.strays(), 0);
        }
        for code in [
            F::NoRoute,
            F::HelloNotAnswered,
            F::AgentClientsFull,
            F::PayloadNotUsable,
            F::OrderNotFollowed,
            F::AgentShutDown,
            F::LeaseOver,
            F::RunNotListed,
            F::Unsupported,
            F::Internal,
            F::Stopped,
        ] {
            let failure = v1::Failure::new(code, "it went wrong");
            assert_eq!(from_agent(failure.clone()), failure);
        }
    }

    #[test]
    fn a_failure_without_a_sentence_or_a_remedy_gets_those_of_its_code() {
        let of = |code: i32| {
            harmless(v1::Failure {
                code,
                ..v1::Failure::default()
            })
        };
        let known = of(FailureCode::NoRoute.into());
        assert_eq!(known.sentence, "NO_ROUTE");
        assert_eq!(known.remedy, FailureCode::NoRoute.remedy());
        let unknown = of(9_999);
        assert_eq!(unknown.sentence, "failure code 9999");
        assert_eq!(unknown.remedy, FailureCode::Internal.remedy());
        for failure in [known, unknown] {
            assert!(metronome_proto::failure::is_phrase(&failure.sentence));
        }
    }

    #[test]
    fn a_failure_keeps_as_many_figures_as_there_is_room_for() {
        let mut failure = v1::Failure::new(FailureCode::ConnectionBroken, "it broke");
        for number in 10..30 {
            failure = failure.with(&format!("figure_{number}"), "text");
        }
        let each = FIGURE_BYTES + "figure_10".len() + "text".len();
        assert_eq!(harmless(failure).figures.len(), FIGURES_BYTES_MAX / each);
        let mut failure = v1::Failure::new(FailureCode::ConnectionBroken, "it broke");
        for number in 10..30 {
            failure = failure.with(&format!("figure_{number}"), vec!["text".to_owned(); 3]);
        }
        let each = FIGURE_BYTES + "figure_10".len() + 3 * ("text".len() + TEXT_BYTES);
        assert_eq!(harmless(failure).figures.len(), FIGURES_BYTES_MAX / each);
    }
}
