//! Compiles the API's protos to Rust, with the lists of counters, and to the descriptor set that
//! reflection serves.
//!
//! protox is a protobuf compiler written in Rust, so that protoc need not be installed. It keeps
//! the comments, which are the manual of the API.

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::Write as _,
    path::PathBuf,
};

use prost_types::DescriptorProto;
use protox::prost::Message as _;
use tonic_prost_build::FileDescriptorSet;

const FOLDER: &str = "proto/metronome/v1";

/// Messages that are lists of counters: every field of theirs is a uint64.
const COUNTER_LISTS: [&str; 2] = ["GeneratorCounts", "ReceiverCounts"];

fn main() -> Result<(), Box<dyn Error>> {
    let mut protos: Vec<_> = fs::read_dir(FOLDER)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_, std::io::Error>>()?;
    protos.sort();
    let descriptors = protox::compile(protos, ["proto"])?;
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out_dir.join("descriptor.bin"), descriptors.encode_to_vec())?;
    let lists = counter_lists(&descriptors)?;
    // Maps that iterate in one order, so that equal messages have equal bytes and texts.
    tonic_prost_build::configure()
        .btree_map(".")
        .compile_fds(descriptors)?;
    // Part of the generated code, so that no source includes another one.
    let mut generated = OpenOptions::new()
        .append(true)
        .open(out_dir.join("metronome.v1.rs"))?;
    generated.write_all(lists.as_bytes())?;
    println!("cargo:rerun-if-changed={FOLDER}");
    Ok(())
}

/// An `impl CounterList` for each of [`COUNTER_LISTS`].
fn counter_lists(descriptors: &FileDescriptorSet) -> Result<String, Box<dyn Error>> {
    let mut code = String::from("const _: () = {\nuse crate::counters::{CounterList, WORDS};\n");
    for list in COUNTER_LISTS {
        let mut messages = descriptors.file.iter().flat_map(|file| &file.message_type);
        let message = messages
            .find(|message| message.name() == list)
            .ok_or_else(|| format!("no message {list}"))?;
        code += &counter_list(list, message)?;
    }
    code.push_str("};\n");
    Ok(code)
}

/// The `impl` of one list. A counter is `optional` where it may be unknown.
fn counter_list(list: &str, message: &DescriptorProto) -> Result<String, std::fmt::Error> {
    let mut fields: Vec<_> = message.field.iter().collect();
    fields.sort_unstable_by_key(|field| field.number());
    let names: Vec<_> = fields.iter().map(|field| field.name()).collect();
    let (mut to, mut from, mut values) = <(String, String, String)>::default();
    let (mut sums, mut differences, mut agreed) = <(String, String, String)>::default();
    let mut agree = String::from("true");
    for field in fields {
        let (word, name) = (field.number() - 1, field.name());
        if field.proto3_optional() {
            writeln!(to, "words[{word}] = self.{name}.unwrap_or(0);")?;
            writeln!(from, "{name}: Some(words[{word}]),")?;
            writeln!(values, "(\"{name}\", self.{name}),")?;
            writeln!(
                sums,
                "{name}: self.{name}.zip(other.{name}).map(|(one, two)| one.saturating_add(two)),"
            )?;
            writeln!(
                differences,
                "{name}: self.{name}.zip(earlier.{name}).map(|(one, two)| one.saturating_sub(two)),"
            )?;
            writeln!(
                agreed,
                "{name}: self.{name}.filter(|_| \
                 sum.{name}.is_some() && sum.{name} == known.{name}),"
            )?;
        } else {
            writeln!(to, "words[{word}] = self.{name};")?;
            writeln!(from, "{name}: words[{word}],")?;
            writeln!(values, "(\"{name}\", Some(self.{name})),")?;
            writeln!(sums, "{name}: self.{name}.saturating_add(other.{name}),")?;
            writeln!(
                differences,
                "{name}: self.{name}.saturating_sub(earlier.{name}),"
            )?;
            writeln!(agreed, "{name}: self.{name},")?;
            write!(agree, " && sum.{name} == known.{name}")?;
        }
    }
    Ok(format!(
        "impl CounterList for {list} {{
    const NAMES: &'static [&'static str] = &{names:?};
    #[inline]
    fn to_words(&self) -> [u64; WORDS] {{
        let mut words = [0; WORDS];
        {to}
        words
    }}
    #[inline]
    fn from_words(words: &[u64; WORDS]) -> Self {{
        Self {{ {from} }}
    }}
    fn values(&self) -> impl Iterator<Item = (&'static str, Option<u64>)> {{
        [{values}].into_iter()
    }}
    fn plus(&self, other: &Self) -> Self {{
        Self {{ {sums} }}
    }}
    fn since(&self, earlier: &Self) -> Self {{
        Self {{ {differences} }}
    }}
    fn agreed(self, sum: &Self, known: &Self) -> Option<Self> {{
        ({agree}).then(|| Self {{ {agreed} }})
    }}
}}
"
    ))
}
