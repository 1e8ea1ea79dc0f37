//! Which modules claim to be pure: by a word at the head of their own file, or in a table that the
//! head of their parent's has.
//!
//! ```text
//! //! The rate of a client. Pure: no clock.         the module of this file
//! //! | [`rate`] | how fast a client sends; pure |   the module `rate` below that of this file
//! ```

use super::modules::House;

impl House {
    /// The paths of the modules that claim to be pure, each with the file that claims it.
    pub(crate) fn claimed_pure(&self) -> Vec<(String, &str)> {
        let mut claims = Vec::new();
        for (_, node) in self.production().filter(|(_, node)| node.is_file()) {
            let file = &self.files[node.file];
            for line in head(&file.text).filter(|line| has_pure(line)) {
                let path = match line.strip_prefix('|') {
                    Some(row) => row.split('`').nth(1).map(|name| {
                        let name = name.split("::").next().unwrap_or(name);
                        format!("{}::{name}", node.path)
                    }),
                    // At the head of a crate are sentences about its modules.
                    None => node.parent.map(|_| node.path.clone()),
                };
                claims.extend(path.map(|path| (path, file.path.as_str())));
            }
        }
        claims
    }
}

/// The lines of the doc comment that a file begins with.
fn head(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    lines.map(str::trim)
}

/// Whether `pure` is a word of it.
fn has_pure(line: &str) -> bool {
    let mut words = line.split(|of: char| !of.is_alphanumeric() && of != '_');
    words.any(|word| word.eq_ignore_ascii_case("pure"))
}
