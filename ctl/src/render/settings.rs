//! The settings of `benchctl config show`, for people and for programs.

use std::fmt::Write as _;

use serde::Serialize;

use super::{figures, json};
use crate::settings::{Origin, Setting};

/// A line per setting.
pub(crate) fn text(settings: &[Setting], unknown: &[String], with_origin: bool) -> String {
    let width = |of: fn(&Setting) -> usize| settings.iter().map(of).max().unwrap_or(0);
    let name_width = width(|setting| setting.name.len());
    let value_width = width(|setting| setting.value.chars().count());
    let mut text = String::new();
    for setting in settings {
        let value = figures::clean(&setting.value);
        // Writing to a String cannot fail.
        let _ = match with_origin {
            true => writeln!(
                text,
                "{:name_width$}  {value:value_width$}  {} ({})",
                setting.name,
                word(setting.origin),
                setting.set_by
            ),
            false => writeln!(text, "{:name_width$}  {value}", setting.name),
        };
    }
    for name in unknown {
        let _ = writeln!(
            text,
            "{} is set, but nothing of Metronome reads it; is it misspelt?",
            figures::clean(name)
        );
    }
    text
}

fn word(origin: Origin) -> &'static str {
    match origin {
        Origin::Flag => "flag",
        Origin::Environment => "environment",
        Origin::Default => "default",
    }
}

/// One object.
pub(crate) fn object(settings: &[Setting], unknown: &[String]) -> String {
    #[derive(Serialize)]
    struct Settings<'a> {
        schema_version: u32,
        settings: &'a [Setting],
        unknown_variables: &'a [String],
    }
    json::text(&Settings {
        schema_version: json::SCHEMA_VERSION,
        settings,
        unknown_variables: unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_is_told_on_request() {
        let settings = [Setting {
            name: "log",
            value: "debug".into(),
            origin: Origin::Environment,
            set_by: "X",
        }];
        assert_eq!(text(&settings, &[], false), "log  debug\n");
        assert_eq!(text(&settings, &[], true), "log  debug  environment (X)\n");
        assert!(text(&[], &["METRONOME_SEVER".into()], false).contains("misspelt"));
    }
}
