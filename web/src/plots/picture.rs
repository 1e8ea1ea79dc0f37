//! Axes and lines as SVG. A line has a gap where its value is not known; lines differ by their
//! dashes as well as by their colours.

use std::fmt::Write as _;

use super::scale::Scale;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 700.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 252.0;

/// Colours for light and dark ground, and dashes, in the order of the lines.
const STYLES: [(&str, &str, &str); 7] = [
    ("#2f6fb0", "#7db4ea", "none"),
    ("#c05f00", "#f0a54a", "7 3"),
    ("#a8327a", "#e284bd", "3 3"),
    ("#6a7280", "#8b94a1", "1 3"),
    ("#12713f", "#6fd39b", "9 3 2 3"),
    ("#7d5200", "#f3c46b", "12 4"),
    ("#444444", "#cccccc", "5 5"),
];

/// One line of a picture.
#[derive(Clone, Debug)]
pub(super) struct Line {
    name: String,
    /// One for each place on the axis below; `None` is not known.
    pub(super) values: Vec<Option<f64>>,
}

impl Line {
    pub(super) fn new(name: String, values: Vec<Option<f64>>) -> Self {
        Self { name, values }
    }
}

/// Lines over the same places. Its texts are of this program, and need no escapes.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) title: String,
    pub(super) x: Scale,
    pub(super) y: Scale,
    pub(super) x_text: fn(f64) -> String,
    pub(super) y_text: fn(f64) -> String,
    pub(super) xs: Vec<f64>,
    pub(super) lines: Vec<Line>,
}

impl Picture {
    /// The document.
    pub(super) fn svg(&self) -> String {
        let title = &self.title;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\">\n<title>{title}</title>\n{}\
             <rect class=\"ground\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n\
             <text class=\"title\" x=\"{LEFT}\" y=\"18\">{title}</text>\n",
            style()
        );
        self.axes(&mut svg);
        for (index, line) in self.lines.iter().enumerate() {
            let class = index % STYLES.len();
            let path = self.path(line);
            let at = LEFT + 92.0 * index as f64;
            writeln!(
                svg,
                "<path class=\"line l{class}\" d=\"M{at:.0} 33h22\"/>\
                 <text x=\"{:.0}\" y=\"37\">{}</text>\n\
                 <path class=\"line l{class}\" d=\"{path}\"/>",
                at + 28.0,
                line.name
            )
            .expect("text");
        }
        svg + "</svg>\n"
    }

    fn axes(&self, svg: &mut String) {
        for mark in &self.y.marks {
            let at = self.at_y(*mark);
            let text = (self.y_text)(*mark);
            writeln!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{RIGHT}\"/>\
                 <text class=\"y\" x=\"{}\" y=\"{:.1}\">{text}</text>",
                LEFT - 6.0,
                at + 4.0
            )
            .expect("text");
        }
        for mark in &self.x.marks {
            let at = self.at_x(*mark);
            let text = (self.x_text)(*mark);
            writeln!(
                svg,
                "<path class=\"grid\" d=\"M{at:.1} {TOP}V{BOTTOM}\"/>\
                 <text class=\"x\" x=\"{at:.1}\" y=\"{}\">{text}</text>",
                BOTTOM + 16.0
            )
            .expect("text");
        }
    }

    /// The line: a value with no other beside it is a dot.
    fn path(&self, line: &Line) -> String {
        let mut path = String::new();
        let mut is_open = false;
        for (x, value) in self.xs.iter().zip(&line.values) {
            let Some(value) = value else {
                is_open = false;
                continue;
            };
            let (x, y) = (self.at_x(*x), self.at_y(*value));
            match is_open {
                true => write!(path, "L{x:.1} {y:.1}"),
                false => write!(path, "M{x:.1} {y:.1}h.1"),
            }
            .expect("text");
            is_open = true;
        }
        path
    }

    fn at_x(&self, x: f64) -> f64 {
        LEFT + self.x.share(x) * (RIGHT - LEFT)
    }

    fn at_y(&self, y: f64) -> f64 {
        BOTTOM - self.y.share(y) * (BOTTOM - TOP)
    }
}

fn style() -> String {
    let mut style = String::from(
        "<style>text{font:12px system-ui,sans-serif;fill:#5d6672}.title{font-weight:bold;\
         fill:#1b1e23}.x{text-anchor:middle}.y{text-anchor:end}.grid{stroke:#e3e5e8}\
         .ground{fill:#fff}.line{fill:none;stroke-width:2;stroke-linecap:round}",
    );
    for (index, (light, _, dash)) in STYLES.into_iter().enumerate() {
        write!(style, ".l{index}{{stroke:{light};stroke-dasharray:{dash}}}").expect("text");
    }
    style.push_str(
        "@media(prefers-color-scheme:dark){text{fill:#9aa3af}.title{fill:#e9ebee}\
         .grid{stroke:#2c3138}.ground{fill:#1b1e23}",
    );
    for (index, (_, dark, _)) in STYLES.into_iter().enumerate() {
        write!(style, ".l{index}{{stroke:{dark}}}").expect("text");
    }
    style + "}</style>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_not_known_is_a_gap() {
        let picture = Picture {
            title: "a".into(),
            x: Scale::linear(0.0, 4.0),
            y: Scale::linear(0.0, 10.0),
            x_text: |at| at.to_string(),
            y_text: |at| at.to_string(),
            xs: vec![0.0, 1.0, 2.0, 3.0, 4.0],
            lines: Vec::new(),
        };
        let values = vec![Some(0.0), Some(10.0), None, Some(5.0), None];
        let path = picture.path(&Line::new("b".into(), values));
        assert_eq!(path, "M64.0 252.0h.1L223.0 48.0M541.0 150.0h.1");
    }
}
