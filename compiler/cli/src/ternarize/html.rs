//! The report as a page that needs no other file.

use std::fmt::Write;

use trine::calibrate::Rounded;

use super::judge::Quality;
use super::plot::{bars, escape, histogram, points};
use super::report::Report;
use super::table;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em}\
svg{width:100%;font-size:11px}rect,circle{fill:#3465a4}line{stroke:#ddd}pre{white-space:pre-wrap;font-size:12px}\
table{border-collapse:collapse;width:100%;font-size:12px}th,td{text-align:right;padding:2px 8px;border-bottom:1px solid #ddd}\
th:first-child,td:first-child{text-align:left;overflow-wrap:anywhere;font-family:monospace}\
.sortable th{cursor:pointer;user-select:none}th[aria-sort=ascending]::after{content:' \\2191'}\
th[aria-sort=descending]::after{content:' \\2193'}";

/// Sorts a table by the column whose head is clicked, and the other way when it is clicked again.
const SORT: &str = "\
for (const table of document.querySelectorAll('table.sortable')) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.addEventListener('click', () => {
    const down = head.getAttribute('aria-sort') === 'ascending';
    heads.forEach((other) => other.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    const key = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent;
    const order = (a, b) => isNaN(key(a)) || isNaN(key(b))
      ? key(a).localeCompare(key(b), undefined, { numeric: true }) : key(a) - key(b);
    const rows = [...table.tBodies[0].rows].sort(order);
    table.tBodies[0].append(...(down ? rows.reverse() : rows));
  }));
}
";

/// Layers that the section of the worst names.
const WORST: usize = 10;

const HEAD: [&str; 10] =
    ["layer", "node", "shape", "depth", "bits", "zeros", "relW", "relX", "relX held out", "s"];

pub fn page(report: &Report) -> String {
    let layers = &report.calibrated.layers;
    let of = if report.is_measured() { "of outputs on held-out data" } else { "of weights" };
    let each = |value: &dyn Fn(&Rounded) -> f64| -> Vec<(String, f64)> {
        layers.iter().map(|l| (l.name.clone(), value(l))).collect()
    };
    let zeros = each(&|l| l.weights.zeros());
    let mut body = format!(
        "<h1>{}</h1><p>{}</p><p><code>{}</code></p><p>{}</p>",
        escape(&report.model.display().to_string()),
        escape(&report.warning()),
        escape(&report.recipe.to_string()),
        escape(&table::written(report))
    );
    body += &format!("<h2>The worst layers, by the relative error {of}</h2>");
    body += &rows(&report.worst(WORST), "");
    body += &format!("<h2>Relative error {of}, a layer</h2>{}", bars(&each(&Report::error)));
    body += &format!("<h2>Bits a weight, a layer</h2>{}", bars(&each(&|l| l.weights.bits())));
    body += &format!("<h2>Share of zero weights, a layer</h2>{}", bars(&zeros));
    let across = "share of weights that are zero; upwards, layers";
    body += &format!("<h2>Share of zero weights, all layers</h2>{}", histogram(&zeros, across));
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
    let all: Vec<&Rounded> = layers.iter().collect();
    body += &format!("<h2>All layers</h2><p>A click on a head sorts by it.</p>{}", rows(&all, "sortable"));
    body += &format!("<pre>{}</pre>", escape(&table::summary(report)));
    format!(
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>trine ternarize</title><style>{STYLE}</style>\
         <body>{body}<script>{SORT}</script></body></html>\n"
    )
}

/// A table of layers; what is shown rounded is sorted by what it is.
fn rows(layers: &[&Rounded], class: &str) -> String {
    let mut html = format!("<table class='{class}'><thead><tr>");
    for head in HEAD {
        html += &format!("<th>{head}</th>");
    }
    html += "</tr></thead><tbody>";
    for l in layers {
        let error = |e: Option<f64>| (e.map_or("-".into(), |e| format!("{e:.4}")), e.unwrap_or(-1.0));
        let numbers = [
            (format!("{:.2}", l.weights.bits()), l.weights.bits()),
            (format!("{:.1}%", 100.0 * l.weights.zeros()), l.weights.zeros()),
            (format!("{:.3}", l.weight_error), l.weight_error),
            error(l.output_error),
            error(l.held_out_error),
            (format!("{:.1}", l.seconds), l.seconds),
        ];
        // Writing to a string cannot fail.
        let _ = write!(
            html,
            "<tr><td>{}</td><td>{}</td><td data-v='{}'>{}×{}</td><td>{}</td>",
            escape(&l.name),
            escape(&l.node),
            l.n * l.k,
            l.n,
            l.k,
            escape(&l.weights.depth())
        );
        for (shown, value) in numbers {
            let _ = write!(html, "<td data-v='{value}'>{shown}</td>");
        }
        html += "</tr>";
    }
    html + "</tbody></table>"
}
