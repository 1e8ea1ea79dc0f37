//! Manual pages, in roff: one a command, from its flags and the text below its help.
//!
//! What stands below the help in paragraphs goes to the sections that manual pages have: a
//! paragraph belongs to the one of its first words ([`HEADINGS`]). Its lines stay as they are.

use std::io;

use clap::{Arg, Command};
use clap_mangen::{
    Man,
    roff::{Inline, Roff, bold, roman},
};

use super::executable::Executable;

/// One page.
#[derive(Debug)]
pub(crate) struct Page {
    /// `benchctl-start.1`.
    pub(crate) file_name: String,
    pub(crate) text: String,
}

/// The first words of a paragraph, and its section.
const HEADINGS: [(&str, &str); 3] = [
    ("Exit codes:", EXIT_STATUS),
    ("Environment:", ENVIRONMENT),
    ("Examples:", "EXAMPLES"),
];
const EXIT_STATUS: &str = "EXIT STATUS";
const ENVIRONMENT: &str = "ENVIRONMENT";
/// The section of any other paragraph.
const NOTES: &str = "NOTES";
/// The sections behind the options, in their order.
const SECTIONS: [&str; 4] = [EXIT_STATUS, ENVIRONMENT, NOTES, "EXAMPLES"];

/// The page of an executable, then those of its subcommands. `date` stands in the footer:
/// 2026-01-31.
///
/// # Errors
/// A page cannot be made.
pub(crate) fn pages(
    executable: Executable,
    benchctl: &Command,
    date: &str,
) -> io::Result<Vec<Page>> {
    let mut root = executable.command(benchctl).disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    add(&mut pages, &root, &root, executable, date)?;
    Ok(pages)
}

fn add(
    pages: &mut Vec<Page>,
    command: &Command,
    root: &Command,
    executable: Executable,
    date: &str,
) -> io::Result<()> {
    let man = Man::new(command.clone())
        .date(date)
        .source(concat!("metronome ", env!("CARGO_PKG_VERSION")))
        .manual("Metronome");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if shown(command).next().is_some() {
        man.render_subcommands_section(&mut text)?;
    }
    let mut rest = Roff::default();
    for section in SECTIONS {
        write_section(&mut rest, section, command, root, executable);
    }
    write_see_also(&mut rest, command, root);
    rest.to_writer(&mut text)?;
    pages.push(Page {
        file_name: man.get_filename(),
        text: String::from_utf8_lossy(&text).into_owned(),
    });
    shown(command).try_for_each(|of| add(pages, of, root, executable, date))
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|of| !of.is_hide_set())
}

fn write_section(
    roff: &mut Roff,
    section: &str,
    command: &Command,
    root: &Command,
    executable: Executable,
) {
    let mut paragraphs = paragraphs(command, section);
    // All commands of benchctl have the same exit codes.
    if section == EXIT_STATUS && paragraphs.is_empty() && executable == Executable::Benchctl {
        paragraphs = self::paragraphs(root, section);
    }
    let is_named = |name: &str| paragraphs.iter().any(|lines| lines.contains(name));
    let variables = command.get_arguments().filter(|_| section == ENVIRONMENT);
    let variables: Vec<_> = variables
        .filter_map(variable)
        .filter(|(name, _)| !is_named(name))
        .collect();
    if paragraphs.is_empty() && variables.is_empty() {
        return;
    }
    roff.control("SH", [section]);
    for (name, flag) in variables {
        roff.control("TP", []);
        roff.text([bold(name)]);
        roff.text([roman("As "), bold(flag), roman(".")]);
    }
    for paragraph in paragraphs {
        roff.control("PP", []);
        roff.control("nf", []);
        for line in paragraph.lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
    }
}

/// The variable that sets a flag, and the flag.
fn variable(flag: &Arg) -> Option<(String, String)> {
    let is_hidden = flag.is_hide_set() || flag.is_hide_env_set();
    let name = flag.get_env().filter(|_| !is_hidden)?;
    let flag = match flag.get_long() {
        Some(long) => format!("--{long}"),
        None => flag.get_id().to_string(),
    };
    Some((name.to_string_lossy().into_owned(), flag))
}

/// What stands below the help of a command for a section, without the heading.
fn paragraphs(command: &Command, section: &str) -> Vec<String> {
    let below = command
        .get_after_long_help()
        .or_else(|| command.get_after_help());
    let below = below.map(ToString::to_string).unwrap_or_default();
    let of_section = below.split("\n\n").filter_map(|paragraph| {
        let headed = HEADINGS
            .iter()
            .find_map(|(words, section)| Some((paragraph.strip_prefix(words)?, *section)));
        let (lines, its_section) = headed.unwrap_or((paragraph, NOTES));
        (its_section == section).then(|| lines.trim_matches('\n').to_owned())
    });
    of_section.collect()
}

/// The page above, the pages below, and those of the other executables.
fn write_see_also(roff: &mut Roff, command: &Command, root: &Command) {
    let name = |of: &Command| of.get_display_name().unwrap_or(of.get_name()).to_owned();
    let own = name(command);
    let executables = Executable::ALL.map(Executable::name).map(String::from);
    let names = std::iter::once(name(root))
        .chain(shown(command).map(name))
        .chain(executables);
    let mut seen: Vec<String> = vec![own];
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    let mut line: Vec<Inline> = Vec::new();
    for name in seen.into_iter().skip(1) {
        if !line.is_empty() {
            line.push(roman(", "));
        }
        line.extend([bold(name), roman("(1)")]);
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text(line);
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        process::{Command as Process, Stdio},
    };

    use super::*;
    use crate::cli;

    const DATE: &str = "2026-01-31";

    /// The pages of all executables; minus signs as they are read.
    fn all() -> Vec<(Page, String)> {
        let pages = Executable::ALL
            .into_iter()
            .flat_map(|executable| pages(executable, &cli::command(), DATE).unwrap());
        let read = |page: Page| {
            let read = page.text.replace("\\-", "-").replace("\\&", "");
            (page, read)
        };
        pages.map(read).collect()
    }

    fn help_of(file_name: &str) -> String {
        fn help(command: &Command, name: &str) -> Option<String> {
            if command.get_display_name().unwrap_or(command.get_name()) == name {
                return Some(command.clone().render_long_help().to_string());
            }
            shown(command).find_map(|of| help(of, name))
        }
        let name = file_name.strip_suffix(".1").unwrap();
        let mut executables = Executable::ALL.into_iter();
        let help = executables.find_map(|executable| {
            let mut command = executable.command(&cli::command());
            command.build();
            help(&command, name)
        });
        help.expect(name)
    }

    #[test]
    fn a_page_has_every_variable_value_and_default_that_the_help_has() {
        let mut variables = 0;
        for (page, read) in all() {
            let help = help_of(&page.file_name);
            let mut lines = help.lines().map(str::trim);
            while let Some(line) = lines.next() {
                let shown = |head: &str| line.strip_prefix(head)?.strip_suffix(']');
                if let Some(name) = shown("[env: ") {
                    variables += 1;
                    let (name, _) = name.split_once('=').unwrap_or((name, ""));
                    let environment = read.split(".SH ENVIRONMENT").nth(1);
                    let has = |text: &str| text.contains(name);
                    assert!(has(environment.unwrap_or("")), "{}: {name}", page.file_name);
                    let with_flag = format!("with the \\fB{name}\\fR environment variable");
                    assert!(
                        has(&read) && read.contains(&with_flag),
                        "{}: {name}",
                        page.file_name
                    );
                }
                if shown("[default: ").is_some() {
                    assert!(read.contains(line), "{}: {line}", page.file_name);
                }
                if line == "Possible values:" {
                    let values = lines.by_ref().take_while(|line| !line.is_empty());
                    for value in values.filter_map(|line| line.strip_prefix("- ")) {
                        let value = value.split(':').next().unwrap();
                        let item = format!("\n{value}");
                        assert!(read.contains(&item), "{}: {value}", page.file_name);
                    }
                }
            }
        }
        assert!(
            variables > 20,
            "{variables}: has the form of the help changed?"
        );
    }

    #[test]
    fn a_page_has_version_and_date_and_where_to_read_on() {
        let version = env!("CARGO_PKG_VERSION");
        let pages = all();
        for (page, read) in &pages {
            let name = page.file_name.strip_suffix(".1").unwrap();
            let head = format!(".TH {name} 1 {DATE} \"metronome {version}\" Metronome");
            assert!(read.contains(&head), "{read}");
            let (_, see_also) = read.split_once(".SH \"SEE ALSO\"").expect(name);
            assert!(!see_also.contains(&format!("{name}\\fR(1)")), "{see_also}");
            let others = see_also.matches("(1)").count();
            assert!(others >= 2, "{see_also}");
            if name.starts_with("benchctl") || name == "metronome-server" {
                assert!(read.contains(".SH \"EXIT STATUS\""), "{name}");
            }
        }
        let names: Vec<_> = pages.iter().map(|(page, _)| &*page.file_name).collect();
        for name in ["benchctl.1", "benchctl-start.1", "metronome-agent-run.1"] {
            assert!(names.contains(&name), "{names:?}");
        }
    }

    #[test]
    fn groff_has_nothing_to_complain_of() {
        for (page, _) in all() {
            let groff = Process::new("groff")
                .args(["-ww", "-z", "-man", "-Tutf8", "-K", "utf8"])
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn();
            let Ok(mut groff) = groff else {
                eprintln!("not tested here: groff is not installed");
                return;
            };
            let mut input = groff.stdin.take().unwrap();
            input.write_all(page.text.as_bytes()).unwrap();
            drop(input);
            let output = groff.wait_with_output().unwrap();
            let complaints = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success() && complaints.is_empty(),
                "{}: {complaints}",
                page.file_name
            );
        }
    }
}
