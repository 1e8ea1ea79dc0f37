//! The settings of `benchctl config show`.

use std::fmt::Write as _;

use super::figures;
use crate::settings::{Origin, Setting};

/// A line per setting.
pub(crate) fn settings(settings: &[Setting], unknown: &[String], with_origin: bool) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_is_shown_on_request() {
        let settings = [Setting {
            name: "log",
            value: "debug".into(),
            origin: Origin::Environment,
            set_by: "X",
        }];
        assert_eq!(super::settings(&settings, &[], false), "log  debug\n");
        assert_eq!(
            super::settings(&settings, &[], true),
            "log  debug  environment (X)\n"
        );
        assert!(super::settings(&[], &["METRONOME_SEVER".into()], false).contains("misspelt"));
    }
}
