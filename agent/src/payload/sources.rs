//! The sources that a program registers by name.

use std::{collections::BTreeMap, fmt, sync::Arc};

use metronome_proto::{limits::RECORDS_NAME_BYTES_MAX, payload::is_file_name};

use super::source::PayloadSource;

/// Sources by the names under which plans ask for them. A name here goes before that of a file in
/// the agent's `--payload-dir`.
#[derive(Clone, Default)]
pub struct PayloadSources(BTreeMap<String, Arc<dyn PayloadSource>>);

/// A name under which no source can be registered.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BadSourceName {
    /// A plan cannot name it.
    #[error(
        "{0:?} is no name of a payload source; 1 to {RECORDS_NAME_BYTES_MAX} bytes without a slash \
         are"
    )]
    NotName(String),
    /// There is one of this name.
    #[error("a payload source {0:?} is registered already; give each a name of its own")]
    Taken(String),
}

impl PayloadSources {
    /// Adds a source: plans ask for it by this name, 1 to 255 bytes without a slash, as they ask
    /// for a file of the agent.
    ///
    /// # Errors
    ///
    /// The name is none that a plan can have, or it is taken.
    pub fn register(
        &mut self,
        name: impl Into<String>,
        source: impl PayloadSource + 'static,
    ) -> Result<(), BadSourceName> {
        let name = name.into();
        if !is_file_name(&name) {
            return Err(BadSourceName::NotName(name));
        }
        if self.0.contains_key(&name) {
            return Err(BadSourceName::Taken(name));
        }
        self.0.insert(name, Arc::new(source));
        Ok(())
    }

    /// The source of this name.
    pub(super) fn get(&self, name: &str) -> Option<Arc<dyn PayloadSource>> {
        self.0.get(name).cloned()
    }
}

impl fmt::Debug for PayloadSources {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Pattern;

    #[test]
    fn each_source_has_a_name_of_its_own_that_a_plan_can_have() {
        let mut sources = PayloadSources::default();
        for name in ["", ".", "..", "a/b", "a\0b", &"x".repeat(256)] {
            let refused = sources.register(name, Pattern).unwrap_err();
            assert_eq!(refused, BadSourceName::NotName(name.into()));
        }
        sources.register("pattern.bin", Pattern).unwrap();
        let again = sources.register("pattern.bin", Pattern).unwrap_err();
        assert_eq!(again, BadSourceName::Taken("pattern.bin".into()));
        assert!(sources.get("pattern.bin").is_some());
        assert!(sources.get("pattern").is_none());
        assert_eq!(format!("{sources:?}"), r#"{"pattern.bin"}"#);
    }
}
