//! The document of the page, and that of a report: one template, with links to the assets or with
//! the assets in it.

use std::fmt::Write as _;

use crate::{
    assets::{DOCUMENT, MODULES, PLOTTER, STYLES, allowed},
    modules::joined,
};

/// Where the head of the template continues.
const HEAD: &str = "<!-- head -->\n";
/// Where the data of a report stand.
const DATA: &str = "<!-- data -->\n";

/// What the page may load: its own files and its own API. No script or style stands in it.
pub const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// The page's document. `traces` is the address of a Jaeger whose search shows the trace of a run,
/// where there is one.
#[must_use]
pub fn page(traces: Option<&str>) -> String {
    let mut head = String::from("<link rel=\"icon\" href=\"/assets/icon.svg\">\n");
    if let Some(traces) = traces {
        let traces = escaped(traces.trim_end_matches('/'));
        writeln!(
            head,
            "<meta name=\"metronome-traces\" content=\"{traces}\">"
        )
        .expect("text");
    }
    for style in STYLES {
        writeln!(
            head,
            "<link rel=\"stylesheet\" href=\"/assets/{}\">",
            style.path
        )
        .expect("text");
    }
    // Deferred scripts and modules run in this order.
    writeln!(
        head,
        "<script src=\"/assets/{}\" defer></script>",
        PLOTTER.path
    )
    .expect("text");
    let [others @ .., last] = &MODULES;
    for module in others {
        // Otherwise each would be fetched when the one that imports it has come.
        writeln!(
            head,
            "<link rel=\"modulepreload\" href=\"/assets/{}\">",
            module.path
        )
        .expect("text");
    }
    writeln!(
        head,
        "<script src=\"/assets/{}\" type=\"module\"></script>",
        last.path
    )
    .expect("text");
    DOCUMENT.replace(HEAD, &head).replace(DATA, "")
}

/// A report's document, which loads nothing at all. `data` are characters of base64.
pub(crate) fn report(data: &str) -> String {
    let style = STYLES.map(|style| style.text).concat();
    let (plotter, script) = (PLOTTER.text, joined(&MODULES));
    let policy = format!(
        "default-src 'none'; script-src {} {}; style-src {}; img-src data:; base-uri 'none'; \
         form-action 'none'",
        allowed(plotter),
        allowed(&script),
        allowed(&style),
    );
    let head = format!(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <style>{style}</style>\n"
    );
    let data = format!(
        "<script id=\"data\" type=\"application/octet-stream\">{data}</script>\n\
         <script>{plotter}</script>\n<script type=\"module\">{script}</script>\n"
    );
    DOCUMENT.replace(HEAD, &head).replace(DATA, &data)
}

/// A text as the value of an attribute.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('"', "&quot;")
        .replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_no_script_and_no_style_in_it() {
        let page = page(None);
        assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains("onload"));
        assert!(
            page.split("<script")
                .skip(1)
                .all(|tag| tag.starts_with(" src=\"/assets/"))
        );
        assert!(!page.contains("<!--") && !page.contains("metronome-traces"));
    }

    #[test]
    fn an_address_cannot_leave_its_attribute() {
        let page = page(Some("http://jaeger:16686/\"><script>"));
        assert!(
            page.contains("content=\"http://jaeger:16686/&quot;>&lt;script>\""),
            "{page}"
        );
    }

    #[test]
    fn a_report_loads_nothing() {
        let report = report("AAAA");
        for loads in ["src=", "href=\"/", "href=\"http", "url(", "@import", "<!--"] {
            assert!(!report.contains(loads), "{loads}");
        }
        // A report goes on to its last script: nothing in it ends one before.
        assert_eq!(report.matches("<script").count(), 3);
        assert_eq!(report.matches("</script").count(), 3);
    }
}
