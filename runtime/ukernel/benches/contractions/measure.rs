//! Time of the thread, and the table of what was measured.

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BenchmarkGroup, SamplingMode};
use std::fmt;
use std::time::Duration;

/// Processor time of this thread, which others on the machine take no part of.
pub struct ThreadTime;

impl Measurement for ThreadTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        now()
    }
    fn end(&self, start: Duration) -> Duration {
        now() - start
    }
    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }
    fn zero(&self) -> Duration {
        Duration::ZERO
    }
    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }
    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

fn now() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on every Unix, and `time` is its to write.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(status, 0, "no clock of threads");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What one call does.
#[derive(Clone, Copy)]
pub struct Work {
    /// Bytes of weights.
    pub bytes: usize,
    /// Additions and multiplications.
    pub operations: usize,
}

/// Medians, a row a benchmark.
#[derive(Default)]
pub struct Table(Vec<Row>);

struct Row {
    name: String,
    work: Work,
    seconds: f64,
    floor: f64,
}

impl Table {
    /// Measures `kernel`, and `floor` in turns with it.
    pub fn measure(
        &mut self,
        group: &mut BenchmarkGroup<'_, ThreadTime>,
        name: (&str, &str),
        work: Work,
        mut kernel: impl FnMut(),
        mut floor: impl FnMut(),
    ) {
        let (mut kernels, mut floors) = (vec![], vec![]);
        group.sampling_mode(SamplingMode::Flat);
        group.bench_function(name.1, |b| {
            b.iter_custom(|calls| {
                let kernel = time(calls, &mut kernel);
                floors.push(time(calls, &mut floor).as_secs_f64() / calls as f64);
                kernels.push(kernel.as_secs_f64() / calls as f64);
                kernel
            });
        });
        if !kernels.is_empty() {
            let name = format!("{}/{}", name.0, name.1);
            self.0.push(Row { name, work, seconds: median(kernels), floor: median(floors) });
        }
    }
}

/// The time of `calls`, after one that is not counted.
fn time(calls: u64, call: &mut impl FnMut()) -> Duration {
    call();
    let start = now();
    (0..calls).for_each(|_| call());
    now() - start
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|row| row.name.len()).max().unwrap_or(0);
        writeln!(f, "{:width$}        µs    GB/s   GOP/s  floor µs  to floor", "")?;
        for Row { name, work, seconds, floor } in &self.0 {
            let giga = |count: usize| count as f64 / seconds / 1e9;
            write!(
                f,
                "{name:width$}  {:8.1}  {:6.1}  {:6.0}",
                seconds * 1e6,
                giga(work.bytes),
                giga(work.operations)
            )?;
            match floor {
                0.0 => writeln!(f)?,
                _ => writeln!(f, "  {:8.1}  {:8.2}", floor * 1e6, seconds / floor)?,
            }
        }
        Ok(())
    }
}
