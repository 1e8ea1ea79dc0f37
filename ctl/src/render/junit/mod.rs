//! A run in the XML of JUnit, as Jenkins, GitLab and others read it: one suite, a test case for the
//! verdict and one for each objective.
//!
//! A case without a child has passed. The verdict's has an `error` unless the run is valid; an
//! objective's has a `failure` when it was missed, and is `skipped` when it was not judged. What is
//! not known is absent. The rules are those of `junit-10.xsd` of Jenkins' plugin xUnit
//! (github.com/jenkinsci/xunit-plugin), which docs/ci.md states as well.

use std::io;

use metronome_proto::{json::values, names::is_harmful, threshold::quantile_name, v1};
use quick_xml::{
    Writer,
    events::{BytesDecl, BytesText, Event},
    writer::ElementWriter,
};

use super::{
    ending::{Ending, Ground},
    text::{
        colour::Colour,
        figures, objectives,
        screen::Screen,
        summary::{self, Below},
    },
};

/// What the summary within the suite is laid out for.
const SCREEN: Screen = Screen {
    width: 100,
    colour: Colour::None,
};

/// What a case is counted as.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Failure,
    Error,
    Skipped,
}

impl Kind {
    fn element(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Error => "error",
            Self::Skipped => "skipped",
        }
    }
}

/// Why a case has not passed.
#[derive(Clone, Debug)]
struct Flaw {
    kind: Kind,
    /// One word, by which programs part the flaws of one kind.
    word: String,
    message: String,
    /// Lines below the message; may be none.
    details: Vec<String>,
}

#[derive(Clone, Debug)]
struct Case {
    name: String,
    /// Seconds.
    time: Option<String>,
    flaw: Option<Flaw>,
}

/// The file of a run.
///
/// # Errors
/// None that a writer to memory has.
pub(crate) fn file(ending: Ending<'_>) -> io::Result<String> {
    let cases = cases(ending);
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let suites = writer.create_element("testsuites");
    counted(suites.with_attribute(("name", "metronome")), &cases)
        .write_inner_content(|writer| suite(writer, ending, &cases))?;
    let text = String::from_utf8(writer.into_inner()).map_err(io::Error::other)?;
    Ok(text + "\n")
}

fn suite(writer: &mut Writer<Vec<u8>>, ending: Ending<'_>, cases: &[Case]) -> io::Result<()> {
    let labels = ending.run().map(figures::labels).unwrap_or_default();
    let run_id = ending.run().map_or("", |run| &run.run_id);
    let name = match (labels.as_str(), run_id) {
        ("", "") => "no run".to_owned(),
        ("", run_id) => format!("run {run_id}"),
        (labels, _) => labels.to_owned(),
    };
    let mut element = writer.create_element("testsuite");
    element = counted(attribute(element, "name", &name), cases);
    element = attribute(element, "skipped", &number(cases, Kind::Skipped));
    if let Some(seconds) = seconds(ending) {
        element = attribute(element, "time", &seconds);
    }
    let began = ending.run().and_then(|run| {
        let first = values::instant(run.started_at.as_ref());
        first.or_else(|| values::instant(run.created_at.as_ref()))
    });
    if let Some(began) = began {
        element = attribute(element, "timestamp", &began);
    }
    let class = class(&labels);
    element.write_inner_content(|writer| {
        properties(writer, ending)?;
        for case in cases {
            write_case(writer, &class, case)?;
        }
        if let Ending::Judged(run) = ending {
            let summary = summary::summary(run, Below::default(), SCREEN);
            let element = writer.create_element("system-out");
            element.write_text_content(BytesText::new(&legal(&summary)))?;
        }
        Ok(())
    })?;
    Ok(())
}

/// The class of all cases, by which a run is compared with earlier ones: it has nothing that is the
/// run's own. A point would part it.
fn class(labels: &str) -> String {
    match labels {
        "" => "metronome".into(),
        labels => format!("metronome.{}", labels.replace('.', "_")),
    }
}

fn properties(writer: &mut Writer<Vec<u8>>, ending: Ending<'_>) -> io::Result<()> {
    let properties = writer.create_element("properties");
    properties.write_inner_content(|writer| {
        for (name, value) in properties_of(ending) {
            let element = attribute(writer.create_element("property"), "name", &name);
            attribute(element, "value", &value).write_empty()?;
        }
        Ok(())
    })?;
    Ok(())
}

fn properties_of(ending: Ending<'_>) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut add = |name: &str, value: &str| all.push((name.to_owned(), value.to_owned()));
    add("version.benchctl", env!("CARGO_PKG_VERSION"));
    let Some(run) = ending.run() else {
        return all;
    };
    if !run.run_id.is_empty() {
        add("run_id", &run.run_id);
    }
    for (key, value) in &run.labels {
        add(&format!("label.{key}"), value);
    }
    if let Some(plan) = &run.plan {
        add("plan", &figures::plan(plan));
        if let Some(seed) = figures::seed(plan) {
            add("seed", seed.trim_start_matches("seed "));
        }
    }
    if let Some(state) = values::state(run.state) {
        add("state", &state);
    }
    let verdict = ending.verdict();
    if let Some(word) = verdict.and_then(|of| values::verdict(of.status)) {
        add("verdict", &word);
    }
    if let Some(ppm) = verdict.and_then(|of| of.valid_to_ppm) {
        add("valid_to", &quantile_name(ppm));
    }
    let outcome = ending.report().and_then(|report| report.outcome.as_ref());
    if let Some(word) = outcome.and_then(|of| values::outcome(of.status)) {
        add("outcome", &word);
    }
    let hosts = ending
        .report()
        .map_or(&[][..], |report| &report.environments);
    for host in hosts.iter().filter(|host| !host.version.is_empty()) {
        let name = match host.role() {
            v1::EnvironmentRole::Server => "version.server".to_owned(),
            _ => format!("version.agent.{}", host.name),
        };
        add(&name, &host.version);
    }
    all
}

fn write_case(writer: &mut Writer<Vec<u8>>, class: &str, case: &Case) -> io::Result<()> {
    let mut element = attribute(writer.create_element("testcase"), "classname", class);
    element = attribute(element, "name", &case.name);
    if let Some(time) = &case.time {
        element = attribute(element, "time", time);
    }
    let Some(flaw) = &case.flaw else {
        element.write_empty()?;
        return Ok(());
    };
    element.write_inner_content(|writer| {
        let mut element = writer.create_element(flaw.kind.element());
        element = attribute(element, "type", &flaw.word);
        element = attribute(element, "message", &flaw.message);
        let lines: Vec<String> = flaw.details.iter().map(|line| one_line(line)).collect();
        element.write_text_content(BytesText::new(&lines.join("\n")))?;
        Ok(())
    })?;
    Ok(())
}

/// The verdict, then the objectives.
fn cases(ending: Ending<'_>) -> Vec<Case> {
    let verdict = Case {
        name: "verdict".into(),
        time: seconds(ending),
        flaw: flaw_of_verdict(ending),
    };
    let objectives = ending.objectives().iter().enumerate();
    let objectives = objectives.map(|(index, objective)| Case {
        // One that this version does not have is none that it could spell.
        name: objectives::spelt(objective).unwrap_or_else(|| format!("objective {}", index + 1)),
        time: None,
        flaw: flaw_of_objective(objective),
    });
    std::iter::once(verdict).chain(objectives).collect()
}

fn flaw_of_verdict(ending: Ending<'_>) -> Option<Flaw> {
    let is_valid = ending
        .verdict()
        .is_some_and(|verdict| verdict.status() == v1::VerdictStatus::Valid);
    if is_valid {
        return None;
    }
    let grounds = ending.grounds();
    let verdict = ending.verdict().and_then(|of| values::verdict(of.status));
    let code = grounds.first().and_then(|ground| ground.code.clone());
    let word = verdict.or(code).map_or_else(String::new, Into::into);
    let first = grounds.first().map(|ground| ground.sentence.to_owned());
    Some(Flaw {
        kind: Kind::Error,
        message: first.unwrap_or_else(|| format!("the run is {word}")),
        word,
        details: grounds.iter().flat_map(lines).collect(),
    })
}

/// `LATENESS: why`, and under it `next: what to do`.
fn lines(ground: &Ground<'_>) -> Vec<String> {
    let code = ground.code.as_ref().map(|code| format!("{code}: "));
    let why = code.unwrap_or_default() + ground.sentence;
    let next = (!ground.remedy.is_empty()).then(|| format!("next: {}", ground.remedy));
    std::iter::once(why).chain(next).collect()
}

fn flaw_of_objective(objective: &v1::Objective) -> Option<Flaw> {
    let kind = match objective.status() {
        v1::OutcomeStatus::Held => return None,
        v1::OutcomeStatus::NotHeld => Kind::Failure,
        // A status of a later version was not judged by this one.
        v1::OutcomeStatus::NotJudged | v1::OutcomeStatus::Unspecified => Kind::Skipped,
    };
    let word = values::outcome(objective.status).map_or_else(String::new, Into::into);
    let observed = objectives::observed(objective).map(|figure| format!("observed: {figure}"));
    let asked_for = format!("asked for: {}", objectives::asked_for(objective));
    Some(Flaw {
        kind,
        word,
        message: objective.sentence.clone(),
        details: observed.into_iter().chain([asked_for]).collect(),
    })
}

/// How long its packets took, seconds.
fn seconds(ending: Ending<'_>) -> Option<String> {
    let elapsed = ending.report().and_then(|report| report.elapsed.as_ref());
    let seconds = values::seconds(elapsed).filter(|seconds| *seconds >= 0.0);
    seconds.map(|seconds| format!("{seconds:.3}"))
}

fn number(cases: &[Case], kind: Kind) -> String {
    let is_of = |case: &&Case| case.flaw.as_ref().is_some_and(|flaw| flaw.kind == kind);
    cases.iter().filter(is_of).count().to_string()
}

/// The numbers that a suite and all suites have.
fn counted<'a>(element: ElementWriter<'a, Vec<u8>>, cases: &[Case]) -> ElementWriter<'a, Vec<u8>> {
    let element = attribute(element, "tests", &cases.len().to_string());
    let element = attribute(element, "failures", &number(cases, Kind::Failure));
    attribute(element, "errors", &number(cases, Kind::Error))
}

/// An attribute whose value is on one line, whatever it has.
fn attribute<'a>(
    element: ElementWriter<'a, Vec<u8>>,
    name: &str,
    value: &str,
) -> ElementWriter<'a, Vec<u8>> {
    element.with_attribute((name, one_line(value).as_str()))
}

fn one_line(text: &str) -> String {
    legal(text).replace('\n', " ")
}

/// Text without what XML 1.0 cannot have, even escaped, and without what hides or moves in what is
/// shown: each becomes `?`.
fn legal(text: &str) -> String {
    let is_bad = |character| match character {
        '\n' => false,
        '\u{fffe}' | '\u{ffff}' => true,
        character => is_harmful(character),
    };
    text.replace(is_bad, "?")
}

#[cfg(test)]
mod tests;
