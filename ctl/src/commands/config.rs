//! `benchctl config show`: what benchctl works with, and where each value comes from.
//!
//! There is no configuration file: flags win over the environment, the environment over defaults.

use std::{collections::BTreeSet, env, ffi::OsString, path::PathBuf};

use clap::{ArgMatches, Subcommand, parser::ValueSource};
use metronome_telemetry as telemetry;

use super::context::Context;
use crate::{
    embedded,
    exit::{Exit, Failure},
    manual::Executable,
    output::Output,
    render::{json, text},
    settings::{Origin, Setting},
    terminal,
};

/// Flags of `benchctl config`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

/// What can be done with the configuration.
#[derive(Debug, Subcommand)]
enum Action {
    /// Show every setting: flags win over the environment, and that over defaults; there is no
    /// file.
    Show {
        /// Show where each value comes from, too.
        #[arg(long)]
        origin: bool,
    },
}

/// Where the values of the flags that every command has came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origins {
    server: Origin,
    output: Origin,
    quiet: Origin,
    no_live: Origin,
    colours: Origin,
    tls: [Origin; 4],
}

impl Origins {
    /// The origins in a parsed command line.
    pub(crate) fn of(matches: &ArgMatches) -> Self {
        let origin = |name| match matches.value_source(name) {
            Some(ValueSource::CommandLine) => Origin::Flag,
            Some(ValueSource::EnvVariable) => Origin::Environment,
            _ => Origin::Default,
        };
        let tls = ["tls_ca", "tls_cert", "tls_key", "tls_name"].map(origin);
        Self {
            server: origin("server"),
            output: origin("output"),
            quiet: origin("quiet"),
            no_live: origin("no_live"),
            colours: origin("colours"),
            tls,
        }
    }
}

/// Shows the settings; `benchctl` is the command line of this executable.
pub(crate) fn run(
    context: &Context,
    args: &Args,
    origins: Origins,
    benchctl: &clap::Command,
) -> Result<Exit, Failure> {
    let Action::Show { origin } = args.action;
    let settings = settings_of(context, origins, |name| env::var_os(name));
    let names = env::vars_os().map(|(name, _)| name);
    let unknown = unknown_variables(names, known_variables(benchctl));
    terminal::print(&match context.output {
        Output::Json => json::settings::settings(&settings, &unknown),
        Output::Text => {
            text::settings::settings(&settings, &unknown, origin, terminal::screen().width)
        }
    })?;
    Ok(Exit::Done)
}

fn settings_of(
    context: &Context,
    origins: Origins,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Vec<Setting> {
    let mut settings = flag_settings(context, origins);
    let database = path(embedded::database_path().as_ref());
    for (name, set_by, default) in [
        ("database", "METRONOME_DATABASE", database.as_str()),
        ("log", "METRONOME_LOG", "warn"),
        ("colours off", "NO_COLOR", "no"),
        ("traces", "OTEL_EXPORTER_OTLP_ENDPOINT", "off"),
    ] {
        let (value, origin) = match variable(set_by).filter(|value| !value.is_empty()) {
            // The only one that may hold a password.
            Some(value) if name == "traces" => {
                let shown = telemetry::redacted(&value.to_string_lossy());
                (shown, Origin::Environment)
            }
            Some(value) => (value.to_string_lossy().into_owned(), Origin::Environment),
            None => (default.to_owned(), Origin::Default),
        };
        settings.push(Setting {
            name,
            value,
            origin,
            set_by,
        });
    }
    settings
}

fn flag_settings(context: &Context, origins: Origins) -> Vec<Setting> {
    let server = context.server.clone().unwrap_or_default().to_string();
    let output = match context.output {
        Output::Text => "text",
        Output::Json => "json",
    };
    let tls = &context.tls;
    let tls_name = tls.tls_name.clone().unwrap_or_else(|| "none".into());
    let [ca, certificate, key, name] = origins.tls;
    let flag = |name, value, origin, set_by| Setting {
        name,
        value,
        origin,
        set_by,
    };
    vec![
        flag(
            "server",
            server,
            origins.server,
            "--server, METRONOME_SERVER",
        ),
        flag(
            "tls ca",
            path(tls.tls_ca.as_ref()),
            ca,
            "--tls-ca, METRONOME_TLS_CA",
        ),
        flag(
            "tls certificate",
            path(tls.tls_cert.as_ref()),
            certificate,
            "--tls-cert, METRONOME_TLS_CERT",
        ),
        flag(
            "tls key",
            path(tls.tls_key.as_ref()),
            key,
            "--tls-key, METRONOME_TLS_KEY",
        ),
        flag("tls name", tls_name, name, "--tls-name, METRONOME_TLS_NAME"),
        flag("output", output.into(), origins.output, "--output"),
        flag("quiet", context.quiet.to_string(), origins.quiet, "--quiet"),
        flag(
            "no live view",
            context.no_live.to_string(),
            origins.no_live,
            "--no-live",
        ),
        flag(
            "colours",
            context.colours.word().into(),
            origins.colours,
            "--color",
        ),
    ]
}

fn path(path: Option<&PathBuf>) -> String {
    path.map_or_else(|| "none".into(), |path| path.display().to_string())
}

/// Variables that look like ours and that nothing reads: most likely misspelt.
fn unknown_variables(
    names: impl Iterator<Item = OsString>,
    known: BTreeSet<String>,
) -> Vec<String> {
    let ours = names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.starts_with("METRONOME_"));
    let unknown: BTreeSet<String> = ours.filter(|name| !known.contains(name)).collect();
    unknown.into_iter().collect()
}

fn known_variables(benchctl: &clap::Command) -> BTreeSet<String> {
    let mut known = BTreeSet::from(["METRONOME_LOG".to_owned()]);
    let mut commands: Vec<clap::Command> = Executable::ALL
        .map(|executable| executable.command(benchctl))
        .into();
    while let Some(command) = commands.pop() {
        let variables = command.get_arguments().filter_map(clap::Arg::get_env);
        known.extend(variables.map(|variable| variable.to_string_lossy().into_owned()));
        commands.extend(command.get_subcommands().cloned());
    }
    known
}

#[cfg(test)]
mod tests {
    use metronome_tls::DialFlags;

    use super::*;
    use crate::output::Colours;

    fn settings(variable: impl Fn(&str) -> Option<OsString>) -> Vec<Setting> {
        let default = Origin::Default;
        let origins = Origins {
            server: default,
            output: Origin::Flag,
            quiet: default,
            no_live: default,
            colours: default,
            tls: [default; 4],
        };
        let context = Context {
            server: None,
            has_server_flag: false,
            tls: DialFlags::default(),
            output: Output::Json,
            lines: false,
            quiet: false,
            no_live: false,
            colours: Colours::Auto,
        };
        settings_of(&context, origins, variable)
    }

    #[test]
    fn the_environment_wins_over_the_default() {
        let settings = settings(|name| (name == "METRONOME_LOG").then(|| "debug".into()));
        let found = |name| {
            settings
                .iter()
                .find(|setting| setting.name == name)
                .expect("listed")
        };
        assert_eq!(
            (found("log").value.as_str(), found("log").origin),
            ("debug", Origin::Environment)
        );
        assert_eq!(
            (found("traces").value.as_str(), found("traces").origin),
            ("off", Origin::Default)
        );
        assert_eq!(
            (found("server").value.as_str(), found("output").origin),
            ("127.0.0.1:50051", Origin::Flag)
        );
    }

    #[test]
    fn a_password_in_the_endpoint_is_not_shown() {
        let settings = settings(|name| {
            (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| "http://u:secret@c:4317".into())
        });
        let traces = settings.iter().find(|setting| setting.name == "traces");
        assert_eq!(traces.unwrap().value, "http://…@c:4317");
    }

    #[test]
    fn an_empty_variable_is_none() {
        let settings = settings(|_| Some(OsString::new()));
        assert!(
            settings
                .iter()
                .all(|setting| setting.origin != Origin::Environment),
            "{settings:?}"
        );
    }

    #[test]
    fn a_misspelt_variable_is_found() {
        let names = [
            "METRONOME_SEVER",
            "METRONOME_SERVER",
            "METRONOME_WORKERS",
            "METRONOME_LOG",
            "HOME",
        ];
        assert_eq!(
            unknown_variables(
                names.into_iter().map(OsString::from),
                known_variables(&clap::Command::new("benchctl"))
            ),
            ["METRONOME_SEVER"]
        );
    }
}
