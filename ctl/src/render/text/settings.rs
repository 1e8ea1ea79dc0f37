//! The settings of `benchctl config show`.

use super::{
    figures,
    table::{Column, table},
};
use crate::settings::{Origin, Setting};

/// A row per setting.
pub(crate) fn settings(
    settings: &[Setting],
    unknown: &[String],
    with_origin: bool,
    width: usize,
) -> String {
    let mut columns = vec![
        Column::text("SETTING", settings, |of| of.name.into()),
        Column::text("VALUE", settings, |of| figures::clean(&of.value)),
    ];
    if with_origin {
        columns.push(Column::text("FROM", settings, |of| word(of.origin).into()));
        columns.push(Column::text("SET BY", settings, |of| of.set_by.into()));
    }
    let unknown = unknown.iter().flat_map(|name| {
        let name = figures::clean(name);
        let line = format!("{name} is set, but nothing of Metronome reads it; is it misspelt?");
        figures::flowed([line], width)
    });
    let unknown: String = unknown.map(|line| line + "\n").collect();
    table(columns, width) + &unknown
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
        assert_eq!(
            super::settings(&settings, &[], false, 80),
            "SETTING  VALUE\nlog      debug\n"
        );
        assert_eq!(
            super::settings(&settings, &[], true, 80),
            "SETTING  VALUE  FROM         SET BY\nlog      debug  environment  X\n"
        );
        assert!(super::settings(&[], &["METRONOME_SEVER".into()], false, 80).contains("misspelt"));
    }
}
