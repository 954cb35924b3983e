use std::borrow::Cow;
use std::format;
use std::fs;
use std::path::{Path, PathBuf};
use std::string::{String, ToString};
use std::vec::Vec;

use super::error::TraceError;
use crate::units::Count;

/// A file of comma-separated values: one line of column names, then one record per line. A field in quotes may hold
/// commas, and quotes that are doubled, but no line break.
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
    fields: Vec<Cow<'a, str>>,
}

impl Csv {
    pub(super) fn read(path: &Path) -> Result<Self, TraceError> {
        let text = fs::read_to_string(path).map_err(|source| TraceError::read(path, source))?;
        let names = text.lines().next().unwrap_or_default();
        let names = fields(names.trim_start_matches('\u{feff}'));
        let names = names.ok_or_else(|| TraceError::line(path, 1, UNCLOSED))?;
        Ok(Self {
            path: path.to_path_buf(),
            columns: names.into_iter().map(Cow::into_owned).collect(),
            text,
        })
    }

    /// The names of the columns as one text, cut where it gets long: the file may be anything.
    pub(super) fn heading(&self) -> String {
        self.columns.join(",").chars().take(100).collect()
    }

    pub(super) fn find(&self, name: &str) -> Option<Column> {
        self.columns.iter().position(|column| column == name).map(Column)
    }

    pub(super) fn column(&self, name: &str) -> Result<Column, TraceError> {
        self.find(name)
            .ok_or_else(|| self.without(&format!("column {name}")))
    }

    /// What is missing among the columns.
    pub(super) fn without(&self, what: &str) -> TraceError {
        TraceError::missing(&self.path, format_args!("{what} in {:?}", self.heading()))
    }

    /// The records, empty lines left out.
    pub(super) fn records(&self) -> impl Iterator<Item = Result<Record<'_>, TraceError>> {
        (1..)
            .zip(self.text.lines())
            .skip(1)
            .filter(|(_, text)| !text.trim().is_empty())
            .map(|(line, text)| self.record(line, text))
    }

    /// As many fields as columns: a comma too many would move values to other columns unseen.
    fn record<'a>(&'a self, line: usize, text: &'a str) -> Result<Record<'a>, TraceError> {
        let fields = fields(text).ok_or_else(|| TraceError::line(&self.path, line, UNCLOSED))?;
        let (found, wanted) = (fields.len(), self.columns.len());
        if found == wanted {
            Ok(Record {
                csv: self,
                line,
                fields,
            })
        } else {
            let found = Count(u32::try_from(found).unwrap_or(u32::MAX), "field");
            let what = format!("has {found}, must have {wanted} as line 1 has");
            Err(TraceError::line(&self.path, line, what))
        }
    }
}

const UNCLOSED: &str = "has a quote that is not closed before the next comma or the end of the line";

/// The fields of a line, without the spaces around them and the quotes; `None` if a quoted one does not end as it must.
fn fields(line: &str) -> Option<Vec<Cow<'_, str>>> {
    let mut fields = Vec::new();
    let mut rest = Some(line);
    while let Some(text) = rest {
        let field;
        (field, rest) = match (text.trim_start().strip_prefix('"'), text.split_once(',')) {
            (Some(quoted), _) => unquoted(quoted)?,
            (None, Some((field, rest))) => (Cow::Borrowed(field.trim()), Some(rest)),
            (None, None) => (Cow::Borrowed(text.trim()), None),
        };
        fields.push(field);
    }
    Some(fields)
}

/// What stands between two quotes, the first one being behind us, and what follows the comma after them.
fn unquoted(mut rest: &str) -> Option<(Cow<'_, str>, Option<&str>)> {
    let mut value = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        value.push_str(part);
        if let Some(more) = after.strip_prefix('"') {
            value.push('"');
            rest = more;
            continue;
        }
        let after = after.trim();
        return match after.strip_prefix(',') {
            None if !after.is_empty() => None,
            next => Some((Cow::Owned(value), next)),
        };
    }
}

impl Record<'_> {
    pub(super) fn text(&self, column: Column) -> &str {
        self.fields.get(column.0).map_or("", |field| field)
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

    /// A number above 0.
    pub(super) fn positive(&self, column: Column) -> Result<f64, TraceError> {
        let value = self.number(column)?;
        if value > 0.0 {
            Ok(value)
        } else {
            Err(self.wrong(column, "a number above 0"))
        }
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
