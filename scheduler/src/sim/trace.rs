mod arrivals;
mod csv;
mod error;
mod minutes;
mod requests;
#[cfg(test)]
mod tests;

pub use arrivals::{Arrivals, UnknownArrivals};
pub use error::TraceError;

use std::fs;
use std::path::{Path, PathBuf};
use std::string::{String, ToString};
use std::vec::Vec;

use self::csv::Csv;
use self::minutes::Function;

/// What services were asked, and for how long each request ran.
#[derive(Clone, Debug)]
pub struct Trace {
    /// For people: the name of the file and the arrival model.
    pub name: String,
    /// Those that were asked at all.
    pub services: Vec<ServiceTrace>,
}

/// The requests of one service.
#[derive(Clone, Debug)]
pub struct ServiceTrace {
    /// Its name in the trace.
    pub name: String,
    /// What an instance of it weighs in the cost; only proportions matter.
    pub memory_mb: f64,
    /// In the order of time.
    pub requests: Vec<TracedRequest>,
}

/// One request as it was recorded or drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracedRequest {
    /// When it came: microseconds from the start of the trace.
    pub at_us: u64,
    /// How long an instance worked on it, in microseconds.
    pub runs_us: u64,
}

impl Trace {
    /// Requests of all services.
    pub fn requests(&self) -> u64 {
        self.services
            .iter()
            .map(|service| service.requests.len() as u64)
            .sum()
    }

    /// When the last request came, in microseconds.
    pub fn end_us(&self) -> u64 {
        let last = |service: &ServiceTrace| service.requests.last().map(|request| request.at_us);
        self.services.iter().filter_map(last).max().unwrap_or(0)
    }
}

/// A trace as it was recorded, before times are drawn where it only counts.
#[derive(Clone, Debug)]
pub struct Recording {
    name: String,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Minutes(Vec<Function>),
    Requests(Vec<ServiceTrace>),
}

impl Recording {
    /// Reads every trace of a directory, by name: pairs `*_functions.csv` and `*_invocations.csv` that count per
    /// minute, and other `*.csv` with a column `t_us` that list requests. A request that tells its
    /// `generated_tokens` instead of a duration runs `token_us` microseconds for each. `skipped` is told every other
    /// `*.csv` beside them, with its columns.
    ///
    /// # Errors
    /// What cannot be read or understood, with the file, and the line and column if it is about one.
    pub fn read_dir(
        dir: &Path,
        token_us: u64,
        skipped: &mut dyn FnMut(&str),
    ) -> Result<Vec<Self>, TraceError> {
        let (mut found, mut others) = (Vec::new(), Vec::new());
        for path in csv_files(dir)? {
            if let Some((name, [functions, invocations])) = minutes::pair(&path) {
                for file in [&functions, &invocations] {
                    if !file.exists() {
                        let what = format_args!("such file, the partner of {}", path.display());
                        return Err(TraceError::missing(file, what));
                    }
                }
                if path == functions {
                    let content = Content::Minutes(minutes::read(&functions, &invocations)?);
                    found.push((invocations, Self { name, content }));
                }
                continue;
            }
            let csv = Csv::read(&path)?;
            if requests::is_one(&csv) {
                let content = Content::Requests(requests::read(&csv, token_us)?);
                let name = path.file_stem().unwrap_or_default().to_string_lossy();
                let name = name.strip_suffix("_arrivals").unwrap_or(&name).to_string();
                found.push((path, Self { name, content }));
            } else {
                others.push(std::format!("{} has {:?}", path.display(), csv.heading()));
            }
        }
        if found.is_empty() {
            let path = dir.to_path_buf();
            return Err(TraceError::NothingFound { path, others });
        }
        others.iter().for_each(|other| skipped(other));
        if let Some((path, _)) = found.iter().find(|(_, recording)| recording.is_empty()) {
            return Err(TraceError::missing(path, "requests"));
        }
        Ok(found.into_iter().map(|(_, recording)| recording).collect())
    }

    /// Whether nothing is asked in it.
    fn is_empty(&self) -> bool {
        match &self.content {
            Content::Minutes(functions) => functions
                .iter()
                .flat_map(|function| &function.counts)
                .all(|(_, count)| *count == 0),
            Content::Requests(services) => services.is_empty(),
        }
    }

    /// The name of its files, without endings.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it only counts, so that an arrival model matters.
    pub fn counts_only(&self) -> bool {
        matches!(self.content, Content::Minutes(_))
    }

    /// The requests; where they were only counted, drawn by this model from this seed.
    pub fn trace(&self, arrivals: Arrivals, seed: u64) -> Trace {
        let (name, mut services): (_, Vec<_>) = match &self.content {
            Content::Requests(services) => (self.name.clone(), services.clone()),
            Content::Minutes(functions) => {
                let drawn = (0..).zip(functions);
                let drawn = drawn.map(|(stream, function)| arrivals::draw(function, arrivals, seed, stream));
                (std::format!("{} {arrivals}", self.name), drawn.collect())
            }
        };
        services.retain(|service| !service.requests.is_empty());
        Trace { name, services }
    }
}

fn csv_files(dir: &Path) -> Result<Vec<PathBuf>, TraceError> {
    let failed = |source| TraceError::read(dir, source);
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "csv") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
