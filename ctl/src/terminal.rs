//! Standard output and standard error: what goes where, colours, progress.
//!
//! Results go to standard output, all else to standard error. A reader that has gone away is not
//! an error: after `| head` the user has what they wanted.

use std::{
    borrow::Cow,
    ffi::OsString,
    io::{self, IsTerminal as _},
    sync::OnceLock,
};

use metronome_os::{
    standard_error::{self, write_passing},
    standard_output::{self, write_result},
};
use metronome_proto::{
    names::is_harmful,
    v1::{self, figure::Value},
};
use metronome_telemetry::{command_line, sanitise::Escaped};

use crate::{
    exit::{Failure, host_failed},
    live::Live,
    output::{Colours, Output},
    render::text::{
        colour::{Colour, SEQUENCES},
        progress::{self, Goal},
        screen::Screen,
    },
};

/// Writes a result to standard output, disarmed whatever it has of a server.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    write_result(&disarmed(text))
        .map_err(|error| host_failed(format!("standard output takes no more: {error}")))
}

/// Whether somebody may still read standard output: not once the other end of a pipe is closed.
pub(crate) fn has_reader() -> bool {
    !standard_output::reader_has_gone()
}

/// `text` with its harmful characters escaped, but for its line feeds and tabs and our colours.
///
/// What renders a text has cleaned the words of a server already; this holds for the ones that it
/// forgot as well.
fn disarmed(text: &str) -> Cow<'_, str> {
    if !text.contains(|character| is_harmful(character) && character != '\n') {
        return text.into();
    }
    let mut rest = text;
    let mut shown = String::with_capacity(text.len());
    while let Some(character) = rest.chars().next() {
        let colour = SEQUENCES
            .iter()
            .find(|sequence| rest.starts_with(*sequence));
        let (part, after) = rest.split_at(colour.map_or(character.len_utf8(), |of| of.len()));
        match colour.is_some() || matches!(character, '\n' | '\t') {
            true => shown.push_str(part),
            false => shown.push_str(&Escaped(part).to_string()),
        }
        rest = after;
    }
    shown.into()
}

/// Writes a sentence to standard error, also when no progress is shown.
pub(crate) fn warn(sentence: &str) {
    write_line(sentence);
}

/// Writes to standard error why there is no result: one sentence, and under it the way out.
pub(crate) fn print_failure(failure: &Failure) {
    standard_error::write_line(error_lines(failure).trim_end());
}

/// The lines of a failure. The place of an error in a filter or threshold has a caret under it.
fn error_lines(failure: &Failure) -> String {
    let figure = |name: &str| failure.figures.get(name).map(ToString::to_string);
    let mut lines = format!("error: {}\n", Escaped(&failure.sentence));
    if let Some((text, column)) = place_in_text(failure) {
        lines.push_str(&format!("  {}\n  {:column$}^\n", Escaped(&text), ""));
    }
    if !failure.remedy.is_empty() {
        lines.push_str(&format!("  {}\n", Escaped(&failure.remedy)));
    }
    if let (Some(flag), Some(variable)) = (figure("flag"), figure("variable")) {
        let line = command_line::is_set_by(&flag, &variable);
        lines.push_str(&format!("  {}\n", Escaped(&line)));
    }
    lines
}

/// The filter or threshold that a failure is about, and the column in it.
fn place_in_text(failure: &Failure) -> Option<(String, usize)> {
    let figures = &failure.figures;
    let text = figures.get("filter").or(figures.get("threshold"))?;
    let text = text.to_string();
    let Value::Integer(byte) = failure.figures.get("byte")?.value.as_ref()? else {
        return None;
    };
    let before = text.get(..usize::try_from(*byte).ok()?)?;
    let column = Escaped(before).to_string().chars().count();
    Some((text, column))
}

/// What standard output is laid out for.
pub(crate) fn screen() -> Screen {
    Screen {
        width: standard_output::columns(),
        colour: colour_of_stdout(),
    }
}

/// What `--color` has asked for. Of the whole process, as the terminal is.
static COLOURS: OnceLock<Colours> = OnceLock::new();

/// From now on colours are as the user wants them. The first call counts.
pub(crate) fn set_colours(colours: Colours) {
    let _ = COLOURS.set(colours);
}

/// Colours only where a person reads who wants them, unless `--color` decides.
pub(crate) fn colour_of_stdout() -> Colour {
    colour(io::stdout().is_terminal() && is_drawn_on(environment))
}

/// Those of a stream that `may_have` them.
fn colour(may_have: bool) -> Colour {
    let colours = COLOURS.get().copied().unwrap_or_default();
    match colours {
        Colours::Always => Colour::Ansi,
        Colours::Auto if may_have && wants_colours(environment) => Colour::Ansi,
        Colours::Auto | Colours::Never => Colour::None,
    }
}

fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Whether a terminal in this environment takes escape sequences: not where TERM is not set or is
/// `dumb`.
fn is_drawn_on(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let term = variable("TERM").filter(|value| !value.is_empty());
    term.is_some_and(|term| term != "dumb")
}

/// Whether a person in this environment wants colours (<https://no-color.org>).
fn wants_colours(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    variable("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Progress and notes on standard error.
#[derive(Debug)]
pub(crate) struct Progress {
    mode: Mode,
    /// Where the run that is shown ends.
    goal: Goal,
    /// What the last plain line was about.
    last_moment: Option<(i32, u64)>,
    /// The first failure of the run was written.
    has_shown_failure: bool,
    /// Codes of the obstacles that were written.
    obstacles_shown: Vec<i32>,
    /// A progress line stands on the terminal, without a line feed.
    line_is_open: bool,
}

#[derive(Debug)]
enum Mode {
    Quiet,
    /// A line a second and one for each state, for logs.
    Lines,
    /// One line that is rewritten.
    Rewritten,
    /// A few lines that are drawn anew.
    Live(Live),
}

impl Progress {
    /// For standard error as it is, in lines.
    pub(crate) fn new(quiet: bool) -> Self {
        let is_rewritten =
            io::stderr().is_terminal() && is_drawn_on(environment) && wants_colours(environment);
        Self::in_mode(match (quiet, is_rewritten) {
            (true, _) => Mode::Quiet,
            (false, true) => Mode::Rewritten,
            (false, false) => Mode::Lines,
        })
    }

    /// A live view of a run where a person watches it: on a terminal that takes it, with the text
    /// of the result on it, too. Elsewhere, and where it is not wanted, the lines of [`Self::new`].
    /// `hint` is what Ctrl-C does.
    pub(crate) fn live(quiet: bool, no_live: bool, output: Output, hint: &'static str) -> Self {
        if no_live && !quiet {
            return Self::in_mode(Mode::Lines);
        }
        let is_watched = io::stderr().is_terminal() && io::stdout().is_terminal();
        if quiet || output != Output::Text || !is_watched || !is_drawn_on(environment) {
            return Self::new(quiet);
        }
        Self::in_mode(Mode::Live(Live::new(hint, colour(true))))
    }

    fn in_mode(mode: Mode) -> Self {
        Self {
            mode,
            goal: Goal::default(),
            last_moment: None,
            has_shown_failure: false,
            obstacles_shown: Vec::new(),
            line_is_open: false,
        }
    }

    /// From now on this run is shown.
    pub(crate) fn begin(&mut self, run: &v1::Run) {
        self.goal = Goal::of(run);
        if let Mode::Live(live) = &self.mode {
            live.begin(run);
        }
    }

    /// Shows how a run stands, what stands in its way before it can begin, and, as soon as there is
    /// something, what went wrong first.
    pub(crate) fn show(&mut self, snapshot: &v1::Snapshot) {
        let columns = standard_output::columns_of(&io::stderr());
        if !self.has_shown_failure
            && let Some(lines) = progress::failure(snapshot, columns)
        {
            self.has_shown_failure = true;
            lines.iter().for_each(|line| self.note(line));
        }
        if let Some((code, lines)) = progress::obstacle(snapshot, &self.obstacles_shown, columns) {
            self.obstacles_shown.push(code);
            lines.iter().for_each(|line| self.note(line));
        }
        let line = progress::line(snapshot, self.goal, columns);
        let moment = Some(progress::moment(snapshot));
        match &self.mode {
            Mode::Quiet => {}
            Mode::Live(live) => live.show(snapshot),
            Mode::Lines if self.last_moment == moment => {}
            Mode::Lines => {
                self.last_moment = moment;
                write_passing(&format!("{}\n", disarmed(&line)));
            }
            Mode::Rewritten => {
                write_passing(&format!(
                    "{CLEAR_LINE}{WRAP_OFF}{}{WRAP_ON}",
                    disarmed(&line)
                ));
                self.line_is_open = true;
            }
        }
    }

    /// Takes the progress line or the live view away.
    pub(crate) fn clear(&mut self) {
        if let Mode::Live(live) = &self.mode {
            live.clear();
        }
        if std::mem::take(&mut self.line_is_open) {
            write_passing(CLEAR_LINE);
        }
    }

    /// Writes a sentence on a line of its own; it may have words of a server in it.
    pub(crate) fn note(&mut self, sentence: &str) {
        self.clear();
        if !matches!(self.mode, Mode::Quiet) {
            let lines = sentence.lines();
            lines.for_each(write_line);
        }
    }
}

const CLEAR_LINE: &str = "\r\x1b[2K";
/// A line that is longer than the terminal is wide could not be rewritten if it wrapped.
const WRAP_OFF: &str = "\x1b[?7l";
const WRAP_ON: &str = "\x1b[?7h";

fn write_line(line: &str) {
    standard_error::write_line(&disarmed(line));
}

#[cfg(test)]
mod tests {
    use metronome_proto::v1::FailureCode;

    use super::*;

    #[test]
    fn no_sequence_goes_to_a_terminal_that_is_dumb_or_unknown_and_no_colour_where_none_is_wanted() {
        for (term, no_color, is_drawn, has_colours) in [
            (Some("xterm"), None, true, true),
            (Some("xterm"), Some(""), true, true),
            (Some("xterm"), Some("1"), true, false),
            (Some("dumb"), None, false, true),
            (Some(""), None, false, true),
            (None, None, false, true),
        ] {
            let variable = |name: &str| match name {
                "TERM" => term.map(OsString::from),
                _ => no_color.map(OsString::from),
            };
            assert_eq!(is_drawn_on(variable), is_drawn, "{term:?}");
            assert_eq!(wants_colours(variable), has_colours, "{no_color:?}");
        }
    }

    #[test]
    fn a_failure_is_a_sentence_and_the_way_out() {
        assert_eq!(
            error_lines(&Failure::new(
                FailureCode::NoAgent,
                "no agent \x1b[2J is connected"
            )),
            "error: no agent \\u{1b}[2J is connected\n  \
             start one with `metronome-agent --server HOST:PORT`\n"
        );
    }

    #[test]
    fn an_error_in_a_filter_has_a_caret_under_its_place() {
        let failure = |position: u64| {
            let failure = Failure::new(FailureCode::FieldOutOfRange, "--filter: = is expected");
            let lines = error_lines(&failure.with("filter", "ä > 1").with("byte", position));
            lines.lines().nth(2).map(ToOwned::to_owned)
        };
        assert_eq!(failure(3).as_deref(), Some("    ^"));
        assert_eq!(failure(6).as_deref(), Some("       ^"));
        // A place outside the text, or within a character, is none.
        for position in [1, 7, u64::MAX] {
            assert!(
                !failure(position).unwrap_or_default().contains('^'),
                "{position}"
            );
        }
    }

    #[test]
    fn what_is_harmful_is_one_list_and_passes_as_our_colours_alone() {
        for character in '\0'..=char::MAX {
            let text = character.to_string();
            let is_escaped = Escaped(&text).to_string() != text;
            assert_eq!(is_escaped, is_harmful(character), "{character:?}");
            let is_disarmed = disarmed(&text) != text;
            let expected = is_escaped && !matches!(character, '\n' | '\t');
            assert_eq!(is_disarmed, expected, "{character:?}");
        }
        let ours = "\x1b[1;32mHELD\x1b[0m ä\n";
        assert_eq!(disarmed(ours), ours);
        assert_eq!(
            disarmed("\x1b[1;32mHELD\x1b[0m \x1b[2J\u{9b}\u{200b}"),
            "\x1b[1;32mHELD\x1b[0m \\u{1b}[2J\\u{9b}\\u{200b}"
        );
    }
}
