//! Runs and their series as one file that opens without a server and without a network.

use std::io::Write as _;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use flate2::{Compression, write::GzEncoder};
use metronome_proto::{
    json::{run::RunResult, series::Series},
    v1,
};
use serde::Serialize;

use crate::document;

/// What a report has of one run.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The run, ended.
    pub run: v1::Run,
    /// Its series; empty without one.
    pub series: v1::Series,
    /// The rows of its clients; empty where they are not to be in it.
    pub clients: Vec<v1::ClientReport>,
}

#[derive(Serialize)]
struct Data<'a> {
    made_at: &'a str,
    version: &'a str,
    runs: Vec<EntryResult<'a>>,
}

#[derive(Serialize)]
struct EntryResult<'a> {
    run: RunResult<'a>,
    series: Series<'a>,
}

/// The report of these runs: one is shown, several are laid over each other. `made_at` is an
/// instant in words, `version` that of the program that makes it.
#[must_use]
pub fn html(entries: &[Entry], made_at: &str, version: &str) -> String {
    let runs = entries.iter().map(|entry| EntryResult {
        run: RunResult::new(
            &entry.run,
            (!entry.clients.is_empty()).then_some(&entry.clients[..]),
        ),
        series: Series::new(&entry.run, &entry.series),
    });
    let data = Data {
        made_at,
        version,
        runs: runs.collect(),
    };
    let json = serde_json::to_vec(&data).expect("the objects have string keys only");
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    let packed = packer.write_all(&json).and_then(|()| packer.finish());
    document::report(&BASE64_STANDARD.encode(packed.expect("memory can be written to")))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    fn entry(label: &str) -> Entry {
        Entry {
            run: v1::Run {
                run_id: "0199f0c2a1b2c3d5".into(),
                labels: [("label".to_owned(), label.to_owned())].into(),
                ..v1::Run::default()
            },
            series: v1::Series::default(),
            clients: Vec::new(),
        }
    }

    fn data_of(report: &str) -> serde_json::Value {
        let (_, rest) = report.split_once("<script id=\"data\"").unwrap();
        let (_, rest) = rest.split_once('>').unwrap();
        let (data, _) = rest.split_once("</script>").unwrap();
        let packed = BASE64_STANDARD.decode(data).unwrap();
        let mut json = String::new();
        GzDecoder::new(&packed[..])
            .read_to_string(&mut json)
            .unwrap();
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn what_is_in_a_report_comes_out_of_it() {
        let evil = "</script><script>alert(1)</script><!--";
        let report = html(&[entry(evil), entry("b")], "now", "1");
        assert!(!report.contains("alert(1)"));
        let data = data_of(&report);
        assert_eq!(data["runs"][0]["run"]["labels"]["label"], evil);
        assert_eq!(data["runs"].as_array().unwrap().len(), 2);
        assert_eq!(
            (&data["made_at"], &data["version"]),
            (&"now".into(), &"1".into())
        );
    }

    #[test]
    fn a_report_of_a_run_has_the_json_of_that_run() {
        let entry = entry("a");
        let data = data_of(&html(std::slice::from_ref(&entry), "", ""));
        let expected = metronome_proto::json::run::result(&entry.run, None);
        let expected: serde_json::Value = serde_json::from_str(&expected).unwrap();
        assert_eq!(data["runs"][0]["run"], expected);
    }
}
