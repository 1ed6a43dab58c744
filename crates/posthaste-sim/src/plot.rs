//! A chart in a terminal: a grid of characters.

use crate::chart::{Chart, Frame, figure};

/// Columns of the grid.
const WIDE: u16 = 64;
/// Rows of the grid.
const HIGH: u16 = 14;

/// What lines are drawn with, and the frame.
struct Ink {
    lines: [char; 6],
    side: char,
    corner: char,
    bottom: char,
    band: char,
}

const UNICODE: Ink = Ink {
    lines: ['●', '○', '▲', '△', '■', '□'],
    side: '│',
    corner: '└',
    bottom: '─',
    band: '░',
};

const ASCII: Ink = Ink {
    lines: ['*', 'o', 'x', '+', '#', '@'],
    side: '|',
    corner: '+',
    bottom: '-',
    band: '.',
};

/// Draws a chart as lines of text. With `ascii`, with nothing but ASCII.
#[must_use]
pub fn plot(chart: &Chart, ascii: bool) -> String {
    let ink = if ascii { ASCII } else { UNICODE };
    let Some(frame) = Frame::around(chart) else {
        return String::new();
    };
    let mut grid = vec![vec![' '; usize::from(WIDE)]; usize::from(HIGH)];
    for (from, to, _) in &chart.bands {
        let (from, to) = (column(frame.across(*from)), column(frame.across(*to)));
        for row in &mut grid {
            row[from..=to].fill(ink.band);
        }
    }
    // The first line of the legend lies on top.
    for (number, line) in chart.lines.iter().enumerate().rev() {
        for place in 0..WIDE {
            let across = f64::from(place) / f64::from(WIDE - 1);
            if let Some(y) = height(&line.points, across, &frame) {
                let row = place_of(1.0 - frame.up(y), HIGH);
                grid[row][usize::from(place)] = ink.lines[number % ink.lines.len()];
            }
        }
    }
    let mut text = format!("{}\n", chart.title);
    for (number, row) in grid.iter().enumerate() {
        let up = 1.0 - f64::from(u16::try_from(number).unwrap_or(0)) / f64::from(HIGH - 1);
        let mark = match number % 3 {
            1 => figure(frame.top * up),
            _ => String::new(),
        };
        let row: String = row.iter().collect();
        text += format!("{mark:>6} {}{}", ink.side, row).trim_end();
        text.push('\n');
    }
    text += &foot(chart, &frame, &ink);
    text
}

/// The axis below, and the legend.
fn foot(chart: &Chart, frame: &Frame, ink: &Ink) -> String {
    let width = usize::from(WIDE);
    let mut marks: Vec<char> = vec![' '; width + 8];
    for mark in frame.marks() {
        let at = column(frame.across(mark));
        for (place, letter) in figure(mark).chars().enumerate() {
            marks[at + place] = letter;
        }
    }
    let marks: String = marks.into_iter().collect();
    let bottom: String = std::iter::repeat_n(ink.bottom, width).collect();
    let mut text = format!("       {}{bottom}\n", ink.corner);
    text += format!("        {marks}").trim_end();
    text += &format!("  {}\n", chart.x.label);
    for (number, line) in chart.lines.iter().enumerate() {
        let letter = ink.lines[number % ink.lines.len()];
        text += &format!("        {letter} {}: {}\n", line.name, chart.y.label);
    }
    for (_, _, what) in &chart.bands {
        text += &format!("        {} {what}\n", ink.band);
    }
    text
}

/// How high a line is at this part of the width, straight between its points.
fn height(points: &[(f64, f64)], across: f64, frame: &Frame) -> Option<f64> {
    let near = 0.5 / f64::from(WIDE - 1);
    let at = |point: &(f64, f64)| frame.across(point.0);
    if let [only] = points {
        return ((at(only) - across).abs() <= near).then_some(only.1);
    }
    let pair = points
        .windows(2)
        .find(|pair| at(&pair[0]) <= across + near / 2.0 && across <= at(&pair[1]) + near / 2.0)?;
    let (left, right) = (at(&pair[0]), at(&pair[1]));
    let part = if right > left {
        (across - left) / (right - left)
    } else {
        0.0
    };
    Some(
        part.clamp(0.0, 1.0)
            .mul_add(pair[1].1 - pair[0].1, pair[0].1),
    )
}

fn column(across: f64) -> usize {
    place_of(across, WIDE)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is from 0 to the count of places"
)]
fn place_of(part: f64, count: u16) -> usize {
    (part.clamp(0.0, 1.0) * f64::from(count - 1)).round() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::{Axis, Line};

    fn chart() -> Chart {
        let axis = |label: &str| Axis {
            label: label.to_owned(),
            logarithmic: false,
        };
        let line = |name: &str, points: &[(f64, f64)]| Line {
            name: name.to_owned(),
            points: points.to_vec(),
        };
        Chart {
            title: "goodput".to_owned(),
            x: axis("seconds"),
            y: axis("goodput"),
            lines: vec![
                line("well", &[(0.0, 1.0), (10.0, 1.0)]),
                line("ill", &[(0.0, 1.0), (5.0, 0.0), (10.0, 0.0)]),
            ],
            bands: vec![(2.0, 4.0, "capacity x 0.4".to_owned())],
        }
    }

    #[test]
    fn each_line_is_drawn_where_it_is() {
        let text = plot(&chart(), true);
        let rows: Vec<&str> = text.lines().collect();
        let count = |row: usize, letter: char| rows[row].chars().filter(|it| *it == letter).count();
        assert_eq!(rows[0], "goodput");
        assert_eq!(count(1, '*'), usize::from(WIDE), "{text}");
        assert!((30..=36).contains(&count(usize::from(HIGH), 'o')), "{text}");
        assert!(rows[5].contains("..........."), "{text}");
        assert!(text.contains("* well: goodput"), "{text}");
        assert!(text.is_ascii(), "{text}");
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        let mut nothing = chart();
        nothing.lines.clear();
        assert_eq!(plot(&nothing, true), "");
    }
}
