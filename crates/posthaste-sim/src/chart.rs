//! What is drawn: lines over two axes, as numbers. How it looks is told by [`plot`](crate::plot()) and
//! [`svg`](crate::svg()).

/// A drawing.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// Along the bottom.
    pub x: Axis,
    /// Along the side, from 0.
    pub y: Axis,
    /// The lines, in the order of the legend.
    pub lines: Vec<Line>,
    /// Stretches of x in which something was wrong, each with what it was.
    pub bands: Vec<(f64, f64, String)>,
}

/// One axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// What is measured, with its unit.
    pub label: String,
    /// Equal steps are equal factors.
    pub logarithmic: bool,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What it is.
    pub name: String,
    /// Its points, by rising x.
    pub points: Vec<(f64, f64)>,
}

/// Where the axes begin and end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) left: f64,
    pub(crate) right: f64,
    pub(crate) top: f64,
    logarithmic: bool,
}

impl Frame {
    /// Around all lines; none around nothing.
    pub(crate) fn around(chart: &Chart) -> Option<Self> {
        let points = || chart.lines.iter().flat_map(|line| &line.points);
        let left = points().map(|point| point.0).reduce(f64::min)?;
        let right = points().map(|point| point.0).reduce(f64::max)?;
        let highest = points().map(|point| point.1).fold(0.0, f64::max);
        Some(Self {
            left,
            right,
            top: round_up(highest),
            logarithmic: chart.x.logarithmic && left > 0.0,
        })
    }

    /// How far along the bottom, from 0 to 1.
    pub(crate) fn across(&self, x: f64) -> f64 {
        let (left, x, right) = if self.logarithmic {
            (self.left.ln(), x.ln(), self.right.ln())
        } else {
            (self.left, x, self.right)
        };
        if right > left {
            (x - left) / (right - left)
        } else {
            0.5
        }
    }

    /// How far up, from 0 to 1.
    pub(crate) fn up(&self, y: f64) -> f64 {
        (y / self.top).clamp(0.0, 1.0)
    }

    /// Where marks stand along the bottom.
    pub(crate) fn marks(&self) -> Vec<f64> {
        if self.logarithmic {
            let steps = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0];
            let inside = |mark: &f64| *mark >= self.left * 0.999 && *mark <= self.right * 1.001;
            return steps.into_iter().filter(inside).collect();
        }
        let step = round_up((self.right - self.left) / 8.0).max(1e-9);
        let first = (self.left / step).ceil();
        let mark = |count: u32| (first + f64::from(count)) * step;
        (0..16)
            .map(mark)
            .take_while(|mark| *mark <= self.right + step * 1e-6)
            .collect()
    }
}

/// The next of 1, 2, 2.5 and 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 1.2, 1.5, 2.0, 2.5, 5.0, 10.0];
    let enough = |step: &f64| *step * power >= value * 0.999_999;
    steps.into_iter().find(enough).unwrap_or(10.0) * power
}

/// A number on an axis, without needless noughts.
pub(crate) fn figure(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(logarithmic: bool, points: &[(f64, f64)]) -> Chart {
        let axis = |logarithmic| Axis {
            label: String::new(),
            logarithmic,
        };
        Chart {
            title: String::new(),
            x: axis(logarithmic),
            y: axis(false),
            lines: vec![Line {
                name: String::new(),
                points: points.to_vec(),
            }],
            bands: Vec::new(),
        }
    }

    #[test]
    fn a_logarithmic_axis_has_equal_steps_for_equal_factors() {
        let frame = Frame::around(&chart(true, &[(0.5, 0.0), (8.0, 0.93)])).expect("points");
        assert!((frame.across(2.0) - 0.5).abs() < 1e-9);
        assert_eq!(frame.marks(), [0.5, 1.0, 2.0, 5.0]);
        assert!((frame.top - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_plain_axis_has_round_marks() {
        let frame = Frame::around(&chart(false, &[(0.0, 0.0), (35.0, 1.13)])).expect("points");
        assert_eq!(
            frame.marks(),
            [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0]
        );
        assert!((frame.top - 1.2).abs() < 1e-9);
        assert!(Frame::around(&chart(false, &[])).is_none());
    }

    #[test]
    fn figures_have_no_needless_noughts() {
        assert_eq!(figure(0.5), "0.5");
        assert_eq!(figure(10.0), "10");
    }
}
