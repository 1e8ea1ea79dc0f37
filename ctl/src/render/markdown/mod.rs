//! A run in Markdown, as GitHub and GitLab show it: what it came to as a heading, then why, its
//! objectives, its times and its packets. What is not known is left out, or `–` within a table.
//!
//! Foreign text is escaped: it makes no table, no link, no HTML, and stays on its line.

use metronome_proto::{
    json::{counts::Counts, values},
    names::is_harmful,
    v1,
};

use super::{
    ending::{Ending, Ground},
    text::{
        figures::{self, known},
        objectives, summary, times,
    },
};

/// The counters of the line of packets.
const COUNTERS: [&str; 5] = ["scheduled", "sent", "skipped", "received", "lost"];

/// The section of a run: it ends with an empty line, so that others may follow it in one file.
pub(crate) fn section(ending: Ending<'_>) -> String {
    let mut parts = vec![heading(ending)];
    parts.extend(ending.run().map(what).filter(|line| !line.is_empty()));
    parts.extend(warning(ending));
    parts.extend(list(&grounds(ending)));
    parts.extend(table_of_objectives(ending.objectives()));
    if let Some(report) = ending.report() {
        parts.extend(table_of_times(report));
        parts.extend(packets(report));
    }
    let notes = ending.verdict().into_iter().flat_map(|of| &of.notes);
    let notes: Vec<_> = notes
        .map(|note| format!("note: {}", escaped(&note.sentence)))
        .collect();
    parts.extend(list(&notes));
    parts.join("\n\n") + "\n\n"
}

/// Outcome and verdict, or that there is no result, and the labels.
fn heading(ending: Ending<'_>) -> String {
    let words = match ending {
        Ending::Unjudged(..) => "NO RESULT".to_owned(),
        Ending::Judged(run) => summary::words(run),
    };
    let labels = ending.run().map(figures::labels).unwrap_or_default();
    let labels = match labels.as_str() {
        "" => String::new(),
        labels => format!(": {}", escaped(labels)),
    };
    format!("## {}{labels}", escaped(&words))
}

/// The load, the run and when it was. Empty of a run that was only asked for.
fn what(run: &v1::Run) -> String {
    let mut parts = Vec::new();
    if let Some(plan) = &run.plan {
        parts.push(figures::plan(plan));
        parts.extend(figures::seed(plan));
        parts.extend(figures::warm_up(plan));
    }
    parts.extend((!run.run_id.is_empty()).then(|| format!("run {}", run.run_id)));
    let began = run.started_at.as_ref().or(run.created_at.as_ref());
    parts.extend(began.map(|began| figures::instant(Some(began))));
    escaped(&parts.join(" · "))
}

/// What must not be passed over by one who looks at the tables alone.
fn warning(ending: Ending<'_>) -> Option<String> {
    match ending.verdict()?.status() {
        v1::VerdictStatus::Invalid => Some("**Do not use these figures.**".into()),
        v1::VerdictStatus::Partial => {
            Some("**What is shown is true; what is missing is not known.**".into())
        }
        _ => None,
    }
}

/// Why: reasons and failures with what to do, what was missed, and what was asked for and not
/// judged.
fn grounds(ending: Ending<'_>) -> Vec<String> {
    let item = |ground: &Ground<'_>| {
        let code = ground.code.as_ref();
        let code = code.map(|code| format!("**{}**: ", escaped(code)));
        let next =
            (!ground.remedy.is_empty()).then(|| format!("  \n  next: {}", escaped(ground.remedy)));
        let sentence = escaped(ground.sentence);
        format!(
            "{}{sentence}{}",
            code.unwrap_or_default(),
            next.unwrap_or_default()
        )
    };
    let grounds = ending.grounds();
    let open = |objective: &&v1::Objective| {
        let is_asked = objective.source() == v1::ObjectiveSource::User;
        match objective.status() {
            v1::OutcomeStatus::NotHeld => true,
            v1::OutcomeStatus::NotJudged => is_asked && grounds.is_empty(),
            _ => false,
        }
    };
    let open = ending.objectives().iter().filter(open);
    let sentences = open.map(|objective| escaped(&objective.sentence));
    grounds.iter().map(item).chain(sentences).collect()
}

fn table_of_objectives(objectives: &[v1::Objective]) -> Option<String> {
    let row = |objective: &v1::Objective| {
        let observed = known(objectives::observed(objective), |figure| figure);
        let source = values::objective_source(objective.source);
        let asked_for = objectives::asked_for(objective);
        let of_group = match &objective.group[..] {
            "" => asked_for,
            group => format!("{group}: {asked_for}"),
        };
        [
            escaped(&of_group),
            escaped(&observed),
            result(objective),
            known(source, |source| escaped(&source)),
        ]
    };
    let rows: Vec<_> = objectives.iter().map(|of| row(of).to_vec()).collect();
    let heads = ["objective", "observed", "result", "source"];
    (!rows.is_empty()).then(|| table(&heads.map(String::from), "--- ---: --- ---", &rows))
}

fn result(objective: &v1::Objective) -> String {
    let word = figures::word(values::outcome(objective.status));
    match objective.status() {
        v1::OutcomeStatus::Held => format!("✓ {word}"),
        v1::OutcomeStatus::NotHeld => format!("✗ **{word}**"),
        _ => match objectives::cause(objective) {
            Some(cause) => format!("– {word}: {cause}"),
            None => format!("– {}", escaped(&word)),
        },
    }
}

fn table_of_times(report: &v1::Report) -> Option<String> {
    let times = times::known_times(report);
    let (_, _, quantiles) = times.first()?;
    let heads = ["time", ""].map(String::from).into_iter();
    let heads = heads.chain(quantiles.iter().map(|(name, _)| name.clone()));
    let heads: Vec<String> = heads.collect();
    let sides = "--- ---".to_owned() + &" ---:".repeat(quantiles.len());
    let rows = times.iter().map(|(name, meaning, values)| {
        let values = values.iter().map(|(_, ns)| known(*ns, figures::time));
        let names = [name, meaning].map(|text| (*text).to_owned());
        names.into_iter().chain(values).collect()
    });
    Some(table(&heads, &sides, &rows.collect::<Vec<Vec<_>>>()))
}

/// `1,000 scheduled · 1,000 sent`, of those counters that are known.
fn packets(report: &v1::Report) -> Option<String> {
    let counts = Counts::of_both_ends(report.counts.as_ref()?);
    let of = |wanted: &str| {
        let mut counters = counts.counters().iter();
        counters.find(|(name, _)| *name == wanted)?.1
    };
    let parts = COUNTERS.iter().filter_map(|name| Some((name, of(name)?)));
    let parts: Vec<_> = parts
        .map(|(name, packets)| format!("{} {name}", figures::count(packets)))
        .collect();
    (!parts.is_empty()).then(|| format!("Packets: {}", parts.join(" · ")))
}

/// `sides` has for each column the dashes that lay it to the left or to the right.
fn table(heads: &[String], sides: &str, rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let sides: Vec<String> = sides.split(' ').map(ToOwned::to_owned).collect();
    let lines = [line(heads), line(&sides)].into_iter();
    let lines = lines.chain(rows.iter().map(|row| line(row)));
    lines.collect::<Vec<_>>().join("\n")
}

/// `None` for a list of nothing.
fn list(items: &[String]) -> Option<String> {
    let items: Vec<_> = items.iter().map(|item| format!("- {item}")).collect();
    (!items.is_empty()).then(|| items.join("\n"))
}

/// Text that Markdown shows as it is, on one line: what hides or moves is `?`.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            // The reference of a character cannot end a cell, begin HTML or be a formula.
            '|' => escaped.push_str("&#124;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '$' => escaped.push_str("&#36;"),
            '`' => escaped.push_str("&#96;"),
            '\\' | '*' | '_' | '[' | ']' | '~' | '#' | '!' | '{' | '}' => {
                escaped.push('\\');
                escaped.push(character);
            }
            character if is_harmful(character) => escaped.push('?'),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
