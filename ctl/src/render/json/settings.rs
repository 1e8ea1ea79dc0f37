//! The JSON object of `config show`.

use serde::Serialize;

use super::object;
use crate::settings::Setting;

/// The settings and the variables that nothing reads.
pub(crate) fn settings(settings: &[Setting], unknown: &[String]) -> String {
    #[derive(Serialize)]
    struct Settings<'a> {
        schema_version: u32,
        settings: &'a [Setting],
        unknown_variables: &'a [String],
    }
    object::text(&Settings {
        schema_version: object::SCHEMA_VERSION,
        settings,
        unknown_variables: unknown,
    })
}
