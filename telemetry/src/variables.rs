//! Variables of the environment, and what is wrong with those of OpenTelemetry: as its
//! specification has it, a value that is not understood is ignored with a warning, and the default
//! holds.
//!
//! They come through a function: tests need no environment.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    env,
    fmt::Display,
    ops::RangeInclusive,
    str::FromStr,
    sync::{Mutex, PoisonError},
};

use crate::sanitise::printable;

/// A value is shown up to this length, bytes.
const SHOWN_BYTES_MAX: usize = 100;

/// Sentences that were logged already: server and traces read the same variables.
static REPORTED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// A variable of the environment. One that is empty counts as not set, as the specification of
/// OpenTelemetry has it.
#[must_use]
pub fn read_variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// The variables of a process, and a sentence for each that was ignored.
pub struct Variables<'a> {
    read: &'a dyn Fn(&str) -> Option<String>,
    ignored: RefCell<Vec<String>>,
}

impl Variables<'static> {
    /// Those of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self::new(&read_variable)
    }
}

impl<'a> Variables<'a> {
    /// Those that `read` returns.
    pub fn new(read: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            read,
            ignored: RefCell::default(),
        }
    }

    /// The text of a variable that is set, without the blanks around it.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        let text = (self.read)(name)?.trim().to_owned();
        (!text.is_empty()).then_some(text)
    }

    /// Notes that a variable is not followed; `sentence` begins with its name.
    pub fn ignore(&self, sentence: String) {
        self.ignored.borrow_mut().push(sentence);
    }

    /// A number in `range`; the default of a variable that is not set or has another value.
    pub fn number<T>(&self, name: &str, default: T, range: RangeInclusive<T>) -> T
    where
        T: Copy + Display + FromStr + PartialOrd,
    {
        let Some(text) = self.text(name) else {
            return default;
        };
        if let Some(number) = text.parse().ok().filter(|number| range.contains(number)) {
            return number;
        }
        self.ignore(format!(
            "{name} is {}, which is ignored: it takes {} to {}, and {default} is used",
            shown(&text),
            range.start(),
            range.end()
        ));
        default
    }

    /// One of the words `allowed`, in any case, as the thing that it stands for.
    pub fn word<T: Copy>(&self, name: &str, allowed: &[(&str, T)], default: T) -> T {
        let Some(text) = self.text(name) else {
            return default;
        };
        let known = allowed
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(&text));
        if let Some((_, thing)) = known {
            return *thing;
        }
        let words: Vec<_> = allowed.iter().map(|(word, _)| *word).collect();
        self.ignore(format!(
            "{name} is {}, which is ignored: it takes {}, and the default is used",
            shown(&text),
            words.join(", ")
        ));
        default
    }

    /// Whether a variable is `true`.
    pub fn is_true(&self, name: &str) -> bool {
        self.word(name, &[("true", true), ("false", false)], false)
    }

    /// Logs a sentence for each variable that was ignored, each once in the life of this process.
    pub fn report(self) {
        for sentence in self.ignored.into_inner() {
            let mut reported = REPORTED.lock().unwrap_or_else(PoisonError::into_inner);
            if reported.insert(sentence.clone()) {
                tracing::warn!("{sentence}");
            }
        }
    }

    /// The sentences so far.
    #[cfg(test)]
    pub(crate) fn ignored(&self) -> Vec<String> {
        self.ignored.borrow().clone()
    }
}

/// A value in a sentence.
pub(crate) fn shown(value: &str) -> String {
    printable(value, SHOWN_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_not_understood_is_ignored_with_the_allowed_ones() {
        let read = |name: &str| Some(format!(" {name} "));
        let variables = Variables::new(&read);
        assert_eq!(variables.number("x", 7_u64, 1..=9), 7);
        assert_eq!(variables.word("y", &[("one", 1), ("two", 2)], 2), 2);
        assert!(!variables.is_true("z"));
        assert_eq!(
            variables.ignored(),
            [
                "x is x, which is ignored: it takes 1 to 9, and 7 is used",
                "y is y, which is ignored: it takes one, two, and the default is used",
                "z is z, which is ignored: it takes true, false, and the default is used",
            ]
        );
    }

    #[test]
    fn what_is_understood_is_followed_and_blank_is_not_set() {
        let read = |name: &str| match name {
            "number" => Some(" 5 ".to_owned()),
            "word" => Some("TWO".to_owned()),
            "blank" => Some("  ".to_owned()),
            _ => None,
        };
        let variables = Variables::new(&read);
        assert_eq!(variables.number("number", 7_u64, 1..=9), 5);
        assert_eq!(variables.word("word", &[("one", 1), ("two", 2)], 1), 2);
        assert_eq!(variables.number("blank", 7_u64, 1..=9), 7);
        assert_eq!(variables.text("none"), None);
        assert_eq!(variables.ignored(), [""; 0]);
    }
}
