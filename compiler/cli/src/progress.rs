//! A sign of life for work that takes longer than a second, where somebody is watching.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use trine::{Observer, Progress};

/// How long a step may take before it is shown.
const PATIENCE: Duration = Duration::from_secs(1);

/// The time between two lines where nobody is watching.
const SILENCE: Duration = Duration::from_secs(20);

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

/// How far long work is, with the time that is left: a bar on standard error or, where nobody is watching, a line now and
/// then.
pub struct Bar {
    what: &'static str,
    bar: Option<ProgressBar>,
    start: Instant,
    spoken: Instant,
}

impl Bar {
    pub fn new(what: &'static str) -> Bar {
        Bar { what, bar: None, start: Instant::now(), spoken: Instant::now() }
    }

    fn shown(&mut self, total: usize) -> Option<&ProgressBar> {
        if self.bar.is_none() && io::stderr().is_terminal() {
            let bar = ProgressBar::new(total as u64).with_message(self.what);
            if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent}%, {eta} left") {
                bar.set_style(style);
            }
            self.bar = Some(bar);
        }
        self.bar.as_ref()
    }
}

impl Observer for Bar {
    fn progress(&mut self, Progress { doing, done, total }: Progress) {
        if let Some(bar) = self.shown(total) {
            bar.set_position(done as u64);
        } else if self.spoken.elapsed() > SILENCE {
            self.spoken = Instant::now();
            let left = self.start.elapsed().as_secs_f64() / done.max(1) as f64 * (total - done) as f64;
            eprintln!("{doing}: {done} of {total}, about {left:.0} s left");
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
