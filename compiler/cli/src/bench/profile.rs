//! Where the time of a run goes: every step with its time, what it moves and computes, and how near that is to
//! what the machine can do.

use std::fmt;
use std::time::Instant;

use serde_json::{Value, json};
use trine::{Program, Session};
use trine_ir::Elem;
use trine_runtime::{Place, StepKind};

use super::quantile;
use super::roofline::Roofline;

/// The steps of one kind of run.
pub struct Profile {
    what: &'static str,
    rows: Vec<Row>,
}

/// One step, or all that run the same kernel.
#[derive(Clone)]
struct Row {
    name: String,
    place: String,
    count: usize,
    seconds: f64,
    bytes: usize,
    operations: usize,
    /// The least that the bytes and operations take.
    floor: f64,
}

/// Times of steps as they pass.
pub struct Clock {
    last: Instant,
    times: Vec<Vec<f64>>,
}

impl Clock {
    pub fn new(program: &Program) -> Clock {
        Clock { last: Instant::now(), times: vec![vec![]; program.steps.len()] }
    }

    /// Begins a run.
    pub fn start(&mut self) {
        self.last = Instant::now();
    }

    /// Notes that a step has run.
    pub fn step(&mut self, step: usize) {
        let now = Instant::now();
        self.times[step].push((now - self.last).as_secs_f64());
        self.last = now;
    }
}

impl Profile {
    /// What the clock has seen of runs of `session`, whose sizes are those of the last one.
    pub fn new(what: &'static str, clock: Clock, session: &Session, roofline: &Roofline) -> Profile {
        let program = session.program();
        let mut rows = vec![];
        for (step, mut times) in program.steps.iter().zip(clock.times) {
            times.sort_by(f64::total_cmp);
            let mut row = Row {
                name: String::new(),
                place: step.place.clone(),
                count: 1,
                seconds: quantile(&times, 0.5),
                bytes: 0,
                operations: 0,
                floor: 0.0,
            };
            match &step.kind {
                StepKind::Kernel(kernel) => {
                    let kernel = &program.kernels[*kernel];
                    row.name = kernel.name.clone();
                    row.bytes = session.size(&kernel.bytes).unwrap_or(0);
                    row.operations = session.size(&kernel.operations).unwrap_or(0);
                    let reads_int8 = |place: &Place| match place {
                        Place::Buffer(b) => program.buffers[*b].elem() == Elem::I8,
                        Place::Input(i) => program.inputs[*i].ty.elem == Elem::I8,
                        Place::Const(_) => false,
                    };
                    let is_int8 = step.args.iter().flatten().any(reads_int8);
                    row.floor = roofline.floor(row.bytes, row.operations, is_int8);
                }
                StepKind::Interpret(op) => row.name = format!("{} (interpreted)", op.kind().mnemonic()),
            }
            rows.push(row);
        }
        Profile { what, rows }
    }

    /// Steps of one kernel together, the longest first.
    fn by_kernel(&self) -> Vec<Row> {
        let mut kernels: Vec<Row> = vec![];
        for row in &self.rows {
            match kernels.iter_mut().find(|k| k.name == row.name) {
                None => kernels.push(row.clone()),
                Some(kernel) => {
                    kernel.count += 1;
                    kernel.seconds += row.seconds;
                    kernel.bytes += row.bytes;
                    kernel.operations += row.operations;
                    kernel.floor += row.floor;
                }
            }
        }
        kernels.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        kernels
    }

    fn total(&self) -> f64 {
        self.rows.iter().map(|row| row.seconds).sum()
    }

    pub fn json(&self) -> Value {
        let row = |row: &Row| {
            json!({
                "kernel": row.name,
                "place": row.place,
                "seconds": row.seconds,
                "bytes": row.bytes,
                "operations": row.operations,
                "roofline_seconds": row.floor,
            })
        };
        json!({ "run": self.what, "steps": self.rows.iter().map(row).collect::<Vec<_>>() })
    }
}

/// Every step, then kernels.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let total = self.total();
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        writeln!(f, "\n{}: {:.1} µs in {} steps", self.what, total * 1e6, self.rows.len())?;
        let head = |f: &mut fmt::Formatter, first: &str| {
            writeln!(f, "{first:>6}  {:width$}         µs  share    GB/s   GOP/s  roofline", "kernel")
        };
        let line = |f: &mut fmt::Formatter, first: usize, row: &Row| {
            let rate = |count: usize| count as f64 / row.seconds / 1e9;
            write!(
                f,
                "{first:>6}  {:width$}  {:9.1}  {:4.1}%",
                row.name,
                row.seconds * 1e6,
                100.0 * row.seconds / total
            )?;
            write!(f, "  {:6.1}  {:6.1}", rate(row.bytes), rate(row.operations))?;
            match row.floor {
                0.0 => writeln!(f),
                floor => writeln!(f, "  {:7.0}%", 100.0 * floor / row.seconds),
            }
        };
        head(f, "step")?;
        for (i, row) in self.rows.iter().enumerate() {
            line(f, i, row)?;
        }
        writeln!(f)?;
        head(f, "steps")?;
        self.by_kernel().iter().try_for_each(|row| line(f, row.count, row))
    }
}
