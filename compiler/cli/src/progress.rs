//! A sign of life for work that takes longer than a second, where somebody is watching.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How long a step may take before it is shown.
const PATIENCE: Duration = Duration::from_secs(1);

/// A spinner on standard error that goes away when this is dropped.
pub struct Progress {
    done: Option<Sender<()>>,
    spinner: Option<JoinHandle<()>>,
}

impl Progress {
    /// Announces a step, `doing` in the words of "compiling model.onnx".
    pub fn new(doing: impl Into<String>) -> Progress {
        if !io::stderr().is_terminal() {
            return Progress { done: None, spinner: None };
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
        Progress { done: Some(done), spinner: Some(spinner) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(spinner) = self.spinner.take() {
            // A spinner that panicked has nothing left to clear.
            let _ = spinner.join();
        }
    }
}

/// A bar on standard error with the time that is left, where somebody is watching.
pub struct Bar(Option<ProgressBar>);

impl Bar {
    pub fn new(doing: impl Into<String>, total: usize) -> Bar {
        if !io::stderr().is_terminal() {
            return Bar(None);
        }
        let bar = ProgressBar::new(total as u64).with_message(doing.into());
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent}%, {eta} left") {
            bar.set_style(style);
        }
        Bar(Some(bar))
    }

    /// Whether nobody is watching.
    pub fn is_hidden(&self) -> bool {
        self.0.is_none()
    }

    /// Says how much is done.
    pub fn at(&self, done: usize) {
        if let Some(bar) = &self.0 {
            bar.set_position(done as u64);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
