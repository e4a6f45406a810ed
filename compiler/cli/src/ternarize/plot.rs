//! Plots as SVG, to stand in a page that needs nothing else.

use std::fmt::Write;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 60.0;
const BOTTOM: f64 = 28.0;
const TOP: f64 = 12.0;

/// A bar a value, named when pointed at.
pub fn bars(values: &[(String, f64)]) -> String {
    let most = values.iter().map(|v| v.1).fold(f64::MIN_POSITIVE, f64::max);
    let step = (WIDTH - LEFT) / values.len().max(1) as f64;
    let mut svg = open();
    scale(&mut svg, 0.0, most);
    for (i, (name, value)) in values.iter().enumerate() {
        let height = (HEIGHT - TOP - BOTTOM) * value / most;
        let (x, y) = (LEFT + i as f64 * step, HEIGHT - BOTTOM - height);
        let width = (step * 0.8).max(0.5);
        let name = escape(name);
        // Writing to a string cannot fail.
        let _ = write!(
            svg,
            "<rect x='{x:.1}' y='{y:.1}' width='{width:.1}' height='{height:.1}'><title>{name}: {value:.4}</title></rect>"
        );
    }
    svg + "</svg>"
}

/// How many of the named shares, of 0 to 1, are in each twentieth; a bar names them when pointed at.
pub fn histogram(shares: &[(String, f64)], across: &str) -> String {
    const BINS: usize = 20;
    let mut bins = vec![vec![]; BINS];
    for (name, share) in shares {
        bins[((share * BINS as f64) as usize).min(BINS - 1)].push(name.as_str());
    }
    let most = bins.iter().map(Vec::len).max().unwrap_or(0).max(1) as f64;
    let step = (WIDTH - LEFT) / BINS as f64;
    let mut svg = open();
    scale(&mut svg, 0.0, most);
    for (i, names) in bins.iter().enumerate() {
        let height = (HEIGHT - TOP - BOTTOM) * names.len() as f64 / most;
        let (x, y) = (LEFT + i as f64 * step, HEIGHT - BOTTOM - height);
        let (low, high) = (100 * i / BINS, 100 * (i + 1) / BINS);
        let _ = write!(
            svg,
            "<rect x='{x:.1}' y='{y:.1}' width='{:.1}' height='{height:.1}'><title>{low}% to {high}%: {} layers\n{}</title></rect>",
            step * 0.9,
            names.len(),
            escape(&names.join("\n"))
        );
        if i % 2 == 0 {
            let _ = write!(svg, "<text x='{x:.1}' y='{:.1}'>{low}%</text>", HEIGHT - BOTTOM + 12.0);
        }
    }
    let _ = write!(svg, "<text x='{LEFT:.1}' y='{:.1}'>{}</text>", HEIGHT - 3.0, escape(across));
    svg + "</svg>"
}

/// Named points; the axis across is logarithmic.
pub fn points(points: &[(String, f64, f64)], across: &str) -> String {
    let range = |f: &dyn Fn(&(String, f64, f64)) -> f64| {
        let least = points.iter().map(f).fold(f64::INFINITY, f64::min);
        let most = points.iter().map(f).fold(f64::NEG_INFINITY, f64::max);
        let margin = ((most - least) * 0.1).max(most.abs() * 0.02).max(1e-6);
        (least - margin, most + margin)
    };
    let (left, right) = range(&|p| p.1.max(1e-6).ln());
    let (low, high) = range(&|p| p.2);
    let mut svg = open();
    scale(&mut svg, low, high);
    for (name, x, y) in points {
        let cx = LEFT + (WIDTH - LEFT - 160.0) * (x.max(1e-6).ln() - left) / (right - left);
        let cy = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (y - low) / (high - low);
        let name = escape(name);
        let _ = write!(
            svg,
            "<circle cx='{cx:.1}' cy='{cy:.1}' r='4'/><text x='{:.1}' y='{:.1}'>{name}, {x:.2}: {y:.4}</text>",
            cx + 7.0,
            cy + 4.0
        );
    }
    let _ = write!(svg, "<text x='{:.1}' y='{:.1}'>{}</text>", LEFT, HEIGHT - 6.0, escape(across));
    svg + "</svg>"
}

/// Text as it may stand in HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\'', "&#39;")
        .replace('"', "&quot;")
}

fn open() -> String {
    format!("<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img'>")
}

/// The axis upwards, in four steps.
fn scale(svg: &mut String, low: f64, high: f64) {
    for i in 0..=4 {
        let share = f64::from(i) / 4.0;
        let y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share;
        let value = low + (high - low) * share;
        let _ = write!(
            svg,
            "<line x1='{LEFT}' x2='{WIDTH}' y1='{y:.1}' y2='{y:.1}'/><text x='4' y='{:.1}'>{value:.3}</text>",
            y + 4.0
        );
    }
}
