//! The command lines of all three executables as text: manual pages, and docs/cli.md.
//!
//! Everything comes from the flags themselves, so that no text of it can be out of date; for
//! docs/cli.md, which is committed, a test sees to that.

use clap::{Command, ValueEnum};

use crate::{cli, embedded, exit::Failure};

/// What Metronome is made of.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Executable {
    /// This one.
    Benchctl,
    /// The master and its workers.
    MetronomeServer,
    /// The load generator.
    MetronomeAgent,
}

impl Executable {
    /// All of them, in the order of the manual.
    pub(crate) const ALL: [Self; 3] = [Self::Benchctl, Self::MetronomeServer, Self::MetronomeAgent];

    /// Its command line, the same wherever it is looked at: neither this environment nor this
    /// terminal has a part in it.
    pub(crate) fn command(self) -> Command {
        let command = match self {
            Self::Benchctl => cli::command(),
            Self::MetronomeServer => embedded::server_command(),
            Self::MetronomeAgent => embedded::agent_command(),
        };
        without_environment(command).term_width(LINE_WIDTH)
    }
}

const LINE_WIDTH: usize = 100;

fn without_environment(command: Command) -> Command {
    command
        .mut_args(|argument| argument.hide_env_values(true))
        .mut_subcommands(without_environment)
}

/// A manual page, in roff.
pub(crate) fn page(command: Command) -> Result<String, Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(|error| Failure::other(format!("the manual page cannot be made: {error}")))?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    const HEAD: &str = "# The command lines\n\n\
        Made from the flags themselves: `METRONOME_BLESS=1 cargo test --release -p benchctl the_cli_reference` writes this\n\
        file anew. Nobody edits it by hand.\n";

    /// docs/cli.md as it has to be.
    fn reference() -> String {
        let mut sections = vec![HEAD.to_owned()];
        for executable in Executable::ALL {
            let mut command = executable.command();
            command.build();
            add_sections(&mut command, 2, &mut sections);
        }
        sections.join("\n")
    }

    fn add_sections(command: &mut Command, depth: usize, sections: &mut Vec<String>) {
        let name = command
            .get_bin_name()
            .unwrap_or(command.get_name())
            .to_owned();
        let help = command.render_long_help().to_string();
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        sections.push(format!(
            "{} {name}\n\n```text\n{}\n```\n",
            "#".repeat(depth),
            lines.join("\n").trim_end()
        ));
        for subcommand in command
            .get_subcommands_mut()
            .filter(|subcommand| subcommand.get_name() != "help")
        {
            if !subcommand.is_hide_set() {
                add_sections(subcommand, depth + 1, sections);
            }
        }
    }

    #[test]
    fn the_cli_reference_is_what_the_flags_say() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
        let reference = reference();
        if std::env::var_os("METRONOME_BLESS").is_some() {
            fs::write(&path, &reference).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == reference,
            "docs/cli.md is out of date: its first lines tell how to write it anew"
        );
    }

    #[test]
    fn every_executable_has_a_page_with_its_name_and_no_value_of_this_environment() {
        for executable in Executable::ALL {
            let name = executable.command().get_name().to_owned();
            let page = page(executable.command()).unwrap();
            assert!(
                page.starts_with(".ie") && page.contains(&format!(".TH {name} 1")),
                "{page}"
            );
        }
    }
}
