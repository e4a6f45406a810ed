//! Time of the thread, and the table of what was measured.

use super::Case;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BenchmarkGroup, SamplingMode};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
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

/// What one thread does of a call.
#[derive(Clone, Copy)]
pub struct Share {
    /// Which call it is.
    pub call: usize,
    pub part: usize,
    pub parts: usize,
}

impl Share {
    /// This part of `all`.
    pub fn of(&self, all: usize) -> std::ops::Range<usize> {
        all * self.part / self.parts..all * (self.part + 1) / self.parts
    }
}

/// Medians, a row a benchmark.
#[derive(Default)]
pub struct Table(Vec<Row>);

struct Row {
    kernel: String,
    /// Shape, batch, threads and where the weights are.
    columns: [String; 4],
    work: Work,
    seconds: f64,
    floor: f64,
}

impl Table {
    /// Measures `kernel`, and `floor` in turns with it, on one thread and on two that share each call.
    pub fn measure(
        &mut self,
        group: &mut BenchmarkGroup<'_, ThreadTime>,
        (case, name): (Option<&Case>, &str),
        work: Work,
        kernel: impl Fn(Share) + Sync,
        floor: impl Fn(Share) + Sync,
    ) {
        let available = thread::available_parallelism().map_or(1, usize::from);
        for threads in 1..=available.min(2) {
            let (kernel_calls, floor_calls) = (AtomicUsize::new(0), AtomicUsize::new(0));
            self.row(group, (case, name, threads), work, |calls| {
                let kernel = time(calls, threads, &kernel_calls, &kernel);
                (kernel, time(calls, threads, &floor_calls, &floor))
            });
        }
    }

    fn row(
        &mut self,
        group: &mut BenchmarkGroup<'_, ThreadTime>,
        (case, name, threads): (Option<&Case>, &str, usize),
        work: Work,
        mut times: impl FnMut(u64) -> (Duration, Duration),
    ) {
        let (mut kernels, mut floors) = (vec![], vec![]);
        let id = if threads == 1 { name.to_string() } else { format!("{name}/{threads} threads") };
        group.sampling_mode(SamplingMode::Flat);
        group.bench_function(id, |b| {
            b.iter_custom(|calls| {
                let (kernel, floor) = times(calls);
                kernels.push(kernel.as_secs_f64() / calls as f64);
                floors.push(floor.as_secs_f64() / calls as f64);
                kernel
            });
        });
        if kernels.is_empty() {
            return;
        }
        let columns = match case {
            Some(Case { n, k, rows, weights, .. }) => {
                [format!("{n}x{k}"), rows.to_string(), threads.to_string(), weights.name().into()]
            }
            None => ["-".into(), "-".into(), threads.to_string(), "-".into()],
        };
        let (seconds, floor) = (median(kernels), median(floors));
        self.0.push(Row { kernel: name.replace(' ', "_"), columns, work, seconds, floor });
    }
}

/// The time of `calls` that `threads` share, after one that is not counted: for each call, that of the thread
/// which took longest.
fn time(calls: u64, threads: usize, next: &AtomicUsize, run: &(impl Fn(Share) + Sync)) -> Duration {
    let first = next.fetch_add(calls as usize + 1, Ordering::Relaxed);
    let arrived = AtomicUsize::new(0);
    let all = |part: usize| -> Vec<Duration> {
        let turn = |i: usize| {
            arrived.fetch_add(1, Ordering::AcqRel);
            while arrived.load(Ordering::Acquire) < (i + 1) * threads {
                std::hint::spin_loop();
            }
            let start = now();
            run(Share { call: first + i, part, parts: threads });
            now() - start
        };
        (0..=calls as usize).map(turn).skip(1).collect()
    };
    let others: Vec<_> = (1..threads).collect();
    let times: Vec<Vec<Duration>> = thread::scope(|scope| {
        let others: Vec<_> = others.into_iter().map(|part| scope.spawn(move || all(part))).collect();
        let mine = all(0);
        let others = others.into_iter().map(|thread| thread.join().expect("a call does not panic"));
        others.chain([mine]).collect()
    });
    (0..calls as usize).filter_map(|i| times.iter().map(|of_thread| of_thread[i]).max()).sum()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Words in columns, a line a benchmark, as scripts read them.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|row| row.kernel.len()).max().unwrap_or(0);
        let line = |f: &mut fmt::Formatter<'_>, kernel: &str, columns: [&str; 4], numbers: [&str; 5]| {
            let [shape, batch, threads, weights] = columns;
            write!(f, "{kernel:width$}  {shape:>10}  {batch:>5}  {threads:>7}  {weights:>7}")?;
            let [micros, bytes, operations, floor, ratio] = numbers;
            writeln!(f, "  {micros:>9}  {bytes:>6}  {operations:>6}  {floor:>8}  {ratio:>8}")
        };
        let head = ["µs", "GB/s", "GOP/s", "floor_µs", "to_floor"];
        line(f, "kernel", ["shape", "batch", "threads", "weights"], head)?;
        for Row { kernel, columns, work, seconds, floor } in &self.0 {
            let giga = |count: usize| count as f64 / seconds / 1e9;
            let mut numbers = [
                format!("{:.1}", seconds * 1e6),
                format!("{:.1}", giga(work.bytes)),
                format!("{:.0}", giga(work.operations)),
                "-".to_string(),
                "-".to_string(),
            ];
            if *floor > 0.0 {
                numbers[3] = format!("{:.1}", floor * 1e6);
                numbers[4] = format!("{:.2}", seconds / floor);
            }
            line(f, kernel, columns.each_ref().map(String::as_str), numbers.each_ref().map(String::as_str))?;
        }
        Ok(())
    }
}
