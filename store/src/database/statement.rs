//! SQL that is written once.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use sqlx::Arguments;
use sqlx::error::BoxDynError;
use sqlx::postgres::PgArguments;

use super::Dialect;

/// A column of the table of values that a statement takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Column {
    Text(&'static str),
    Int(&'static str),
    Bytes(&'static str),
}

/// A statement in both dialects, made on first use and then kept.
///
/// In the template `{rows}` is the table of values, `{pg:…}` stands on PostgreSQL only and
/// `{lite:…}` on SQLite only.
pub(crate) struct Statement {
    template: &'static str,
    columns: &'static [Column],
    sqlite: OnceLock<Arc<str>>,
    postgres: OnceLock<Arc<str>>,
}

impl Statement {
    pub(crate) const fn new(template: &'static str) -> Self {
        Self::with_rows(template, &[])
    }

    pub(crate) const fn with_rows(template: &'static str, columns: &'static [Column]) -> Self {
        Self {
            template,
            columns,
            sqlite: OnceLock::new(),
            postgres: OnceLock::new(),
        }
    }

    pub(crate) fn sql(&self, dialect: Dialect) -> Arc<str> {
        let made = match dialect {
            Dialect::Sqlite => &self.sqlite,
            Dialect::Postgres => &self.postgres,
        };
        made.get_or_init(|| self.expand(dialect).into()).clone()
    }

    /// An empty table of values for this statement.
    pub(crate) fn rows(&self, dialect: Dialect) -> Rows {
        match dialect {
            Dialect::Sqlite => Rows::Json(JsonRows::default()),
            Dialect::Postgres => Rows::Arrays(ArrayRows {
                arrays: self.columns.iter().map(|&column| Array::of(column)).collect(),
                next: 0,
            }),
        }
    }

    fn expand(&self, dialect: Dialect) -> String {
        let own = match dialect {
            Dialect::Sqlite => "lite:",
            Dialect::Postgres => "pg:",
        };
        let mut sql = String::new();
        let mut rest = self.template;
        while let Some((before, marked)) = rest.split_once('{') {
            sql.push_str(before);
            let (mark, after) = marked.split_once('}').unwrap_or((marked, ""));
            if mark == "rows" {
                sql.push_str(&self.rows_sql(dialect));
            } else if let Some(text) = mark.strip_prefix(own) {
                sql.push_str(text);
            }
            rest = after;
        }
        sql.push_str(rest);
        match dialect {
            // To SQLite `$1` is a name, and `?1` a number.
            Dialect::Sqlite => sql.replace('$', "?"),
            Dialect::Postgres => sql,
        }
    }

    /// Number of the first argument after the template's own.
    fn first_free(&self) -> usize {
        let numbers = self.template.split('$').skip(1).filter_map(|after| {
            let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            after[..digits].parse::<usize>().ok()
        });
        numbers.max().unwrap_or(0) + 1
    }

    fn rows_sql(&self, dialect: Dialect) -> String {
        let first = self.first_free();
        let mut sql = String::from("(SELECT ");
        // Writing to a String cannot fail.
        match dialect {
            Dialect::Sqlite => {
                let mut cell = 0;
                for (n, column) in self.columns.iter().enumerate() {
                    let comma = if n == 0 { "" } else { ", " };
                    let _ = match column {
                        Column::Text(name) | Column::Int(name) => {
                            write!(sql, "{comma}j.value->>{cell} AS {name}")
                        }
                        Column::Bytes(name) => {
                            cell += 1;
                            let blobs = first + 1;
                            write!(
                                sql,
                                "{comma}substr(${blobs}, j.value->>{}, j.value->>{cell}) AS {name}",
                                cell - 1
                            )
                        }
                    };
                    cell += 1;
                }
                let _ = write!(sql, " FROM json_each(${first}) AS j)");
            }
            Dialect::Postgres => {
                let mut names = Vec::with_capacity(self.columns.len());
                let mut arrays = Vec::with_capacity(self.columns.len());
                for (n, column) in self.columns.iter().enumerate() {
                    let (name, kind) = match column {
                        Column::Text(name) => (name, "text"),
                        Column::Int(name) => (name, "bigint"),
                        Column::Bytes(name) => (name, "bytea"),
                    };
                    names.push(*name);
                    arrays.push(format!("${}::{kind}[]", first + n));
                }
                let _ = write!(
                    sql,
                    "* FROM UNNEST({}) AS u ({}))",
                    arrays.join(", "),
                    names.join(", ")
                );
            }
        }
        sql
    }
}

/// A table of values, filled cell by cell in the order of the statement's columns.
pub(crate) enum Rows {
    Json(JsonRows),
    Arrays(ArrayRows),
}

impl Rows {
    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        self.opt_text(Some(value))
    }

    pub(crate) fn opt_text(&mut self, value: Option<&str>) -> &mut Self {
        match self {
            Self::Json(rows) => rows.text(value),
            Self::Arrays(rows) => rows.text(value.map(|value| storable(value.to_owned()))),
        }
        self
    }

    /// A value whose text has nothing that JSON escapes, such as an id.
    pub(crate) fn id(&mut self, value: impl std::fmt::Display) -> &mut Self {
        match self {
            Self::Json(rows) => rows.plain(format_args!("\"{value}\"")),
            Self::Arrays(rows) => rows.text(Some(value.to_string())),
        }
        self
    }

    pub(crate) fn int(&mut self, value: i64) -> &mut Self {
        self.opt_int(Some(value))
    }

    pub(crate) fn opt_int(&mut self, value: Option<i64>) -> &mut Self {
        match (&mut *self, value) {
            (Self::Json(rows), Some(value)) => rows.plain(format_args!("{value}")),
            (Self::Json(rows), None) => rows.plain(format_args!("null")),
            (Self::Arrays(rows), value) => rows.int(value),
        }
        self
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        match self {
            Self::Json(rows) => rows.bytes(value),
            Self::Arrays(rows) => rows.bytes(value),
        }
        self
    }

    /// Ends a row.
    pub(crate) fn end(&mut self) {
        match self {
            Self::Json(rows) => rows.end(),
            Self::Arrays(rows) => rows.next = 0,
        }
    }
}

/// `[[cell, …], …]`; bytes are kept beside it in one buffer, their cells are offset and length.
#[derive(Default)]
pub(crate) struct JsonRows {
    json: String,
    blobs: Vec<u8>,
    has_blobs: bool,
    in_row: bool,
}

impl JsonRows {
    fn before_cell(&mut self) {
        if self.in_row {
            self.json.push(',');
        } else {
            self.json.push_str(if self.json.is_empty() { "[[" } else { ",[" });
            self.in_row = true;
        }
    }

    fn plain(&mut self, cell: std::fmt::Arguments<'_>) {
        self.before_cell();
        // Writing to a String cannot fail.
        let _ = self.json.write_fmt(cell);
    }

    fn text(&mut self, value: Option<&str>) {
        let Some(value) = value else {
            return self.plain(format_args!("null"));
        };
        self.before_cell();
        self.json.push('"');
        let mut rest = value;
        while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
            self.json.push_str(&rest[..at]);
            match rest.as_bytes()[at] {
                0 => self.json.push(char::REPLACEMENT_CHARACTER),
                byte @ (b'"' | b'\\') => {
                    self.json.push('\\');
                    self.json.push(char::from(byte));
                }
                byte => {
                    let _ = write!(self.json, "\\u{byte:04x}");
                }
            }
            rest = &rest[at + 1..];
        }
        self.json.push_str(rest);
        self.json.push('"');
    }

    fn bytes(&mut self, value: &[u8]) {
        self.has_blobs = true;
        // SQLite counts from 1.
        let (start, length) = (self.blobs.len() + 1, value.len());
        self.plain(format_args!("{start}"));
        self.plain(format_args!("{length}"));
        self.blobs.extend_from_slice(value);
    }

    fn end(&mut self) {
        self.json.push(']');
        self.in_row = false;
    }

    /// The table, and the bytes beside it.
    pub(super) fn finish(mut self) -> (String, Option<Vec<u8>>) {
        self.json.push_str(if self.json.is_empty() { "[]" } else { "]" });
        (self.json, self.has_blobs.then_some(self.blobs))
    }
}

/// One array per column.
pub(crate) struct ArrayRows {
    arrays: Vec<Array>,
    next: usize,
}

enum Array {
    Text(Vec<Option<String>>),
    Int(Vec<Option<i64>>),
    Bytes(Vec<Option<Vec<u8>>>),
}

impl Array {
    fn of(column: Column) -> Self {
        match column {
            Column::Text(_) => Self::Text(Vec::new()),
            Column::Int(_) => Self::Int(Vec::new()),
            Column::Bytes(_) => Self::Bytes(Vec::new()),
        }
    }
}

impl ArrayRows {
    fn current(&mut self) -> Option<&mut Array> {
        self.next += 1;
        self.arrays.get_mut(self.next - 1)
    }

    fn text(&mut self, value: Option<String>) {
        if let Some(Array::Text(values)) = self.current() {
            values.push(value);
        }
    }

    fn int(&mut self, value: Option<i64>) {
        if let Some(Array::Int(values)) = self.current() {
            values.push(value);
        }
    }

    fn bytes(&mut self, value: &[u8]) {
        if let Some(Array::Bytes(values)) = self.current() {
            values.push(Some(value.to_vec()));
        }
    }

    pub(super) fn add_to(self, values: &mut PgArguments) -> Result<(), BoxDynError> {
        for array in self.arrays {
            match array {
                Array::Text(array) => Arguments::add(values, array)?,
                Array::Int(array) => Arguments::add(values, array)?,
                Array::Bytes(array) => Arguments::add(values, array)?,
            }
        }
        Ok(())
    }
}

/// PostgreSQL's text cannot hold NUL, which a stranger may well send: it becomes U+FFFD in both
/// dialects.
pub(crate) fn storable(text: String) -> String {
    if text.as_bytes().contains(&0) {
        text.replace('\0', "\u{FFFD}")
    } else {
        text
    }
}
