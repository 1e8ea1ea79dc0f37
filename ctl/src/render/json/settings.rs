//! The JSON object of `config show`.

use metronome_proto::json::{SCHEMA_VERSION, text};
use serde::Serialize;

use crate::settings::Setting;

/// The settings and the variables that nothing reads.
pub(crate) fn settings(settings: &[Setting], unknown: &[String]) -> String {
    #[derive(Serialize)]
    struct Settings<'a> {
        schema_version: u32,
        settings: &'a [Setting],
        unknown_variables: &'a [String],
    }
    text(&Settings {
        schema_version: SCHEMA_VERSION,
        settings,
        unknown_variables: unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{render::json::assert_valid, settings::Origin};

    #[test]
    fn settings_are_valid() {
        let log = Setting {
            name: "log",
            value: "debug".into(),
            origin: Origin::Environment,
            set_by: "X",
        };
        let object = assert_valid(&settings(&[log], &["METRONOME_SEVER".into()]));
        assert_eq!(object["settings"][0]["origin"], "environment");
    }
}
