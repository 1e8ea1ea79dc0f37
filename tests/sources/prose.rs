//! The prose of sources and documents: comments, doc comments and texts, each as one passage.
//!
//! Lines of comments that follow each other are one passage, so that a phrase is found wherever
//! its line ends.

use super::Source;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// `///` or `//!`.
    Doc,
    Comment,
    Text,
    /// A paragraph of a document.
    Paragraph,
}

/// Prose, in one line, with single spaces.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Passage {
    pub(crate) kind: Kind,
    /// The line where it begins, from 1.
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// The passages of a source, or of a document whose paragraphs are parted by empty lines.
pub(crate) fn passages(source: &Source) -> Vec<Passage> {
    match source
        .path
        .rsplit_once('.')
        .map_or("", |(_, extension)| extension)
    {
        "rs" => of_rust(&source.text),
        "proto" => of_comments(&source.text, "//"),
        "md" => of_document(&source.text),
        _ => of_script(&source.text),
    }
}

/// The comments and the texts of a script or a manifest, and all lines of Python's docstrings.
fn of_script(text: &str) -> Vec<Passage> {
    let mut passages = of_comments(text, "#");
    let mut is_docstring = false;
    for (line, number) in text.lines().zip(1..) {
        if line.trim_start().starts_with('#') {
            continue;
        }
        let was_docstring = is_docstring;
        is_docstring ^= line.matches("\"\"\"").count() % 2 == 1;
        let quoted = line.split('"').skip(1).step_by(2);
        let texts = if was_docstring {
            vec![line]
        } else {
            Vec::from_iter(quoted)
        };
        for words in texts {
            let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
            if !words.is_empty() {
                passages.push(Passage {
                    kind: Kind::Text,
                    line: number,
                    text: words,
                });
            }
        }
    }
    passages
}

fn of_document(text: &str) -> Vec<Passage> {
    let mut passages = Joined::default();
    for (index, line) in text.lines().enumerate() {
        // A row of a table, an entry of a list and a heading stand for themselves.
        let is_new = line.trim_start().starts_with(['|', '-', '*', '#']);
        passages.add(Kind::Paragraph, index + 1, line, is_new);
    }
    passages.all
}

fn of_comments(text: &str, mark: &str) -> Vec<Passage> {
    let mut passages = Joined::default();
    for (index, line) in text.lines().enumerate() {
        if let Some(comment) = line.trim_start().strip_prefix(mark) {
            passages.add(Kind::Comment, index + 1, comment, false);
        }
    }
    passages.all
}

fn of_rust(text: &str) -> Vec<Passage> {
    let mut passages = Joined::default();
    let mut rest = text;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let (token, kind) = token(rest, first, text.len() - rest.len(), text);
        if let Some(kind) = kind {
            let prose = match kind {
                Kind::Doc => token
                    .trim_start_matches("//")
                    .trim_start_matches(['/', '!']),
                Kind::Comment => token.trim_start_matches("//").trim_start_matches("/*"),
                _ => token,
            };
            passages.add(
                kind,
                line,
                &prose.replace("\\n", " ").replace("\\\n", " "),
                false,
            );
        }
        line += token.matches('\n').count();
        rest = &rest[token.len()..];
    }
    passages.all
}

/// The token that `rest` begins with, and whether it is prose.
fn token<'a>(rest: &'a str, first: char, at: usize, text: &str) -> (&'a str, Option<Kind>) {
    let until = |end: Option<usize>| &rest[..end.unwrap_or(rest.len())];
    let follows_name = text[..at]
        .chars()
        .next_back()
        .is_some_and(|last| last.is_alphanumeric() || last == '_');
    if rest.starts_with("//") {
        let is_doc = rest.starts_with("//!") || rest.starts_with("///");
        let kind = if is_doc { Kind::Doc } else { Kind::Comment };
        return (until(rest.find('\n')), Some(kind));
    }
    if rest.starts_with("/*") {
        return (
            until(rest.find("*/").map(|end| end + 2)),
            Some(Kind::Comment),
        );
    }
    if first == 'r' && !follows_name {
        let hashes = rest[1..].len() - rest[1..].trim_start_matches('#').len();
        if rest[1 + hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let body = 2 + hashes;
            let end = rest[body..]
                .find(&close)
                .map(|end| body + end + close.len());
            return (until(end), Some(Kind::Text));
        }
    }
    if first == '"' {
        let mut escaped = false;
        let end = rest[1..].find(|character| {
            let is_end = character == '"' && !escaped;
            escaped = character == '\\' && !escaped;
            is_end
        });
        return (until(end.map(|end| end + 2)), Some(Kind::Text));
    }
    if first == '\'' {
        // A character, unless it is a lifetime.
        let mut characters = rest.char_indices().skip(1);
        let inner = characters.next().map(|(_, inner)| inner);
        let after = characters.next();
        if inner == Some('\\') {
            return (until(rest[3..].find('\'').map(|end| end + 4)), None);
        }
        if let Some((end, '\'')) = after {
            return (until(Some(end + 1)), None);
        }
    }
    (until(Some(first.len_utf8())), None)
}

/// Joins what follows line by line.
#[derive(Default)]
struct Joined {
    all: Vec<Passage>,
    /// The last line of the last passage.
    last: usize,
}

impl Joined {
    fn add(&mut self, kind: Kind, line: usize, text: &str, is_new: bool) {
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let follows = self.last + 1 == line && !is_new && kind != Kind::Text;
        self.last = line + text.matches('\n').count();
        match self.all.last_mut() {
            _ if words.is_empty() => self.last = 0,
            Some(passage) if follows && passage.kind == kind => {
                passage.text.push(' ');
                passage.text.push_str(&words);
            }
            _ => self.all.push(Passage {
                kind,
                line,
                text: words,
            }),
        }
    }
}
