use std::borrow::ToOwned;
use std::fs;
use std::path::{Path, PathBuf};
use std::string::{String, ToString};
use std::vec::Vec;

use super::error::TraceError;

/// A file of comma-separated values without quotes: one line of column names, then one record per line.
pub(super) struct Csv {
    path: PathBuf,
    columns: Vec<String>,
    text: String,
}

/// A column that a file has.
#[derive(Clone, Copy)]
pub(super) struct Column(usize);

/// One line.
pub(super) struct Record<'a> {
    csv: &'a Csv,
    line: usize,
    fields: Vec<&'a str>,
}

impl Csv {
    pub(super) fn read(path: &Path) -> Result<Self, TraceError> {
        let text = fs::read_to_string(path).map_err(|source| TraceError::read(path, source))?;
        let names = text.lines().next().unwrap_or_default();
        let columns = names
            .trim_start_matches('\u{feff}')
            .split(',')
            .map(|name| name.trim().to_owned());
        Ok(Self {
            path: path.to_path_buf(),
            columns: columns.collect(),
            text,
        })
    }

    pub(super) fn find(&self, name: &str) -> Option<Column> {
        self.columns.iter().position(|column| column == name).map(Column)
    }

    pub(super) fn column(&self, name: &str) -> Result<Column, TraceError> {
        self.find(name)
            .ok_or_else(|| TraceError::missing(&self.path, format_args!("column {name}")))
    }

    /// The records, empty lines left out.
    pub(super) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        (1..)
            .zip(self.text.lines())
            .skip(1)
            .filter(|(_, text)| !text.trim().is_empty())
            .map(|(line, text)| Record {
                csv: self,
                line,
                fields: text.split(',').map(str::trim).collect(),
            })
    }
}

impl<'a> Record<'a> {
    pub(super) fn text(&self, column: Column) -> &'a str {
        self.fields.get(column.0).copied().unwrap_or_default()
    }

    pub(super) fn whole(&self, column: Column) -> Result<u64, TraceError> {
        let parsed = self.text(column).parse();
        parsed.map_err(|_| self.wrong(column, "a whole number from 0"))
    }

    /// A number from 0; neither infinite nor absurd.
    pub(super) fn number(&self, column: Column) -> Result<f64, TraceError> {
        let parsed = self.text(column).parse::<f64>().ok();
        parsed
            .filter(|value| (0.0..1e15).contains(value))
            .ok_or_else(|| self.wrong(column, "a number from 0"))
    }

    pub(super) fn wrong(&self, column: Column, expected: &'static str) -> TraceError {
        TraceError::Field {
            path: self.csv.path.clone(),
            line: self.line,
            column: self.csv.columns.get(column.0).cloned().unwrap_or_default(),
            value: self.text(column).to_string(),
            expected,
        }
    }
}
