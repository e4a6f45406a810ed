//! The report as a page that needs no other file.

use super::judge::Quality;
use super::plot::{bars, escape, points};
use super::report::Report;
use super::table;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:900px;margin:2em auto;padding:0 1em}\
svg{width:100%;font-size:11px}rect,circle{fill:#3465a4}line{stroke:#ddd}pre{overflow-x:auto;font-size:12px}";

pub fn page(report: &Report) -> String {
    let layers = &report.calibrated.layers;
    let errors: Vec<(String, f64)> =
        layers.iter().map(|l| (l.name.clone(), l.held_out_error.unwrap_or(l.weight_error))).collect();
    let bits: Vec<(String, f64)> = layers.iter().map(|l| (l.name.clone(), l.weights.bits())).collect();
    let measured = layers.iter().all(|l| l.held_out_error.is_some());
    let of = if measured { "of outputs on held-out data" } else { "of weights" };
    let mut body = format!(
        "<h1>{}</h1><p>{}</p><p><code>{}</code></p>",
        escape(&report.model.display().to_string()),
        escape(&report.warning()),
        escape(&report.recipe.to_string())
    );
    body += &format!("<h2>Relative error {of}, a layer</h2>{}", bars(&errors));
    body += &format!("<h2>Bits a weight, a layer</h2>{}", bars(&bits));
    let whole: Vec<(String, f64, f64)> = report
        .points()
        .into_iter()
        .filter_map(|(name, p)| match p.quality? {
            Quality::Loss(v) | Quality::Accuracy(v) => Some((name.to_string(), p.bits, v)),
        })
        .collect();
    if !whole.is_empty() {
        let what = match report.after {
            Some(Quality::Accuracy(_)) => "Accuracy",
            _ => "Loss, nats a token,",
        };
        body += &format!("<h2>{what} against bits</h2>{}", points(&whole, "bits a weight, logarithmic"));
    }
    body += &format!("<h2>Layers</h2><pre>{}</pre>", escape(&table::text(report)));
    format!(
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>trine ternarize</title><style>{STYLE}</style>\
         <body>{body}</body></html>\n"
    )
}
