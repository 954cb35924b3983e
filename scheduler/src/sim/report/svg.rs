use core::fmt;
use std::format;
use std::string::String;
use std::vec::Vec;

use super::scale::LogScale;
use crate::sim::study::{Contender, Row};

/// Memory against delay: one panel for each start time, one curve for each family of policies. Both axes are
/// logarithmic; nearer to the lower left corner is better. Made of plain shapes and text, so that it is readable by
/// itself in any browser, on a light and on a dark page.
#[derive(Debug)]
pub struct Chart<'a>(pub &'a [Row]);

const PANEL: (f64, f64) = (300.0, 300.0);
const LEFT: f64 = 64.0;
const TOP: f64 = 60.0;
const GAP: f64 = 50.0;
const LEGEND: f64 = 180.0;
const BOTTOM: f64 = 56.0;

/// Colours that the colour-blind can tell apart (Okabe and Ito), ours first and boldest.
const COLOURS: [&str; 8] = [
    "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#777777", "#000000",
];

struct Point {
    memory: f64,
    delay_ms: f64,
    label: String,
}

struct Curve {
    name: &'static str,
    points: Vec<Point>,
}

impl fmt::Display for Chart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.0.first() else {
            return Ok(());
        };
        let mut starts: Vec<u64> = self.0.iter().map(|row| row.cold_start_us).collect();
        starts.sort_unstable();
        starts.dedup();
        let families = families(self.0);
        let width = LEFT + (PANEL.0 + GAP) * starts.len() as f64 + LEGEND;
        let height = TOP + PANEL.1 + BOTTOM;
        writeln!(
            f,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="sans-serif" font-size="11">"#
        )?;
        writeln!(f, r##"<rect width="100%" height="100%" fill="#ffffff"/>"##)?;
        writeln!(
            f,
            r#"<text x="{LEFT}" y="20" font-size="14" font-weight="bold">Idle memory against added delay, {}</text>"#,
            Escaped(&first.trace)
        )?;
        writeln!(
            f,
            r#"<text x="{LEFT}" y="36">Each point is a policy with one setting; requests: {}, services: {}. Lower left is better.</text>"#,
            first.outcome.requests,
            first.outcome.services()
        )?;
        let (label_x, label_y) = (16.0, TOP + PANEL.1 / 2.0);
        writeln!(
            f,
            r#"<text x="{label_x}" y="{label_y}" text-anchor="middle" transform="rotate(-90 {label_x} {label_y})">added delay per request, ms (mean, by memory)</text>"#
        )?;
        for (place, start_us) in starts.iter().enumerate() {
            let x = LEFT + (PANEL.0 + GAP) * place as f64;
            let rows: Vec<&Row> = self
                .0
                .iter()
                .filter(|row| row.cold_start_us == *start_us)
                .collect();
            panel(f, x, *start_us, &rows, &families)?;
        }
        legend(f, width - LEGEND, &families)?;
        writeln!(f, "</svg>")
    }
}

/// A name that somebody gave to a file, as text of a drawing.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                c if c.is_control() => f.write_str(" ")?,
                c => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}

fn families(rows: &[Row]) -> Vec<&'static str> {
    let mut families = Vec::new();
    for row in rows {
        let family = row.contender.family();
        if is_drawn(row) && !families.contains(&family) {
            families.push(family);
        }
    }
    families
}

/// Logarithms have no place for nothing.
fn is_drawn(row: &Row) -> bool {
    row.waste > 0.0 && row.outcome.mean_wait_us() > 0.0
}

fn curves(rows: &[&Row], families: &[&'static str]) -> Vec<Curve> {
    let point = |row: &&Row| Point {
        memory: row.waste,
        delay_ms: row.outcome.mean_wait_us() / 1_000.0,
        label: row.policy.clone(),
    };
    let curve = |name: &&'static str| {
        let of_family = rows
            .iter()
            .filter(|row| is_drawn(row) && row.contender.family() == *name);
        let mut points: Vec<Point> = of_family.map(point).collect();
        points.sort_by(|a, b| a.memory.total_cmp(&b.memory));
        Curve { name, points }
    };
    families.iter().map(curve).collect()
}

fn panel(
    f: &mut fmt::Formatter<'_>,
    left: f64,
    start_us: u64,
    rows: &[&Row],
    families: &[&'static str],
) -> fmt::Result {
    let curves = curves(rows, families);
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let x = LogScale::over(points().map(|p| p.memory), left, left + PANEL.0);
    let y = LogScale::over(points().map(|p| p.delay_ms), TOP + PANEL.1, TOP);
    writeln!(
        f,
        r#"<text x="{:.0}" y="{:.0}" text-anchor="middle" font-weight="bold">a start takes {} ms</text>"#,
        left + PANEL.0 / 2.0,
        TOP - 8.0,
        start_us as f64 / 1_000.0
    )?;
    axes(f, left, &x, &y)?;
    // Ours last, on top of the others.
    let coloured: Vec<_> = curves.iter().zip(COLOURS.iter().cycle()).collect();
    for (curve, colour) in coloured.into_iter().rev() {
        draw(f, curve, colour, &x, &y)?;
    }
    Ok(())
}

/// The frame of a panel with its decades.
fn axes(f: &mut fmt::Formatter<'_>, left: f64, x: &LogScale, y: &LogScale) -> fmt::Result {
    let (bottom, right) = (TOP + PANEL.1, left + PANEL.0);
    for (at, name) in x.decades() {
        writeln!(f, r##"<path d="M{at:.1} {TOP}V{bottom}" stroke="#dddddd"/>"##)?;
        writeln!(
            f,
            r#"<text x="{at:.1}" y="{:.0}" text-anchor="middle">{name}</text>"#,
            bottom + 15.0
        )?;
    }
    for (at, name) in y.decades() {
        writeln!(f, r##"<path d="M{left} {at:.1}H{right}" stroke="#dddddd"/>"##)?;
        writeln!(
            f,
            r#"<text x="{:.0}" y="{:.1}" text-anchor="end">{name}</text>"#,
            left - 4.0,
            at + 4.0
        )?;
    }
    writeln!(
        f,
        r##"<rect x="{left}" y="{TOP}" width="{}" height="{}" fill="none" stroke="#888888"/>"##,
        PANEL.0, PANEL.1
    )?;
    writeln!(
        f,
        r#"<text x="{:.0}" y="{:.0}" text-anchor="middle">idle memory (keeping 10 min = 1)</text>"#,
        left + PANEL.0 / 2.0,
        bottom + 34.0
    )
}

fn draw(f: &mut fmt::Formatter<'_>, curve: &Curve, colour: &str, x: &LogScale, y: &LogScale) -> fmt::Result {
    let places: Vec<(f64, f64)> = curve
        .points
        .iter()
        .map(|p| (x.at(p.memory), y.at(p.delay_ms)))
        .collect();
    let line: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let is_clairvoyant = curve.name.starts_with("clairvoyant");
    let (width, dash) = match () {
        () if is_clairvoyant => (1.5, r#" stroke-dasharray="4 3""#),
        () if curve.name == Contender::Learned.family() => (3.0, ""),
        () => (1.5, ""),
    };
    writeln!(
        f,
        r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="{width}"{dash}/>"#,
        line.join(" ")
    )?;
    for ((x, y), point) in places.iter().zip(&curve.points) {
        writeln!(
            f,
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="{}" fill="{colour}"><title>{}: memory {:.4}, delay {:.3} ms</title></circle>"#,
            width + 1.5,
            point.label,
            point.memory,
            point.delay_ms
        )?;
    }
    Ok(())
}

fn legend(f: &mut fmt::Formatter<'_>, left: f64, families: &[&'static str]) -> fmt::Result {
    let mut y = TOP + 8.0;
    for (family, colour) in families.iter().zip(COLOURS.iter().cycle()) {
        let weight = if *family == Contender::Learned.family() {
            "bold"
        } else {
            "normal"
        };
        writeln!(f, r#"<circle cx="{left}" cy="{y}" r="4" fill="{colour}"/>"#)?;
        writeln!(
            f,
            r#"<text x="{}" y="{}" font-weight="{weight}">{family}</text>"#,
            left + 10.0,
            y + 4.0
        )?;
        y += 18.0;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;
    use crate::sim::study::Study;
    use crate::sim::trace::{ServiceTrace, Trace, TracedRequest};

    #[test]
    fn a_chart_has_a_panel_for_each_start_time_and_a_name_for_each_curve() {
        let requests = (0..50).map(|at| TracedRequest {
            at_us: at * at * 20_000,
            runs_us: 1_000,
        });
        let service = ServiceTrace {
            name: "s".to_string(),
            memory_mb: 1.0,
            requests: requests.collect(),
        };
        let trace = Trace {
            name: "a<b>&c".to_string(),
            services: Vec::from([service]),
        };
        let rows = Study::default().run(&trace, &|_, _| {}).unwrap();
        let chart = Chart(&rows).to_string();
        assert_eq!(chart.matches("a start takes").count(), 3);
        for name in ["learned (ours)", "fixed keep-alive", "Knative KPA, defaults"] {
            assert_eq!(chart.matches(&format!(">{name}</text>")).count(), 1, "{name}");
        }
        assert!(chart.contains("added delay, a&lt;b&gt;&amp;c</text>"), "{chart}");
        assert!(!chart.contains("NaN") && !chart.contains("inf"), "{chart}");
        assert!(chart.starts_with("<svg") && chart.trim_end().ends_with("</svg>"));
    }
}
