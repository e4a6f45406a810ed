//! The report as a table of text.

use super::judge::Quality;
use super::report::{Report, bits};

const HEAD: [&str; 8] = ["layer", "shape", "depth", "bits", "zeros", "relW", "relX held out", "s"];

/// A line a layer, then what became of the whole.
pub fn text(report: &Report) -> String {
    let mut rows = vec![HEAD.map(String::from)];
    for l in &report.calibrated.layers {
        rows.push([
            l.name.clone(),
            format!("{}x{}", l.n, l.k),
            l.weights.depth(),
            format!("{:.2}", l.weights.bits()),
            format!("{:.0}%", 100.0 * l.weights.zeros()),
            format!("{:.3}", l.weight_error),
            l.held_out_error.map_or("-".into(), |e| format!("{e:.4}")),
            format!("{:.1}", l.seconds),
        ]);
    }
    let width = |column: usize| rows.iter().map(|r| r[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(i, (cell, width))| match i {
            0 => format!("{cell:width$}"),
            _ => format!("{cell:>width$}"),
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text + &summary(report)
}

/// What the model was written as, and how large it was and is.
pub fn written(report: &Report) -> String {
    let [before, after] = report.bytes.map(|bytes| bytes as f64 / 1e6);
    let (name, what) = (report.format.name(), report.format.described());
    format!("written as {what} ({name}): files of {before:.1} MB became files of {after:.1} MB")
}

/// What became of the layers that stay, and of the whole.
pub fn summary(report: &Report) -> String {
    let mut text = String::new();
    for k in &report.calibrated.kept {
        text += &format!("{} {}x{}: {}, {:.2} bits\n", k.weights, k.n, k.k, k.why, k.bits);
    }
    if let Some(rotated) = report.rotated {
        text += &format!("rotated, seed {}: {} bytes more of what stays f32\n", rotated.seed, rotated.bytes);
    }
    text += &format!(
        "\n{}: {:.3} bits a weight, {:.3} with the layers that stay\n",
        report.recipe,
        bits(report.calibrated),
        report.bits_with_kept()
    );
    text += &(written(report) + "\n");
    for (name, point) in report.points() {
        let quality = match point.quality {
            Some(Quality::Loss(loss)) => {
                format!("loss {loss:.4} nats a token, perplexity {:.3}", loss.exp())
            }
            Some(Quality::Accuracy(accuracy)) => format!("accuracy {accuracy:.4}"),
            None => continue,
        };
        text += &format!("{name:>20}: {quality}\n");
    }
    if report.recipe.split_bias().1.is_some() {
        let layers = &report.calibrated.layers;
        let kept = layers.iter().filter(|l| l.weights.bias().is_some()).count();
        text +=
            &format!("held-out loss falls for a bias in {kept} of {} layers, which have one\n", layers.len());
    }
    let held = report.calibrated.memory >> 20;
    text += &format!("{:.0} s, {held} MB for held values and statistics", report.seconds);
    if let Some(peak) = report.peak_memory {
        text += &format!(", at most {} MB in all", peak >> 20);
    }
    text + "\n"
}
