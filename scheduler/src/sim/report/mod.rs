//! Rows of a study as people and programs read them.

mod cells;
mod json;
mod scale;
mod svg;
mod text;

pub use cells::Cells;
pub use json::Json;
pub use svg::Chart;
pub use text::Table;
