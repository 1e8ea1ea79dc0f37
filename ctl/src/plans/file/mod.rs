//! A plan file: which keys it has, what each takes, and where in the file an error is.

use std::{collections::BTreeMap, str::FromStr};

use metronome_proto::{
    features::{self, CAPABILITIES},
    plan::{ClockTrust, FieldErrorKind},
    threshold::text::BadThreshold,
    v1::Allowance,
};

use super::{
    parts::{BadPlan, GROUP_KEYS, GroupParts, PLAN_KEYS, PlanParts, Spot, no_key, shortened},
    payload::{PayloadPart, sha256_of},
    tree::{self, BadFile, Entry, Node, Scalar, ScalarKind, Value},
};

pub(crate) use super::tree::Place;
use crate::flags;

/// A plan file is read up to this size, bytes.
pub(crate) const BYTES_MAX: usize = 1 << 20;

/// The keys of a payload that is records.
const PAYLOAD_KEYS: [&str; 3] = ["file", "agent_file", "sha256"];

/// The keys of what is claimed of the clocks.
pub(super) const CLOCK_TRUST_KEYS: [&str; 2] = ["ntp", "bound"];

/// What is given of a plan, and where.
#[derive(Clone, Debug)]
pub(crate) struct PlanFile {
    pub(crate) parts: PlanParts,
    places: BTreeMap<Spot, Place>,
}

/// A part of a plan file that is not allowed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct BadPart {
    pub(crate) place: Place,
    /// The field of the API, below the plan, where it is about one.
    pub(crate) field: Option<String>,
    pub(crate) kind: FieldErrorKind,
    /// The feature that this version does not have.
    pub(crate) feature: Option<String>,
    /// A sentence without its full stop; it begins with the part, where it is about one.
    pub(crate) sentence: String,
    /// The text of a threshold that is none, and the byte of it where that is.
    pub(crate) mark: Option<Box<(String, usize)>>,
}

impl From<BadFile> for BadPart {
    fn from(bad: BadFile) -> Self {
        Self {
            place: bad.place,
            field: None,
            kind: FieldErrorKind::OutOfRange,
            feature: None,
            sentence: bad.problem,
            mark: None,
        }
    }
}

impl PlanFile {
    /// The parts of a file.
    ///
    /// # Errors
    /// It is no YAML, has a key that is none or stands there twice, a value of another type or of
    /// no meaning, or requires what this version does not have.
    pub(crate) fn parse(text: &str) -> Result<Self, BadPart> {
        let node = tree::parse(text)?;
        let Value::Map(entries) = &node.value else {
            let problem =
                "a plan is a list of keys and values, such as `groups:`, and here is none";
            return Err(node.place.bad(problem).into());
        };
        let mut file = Self {
            parts: PlanParts::default(),
            places: BTreeMap::new(),
        };
        // A later version has keys that are none here: that is the answer then.
        if let Some(entry) = entries.iter().find(|entry| entry.key == "requires") {
            file.read_requires(entry)?;
        }
        for (key, entry) in known(entries, &PLAN_KEYS)? {
            file.places.insert(Spot::of_plan(key), entry.node.place);
            file.read_entry(key, entry)?;
        }
        Ok(file)
    }

    /// Where a part stands: itself, else what it would be in, else the beginning of the file.
    pub(crate) fn place(&self, spot: &Spot) -> Place {
        let list = Spot {
            item: None,
            ..spot.clone()
        };
        let group = Spot {
            key: "",
            ..list.clone()
        };
        let spots = [spot, &list, &group, &Spot::of_plan("groups")];
        // What is missing in a plan of one part is not wrong with its groups.
        let spots = spots.iter().take(if spot.group.is_some() { 4 } else { 2 });
        let mut places = spots.filter_map(|spot| self.places.get(spot));
        places.next().copied().unwrap_or(Place::START)
    }

    /// What is wrong with the plan that the parts make, where it stands.
    pub(crate) fn explain(&self, bad: BadPlan) -> BadPart {
        let mut part = match bad.spot.group {
            Some(group) => format!("groups[{group}]"),
            None => String::new(),
        };
        if !bad.spot.key.is_empty() {
            part += if part.is_empty() { "" } else { "." };
            part += bad.spot.key;
        }
        BadPart {
            place: self.place(&bad.spot),
            field: Some(bad.field),
            kind: bad.kind,
            feature: None,
            sentence: format!("{part}: {}", bad.problem),
            mark: None,
        }
    }

    fn read_requires(&mut self, entry: &Entry) -> Result<(), BadPart> {
        let names = texts(entry)?;
        let required: Vec<String> = names.iter().map(|(name, _)| (*name).to_owned()).collect();
        if let Some(feature) = features::missing(&required, CAPABILITIES) {
            let place = names.iter().find(|(name, _)| *name == feature);
            let sentence = format!(
                "requires: {feature:?} is no feature of this version; use the version for which \
                 the plan was written"
            );
            return Err(BadPart {
                place: place.map_or(entry.place, |(_, place)| *place),
                field: Some("requires".into()),
                kind: FieldErrorKind::Unsupported,
                feature: Some(feature.to_owned()),
                sentence,
                mark: None,
            });
        }
        self.parts.requires = required;
        Ok(())
    }

    fn read_entry(&mut self, key: &'static str, entry: &Entry) -> Result<(), BadPart> {
        match key {
            "requires" => {}
            "thresholds" => self.parts.thresholds = self.thresholds(Spot::of_plan(key), entry)?,
            "allow" => {
                for (text, place) in texts(entry)? {
                    let allowed = text.parse::<Allowance>();
                    let allowed =
                        allowed.map_err(|problem| bad_value(key, text, place, &problem))?;
                    self.parts.allow.push(allowed);
                }
            }
            "default_objectives" => {
                self.parts.default_objectives = Some(truth(entry)?);
            }
            "abort_on_fail" => self.parts.abort_on_fail = Some(truth(entry)?),
            "clock_trust" => self.parts.clock_trust = clock_trust(entry)?,
            "groups" => {
                let Value::List(groups) = &entry.node.value else {
                    return Err(wrong_type(
                        &entry.key,
                        &entry.node,
                        "a list of groups, each behind a dash",
                    ));
                };
                for (index, node) in groups.iter().enumerate() {
                    let group = self.read_group(index, node)?;
                    self.parts.groups.push(group);
                }
            }
            _ => {
                let text = text_of(key, entry)?;
                let set = self.parts.set(key, text).unwrap_or(Ok(()));
                set.map_err(|problem| bad_value(key, text, entry.node.place, &problem))?;
            }
        }
        Ok(())
    }

    /// The thresholds of a list, whose spot is that of the list.
    fn thresholds<T: FromStr<Err = BadThreshold>>(
        &mut self,
        list: Spot,
        entry: &Entry,
    ) -> Result<Vec<T>, BadPart> {
        let mut thresholds = Vec::new();
        for (item, (text, place)) in texts(entry)?.into_iter().enumerate() {
            let bad = |bad: BadThreshold| BadPart {
                mark: Some(Box::new((text.to_owned(), bad.byte))),
                ..bad_value(list.key, text, place, &bad.problem)
            };
            thresholds.push(text.parse().map_err(bad)?);
            let spot = Spot {
                item: Some(item),
                ..list.clone()
            };
            self.places.insert(spot, place);
        }
        Ok(thresholds)
    }

    fn read_group(&mut self, index: usize, node: &Node) -> Result<GroupParts, BadPart> {
        let Value::Map(entries) = &node.value else {
            let problem = "a group is a list of keys and values, such as `clients: 10`, and here \
                           is none";
            return Err(node.place.bad(problem).into());
        };
        let spot = |key| Spot {
            group: Some(index),
            key,
            item: None,
        };
        let mut group = GroupParts::default();
        self.places.insert(spot(""), node.place);
        for (key, entry) in known(entries, &GROUP_KEYS)? {
            self.places.insert(spot(key), entry.node.place);
            if key == "agents" {
                let names = texts(entry)?.into_iter().map(|(name, _)| name.to_owned());
                group.agents = names.collect();
                continue;
            }
            if key == "thresholds" {
                group.thresholds = self.thresholds(spot(key), entry)?;
                continue;
            }
            if key == "payload" {
                group.payload = Some(payload(entry)?);
                continue;
            }
            let text = text_of(key, entry)?;
            let set = group.set(key, text).unwrap_or(Ok(()));
            set.map_err(|problem| bad_value(key, text, entry.node.place, &problem))?;
        }
        Ok(group)
    }
}

/// What may be assumed of the wall clocks.
fn clock_trust(entry: &Entry) -> Result<ClockTrust, BadPart> {
    let Value::Map(entries) = &entry.node.value else {
        let what = "{ntp: true}, {bound: TIME} or both in one";
        return Err(wrong_type(&entry.key, &entry.node, what));
    };
    let mut trust = ClockTrust::default();
    for (key, entry) in known(entries, &CLOCK_TRUST_KEYS)? {
        if key == "ntp" {
            trust.ntp = truth(entry)?;
            continue;
        }
        let text = text_of(key, entry)?;
        let bound_ns = flags::clock_bound(text);
        let bad = |problem: String| bad_value(key, text, entry.node.place, &problem);
        trust.bound_ns = Some(bound_ns.map_err(bad)?);
    }
    Ok(trust)
}

/// A word, or the file that has the records.
fn payload(entry: &Entry) -> Result<PayloadPart, BadPart> {
    let key = &entry.key;
    let Value::Map(entries) = &entry.node.value else {
        let what = "zeros, pattern, {file: PATH} or {agent_file: NAME}";
        return match &entry.node.value {
            Value::Scalar(scalar) if scalar.text == "zeros" => Ok(PayloadPart::Zeros),
            Value::Scalar(scalar) if scalar.text == "pattern" => Ok(PayloadPart::Pattern),
            _ => Err(wrong_type(key, &entry.node, what)),
        };
    };
    let place = entry.node.place;
    let (mut file, mut sha256) = (None, None);
    for (key, entry) in known(entries, &PAYLOAD_KEYS)? {
        let (text, place) = (text_of(key, entry)?, entry.node.place);
        if key == "sha256" {
            let bytes = sha256_of(text);
            let bytes = bytes.map_err(|problem| bad_value(key, text, place, &problem))?;
            sha256 = Some(bytes);
        } else if let Some((other, ..)) = file.replace((key, text, place)) {
            let problem = format!("{key}: {other} stands there already; leave out one of the two");
            return Err(place.bad(problem).into());
        }
    }
    let part = match file {
        Some(("file", text, _)) => PayloadPart::file(text, sha256),
        Some((_, text, _)) => PayloadPart::agent_file(text, sha256),
        None => {
            let problem =
                format!("{key}: a file is needed; write {{file: PATH}} or {{agent_file: NAME}}");
            return Err(place.bad(problem).into());
        }
    };
    let (key, text, place) = file.unwrap_or((PAYLOAD_KEYS[0], "", place));
    part.map_err(|problem| bad_value(key, text, place, &problem))
}

/// The entries with their keys, each of which is one of `keys` and stands there once.
fn known<'a>(
    entries: &'a [Entry],
    keys: &[&'static str],
) -> Result<Vec<(&'static str, &'a Entry)>, BadFile> {
    let mut found: Vec<(&'static str, &Entry)> = Vec::new();
    for entry in entries {
        let Some(key) = keys.iter().find(|key| **key == entry.key) else {
            return Err(entry.place.bad(no_key(&entry.key, keys)));
        };
        if let Some((_, first)) = found.iter().find(|(other, _)| other == key) {
            let problem = format!(
                "{key:?} stands there twice, first in line {}; leave out one of the two",
                first.place.line
            );
            return Err(entry.place.bad(problem));
        }
        found.push((key, entry));
    }
    Ok(found)
}

/// What the value of a key has to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Takes {
    Whole,
    WholeOrText,
    NumberOrText,
    Text,
}

fn takes(key: &str) -> Takes {
    match key {
        "seed" | "threads" | "clients" | "burst" | "packet_size" | "echo_every" => Takes::Whole,
        "batch" => Takes::WholeOrText,
        "duration" | "warm_up" | "rate" | "every" | "on" | "off" | "bound" => Takes::NumberOrText,
        _ => Takes::Text,
    }
}

/// The text of a value without parts, which is of the type that its key takes.
fn text_of<'a>(key: &str, entry: &'a Entry) -> Result<&'a str, BadPart> {
    use ScalarKind::{Number, Text, Whole};
    let scalar = scalar(entry)?;
    let (is_taken, what) = match takes(key) {
        Takes::Whole => (
            scalar.kind == Whole,
            "a whole number without quotation marks or a unit",
        ),
        Takes::WholeOrText => (
            matches!(scalar.kind, Whole | Text),
            "a whole number or a text such as 200/s",
        ),
        Takes::NumberOrText => (
            matches!(scalar.kind, Whole | Number | Text),
            "a number or a text with a unit, such as 10s or 10k,",
        ),
        Takes::Text => (
            scalar.kind == Text,
            "a text, in quotation marks where it looks like a number,",
        ),
    };
    if !is_taken {
        return Err(wrong_type(&entry.key, &entry.node, what));
    }
    let digits = scalar.text.trim_start_matches(['-', '+']);
    let is_padded =
        digits.starts_with('0') && digits[1..].starts_with(|of: char| of.is_ascii_digit());
    if is_padded && matches!(scalar.kind, Whole | Number) {
        // YAML 1.1 and C take 017 for 15.
        let problem = "a number has no zeros in front, since some read it as octal; leave them out";
        return Err(bad_value(key, &scalar.text, entry.node.place, problem));
    }
    Ok(&scalar.text)
}

fn truth(entry: &Entry) -> Result<bool, BadPart> {
    match scalar(entry)?.kind {
        ScalarKind::Bool(is) => Ok(is),
        _ => Err(wrong_type(&entry.key, &entry.node, "true or false")),
    }
}

fn scalar(entry: &Entry) -> Result<&Scalar, BadPart> {
    match &entry.node.value {
        Value::Scalar(scalar) => Ok(scalar),
        _ => Err(wrong_type(&entry.key, &entry.node, "one value")),
    }
}

/// The texts of a list, with their places.
fn texts(entry: &Entry) -> Result<Vec<(&str, Place)>, BadPart> {
    let wrong = |node| wrong_type(&entry.key, node, "a list of texts, such as [a, b],");
    let Value::List(nodes) = &entry.node.value else {
        return Err(wrong(&entry.node));
    };
    let texts = nodes.iter().map(|node| match &node.value {
        Value::Scalar(scalar) if scalar.kind == ScalarKind::Text => {
            Ok((scalar.text.as_str(), node.place))
        }
        _ => Err(wrong(node)),
    });
    texts.collect()
}

fn wrong_type(key: &str, node: &Node, what: &str) -> BadPart {
    let is = match &node.value {
        Value::Scalar(scalar) if scalar.kind == ScalarKind::Null => "nothing".into(),
        Value::Scalar(scalar) => format!("{:?}", shortened(&scalar.text)),
        Value::List(_) => "a list".into(),
        Value::Map(_) => "a list of keys and values".into(),
    };
    let problem = format!("{key}: {what} is needed, and here is {is}");
    node.place.bad(problem).into()
}

fn bad_value(key: &str, text: &str, place: Place, problem: &str) -> BadPart {
    let text = shortened(text);
    place.bad(format!("{key}: {text:?}: {problem}")).into()
}

#[cfg(test)]
mod tests;
