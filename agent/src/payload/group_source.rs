//! The source of one group as pacing threads call it, whatever it does.

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use metronome_proto::v1::{Failure, FailureCode};

use super::source::{PacketId, PayloadSource};

/// Longest text of a panic that is passed on, characters.
const PANIC_CHARACTERS_MAX: usize = 200;

/// A source, the group that it fills packets of, and its name for people.
pub(crate) struct GroupSource {
    group: String,
    name: String,
    source: Arc<dyn PayloadSource>,
}

impl GroupSource {
    /// What fills the payloads of a group.
    pub(crate) fn new(
        group: impl Into<String>,
        name: impl Into<String>,
        source: Arc<dyn PayloadSource>,
    ) -> Self {
        Self {
            group: group.into(),
            name: name.into(),
            source,
        }
    }

    /// Fills the payload of a packet.
    ///
    /// # Errors
    ///
    /// The source panicked.
    #[inline]
    pub(crate) fn fill(
        &self,
        client: u32,
        sequence: u64,
        payload: &mut [u8],
    ) -> Result<(), Box<Failure>> {
        let packet = PacketId {
            group: &self.group,
            client,
            sequence,
        };
        // What the source has shared is its own to keep whole: the load ends here.
        catch_unwind(AssertUnwindSafe(|| self.source.fill(packet, payload)))
            .map_err(|panic| Box::new(self.panicked(panic)))
    }

    /// Whether it can fill payloads of so many bytes.
    ///
    /// # Errors
    ///
    /// It cannot, or panicked.
    pub(super) fn check(&self, payload_bytes: usize) -> Result<(), Failure> {
        let checked = catch_unwind(AssertUnwindSafe(|| {
            self.source.check(&self.group, payload_bytes)
        }));
        match checked {
            Ok(Ok(())) => Ok(()),
            Ok(Err(problem)) => Err(not_usable(&self.group, &self.name, &shortened(&problem))),
            Err(panic) => Err(self.panicked(panic)),
        }
    }

    #[cold]
    fn panicked(&self, panic: Box<dyn Any + Send>) -> Failure {
        let text = (panic.downcast_ref::<&str>().copied())
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let problem = match text {
            Some(text) => format!("it panicked: {}", shortened(text)),
            None => "it panicked".into(),
        };
        // A value that panics when it is dropped would end the thread after all.
        std::mem::forget(panic);
        not_usable(&self.group, &self.name, &problem)
    }
}

impl fmt::Debug for GroupSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "GroupSource({:?}, {:?})", self.group, self.name)
    }
}

/// The failure of a run whose group cannot have the payload of this name.
pub(super) fn not_usable(group: &str, name: &str, problem: &str) -> Failure {
    let sentence = format!("the payload {name:?} of group {group:?} cannot be used: {problem}");
    Failure::new(
        FailureCode::PayloadNotUsable,
        sentence.trim_end_matches('.'),
    )
    .with("file", name)
    .with("group", group)
}

/// The beginning of a text of the user's.
fn shortened(text: &str) -> String {
    text.chars().take(PANIC_CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use metronome_proto::failure::is_phrase;

    use super::*;

    struct Panics;

    impl PayloadSource for Panics {
        fn fill(&self, packet: PacketId<'_>, _payload: &mut [u8]) {
            match packet.sequence {
                0 => {}
                1 => panic!("no reading"),
                2 => panic!("no reading {}", packet.sequence),
                3 => std::panic::panic_any(PanicsWhenDropped),
                _ => panic!("{}.", "x".repeat(1_000)),
            }
        }

        fn check(&self, group: &str, payload_bytes: usize) -> Result<(), String> {
            match (group, payload_bytes) {
                ("panics", _) => panic!("no check"),
                (_, 8) => Ok(()),
                _ => Err("a reading has 8 bytes.".into()),
            }
        }
    }

    struct PanicsWhenDropped;

    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            panic!("again");
        }
    }

    #[test]
    fn a_source_that_panics_is_a_failure_with_its_text_and_can_be_called_again() {
        let source = GroupSource::new("pumps", "readings", Arc::new(Panics));
        let mut payload = [0; 8];
        assert_eq!(source.fill(7, 0, &mut payload), Ok(()));
        for (sequence, words) in [
            (
                1,
                "\"readings\" of group \"pumps\" cannot be used: it panicked: no reading",
            ),
            (2, "it panicked: no reading 2"),
            (3, "it panicked"),
            (4, "xxx"),
        ] {
            let failure = source.fill(7, sequence, &mut payload).unwrap_err();
            assert_eq!(failure.code(), FailureCode::PayloadNotUsable);
            assert!(failure.sentence.ends_with(words), "{failure:?}");
            assert!(is_phrase(&failure.sentence) && failure.sentence.len() < 400);
            assert_eq!(failure.figures["file"], "readings".into());
            assert_eq!(failure.figures["group"], "pumps".into());
        }
        assert_eq!(source.fill(7, 0, &mut payload), Ok(()));
    }

    #[test]
    fn a_source_that_cannot_fill_such_payloads_is_refused_before_the_load() {
        let source = GroupSource::new("pumps", "readings", Arc::new(Panics));
        assert_eq!(source.check(8), Ok(()));
        let failure = source.check(9).unwrap_err();
        assert!(
            failure.sentence.ends_with("used: a reading has 8 bytes"),
            "{failure:?}"
        );
        let panics = GroupSource::new("panics", "readings", Arc::new(Panics));
        let failure = panics.check(8).unwrap_err();
        assert!(
            failure.sentence.ends_with("it panicked: no check"),
            "{failure:?}"
        );
    }
}
