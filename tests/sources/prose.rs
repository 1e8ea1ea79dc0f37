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
///
/// In Rust and Python, comments and texts are prose; in protobuf, comments; in everything else,
/// scripts of a shell and configurations, all of it.
pub(crate) fn passages(source: &Source) -> Vec<Passage> {
    let extension = source.path.rsplit_once('.').map_or("", |(_, of)| of);
    let first = source.text.lines().next().unwrap_or_default();
    match extension {
        "rs" => of_rust(&source.text),
        "proto" => of_comments(&source.text),
        "md" => of_document(&source.text, &['|', '-', '*', '#']),
        _ if extension == "py" || first.starts_with("#!") && first.contains("python") => {
            of_python(&source.text)
        }
        _ => of_document(&source.text.replace('#', " "), &['-']),
    }
}

/// A line that begins with one of `marks` stands for itself: a row of a table, an entry, a heading.
fn of_document(text: &str, marks: &[char]) -> Vec<Passage> {
    let mut passages = Joined::default();
    for (index, line) in text.lines().enumerate() {
        let is_new = line.trim_start().starts_with(marks);
        passages.add(Kind::Paragraph, index + 1, line, is_new);
    }
    passages.all
}

fn of_comments(text: &str) -> Vec<Passage> {
    let mut passages = Joined::default();
    for (index, line) in text.lines().enumerate() {
        if let Some(comment) = line.trim_start().strip_prefix("//") {
            passages.add(Kind::Comment, index + 1, comment, false);
        }
    }
    passages.all
}

fn of_python(text: &str) -> Vec<Passage> {
    const QUOTES: [&str; 4] = ["\"\"\"", "'''", "\"", "'"];
    let mut passages = Joined::default();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let quote = QUOTES.into_iter().find(|quote| rest.starts_with(quote));
        let length = match quote {
            Some(quote) => {
                let body = &rest[quote.len()..];
                let length = end_of(body, quote).unwrap_or(body.len());
                passages.add(Kind::Text, line, &body[..length], false);
                (2 * quote.len() + length).min(rest.len())
            }
            None if first == '#' => {
                let length = rest.find('\n').unwrap_or(rest.len());
                passages.add(Kind::Comment, line, &rest[1..length], false);
                length
            }
            None => first.len_utf8(),
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    passages.all
}

/// Where `quote` ends a text, unless a backslash stands before it.
fn end_of(body: &str, quote: &str) -> Option<usize> {
    let mut escaped = false;
    let mut ends = body.char_indices().filter(|(at, character)| {
        let is_end = !escaped && body[*at..].starts_with(quote);
        escaped = *character == '\\' && !escaped;
        is_end
    });
    ends.next().map(|(at, _)| at)
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
        let end = end_of(&rest[1..], "\"");
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
