//! The results: rows with a unit and, where there is one, the mark they should reach.

use std::io::Write;
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::error::{LoadError, Result};
use crate::latency::LatencySummary;
use crate::machine::Machine;

/// Everything that one run of the tool found out.
#[derive(Debug, Serialize)]
pub struct Report {
    pub format: u32,
    pub date: String,
    pub machine: Machine,
    pub build: Build,
    pub scenarios: Vec<Section>,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Build {
    pub commit: Option<String>,
    pub roost: String,
    pub roost_version: String,
    pub roost_load_version: &'static str,
    /// Whether this generator was built without optimisation; its numbers are then worth little.
    pub generator_is_debug: bool,
}

/// The results of one scenario with one set of parameters.
#[derive(Debug, Serialize)]
pub struct Section {
    pub scenario: &'static str,
    pub parameters: serde_json::Value,
    pub rows: Vec<Row>,
    /// What the reader has to know to read the rows.
    pub notes: Vec<String>,
    /// Promises that were broken: something lost, doubled, out of place.
    pub faults: Vec<String>,
}

/// One number.
#[derive(Debug, Serialize)]
pub struct Row {
    pub metric: String,
    pub value: f64,
    pub unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
}

/// What a number should be.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Mark {
    /// Which side of the mark is good.
    pub better: Better,
    pub reach: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aim: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    Lower,
    Higher,
}

/// How a number compares with its mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Missed,
    Reached,
    Aimed,
}

impl Mark {
    /// At most `reach`.
    pub fn at_most(reach: f64, aim: Option<f64>) -> Self {
        Self {
            better: Better::Lower,
            reach,
            aim,
        }
    }

    /// At least `reach`.
    pub fn at_least(reach: f64, aim: Option<f64>) -> Self {
        Self {
            better: Better::Higher,
            reach,
            aim,
        }
    }

    fn holds(self, value: f64, bound: f64) -> bool {
        match self.better {
            Better::Lower => value <= bound,
            Better::Higher => value >= bound,
        }
    }

    /// The verdict on a value.
    pub fn verdict(self, value: f64) -> Verdict {
        if self.aim.is_some_and(|aim| self.holds(value, aim)) {
            Verdict::Aimed
        } else if self.holds(value, self.reach) {
            Verdict::Reached
        } else {
            Verdict::Missed
        }
    }
}

impl Section {
    /// The number of a metric that has a row.
    #[cfg(test)]
    pub fn value(&self, metric: &str) -> f64 {
        let row = self.rows.iter().find(|row| row.metric == metric);
        row.unwrap().value
    }

    /// An empty section.
    pub fn new(scenario: &'static str, parameters: serde_json::Value) -> Self {
        Self {
            scenario,
            parameters,
            rows: Vec::new(),
            notes: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// Adds a number.
    pub fn row(&mut self, metric: impl Into<String>, value: f64, unit: &'static str) {
        self.rows.push(Row {
            metric: metric.into(),
            value,
            unit,
            mark: None,
        });
    }

    /// Adds a number that has a mark.
    pub fn marked(&mut self, metric: impl Into<String>, value: f64, unit: &'static str, mark: Mark) {
        self.row(metric, value, unit);
        if let Some(row) = self.rows.last_mut() {
            row.mark = Some(mark);
        }
    }

    /// Adds the percentiles of a latency; `p99` is its mark, where it has one.
    pub fn latency(&mut self, name: &str, latency: &LatencySummary, p99: Option<Mark>) {
        self.row(format!("{name}, p50"), latency.p50_ms, "ms");
        self.row(format!("{name}, p90"), latency.p90_ms, "ms");
        match p99 {
            Some(mark) => self.marked(format!("{name}, p99"), latency.p99_ms, "ms", mark),
            None => self.row(format!("{name}, p99"), latency.p99_ms, "ms"),
        }
        self.row(format!("{name}, p99.9"), latency.p999_ms, "ms");
        self.row(format!("{name}, max"), latency.max_ms, "ms");
    }

    /// Adds a fault when something that must not happen did.
    pub fn must_be_zero(&mut self, count: usize, what: &str) {
        if count > 0 {
            self.faults.push(format!("{count} {what}"));
        }
    }

    /// The section as text.
    pub fn render(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_header(["metric", "value", "unit", "reach", "aim", ""]);
        for row in &self.rows {
            let mark = row.mark;
            let verdict = match mark.map(|mark| mark.verdict(row.value)) {
                None => "",
                Some(Verdict::Missed) => "MISSED",
                Some(Verdict::Reached) => "reached",
                Some(Verdict::Aimed) => "aim reached",
            };
            let bound = |bound: Option<f64>| bound.map_or_else(String::new, number);
            table.add_row([
                row.metric.clone(),
                number(row.value),
                row.unit.to_owned(),
                bound(mark.map(|mark| mark.reach)),
                bound(mark.and_then(|mark| mark.aim)),
                verdict.to_owned(),
            ]);
        }
        for column in [1, 3, 4] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let mut text = format!("{} {}\n{table}\n", self.scenario, self.parameters);
        for note in &self.notes {
            text.push_str(&format!("  note: {note}\n"));
        }
        for fault in &self.faults {
            text.push_str(&format!("  FAULT: {fault}\n"));
        }
        text
    }
}

impl Report {
    /// The head of the report as text.
    pub fn render_head(&self) -> String {
        let machine = &self.machine;
        let mut text = format!(
            "{} · {} cores · {:.1} GiB · {} · Linux {} · {}, fsync {:.2} ms\n{} ({}){}\n",
            self.date,
            machine.cores,
            machine.memory_bytes as f64 / f64::from(1 << 30),
            machine.cpu,
            machine.kernel,
            machine.filesystem,
            machine.fsync_ms,
            self.build.roost,
            self.build.roost_version,
            self.build
                .commit
                .as_ref()
                .map_or_else(String::new, |commit| format!(" commit {commit}")),
        );
        if self.build.generator_is_debug {
            text.push_str("warning: roost-load is a debug build and slows down what it measures\n");
        }
        if machine.filesystem == "tmpfs" {
            text.push_str("warning: the database is in memory; choose a disk with --work-dir\n");
        }
        text
    }

    /// Whether no promise was broken.
    pub fn is_sound(&self) -> bool {
        self.scenarios.iter().all(|section| section.faults.is_empty())
    }

    /// Writes the report as JSON: to a file beside first, so that a report is whole or not there.
    pub fn write_json(&self, path: &Path) -> Result<()> {
        let error = |source| LoadError::File {
            what: "cannot write",
            path: path.to_owned(),
            source,
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(error)?;
        serde_json::to_writer_pretty(&mut file, self).map_err(|source| error(source.into()))?;
        file.write_all(b"\n").map_err(error)?;
        file.persist(path).map_err(|failed| error(failed.error))?;
        Ok(())
    }
}

/// A number with as many digits as a reader needs.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        middle if middle >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_tells_missed_reached_and_aimed_apart() {
        let lower = Mark::at_most(200.0, Some(120.0));
        assert_eq!(lower.verdict(201.0), Verdict::Missed);
        assert_eq!(lower.verdict(200.0), Verdict::Reached);
        assert_eq!(lower.verdict(120.0), Verdict::Aimed);
        let higher = Mark::at_least(3_000.0, Some(5_000.0));
        assert_eq!(higher.verdict(2_999.0), Verdict::Missed);
        assert_eq!(higher.verdict(3_000.0), Verdict::Reached);
        assert_eq!(higher.verdict(5_000.0), Verdict::Aimed);
        assert_eq!(Mark::at_most(5.0, None).verdict(1.0), Verdict::Reached);
    }

    #[test]
    fn a_section_shows_its_rows_notes_and_faults() {
        let mut section = Section::new("send", serde_json::json!({"rate": 500}));
        section.marked("sent", 2_500.0, "1/s", Mark::at_least(3_000.0, None));
        section.notes.push("a note".to_owned());
        section.must_be_zero(0, "lost");
        section.must_be_zero(2, "sent twice");
        let text = section.render();
        for part in [
            "send {\"rate\":500}",
            "2500",
            "MISSED",
            "note: a note",
            "FAULT: 2 sent twice",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert_eq!(section.faults.len(), 1);
    }

    #[test]
    fn numbers_have_three_digits_that_count() {
        for (value, text) in [
            (0.0, "0"),
            (0.012_34, "0.0123"),
            (0.5, "0.50"),
            (12.345, "12.3"),
            (1_234.5, "1234"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
