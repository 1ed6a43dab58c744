//! A chart as a self-contained SVG: no script, no font, no link, light or dark as the reader's page.

use crate::chart::{Chart, Frame, figure};

const WIDE: f64 = 720.0;
const HIGH: f64 = 400.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 44.0;
/// Below the axis: its marks, its label, and a row of the legend for each two lines.
const BELOW: f64 = 52.0;
const ROW: f64 = 18.0;

/// Colours that are told apart by nearly everybody (Okabe and Ito, "Color Universal Design", 2008),
/// and dashes for those who see none.
const INK: [(&str, &str); 7] = [
    ("#0072b2", "none"),
    ("#d55e00", "7 3"),
    ("#009e73", "2 3"),
    ("#cc79a7", "9 3 2 3"),
    ("#e69f00", "5 2"),
    ("#56b4e9", "1 2"),
    ("#888888", "12 4"),
];

const STYLE: &str = "<style>svg{background:#fff;color:#222;font:12px system-ui,sans-serif}\
text{fill:currentColor}.grid{stroke:#8884;stroke-width:1}.band{fill:#d55e0022}\
@media(prefers-color-scheme:dark){svg{background:#16181c;color:#ddd}}</style>";

/// Draws a chart.
#[must_use]
pub fn svg(chart: &Chart) -> String {
    let rows = f64::from(u16::try_from(chart.lines.len().div_ceil(2)).unwrap_or(u16::MAX));
    let high = rows.mul_add(ROW, HIGH);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDE} {high}\" role=\"img\" aria-label=\"{title}\">\n{STYLE}\n<text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{title}</text>\n",
        title = escaped(&chart.title)
    );
    if let Some(frame) = Frame::around(chart) {
        let mut drawing = Drawing {
            text: &mut text,
            frame,
        };
        drawing.bands(chart);
        drawing.grid(chart);
        drawing.lines(chart);
        drawing.legend(chart);
    }
    text += "</svg>\n";
    text
}

struct Drawing<'a> {
    text: &'a mut String,
    frame: Frame,
}

impl Drawing<'_> {
    fn put(&mut self, element: &str) {
        self.text.push_str(element);
        self.text.push('\n');
    }

    fn x(&self, x: f64) -> f64 {
        self.frame.across(x).mul_add(WIDE - LEFT - RIGHT, LEFT)
    }

    fn y(&self, y: f64) -> f64 {
        let bottom = HIGH - BELOW;
        bottom - self.frame.up(y) * (bottom - TOP)
    }

    fn bands(&mut self, chart: &Chart) {
        let bottom = HIGH - BELOW;
        for (from, to, what) in &chart.bands {
            let (from, to) = (self.x(*from), self.x(*to));
            let (wide, high, middle) = (to - from, bottom - TOP, f64::midpoint(from, to));
            let what = escaped(what);
            self.put(&format!("<rect class=\"band\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{wide:.1}\" height=\"{high}\"/>"));
            self.put(&format!(
                "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{what}</text>",
                TOP - 5.0
            ));
        }
    }

    fn grid(&mut self, chart: &Chart) {
        let (right, bottom) = (WIDE - RIGHT, HIGH - BELOW);
        for step in 0..=5 {
            let value = self.frame.top * f64::from(step) / 5.0;
            let y = self.y(value);
            self.put(&format!(
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>"
            ));
            self.put(&format!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                y + 4.0,
                figure(value)
            ));
        }
        for mark in self.frame.marks() {
            let x = self.x(mark);
            self.put(&format!(
                "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/>"
            ));
            self.put(&format!(
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 16.0,
                figure(mark)
            ));
        }
        let (middle, below) = (f64::midpoint(LEFT, right), bottom + 34.0);
        let (across, up) = (escaped(&chart.x.label), escaped(&chart.y.label));
        self.put(&format!(
            "<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">{across}</text>"
        ));
        let middle = f64::midpoint(TOP, bottom);
        self.put(&format!("<text transform=\"translate(16 {middle}) rotate(-90)\" text-anchor=\"middle\">{up}</text>"));
    }

    fn lines(&mut self, chart: &Chart) {
        // The first of the legend lies on top.
        for (number, line) in chart.lines.iter().enumerate().rev() {
            let (colour, dashes) = INK[number % INK.len()];
            let points: Vec<String> = line
                .points
                .iter()
                .map(|(x, y)| format!("{:.1},{:.1}", self.x(*x), self.y(*y)))
                .collect();
            self.put(&format!("<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\" stroke-linejoin=\"round\" stroke-dasharray=\"{dashes}\" points=\"{}\"/>", points.join(" ")));
        }
    }

    fn legend(&mut self, chart: &Chart) {
        let mut y = HIGH - 2.0;
        for (row, pair) in chart.lines.chunks(2).enumerate() {
            let mut x = LEFT;
            for (place, line) in pair.iter().enumerate() {
                let (colour, dashes) = INK[(row * 2 + place) % INK.len()];
                let (end, name) = (x + 28.0, escaped(&line.name));
                self.put(&format!("<path stroke=\"{colour}\" stroke-width=\"2.5\" stroke-dasharray=\"{dashes}\" d=\"M{x} {:.1}H{end}\"/>", y - 4.0));
                self.put(&format!(
                    "<text x=\"{}\" y=\"{y}\">{name}</text>",
                    end + 6.0
                ));
                x += (WIDE - LEFT - RIGHT) / 2.0;
            }
            y += ROW;
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::{Axis, Line};

    #[test]
    fn it_is_whole_and_says_what_it_shows() {
        let axis = |label: &str| Axis {
            label: label.to_owned(),
            logarithmic: true,
        };
        let drawn = svg(&Chart {
            title: "a < b".to_owned(),
            x: axis("offered load"),
            y: axis("goodput"),
            lines: vec![Line {
                name: "\"default\"".to_owned(),
                points: vec![(1.0, 0.0), (10.0, 1.0)],
            }],
            bands: Vec::new(),
        });
        for wanted in [
            "a &lt; b",
            "offered load",
            "&quot;default&quot;",
            "points=\"64.0,348.0 704.0,44.0\"",
            "</svg>",
        ] {
            assert!(drawn.contains(wanted), "{wanted} in {drawn}");
        }
        assert!(!drawn.contains("href"), "it needs nothing else");
    }
}
