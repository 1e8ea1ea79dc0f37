//! Names that users give: of agents, groups, features and labels.

use std::collections::BTreeMap;

use crate::limits::{
    FEATURE_BYTES_MAX, FEATURES_MAX, LABEL_KEY_BYTES_MAX, LABEL_VALUE_BYTES_MAX, LABELS_MAX,
    NAME_BYTES_MAX,
};

/// Whether `name` may name an agent or a group: 1 to 63 characters of `[a-z0-9-]`.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

/// Whether `key` may be the key of a label: 1 to 63 characters of `[a-z0-9_.-]`, a letter first.
#[must_use]
pub fn is_label_key(key: &str) -> bool {
    let allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'.' | b'-')
    };
    (1..=LABEL_KEY_BYTES_MAX).contains(&key.len())
        && key.starts_with(|first: char| first.is_ascii_lowercase())
        && key.bytes().all(allowed)
}

/// Whether a character can change how the text around it is shown, or hide in it: control
/// characters, line and paragraph separators, the marks that turn the direction of writing, and
/// those of no width (the general categories Cc, Zl, Zp and most of Cf of Unicode 16).
#[must_use]
pub fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{00AD}' | '\u{061C}' | '\u{180E}' | '\u{200B}'..='\u{200F}'
                | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}'
                | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}'
        )
}

/// Checks the labels of a run. An error is the rest of a sentence that begins with the field.
///
/// # Errors
///
/// More than 16, a key that is none, or a value of more than 128 bytes or with control characters.
pub fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), String> {
    if labels.len() > LABELS_MAX {
        return Err(format!(
            "{} labels are too many; at most {LABELS_MAX} are allowed",
            labels.len()
        ));
    }
    for (key, value) in labels {
        if !is_label_key(key) {
            return Err(format!(
                "{key:?} is no key of a label; 1 to {LABEL_KEY_BYTES_MAX} characters of a-z, 0-9, \
                 _, . and - are, the first one a letter"
            ));
        }
        if value.len() > LABEL_VALUE_BYTES_MAX || value.chars().any(is_harmful) {
            return Err(format!(
                "the value of {key} has more than {LABEL_VALUE_BYTES_MAX} bytes, a control \
                 character or a mark of the direction of writing"
            ));
        }
    }
    Ok(())
}

/// Checks a list of features. An error is the rest of a sentence that begins with the field.
///
/// # Errors
///
/// More than 64 names, or one that is empty, of more than 64 bytes or with a control character.
pub fn check_features(names: &[String]) -> Result<(), String> {
    if names.len() > FEATURES_MAX {
        return Err(format!(
            "{} names are too many; at most {FEATURES_MAX} are allowed",
            names.len()
        ));
    }
    let is_bad = |name: &&String| {
        name.is_empty() || name.len() > FEATURE_BYTES_MAX || name.chars().any(char::is_control)
    };
    match names.iter().find(is_bad) {
        Some(_) => Err(format!(
            "a name of a feature has 1 to {FEATURE_BYTES_MAX} bytes without control characters"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_lower_case_and_short() {
        assert!(is_name("edge-7") && is_label_key("host.name_1"));
        for name in ["", "A", "a b", "a\x1b", &"x".repeat(64)] {
            assert!(!is_name(name) && !is_label_key(name), "{name:?}");
        }
        assert!(is_name("7") && !is_label_key("7"));
    }

    proptest! {
        #[test]
        fn a_label_is_checked_whatever_it_is(key: String, value: String) {
            let labels = BTreeMap::from([(key.clone(), value.clone())]);
            if check_labels(&labels).is_ok() {
                prop_assert!(is_label_key(&key) && value.len() <= LABEL_VALUE_BYTES_MAX);
            }
        }
    }
}
