//! Clients × time as SVG: a row a client or a band of them, a column a stretch of time, one
//! logarithmic scale of shades for all. What is not known is left out. Times in ns.

use std::{fmt::Write as _, ops::Range};

use metronome_proto::{
    quantity::{few_digits, time},
    v1::{ClientTimes, Metric, SeriesPoint},
};

const WIDTH: f64 = 720.0;
const LEFT: f64 = 16.0;
const RIGHT: f64 = 704.0;
const TOP: f64 = 52.0;
/// Ten rows are no hairlines, and 256 are no scroll.
const MAP_HEIGHT: Range<f64> = 48.0..256.0;
const ROW_HEIGHT: f64 = 14.0;
/// With more points a column is several of them, and has the slowest of each row. So a file has
/// 256 × 200 cells at most.
const COLUMNS_MAX: usize = 200;
/// Shades from the fastest to the slowest.
const SHADES: usize = 16;
/// Their ends, on light and on dark ground.
const LIGHT: [[u8; 3]; 2] = [[0xee, 0xf3, 0xf8], [0xc0, 0x5f, 0x00]];
const DARK: [[u8; 3]; 2] = [[0x20, 0x26, 0x2e], [0xf0, 0xa5, 0x4a]];

/// A stretch of time: its ends, ns, and a value of each row.
struct Column {
    time_ns: Range<i64>,
    values: Vec<Option<i64>>,
}

/// The cell with the greatest value.
struct Worst {
    row: usize,
    from_ns: i64,
    value: i64,
}

/// The document. `None` where no time of any client is known.
pub(super) fn svg(points: &[SeriesPoint]) -> Option<String> {
    let first = points.iter().find_map(|point| point.clients.as_ref())?;
    let columns = columns(points, first);
    let shades = Shades::of(&columns)?;
    let worst = worst(&columns)?;
    let rows = columns.first()?.values.len();
    let height = (rows as f64 * ROW_HEIGHT).clamp(MAP_HEIGHT.start, MAP_HEIGHT.end);
    let name = name_of(first.time());
    let summary = format!(
        "worst: {}, {} at {} s",
        row_name(first, worst.row),
        time(worst.value),
        few_digits(worst.from_ns as f64 / 1e9)
    );
    let (title, bottom) = (format!("{name} p99 by client"), TOP + height);
    let whole = bottom + 44.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {whole}\" \
         width=\"{WIDTH}\" height=\"{whole}\" role=\"img\">\n<title>{title}, {summary}</title>\n\
         {}<rect class=\"ground\" width=\"{WIDTH}\" height=\"{whole}\"/>\n\
         <text class=\"title\" x=\"{LEFT}\" y=\"20\">{title}</text>\n\
         <text x=\"{LEFT}\" y=\"{}\">{}</text>\
         <text class=\"end\" x=\"{RIGHT}\" y=\"{}\">down to {}</text>\n\
         <g transform=\"translate(0 {TOP}) scale(1 {:.4})\" shape-rendering=\"crispEdges\">\n",
        style(),
        TOP - 8.0,
        row_name(first, 0),
        TOP - 8.0,
        row_name(first, rows - 1),
        height / rows as f64,
    );
    for (shade, path) in paths(&columns, &shades).iter().enumerate() {
        if !path.is_empty() {
            writeln!(svg, "<path class=\"s s{shade}\" d=\"{path}\"/>").expect("text");
        }
    }
    let span = span(&columns);
    let seconds = |ns: i64| format!("{} s", few_digits(ns as f64 / 1e9));
    writeln!(
        svg,
        "</g>\n<text x=\"{LEFT}\" y=\"{0}\">{1}</text>\
         <text class=\"end\" x=\"{RIGHT}\" y=\"{0}\">{2}</text>",
        bottom + 16.0,
        seconds(span.start),
        seconds(span.end)
    )
    .expect("text");
    legend(&mut svg, &shades, bottom + 34.0);
    writeln!(
        svg,
        "<text class=\"end\" x=\"{RIGHT}\" y=\"{}\">{summary}</text>",
        bottom + 34.0
    )
    .expect("text");
    Some(svg + "</svg>\n")
}

/// The points as columns. One whose rows are not those of the first has no place in the map.
fn columns(points: &[SeriesPoint], first: &ClientTimes) -> Vec<Column> {
    let each = points.len().div_ceil(COLUMNS_MAX).max(1);
    let rows = first.by_row().len();
    let is_alike = |of: &&ClientTimes| {
        (of.time, of.clients, of.clients_per_row)
            == (first.time, first.clients, first.clients_per_row)
    };
    let column = |points: &[SeriesPoint]| {
        let mut values = vec![None; rows];
        for of in points.iter().filter_map(|of| of.clients.as_ref()) {
            if is_alike(&of) {
                for (slowest, value) in values.iter_mut().zip(of.by_row()) {
                    *slowest = value.max(*slowest);
                }
            }
        }
        let ends = points
            .iter()
            .map(|of| of.from_ns.saturating_add(of.span_ns));
        let from_ns = points.first().map_or(0, |of| of.from_ns);
        Column {
            time_ns: from_ns..ends.max().unwrap_or(from_ns),
            values,
        }
    };
    points.chunks(each).map(column).collect()
}

fn span(columns: &[Column]) -> Range<i64> {
    let from = columns.iter().map(|of| of.time_ns.start).min();
    let to = columns.iter().map(|of| of.time_ns.end).max();
    from.unwrap_or(0)..to.unwrap_or(0)
}

fn worst(columns: &[Column]) -> Option<Worst> {
    let cells = columns.iter().flat_map(|column| {
        let values = column.values.iter().enumerate();
        values.filter_map(|(row, value)| {
            Some(Worst {
                row,
                from_ns: column.time_ns.start,
                value: (*value)?,
            })
        })
    });
    cells.reduce(|worst, cell| {
        if cell.value > worst.value {
            cell
        } else {
            worst
        }
    })
}

/// A line for each row and stretch of one shade: all lines of a shade are one path. Row r lies
/// between r and r + 1.
fn paths(columns: &[Column], shades: &Shades) -> Vec<String> {
    let mut paths = vec![String::new(); SHADES];
    let span = span(columns);
    let at_x = |ns: i64| {
        let whole = (span.end as f64 - span.start as f64).max(1.0);
        LEFT + (ns as f64 - span.start as f64) / whole * (RIGHT - LEFT)
    };
    let rows = columns.first().map_or(0, |of| of.values.len());
    for row in 0..rows {
        let mut open: Option<(usize, Range<i64>)> = None;
        let mut close = |open: Option<(usize, Range<i64>)>| {
            if let Some((shade, time)) = open {
                let (from, to) = (at_x(time.start), at_x(time.end));
                write!(paths[shade], "M{from:.1} {row}.5H{to:.1}").expect("text");
            }
        };
        for column in columns {
            let shade = column.values[row].map(|value| shades.of_value(value));
            let goes_on = |(before, time): &(usize, Range<i64>)| {
                Some(*before) == shade && time.end == column.time_ns.start
            };
            match &mut open {
                Some(before) if goes_on(before) => before.1.end = column.time_ns.end,
                _ => close(std::mem::replace(
                    &mut open,
                    shade.map(|shade| (shade, column.time_ns.clone())),
                )),
            }
        }
        close(open);
    }
    paths
}

/// The scale: the least and the greatest of what is known, above 0.
struct Shades {
    least: f64,
    most: f64,
}

impl Shades {
    fn of(columns: &[Column]) -> Option<Self> {
        let known = || {
            columns
                .iter()
                .flat_map(|column| column.values.iter().flatten())
        };
        known().next()?;
        let above = || known().copied().filter(|value| *value > 0);
        let (least, most) = (above().min().unwrap_or(1), above().max().unwrap_or(1));
        Some(Self {
            least: least as f64,
            most: most as f64,
        })
    }

    fn of_value(&self, value: i64) -> usize {
        if self.most <= self.least {
            return 0;
        }
        let share = (value as f64).max(self.least) / self.least;
        let share = share.ln() / (self.most / self.least).ln();
        ((share * SHADES as f64) as usize).min(SHADES - 1)
    }
}

fn legend(svg: &mut String, shades: &Shades, y: f64) {
    let width = 8.0;
    let least = time(shades.least as i64);
    let from = LEFT + 8.0 * least.chars().count() as f64;
    write!(svg, "<text x=\"{LEFT}\" y=\"{y}\">{least}</text>").expect("text");
    for shade in 0..SHADES {
        let x = from + width * shade as f64;
        write!(
            svg,
            "<path class=\"l s{shade}\" d=\"M{x:.0} {:.0}h{width}\"/>",
            y - 4.0
        )
        .expect("text");
    }
    let behind = from + width * SHADES as f64 + 8.0;
    let most = time(shades.most as i64);
    writeln!(svg, "<text x=\"{behind:.0}\" y=\"{y}\">{most}</text>").expect("text");
}

fn row_name(of: &ClientTimes, row: usize) -> String {
    let clients = of.clients_of(u32::try_from(row).unwrap_or(u32::MAX));
    match clients.len() {
        0 | 1 => format!("client {}", clients.start),
        _ => format!("clients {}–{}, the slowest", clients.start, clients.end - 1),
    }
}

fn name_of(time: Metric) -> &'static str {
    match time {
        Metric::Latency => "latency",
        Metric::Spread => "spread",
        Metric::OneWay => "one-way",
        _ => "time",
    }
}

fn style() -> String {
    let mut style = String::from(
        "<style>text{font:12px system-ui,sans-serif;fill:#5d6672}.title{font-weight:bold;\
         fill:#1b1e23}.end{text-anchor:end}.ground{fill:#fff}.s{stroke-width:1}.l{stroke-width:10}",
    );
    shades(&mut style, LIGHT);
    style.push_str(
        "@media(prefers-color-scheme:dark){text{fill:#9aa3af}.title{fill:#e9ebee}\
         .ground{fill:#1b1e23}",
    );
    shades(&mut style, DARK);
    style + "}</style>\n"
}

fn shades(style: &mut String, [cold, hot]: [[u8; 3]; 2]) {
    for shade in 0..SHADES {
        let share = shade as f64 / (SHADES - 1) as f64;
        let mixed = |at: usize| {
            let (from, to) = (f64::from(cold[at]), f64::from(hot[at]));
            (from + (to - from) * share).round() as u8
        };
        let (red, green, blue) = (mixed(0), mixed(1), mixed(2));
        write!(style, ".s{shade}{{stroke:#{red:02x}{green:02x}{blue:02x}}}").expect("text");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn point(second: i64, clients: u32, values: &[(u32, i64)]) -> SeriesPoint {
        let empty = ClientTimes::empty(Metric::Latency, clients);
        SeriesPoint {
            from_ns: second * SECOND,
            span_ns: SECOND,
            clients: Some(empty.with(values.iter().copied())),
            ..SeriesPoint::default()
        }
    }

    #[test]
    fn neighbours_of_one_shade_are_one_line_and_what_is_not_known_is_a_gap() {
        let points = [
            point(0, 2, &[(0, 1_000), (1, 1_000)]),
            point(1, 2, &[(0, 1_000)]),
            point(2, 2, &[(0, 1_000_000), (1, 1_000)]),
        ];
        let first = points[0].clients.as_ref().unwrap();
        let columns = columns(&points, first);
        let paths = paths(&columns, &Shades::of(&columns).unwrap());
        assert_eq!(paths[0], "M16.0 0.5H474.7M16.0 1.5H245.3M474.7 1.5H704.0");
        assert_eq!(paths[SHADES - 1], "M474.7 0.5H704.0");
        let svg = svg(&points).unwrap();
        assert!(svg.contains("worst: client 0, 1.00 ms at 2 s"), "{svg}");
        assert!(roxmltree::Document::parse(&svg).is_ok());
    }

    #[test]
    fn what_is_not_known_is_no_picture() {
        assert_eq!(svg(&[]), None);
        assert_eq!(svg(&[SeriesPoint::default()]), None);
        assert_eq!(svg(&[point(0, 5, &[])]), None);
    }

    #[test]
    fn many_clients_over_a_long_time_are_a_small_file() {
        let points: Vec<_> = (0..400)
            .map(|second| {
                let of = |client: u32| (client, 1_000 << ((i64::from(client) + second) % 20));
                point(second, 2_560, &(0..2_560).map(of).collect::<Vec<_>>())
            })
            .collect();
        let svg = svg(&points).unwrap();
        assert!(
            svg.contains("clients 0–9, the slowest"),
            "{}",
            &svg[..3_000]
        );
        assert!(svg.len() < 1 << 20, "{} bytes", svg.len());
    }

    proptest! {
        #[test]
        fn whatever_another_program_has_written_is_a_picture_or_none(
            clients in prop::collection::vec(
                (any::<u32>(), 0..5_u32, prop::collection::vec((any::<u32>(), any::<i64>()), 0..5)),
                0..6,
            ),
            from_ns in any::<i64>(),
            span_ns in any::<i64>(),
        ) {
            let points = clients.into_iter().map(|(clients, clients_per_row, values)| SeriesPoint {
                from_ns,
                span_ns,
                clients: Some(ClientTimes {
                    clients,
                    clients_per_row,
                    rows: values.iter().map(|(row, _)| *row % 8).collect(),
                    p99_ns: values.iter().map(|(_, ns)| *ns).collect(),
                    ..ClientTimes::default()
                }),
                ..SeriesPoint::default()
            });
            if let Some(svg) = svg(&points.collect::<Vec<_>>()) {
                prop_assert!(roxmltree::Document::parse(&svg).is_ok());
                prop_assert!(!svg.contains("NaN") && !svg.contains("inf"));
            }
        }
    }
}
