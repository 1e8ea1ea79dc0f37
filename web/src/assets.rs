//! The files of the page. All of them together are small enough for a slow line.

use std::{fmt::Write as _, sync::LazyLock};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest as _, Sha256};

/// A file of the page.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Below `/assets/`.
    pub path: &'static str,
    /// What it is, for a browser.
    pub content_type: &'static str,
    /// Its bytes, all of them text.
    pub text: &'static str,
}

macro_rules! asset {
    ($path:literal, $content_type:expr) => {
        Asset {
            path: $path,
            content_type: $content_type,
            text: include_str!(concat!("../assets/", $path)),
        }
    };
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// The template of the document.
pub(crate) const DOCUMENT: &str = include_str!("../assets/index.html");

/// The plotter, which is of others: <https://github.com/leeoniya/uPlot>, MIT.
pub(crate) const PLOTTER: Asset = asset!("vendor/uPlot.iife.min.js", SCRIPT);

/// The sheets, in the order in which they apply.
pub(crate) const STYLES: [Asset; 2] = [
    asset!("vendor/uPlot.min.css", STYLE),
    asset!("style.css", STYLE),
];

/// The modules, each behind those that it imports: the last one starts the page.
pub(crate) const MODULES: [Asset; 15] = [
    asset!("figures.js", SCRIPT),
    asset!("dom.js", SCRIPT),
    asset!("plan.js", SCRIPT),
    asset!("series.js", SCRIPT),
    asset!("source.js", SCRIPT),
    asset!("plots.js", SCRIPT),
    asset!("heat.js", SCRIPT),
    asset!("pictures.js", SCRIPT),
    asset!("tables.js", SCRIPT),
    asset!("live.js", SCRIPT),
    asset!("runs.js", SCRIPT),
    asset!("run.js", SCRIPT),
    asset!("compare.js", SCRIPT),
    asset!("fleet.js", SCRIPT),
    asset!("app.js", SCRIPT),
];

const OTHERS: [Asset; 2] = [
    asset!("icon.svg", "image/svg+xml"),
    asset!("vendor/uPlot.LICENSE", "text/plain; charset=utf-8"),
];

/// Every file below `/assets/`.
pub fn all() -> impl Iterator<Item = Asset> {
    MODULES
        .into_iter()
        .chain(STYLES)
        .chain([PLOTTER])
        .chain(OTHERS)
}

/// The file with this path below `/assets/`, and its tag.
#[must_use]
pub fn find(path: &str) -> Option<(Asset, &'static str)> {
    static TAGGED: LazyLock<Vec<(Asset, String)>> =
        LazyLock::new(|| all().map(|asset| (asset, tag(asset.text))).collect());
    let found = TAGGED.iter().find(|(asset, _)| asset.path == path);
    found.map(|(asset, tag)| (*asset, tag.as_str()))
}

/// The entity tag of a text: it changes with each byte of it.
#[must_use]
pub fn tag(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let mut tag = String::from("\"");
    for byte in &digest[..8] {
        write!(tag, "{byte:02x}").expect("a text can be written to");
    }
    tag + "\""
}

/// A text that stands in a document as a Content-Security-Policy allows it: `'sha256-…'`.
pub(crate) fn allowed(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    format!("'sha256-{}'", BASE64_STANDARD.encode(digest))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// All that a browser loads: everything but the plotter's licence.
    const BYTES_MAX: usize = 150 * 1024;

    #[test]
    fn all_files_together_are_small() {
        let loaded = all().filter(|asset| !asset.path.ends_with("LICENSE"));
        let bytes: usize = loaded.map(|asset| asset.text.len()).sum();
        assert!(bytes + DOCUMENT.len() <= BYTES_MAX, "{bytes} bytes");
    }

    #[test]
    fn the_plotter_is_the_one_that_was_published() {
        // npm, uplot 1.6.32: dist/uPlot.iife.min.js, dist/uPlot.min.css and LICENSE.
        for (path, expected) in [
            ("vendor/uPlot.iife.min.js", PLOTTER_SHA256),
            ("vendor/uPlot.min.css", SHEET_SHA256),
            ("vendor/uPlot.LICENSE", LICENCE_SHA256),
        ] {
            let (asset, _) = find(path).unwrap();
            let digest = Sha256::digest(asset.text.as_bytes());
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expected, "{path}");
        }
        assert!(find("vendor/uPlot.LICENSE").unwrap().0.text.contains("MIT"));
    }

    const PLOTTER_SHA256: &str = "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f";
    const SHEET_SHA256: &str = "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04";
    const LICENCE_SHA256: &str = "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd";

    #[test]
    fn every_file_of_the_folder_is_served_but_the_template() {
        let mut files: Vec<_> = ["assets", "assets/vendor"]
            .into_iter()
            .flat_map(|folder| fs::read_dir(folder).unwrap())
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .map(|path| path.strip_prefix("assets").unwrap().to_owned())
            .map(|path| path.to_str().unwrap().to_owned())
            .filter(|path| path != "index.html")
            .collect();
        files.sort();
        let mut served: Vec<_> = all().map(|asset| asset.path.to_owned()).collect();
        served.sort();
        assert_eq!(files, served);
    }

    #[test]
    fn no_file_of_ours_names_another_host_or_makes_html_of_data() {
        for asset in all().filter(|asset| !asset.path.starts_with("vendor/")) {
            let text = asset.text.replace("http://www.w3.org/2000/svg", "");
            for banned in [
                "http:",
                "https:",
                "innerHTML",
                "outerHTML",
                "insertAdjacent",
                "document.write",
                "eval(",
                "Function(",
                "</script",
            ] {
                assert!(!text.contains(banned), "{} has {banned}", asset.path);
            }
        }
        assert!(!PLOTTER.text.contains("</script") && !PLOTTER.text.contains("innerHTML"));
    }

    #[test]
    fn a_tag_changes_with_the_text() {
        assert_eq!(tag("a"), tag("a"));
        assert_ne!(tag("a"), tag("b"));
        assert_eq!(tag("").len(), 18);
    }
}
