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
        let messages = descriptors.file.iter().flat_map(|file| &file.message_type);
        let message = messages
            .clone()
            .find(|message| message.name() == list)
            .ok_or_else(|| format!("no message {list}"))?;
        writeln!(code, "impl CounterList for {list} {{")?;
        let mut fields: Vec<_> = message
            .field
            .iter()
            .map(|field| (field.number(), field.name()))
            .collect();
        fields.sort_unstable();
        let names: Vec<_> = fields.iter().map(|(_, name)| name).collect();
        writeln!(
            code,
            "    const NAMES: &'static [&'static str] = &{names:?};"
        )?;
        writeln!(code, "    #[inline]")?;
        writeln!(
            code,
            "    fn to_words(&self) -> [u64; WORDS] {{\n        let mut words = [0; WORDS];"
        )?;
        for (number, name) in &fields {
            writeln!(code, "        words[{}] = self.{name};", number - 1)?;
        }
        writeln!(code, "        words\n    }}\n    #[inline]")?;
        writeln!(
            code,
            "    fn from_words(words: &[u64; WORDS]) -> Self {{\n        Self {{"
        )?;
        for (number, name) in &fields {
            writeln!(code, "            {name}: words[{}],", number - 1)?;
        }
        writeln!(code, "        }}\n    }}")?;
        writeln!(
            code,
            "    fn values(&self) -> impl Iterator<Item = (&'static str, u64)> {{\n        ["
        )?;
        for (_, name) in &fields {
            writeln!(code, "            (\"{name}\", self.{name}),")?;
        }
        writeln!(code, "        ]\n        .into_iter()\n    }}\n}}")?;
    }
    code.push_str("};\n");
    Ok(code)
}
