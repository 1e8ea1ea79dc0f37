//! From what an order asks for to the sources of its groups: before the clients connect, on a
//! thread that is no pacing thread.

use std::{collections::HashMap, sync::Arc};

use metronome_os::folder::NotRead;
use metronome_proto::{
    limits::AGENT_FILES_BYTES_MAX,
    payload::{Payload, SHA256_BYTES},
    share::Share,
    v1::{Failure, PayloadRead},
};

use super::{
    agent_files::{AgentFiles, FileRead, Until},
    built_in::{Pattern, Records},
    group_source::{GroupSource, not_usable},
    source::PayloadSource,
    sources::PayloadSources,
};
use crate::{net::error_text::within_sentence, stop_signal::StopSignal};

/// What this agent has for payloads that a plan names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Payloads {
    /// Those of its `--payload-dir`; `None` without one.
    pub(crate) files: Option<Arc<AgentFiles>>,
    /// What its program has registered.
    pub(crate) sources: PayloadSources,
}

/// The payloads of a run.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// One for each share, in their order; `None` for zeros.
    pub(crate) sources: Vec<Option<Arc<GroupSource>>>,
    /// The files that were read, by group.
    pub(crate) read: Vec<PayloadRead>,
}

impl Payloads {
    /// The sources of these shares. Each file is read once.
    ///
    /// # Errors
    ///
    /// One of them cannot be had, or not until `deadline_ns`, or a stop was requested.
    pub(crate) fn prepare<'a>(
        &self,
        shares: impl Iterator<Item = &'a Share>,
        deadline_ns: u64,
        stop_signal: &StopSignal,
    ) -> Result<Prepared, Failure> {
        let until = Until {
            deadline_ns,
            stop_signal,
        };
        let (mut prepared, mut files) = (Prepared::default(), HashMap::new());
        for share in shares {
            let source = match &share.payload {
                Payload::Zeros => None,
                Payload::Pattern => Some(("pattern", Arc::new(Pattern) as Arc<dyn PayloadSource>)),
                Payload::Records(records) => {
                    let data = Arc::new(records.data.to_vec());
                    Some((
                        records.name.as_str(),
                        records_of(share, &records.name, data)?,
                    ))
                }
                Payload::AgentFile { name, sha256 } => {
                    let wanted = Wanted {
                        share,
                        name,
                        sha256,
                    };
                    let source = match self.sources.get(name) {
                        Some(source) => wanted.registered(source)?,
                        None => {
                            let file = self.read(&wanted, &mut files, until)?;
                            prepared.read.push(wanted.check(&file)?);
                            records_of(share, name, file.data)?
                        }
                    };
                    Some((name.as_str(), source))
                }
            };
            let source = source.map(|(name, of)| GroupSource::new(share.group.as_str(), name, of));
            if let Some(source) = &source {
                source.check(share.packet_size.payload_bytes())?;
            }
            prepared.sources.push(source.map(Arc::new));
        }
        Ok(prepared)
    }

    fn read<'a>(
        &self,
        wanted: &Wanted<'a>,
        files: &mut HashMap<&'a str, FileRead>,
        until: Until<'_>,
    ) -> Result<FileRead, Failure> {
        if let Some(file) = files.get(wanted.name) {
            return Ok(file.clone());
        }
        let Some(folder) = &self.files else {
            return Err(wanted.refused("the agent was started without --payload-dir"));
        };
        // They are all in memory at once.
        let held: u64 = files.values().map(|file| file.data.len() as u64).sum();
        match folder.read(
            wanted.name,
            AGENT_FILES_BYTES_MAX.saturating_sub(held),
            until,
        ) {
            Ok(file) => {
                files.insert(wanted.name, file.clone());
                Ok(file)
            }
            Err(error) => {
                let stopped = until.stop_signal.failure(metronome_os::clock::now_ns());
                Err(stopped.unwrap_or_else(|| wanted.refused(&problem(&error))))
            }
        }
    }
}

/// A file that a share names.
struct Wanted<'a> {
    share: &'a Share,
    name: &'a str,
    /// What it has to have, where the plan gives one.
    sha256: &'a Option<[u8; SHA256_BYTES]>,
}

impl Wanted<'_> {
    fn refused(&self, problem: &str) -> Failure {
        not_usable(&self.share.group, self.name, problem)
    }

    /// A source of the program in the place of the file: no SHA-256 is known of it.
    fn registered(
        &self,
        source: Arc<dyn PayloadSource>,
    ) -> Result<Arc<dyn PayloadSource>, Failure> {
        match self.sha256 {
            None => Ok(source),
            Some(_) => Err(self.refused(
                "it is a source of the agent's program and no file, so it has no SHA-256; leave \
                 that out of the plan",
            )),
        }
    }

    /// What is reported of the file, if it is the one that the plan means.
    fn check(&self, file: &FileRead) -> Result<PayloadRead, Failure> {
        if self.sha256.is_some_and(|sha256| sha256 != file.sha256) {
            return Err(self.refused("its SHA-256 is not the one of the plan"));
        }
        Ok(PayloadRead {
            group: self.share.group.clone(),
            size: file.data.len() as u64,
            sha256: file.sha256.to_vec(),
        })
    }
}

fn records_of(
    share: &Share,
    name: &str,
    data: Arc<Vec<u8>>,
) -> Result<Arc<dyn PayloadSource>, Failure> {
    let records = Records::new(data, share.packet_size.bytes() as u32);
    let records = records.map_err(|problem| not_usable(&share.group, name, &problem))?;
    Ok(Arc::new(records))
}

/// Why the file was not read, without the path of the folder, which is none of the server's.
fn problem(error: &NotRead) -> String {
    match error {
        NotRead::TooLarge(bytes) => {
            format!(
                "its {bytes} bytes are too many; all files of a run together may have \
                 {AGENT_FILES_BYTES_MAX}"
            )
        }
        NotRead::System(error) => format!("it cannot be read: {}", within_sentence(error)),
        NotRead::Missing => "the agent's --payload-dir has no such file".into(),
        NotRead::Link | NotRead::NotRegular => {
            format!("it {error}; only a regular file in --payload-dir itself is read")
        }
        error => format!("it {error}"),
    }
}

#[cfg(test)]
mod tests;
