//! Collects what is wrong with a body, so that everything is reported at once.

use std::fmt::Display;

use super::problem::{Answer, FieldError, Problem};

/// Faults of one body, each with the pointer of its field.
#[derive(Debug, Default)]
pub struct Faults(Vec<FieldError>);

impl Faults {
    /// Notes a fault.
    pub fn add(&mut self, pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) {
        self.0.push(FieldError {
            pointer: pointer.into(),
            detail: detail.into(),
            code,
        });
    }

    /// The value, or its fault.
    pub fn take<T, E: Display>(&mut self, pointer: &str, value: Result<T, E>) -> Option<T> {
        value
            .map_err(|error| self.add(pointer, "invalid", error.to_string()))
            .ok()
    }

    /// Reads each entry of a list that has at most `most`.
    pub fn list<T, E: Display>(
        &mut self,
        pointer: &str,
        most: usize,
        texts: &[String],
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        if texts.len() > most {
            self.add(pointer, "too_many", format!("at most {most} entries"));
            return Vec::new();
        }
        let entries = texts.iter().enumerate();
        entries
            .filter_map(|(at, text)| self.take(&format!("{pointer}/{at}"), read(text)))
            .collect()
    }

    /// Notes a number outside its range.
    pub fn range<N: PartialOrd + Display>(
        &mut self,
        pointer: &str,
        range: std::ops::RangeInclusive<N>,
        number: &N,
    ) {
        if !range.contains(number) {
            let detail = format!(
                "expected a whole number from {} to {}",
                range.start(),
                range.end()
            );
            self.add(pointer, "out_of_range", detail);
        }
    }

    /// The new value of a field that can be changed but not removed.
    pub fn set<T>(&mut self, pointer: &str, field: Option<Option<T>>) -> Option<T> {
        let given = field?;
        if given.is_none() {
            self.add(pointer, "invalid", "this cannot be removed");
        }
        given
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them as one answer.
    pub fn into_problem(self) -> Problem {
        Problem::fields(self.0)
    }

    /// Fails when there are any.
    pub fn finish(self) -> Answer<()> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(self.into_problem())
        }
    }
}
