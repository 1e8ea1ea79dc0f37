//! YAML, of which JSON is a part, as values with their places.
//!
//! What a plan has no use for is refused: anchors and aliases, which make a small file a large
//! value, tags, a second document, keys that are no words. Absent: what the keys mean.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

/// Plan, groups, group, agents: nothing lies deeper.
const DEPTH_MAX: usize = 4;
/// No value of a plan is longer, bytes: 32 rates, each with its time, are not.
const TEXT_BYTES_MAX: usize = 4096;

/// A place in a file, both from 1; columns are characters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// Why a file is no plan, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct BadFile {
    pub(crate) place: Place,
    /// A sentence without its full stop, with the way out.
    pub(crate) problem: String,
}

/// A value and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    /// In the order of the file; a key may stand there twice.
    Map(Vec<Entry>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Where the key stands.
    pub(super) place: Place,
    pub(super) node: Node,
}

/// A value without parts, as it is written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Scalar {
    pub(super) text: String,
    pub(super) kind: ScalarKind,
}

/// What YAML 1.2 takes a scalar for (its core schema).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ScalarKind {
    Null,
    Bool(bool),
    Whole,
    Number,
    Text,
}

impl Place {
    /// The beginning of a file.
    pub(crate) const START: Self = Self { line: 1, column: 1 };

    fn of(marker: &Marker) -> Self {
        Self {
            line: marker.line().max(1),
            column: marker.col() + 1,
        }
    }

    pub(super) fn bad(self, problem: impl Into<String>) -> BadFile {
        let problem = problem.into();
        BadFile {
            place: self,
            problem,
        }
    }
}

impl ScalarKind {
    fn of(text: &str, style: ScalarStyle) -> Self {
        if style != ScalarStyle::Plain {
            return Self::Text;
        }
        match text {
            "" | "~" | "null" | "Null" | "NULL" => Self::Null,
            "true" | "True" | "TRUE" => Self::Bool(true),
            "false" | "False" | "FALSE" => Self::Bool(false),
            _ if is_whole(text) => Self::Whole,
            _ if is_number(text) => Self::Number,
            _ => Self::Text,
        }
    }
}

fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        || ["0x", "0o"].iter().any(|prefix| {
            let digits = text.strip_prefix(prefix);
            digits.is_some_and(|of| of.bytes().all(|byte| byte.is_ascii_hexdigit()))
        })
}

fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_special = [".inf", ".nan"].contains(&unsigned.to_lowercase().as_str());
    let begins = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    is_special || (begins && unsigned.parse::<f64>().is_ok())
}

/// What is open while its parts are read.
enum Open {
    List(Place, Vec<Node>),
    Map(Place, Vec<Entry>, Option<(String, Place)>),
}

impl Open {
    fn add(&mut self, node: Node) -> Result<(), BadFile> {
        match self {
            Self::List(_, nodes) => nodes.push(node),
            Self::Map(_, entries, key) => match (key.take(), node.value) {
                (Some((key, place)), value) => entries.push(Entry {
                    key,
                    place,
                    node: Node {
                        place: node.place,
                        value,
                    },
                }),
                (None, Value::Scalar(scalar)) => *key = Some((scalar.text, node.place)),
                (None, _) => return Err(node.place.bad("a key is a word, and here is none")),
            },
        }
        Ok(())
    }

    fn close(self) -> Node {
        match self {
            Self::List(place, nodes) => Node {
                place,
                value: Value::List(nodes),
            },
            Self::Map(place, entries, _) => Node {
                place,
                value: Value::Map(entries),
            },
        }
    }
}

/// The one document of a file.
///
/// # Errors
/// It is no YAML, or has what a plan has no use for.
pub(super) fn parse(text: &str) -> Result<Node, BadFile> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut open: Vec<Open> = Vec::new();
    let mut document = None;
    for event in Parser::new_from_str(text) {
        let (event, span) = event
            .map_err(|error| Place::of(error.marker()).bad(format!("no YAML: {}", error.info())))?;
        let Some(node) = closed(event, &span, &mut open, document.is_some())? else {
            continue;
        };
        match open.last_mut() {
            Some(of) => of.add(node)?,
            None => document = Some(node),
        }
    }
    document.ok_or_else(|| Place::START.bad("the file is empty; a plan has at least groups"))
}

/// The value that this event ends. `None` when it begins one, or is about none.
fn closed(
    event: Event<'_>,
    span: &Span,
    open: &mut Vec<Open>,
    has_document: bool,
) -> Result<Option<Node>, BadFile> {
    let place = Place::of(&span.start);
    let (anchor, tag) = match &event {
        Event::Alias(_) => (1, false),
        Event::Scalar(.., anchor, tag) => (*anchor, tag.is_some()),
        Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => {
            (*anchor, tag.is_some())
        }
        _ => (0, false),
    };
    if anchor != 0 {
        return Err(place.bad(
            "anchors (&) and aliases (*) are not taken, since a few of them can make a file of \
             any size; write the value out",
        ));
    }
    if tag {
        return Err(place.bad("tags (!) are not taken; leave it out"));
    }
    let opened = match event {
        Event::DocumentStart(_) if has_document => {
            return Err(place.bad("a second document begins; a file has one plan"));
        }
        Event::Scalar(text, ..) if text.len() > TEXT_BYTES_MAX => {
            return Err(place.bad("this is longer than any value of a plan"));
        }
        Event::Scalar(text, style, ..) => {
            let kind = ScalarKind::of(&text, style);
            let text = text.into_owned();
            let value = Value::Scalar(Scalar { text, kind });
            return Ok(Some(Node { place, value }));
        }
        Event::SequenceStart(..) => Open::List(place, Vec::new()),
        Event::MappingStart(..) => Open::Map(place, Vec::new(), None),
        Event::SequenceEnd | Event::MappingEnd => return Ok(open.pop().map(Open::close)),
        _ => return Ok(None),
    };
    if open.len() == DEPTH_MAX {
        return Err(place.bad("this lies deeper than anything in a plan"));
    }
    open.push(opened);
    Ok(None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn refused(text: &str, line: usize, column: usize, word: &str) {
        let bad = parse(text).unwrap_err();
        assert_eq!(bad.place, Place { line, column }, "{bad:?}");
        assert!(bad.problem.contains(word), "{bad:?}");
    }

    #[test]
    fn a_scalar_is_what_yaml_takes_it_for() {
        for (text, kind) in [
            ("10", ScalarKind::Whole),
            ("-1", ScalarKind::Whole),
            ("0x1f", ScalarKind::Whole),
            ("0.5", ScalarKind::Number),
            ("1e3", ScalarKind::Number),
            (".inf", ScalarKind::Number),
            ("10k", ScalarKind::Text),
            ("\"10\"", ScalarKind::Text),
            ("on", ScalarKind::Text),
            ("inf", ScalarKind::Text),
            ("1k:5s,5k:5s,10k", ScalarKind::Text),
            ("~", ScalarKind::Null),
            ("true", ScalarKind::Bool(true)),
        ] {
            let Value::Scalar(scalar) = parse(text).expect(text).value else {
                panic!("{text} is a scalar");
            };
            assert_eq!(scalar.kind, kind, "{text}");
        }
    }

    #[test]
    fn what_a_plan_has_no_use_for_is_refused_where_it_stands() {
        refused("a: &x 1\nb: *x\n", 1, 4, "anchors");
        refused("a: 1\nb: *x\n", 2, 4, "anchor");
        refused("- &x [a]\n", 1, 3, "anchors");
        refused("a: !!str 1\n", 1, 4, "tags");
        refused("a: 1\n---\nb: 1\n", 2, 1, "second document");
        refused("? [a]\n: 1\n", 1, 3, "a key is a word");
        refused("a: [[[[b]]]]\n", 1, 7, "deeper");
        refused(&"a".repeat(1 << 20), 1, 1, "longer");
        refused("", 1, 1, "empty");
        refused("# nothing\n", 1, 1, "empty");
        refused("a: [b, c\n", 2, 1, "no YAML");
        refused("[[[[[]]]]]", 1, 5, "deeper");
        refused(&"[".repeat(1 << 20), 1, 256, "recursion");
        refused(&"- ".repeat(1 << 19), 1, 9, "deeper");
    }

    #[test]
    fn json_is_taken_too() {
        let json = "{\n\t\"a\": [1, \"b\"],\n\t\"c\": {}\n}";
        let yaml = "a: [1, 'b']\nc: {}\n";
        let values = |text| match parse(text).expect("it is YAML").value {
            Value::Map(entries) => entries.len(),
            _ => 0,
        };
        assert_eq!((values(json), values(yaml)), (2, 2));
        assert_eq!(values("\u{feff}{\"a\": 1}"), 1);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_at_a_place_in_it(
            text in "[-a:{}\\[\\],&*!?'\"# \n\t0-9]{0,60}",
        ) {
            if let Err(bad) = parse(&text) {
                prop_assert!(bad.place.line >= 1 && bad.place.column >= 1);
                prop_assert!(bad.place.line <= text.lines().count() + 2, "{bad:?}");
            }
        }

        #[test]
        fn any_characters_are_read_or_refused(text: String) {
            let _ = parse(&text);
        }
    }
}
