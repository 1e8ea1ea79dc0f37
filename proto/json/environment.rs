//! Where one process of a run ran.

use serde::Serialize;

use super::values::{self, Word};
use crate::v1;

/// The server, or an agent. Null where it is not known.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Environment<'a> {
    role: Option<Word>,
    name: Option<&'a str>,
    version: Option<&'a str>,
    host: Option<&'a str>,
    kernel: Option<&'a str>,
    boot_id: Option<&'a str>,
    cores: Option<u32>,
    cpu_model: Option<&'a str>,
    /// Null without a quota, too.
    cpu_quota_cores: Option<f64>,
    priority: Option<Word>,
}

impl<'a> From<&'a v1::Environment> for Environment<'a> {
    fn from(of: &'a v1::Environment) -> Self {
        Self {
            role: values::role(of.role),
            name: known(&of.name),
            version: known(&of.version),
            host: known(&of.host),
            kernel: known(&of.kernel),
            boot_id: known(&of.boot_id),
            cores: of.cores,
            cpu_model: known(&of.cpu_model),
            cpu_quota_cores: of.cpu_quota_cores,
            priority: values::priority(of.priority),
        }
    }
}

/// `None` of an empty text.
fn known(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
