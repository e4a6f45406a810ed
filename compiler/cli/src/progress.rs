//! A sign of life for work that takes longer than a second: bars where somebody is watching and, for work that takes
//! minutes, lines where nobody is.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use trine::{Observer, Progress};

/// How long a step may take before it is shown.
const PATIENCE: Duration = Duration::from_secs(1);

/// The least time between two lines where nobody is watching.
const SILENCE: Duration = Duration::from_secs(10);

/// A spinner on standard error that goes away when this is dropped.
pub struct Spinner {
    done: Option<Sender<()>>,
    spinner: Option<JoinHandle<()>>,
}

impl Spinner {
    /// Announces a step, `doing` in the words of "compiling model.onnx".
    pub fn new(doing: impl Into<String>) -> Spinner {
        if !io::stderr().is_terminal() {
            return Spinner { done: None, spinner: None };
        }
        let doing = doing.into();
        let (done, wait) = mpsc::channel();
        let spinner = thread::spawn(move || {
            if wait.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let bar = ProgressBar::new_spinner().with_message(doing);
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            // Either word or silence from the other side means that the step is over.
            let _ = wait.recv();
            bar.finish_and_clear();
        });
        Spinner { done: Some(done), spinner: Some(spinner) }
    }

    /// As [`Spinner::new`], for a phase of work that takes minutes: it is named where nobody is watching too.
    pub fn of_phase(phase: impl Into<String>) -> Spinner {
        let phase = phase.into();
        announce(&phase);
        Spinner::new(phase)
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(spinner) = self.spinner.take() {
            // A spinner that panicked has nothing left to clear.
            let _ = spinner.join();
        }
    }
}

/// Names a phase where nobody is watching; where somebody is, a spinner or a bar does.
pub fn announce(phase: &str) {
    if !io::stderr().is_terminal() {
        say(phase);
    }
}

fn say(line: &str) {
    // Nobody can be told that standard error is closed.
    let _ = writeln!(io::stderr(), "{line}");
}

/// How far a phase of long work is, with the time that is left: a bar on standard error or, where nobody is watching, a line
/// at its start and one now and then.
pub struct Bar {
    spinner: Option<Spinner>,
    bar: Option<ProgressBar>,
    lines: Lines,
}

impl Bar {
    /// Of a phase in the words of "predicting".
    pub fn new(phase: impl Into<String>) -> Bar {
        let phase = phase.into();
        let spinner = Spinner::of_phase(phase.clone());
        Bar { spinner: Some(spinner), bar: None, lines: Lines::new(phase, Instant::now()) }
    }
}

impl Observer for Bar {
    fn progress(&mut self, progress: Progress) {
        // What the phase spun for has begun.
        self.spinner = None;
        let is_other = self.lines.begins_another(&progress);
        let lines = self.lines.of(&progress, Instant::now());
        if !io::stderr().is_terminal() {
            lines.iter().for_each(|line| say(line));
            return;
        }
        if is_other && let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(progress.total as u64).with_message(self.lines.name());
            let template = format!("{{msg}}: {{pos}} of {{len}} {} {{wide_bar}} {{eta}} left", progress.unit);
            if let Ok(style) = ProgressStyle::with_template(&template) {
                bar.set_style(style);
            }
            bar
        });
        bar.set_position(progress.done as u64);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What is said of a phase and of the parts that it has: when each starts, and now and then how far it is.
struct Lines {
    phase: String,
    part: Option<&'static str>,
    start: Instant,
    /// When the last line was, and when the last part of the work was done.
    spoken: Instant,
    heard: Instant,
}

impl Lines {
    fn new(phase: String, now: Instant) -> Lines {
        Lines { phase, part: None, start: now, spoken: now, heard: now }
    }

    /// The phase and, where that says more, its part.
    fn name(&self) -> String {
        match self.part.filter(|part| *part != self.phase) {
            Some(part) => format!("{}, {part}", self.phase),
            None => self.phase.clone(),
        }
    }

    /// Whether a part is over, and another has begun.
    fn begins_another(&self, progress: &Progress) -> bool {
        self.part.is_some_and(|part| part != progress.doing)
    }

    fn of(&mut self, progress: &Progress, now: Instant) -> Vec<String> {
        let mut lines = vec![];
        if self.begins_another(progress) {
            (self.part, self.start) = (Some(progress.doing), self.heard);
            lines.push(self.name());
        }
        (self.part, self.heard) = (Some(progress.doing), now);
        if now.duration_since(self.spoken) >= SILENCE {
            self.spoken = now;
            let Progress { done, total, unit, .. } = *progress;
            let left = now.duration_since(self.start).as_secs_f64() / done.max(1) as f64
                * total.saturating_sub(done) as f64;
            lines.push(format!("{}: {done} of {total} {unit}, about {} left", self.name(), time(left)));
        }
        lines
    }
}

/// A time in its largest unit, roughly.
fn time(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_phases_and_tell_the_time_left_every_ten_seconds_at_most() {
        let start = Instant::now();
        let mut lines = Lines::new("calibrating".into(), start);
        let mut at = |seconds: u64, doing: &'static str, done: usize| {
            let progress = Progress { doing, done, total: 211, unit: "layers" };
            lines.of(&progress, start + Duration::from_secs(seconds))
        };
        let nothing: [&str; 0] = [];
        assert_eq!(at(5, "rounding", 4), nothing);
        assert_eq!(at(34, "rounding", 34), ["calibrating, rounding: 34 of 211 layers, about 3 min left"]);
        assert_eq!(at(43, "rounding", 60), nothing);
        assert_eq!(at(44, "rounding", 88), ["calibrating, rounding: 88 of 211 layers, about 62 s left"]);
        assert_eq!(at(45, "judging biases", 1), ["calibrating, judging biases"]);
        assert_eq!(
            at(54, "judging biases", 1),
            ["calibrating, judging biases: 1 of 211 layers, about 35 min left"]
        );
        assert_eq!(at(10_000, "judging biases", 100).len(), 1);
        assert_eq!((time(89.4), time(90.0), time(5400.0)), ("89 s".into(), "2 min".into(), "1.5 h".into()));
    }
}
