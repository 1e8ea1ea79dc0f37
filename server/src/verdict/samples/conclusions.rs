//! What tests ask of a conclusion: its verdict, its codes, its laws.

use metronome_proto::v1::{self, ReasonCode};

use super::super::Conclusion;

pub(in crate::verdict) fn verdict(conclusion: &Conclusion) -> &v1::Verdict {
    let verdict = conclusion.report.verdict.as_ref();
    verdict.expect("a report has a verdict")
}

/// The codes of a conclusion's reasons.
pub(in crate::verdict) fn codes(conclusion: &Conclusion) -> Vec<ReasonCode> {
    let reasons = verdict(conclusion).reasons.iter();
    reasons.map(v1::Reason::code).collect()
}

/// How a law came out, by its code.
pub(in crate::verdict) fn law(conclusion: &Conclusion, code: ReasonCode) -> &v1::Law {
    let mut laws = verdict(conclusion).laws.iter();
    let law = laws.find(|law| law.code() == code);
    law.expect("a verdict has every law")
}

/// Takes out every sentence, so that the others can be compared.
pub(in crate::verdict) fn blank_sentences(conclusion: &mut Conclusion) {
    let report = &mut conclusion.report;
    let verdict = report.verdict.as_mut().expect("a report has a verdict");
    let notes = verdict.notes.iter_mut().map(|note| &mut note.sentence);
    let laws = verdict.laws.iter_mut().map(|law| &mut law.sentence);
    let reasons = verdict.reasons.iter_mut();
    let (sentences, causes): (Vec<_>, Vec<_>) = reasons
        .map(|reason| (&mut reason.sentence, &mut reason.failure))
        .unzip();
    laws.chain(notes).chain(sentences).for_each(String::clear);
    let agents = report.agents.iter_mut().map(|agent| &mut agent.failure);
    let clients = conclusion.clients.iter_mut();
    let failures = clients.map(|client| &mut client.failure).chain(agents);
    let failures = failures.chain(causes).flatten();
    failures.for_each(|failure| failure.sentence.clear());
}
