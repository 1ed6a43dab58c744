//! The table and the JSON.

use crate::cli::print;

/// Every figure of a run.
pub(super) struct Report {
    payload: u32,
    rows: Vec<Row>,
}

/// One figure, and what it is held against.
pub(super) struct Row {
    pub(super) what: &'static str,
    /// What an acknowledgement meant.
    pub(super) durability: &'static str,
    pub(super) batch: u32,
    pub(super) figure: f64,
    pub(super) unit: &'static str,
    /// What it is held against, measured in this run, in the same unit.
    pub(super) yardstick: Option<(&'static str, f64)>,
    /// What it should reach: a ratio to the yardstick, or a figure.
    pub(super) goal: Goal,
}

/// What a figure should reach.
#[derive(Clone, Copy)]
pub(super) enum Goal {
    RatioAtLeast(f64),
    RatioAtMost(f64),
    AtLeast(f64),
    AtMost(f64),
    /// Nothing: it is there to be compared with.
    None,
}

impl Report {
    pub(super) fn new(payload: u32) -> Self {
        Self {
            payload,
            rows: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, row: Row) {
        print::note(&format!(
            "  {}: {} {}",
            row.what,
            told(row.figure),
            row.unit
        ));
        self.rows.push(row);
    }

    pub(super) fn print(&self, json: bool) {
        if json {
            let rows: Vec<_> = self.rows.iter().map(Row::json).collect();
            return print::json(
                &serde_json::json!({ "payload_bytes": self.payload, "figures": rows }),
            );
        }
        print::line(&format!(
            "payloads of {} bytes; yardsticks measured in this run, on this disk",
            self.payload
        ));
        let heads = [
            "what",
            "durability",
            "batch",
            "figure",
            "unit",
            "ratio",
            "yardstick",
            "",
            "goal",
            "met",
        ];
        let rows: Vec<_> = self.rows.iter().map(Row::cells).collect();
        print::table(&heads, &rows);
    }
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.yardstick.map(|(_, yardstick)| self.figure / yardstick)
    }

    fn met(&self) -> Option<bool> {
        match self.goal {
            Goal::RatioAtLeast(goal) => self.ratio().map(|ratio| ratio >= goal),
            Goal::RatioAtMost(goal) => self.ratio().map(|ratio| ratio <= goal),
            Goal::AtLeast(goal) => Some(self.figure >= goal),
            Goal::AtMost(goal) => Some(self.figure <= goal),
            Goal::None => None,
        }
    }

    fn goal(&self) -> String {
        match self.goal {
            Goal::RatioAtLeast(goal) => format!("≥ {goal} of it"),
            Goal::RatioAtMost(goal) => format!("≤ {goal} of it"),
            Goal::AtLeast(goal) => format!("≥ {}", told(goal)),
            Goal::AtMost(goal) => format!("≤ {}", told(goal)),
            Goal::None => String::new(),
        }
    }

    fn cells(&self) -> Vec<String> {
        let (yardstick, name) = self
            .yardstick
            .map_or((String::new(), ""), |(name, figure)| (told(figure), name));
        vec![
            self.what.to_owned(),
            self.durability.to_owned(),
            self.batch.to_string(),
            told(self.figure),
            self.unit.to_owned(),
            self.ratio()
                .map_or(String::new(), |ratio| format!("{ratio:.2}")),
            yardstick,
            name.to_owned(),
            self.goal(),
            self.met()
                .map_or("", |met| if met { "yes" } else { "no" })
                .to_owned(),
        ]
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "what": self.what,
            "durability": self.durability,
            "batch": self.batch,
            "figure": self.figure,
            "unit": self.unit,
            "yardstick": self.yardstick.map(|(name, _)| name),
            "yardstick_figure": self.yardstick.map(|(_, figure)| figure),
            "ratio": self.ratio(),
            "goal": self.goal(),
            "met": self.met(),
        })
    }
}

/// Three digits are more than such a figure can bear.
fn told(figure: f64) -> String {
    if figure >= 1e6 {
        format!("{:.2}M", figure / 1e6)
    } else if figure >= 1e4 {
        format!("{:.0}k", figure / 1e3)
    } else if figure >= 100.0 {
        format!("{figure:.0}")
    } else {
        format!("{figure:.2}")
    }
}
