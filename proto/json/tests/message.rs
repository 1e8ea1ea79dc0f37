//! Messages of the API that are filled by reflection, each field with a value of its own.

use std::sync::LazyLock;

use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey,
    MessageDescriptor, ReflectMessage as _, Value,
};

use crate::{
    DESCRIPTORS,
    histogram::QUANTILES_PPM,
    json::values,
    threshold::{PPM, Threshold, quantile_name},
    v1,
};

/// A message type of the API, by its name without the package.
pub(super) fn descriptor(name: &str) -> MessageDescriptor {
    let name = format!("metronome.v1.{name}");
    POOL.get_message_by_name(&name).expect(&name)
}

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).expect("the compiler wrote it"));

/// What the JSON of a message must have for one field.
#[derive(Clone, Debug)]
pub(super) enum Expected {
    /// One of these: the unit depends on the place.
    Number(Vec<f64>),
    Text(String),
}

/// The numbers that enums get.
#[derive(Clone, Copy, Debug)]
pub(super) enum Enums {
    /// Numbers that no enum has, each another one.
    Unknown,
    /// The value of this index, or the last one.
    Known(usize),
}

/// Fills messages.
pub(super) struct Filler {
    /// Which alternative of each oneof is set.
    pub(super) alternative: usize,
    pub(super) enums: Enums,
    /// A type of which nothing is known: its messages are there and empty.
    pub(super) emptied: Option<String>,
    /// Every field that was filled, by its full name.
    pub(super) filled: Vec<(String, Expected)>,
    numbers: u32,
}

impl Filler {
    pub(super) fn new(alternative: usize, enums: Enums) -> Self {
        Self {
            alternative,
            enums,
            emptied: None,
            filled: Vec::new(),
            numbers: 0,
        }
    }

    /// A message with every field set.
    pub(super) fn message(&mut self, of: &MessageDescriptor) -> DynamicMessage {
        let mut message = DynamicMessage::new(of.clone());
        if self.emptied.as_deref() == Some(of.full_name()) {
            return message;
        }
        for field in of.fields() {
            if self.is_chosen(&field) {
                let value = self.field(&field);
                message.set_field(&field, value);
            }
        }
        if of.name() == "ClientTimes" {
            self.two_rows(&mut message);
        }
        message
    }

    /// The JSON has a row for each client, known or not: two are enough.
    fn two_rows(&mut self, client_times: &mut DynamicMessage) {
        let rows = [0, 1].map(Value::U32).to_vec();
        for (name, value) in [
            ("clients", Value::U32(2)),
            ("clients_per_row", Value::U32(1)),
            ("rows", Value::List(rows)),
        ] {
            let field = format!("metronome.v1.ClientTimes.{name}");
            self.filled.retain(|(filled, _)| *filled != field);
            client_times.set_field_by_name(name, value);
        }
        if matches!(self.enums, Enums::Known(_)) {
            let latency = v1::Metric::Latency.into();
            client_times.set_field_by_name("time", Value::EnumNumber(latency));
        }
    }

    fn is_chosen(&self, field: &FieldDescriptor) -> bool {
        let Some(oneof) = field.containing_oneof().filter(|of| !of.is_synthetic()) else {
            return true;
        };
        let fields = Vec::from_iter(oneof.fields());
        fields[self.alternative % fields.len()] == *field
    }

    fn field(&mut self, field: &FieldDescriptor) -> Value {
        if field.is_map() {
            let Kind::Message(entry) = field.kind() else {
                panic!("the entries of a map are messages");
            };
            let key = self.text(field);
            let value = self.value(&entry.map_entry_value_field());
            return Value::Map([(MapKey::String(key), value)].into());
        }
        if field.is_list() {
            let is_quantiles = matches!(field.kind(), Kind::Message(of) if of.name() == "Quantile");
            let length = if is_quantiles { QUANTILES_PPM.len() } else { 2 };
            return Value::List((0..length).map(|_| self.value(field)).collect());
        }
        self.value(field)
    }

    fn value(&mut self, field: &FieldDescriptor) -> Value {
        let number = self.number();
        match field.kind() {
            Kind::Message(of) if of.full_name() == "google.protobuf.Timestamp" => {
                let timestamp = prost_types::Timestamp {
                    seconds: number.into(),
                    nanos: 7_000_000,
                };
                let text = values::instant(Some(&timestamp)).expect("within the years");
                self.expect(field, Expected::Text(text));
                well_known(&of, &timestamp)
            }
            Kind::Message(of) if of.full_name() == "google.protobuf.Duration" => {
                self.expect(field, Expected::Number(vec![number.into()]));
                let seconds = number.into();
                well_known(&of, &prost_types::Duration { seconds, nanos: 0 })
            }
            Kind::Message(_)
                if [
                    "metronome.v1.Plan.thresholds",
                    "metronome.v1.Group.thresholds",
                ]
                .contains(&field.full_name()) =>
            {
                self.threshold(field, number)
            }
            Kind::Message(of) if of.name() == "Buckets" => {
                // Times: the JSON has their quantiles.
                let buckets = v1::Buckets {
                    indices: vec![number % 1_000],
                    counts: vec![number.into()],
                };
                well_known(&of, &buckets)
            }
            Kind::Message(of) => Value::Message(self.message(&of)),
            Kind::Enum(of) => Value::EnumNumber(self.enum_number(field, &of)),
            Kind::String => Value::String(self.text(field)),
            Kind::Bytes => Value::Bytes(number.to_be_bytes().to_vec().into()),
            Kind::Bool => Value::Bool(true),
            Kind::Uint32 if field.name() == "ppm" => {
                Value::U32(QUANTILES_PPM[number as usize % QUANTILES_PPM.len()])
            }
            Kind::Uint32 if field.name().ends_with("share_ppm") => {
                let percent = f64::from(number) / 1e4;
                self.expect(field, Expected::Number(vec![percent]));
                Value::U32(number)
            }
            Kind::Uint32 if field.name().ends_with("_ppm") => {
                let ppm = number % PPM;
                self.expect(field, Expected::Text(quantile_name(ppm)));
                Value::U32(ppm)
            }
            Kind::Uint32 => Value::U32(self.expect_number(field, number)),
            Kind::Uint64 => Value::U64(self.expect_number(field, number).into()),
            Kind::Int64 => Value::I64(self.expect_number(field, number).into()),
            Kind::Double => Value::F64(self.expect_number(field, number).into()),
            kind => panic!("{}: no value for {kind:?}", field.full_name()),
        }
    }

    /// One that this version has, whose text is that of a flag.
    fn threshold(&mut self, field: &FieldDescriptor, number: u32) -> Value {
        let (metric, quantile_ppm) = match self.alternative % 3 {
            0 => (v1::Metric::Latency, Some(number % PPM)),
            1 => (v1::Metric::Lost, None),
            _ => (v1::Metric::KeptUp, None),
        };
        let threshold = Threshold {
            metric,
            quantile_ppm,
            comparison: v1::Comparison::LessOrEqual,
            limit: (number % PPM).into(),
        };
        self.expect(field, Expected::Text(threshold.to_string()));
        well_known(&descriptor("Threshold"), &threshold.to_proto())
    }

    /// A number that no other field has, in no unit.
    fn number(&mut self) -> u32 {
        self.numbers += 1;
        1_000_000_007 + self.numbers * 1_000_003
    }

    fn text(&mut self, field: &FieldDescriptor) -> String {
        // A run id has this form; other texts have any.
        let text = format!("{:016x}", self.number());
        self.expect(field, Expected::Text(text.clone()));
        text
    }

    fn enum_number(&mut self, field: &FieldDescriptor, of: &EnumDescriptor) -> i32 {
        match self.enums {
            Enums::Unknown => {
                let number = self.number() as i32;
                self.expect(field, Expected::Text(number.to_string()));
                number
            }
            Enums::Known(index) => {
                let numbers = Vec::from_iter(of.values().map(|value| value.number()));
                // The first one is the unspecified one.
                numbers[(index + 1).min(numbers.len() - 1)]
            }
        }
    }

    fn expect_number(&mut self, field: &FieldDescriptor, number: u32) -> u32 {
        let value = f64::from(number);
        let name = field.name();
        let units = if name.contains("millihertz") {
            vec![value / 1e3]
        } else if name == "ns" || name.ends_with("_ns") {
            vec![value / 1e3, value / 1e9]
        } else if name.ends_with("_ppb") {
            vec![value / 1e3]
        } else {
            vec![value]
        };
        self.expect(field, Expected::Number(units));
        number
    }

    fn expect(&mut self, field: &FieldDescriptor, expected: Expected) {
        self.filled.push((field.full_name().to_owned(), expected));
    }
}

fn well_known(of: &MessageDescriptor, message: &impl prost::Message) -> Value {
    let mut dynamic = DynamicMessage::new(of.clone());
    dynamic.transcode_from(message).expect("its own type");
    Value::Message(dynamic)
}

/// The message types of the API within `of`, itself first, each once.
pub(super) fn reachable(of: &MessageDescriptor) -> Vec<MessageDescriptor> {
    let mut found = vec![of.clone()];
    let mut next = 0;
    while let Some(message) = found.get(next).cloned() {
        next += 1;
        for field in message.fields() {
            let kind = if field.is_map() {
                match field.kind() {
                    Kind::Message(entry) => entry.map_entry_value_field().kind(),
                    kind => kind,
                }
            } else {
                field.kind()
            };
            if let Kind::Message(within) = kind
                && within.package_name() == "metronome.v1"
                && !found.contains(&within)
            {
                found.push(within);
            }
        }
    }
    found
}

/// Clears a field in every message of its type, at any depth; whether one had it.
pub(super) fn clear(message: &mut DynamicMessage, field: &FieldDescriptor) -> bool {
    let mut had = false;
    if message.descriptor() == *field.parent_message() && message.has_field(field) {
        message.clear_field(field);
        had = true;
    }
    for (_, value) in message.fields_mut() {
        had |= clear_within(value, field);
    }
    had
}

fn clear_within(value: &mut Value, field: &FieldDescriptor) -> bool {
    match value {
        Value::Message(message) => clear(message, field),
        Value::List(values) => values
            .iter_mut()
            .fold(false, |had, value| clear_within(value, field) | had),
        Value::Map(values) => values
            .values_mut()
            .fold(false, |had, value| clear_within(value, field) | had),
        _ => false,
    }
}
