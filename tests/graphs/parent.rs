//! Runs seeds in processes of their own, and counts how they went.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// What the children read: a range of seeds to try.
pub const CHILD: &str = "TRINE_GRAPHS_CHILD";
/// A seed to explain, with `crash` after it where it takes its process down.
pub const EXPLAIN: &str = "TRINE_GRAPHS_EXPLAIN";
/// A folder with a module to try.
pub const TRY: &str = "TRINE_GRAPHS_TRY";
/// What the user asks for.
pub const SEEDS: &str = "TRINE_GRAPHS";

/// A graph that takes longer never ends.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How seeds went.
#[derive(Default, Debug)]
pub struct Tally {
    pub tried: usize,
    pub passed: usize,
    /// Graphs that are refused or cannot run, by reason.
    pub refused: BTreeMap<String, Vec<u64>>,
    /// How often each pass changed something.
    pub fired: BTreeMap<String, usize>,
    pub failed: Vec<Failure>,
}

#[derive(Clone, Debug)]
pub struct Failure {
    pub seed: u64,
    pub message: String,
    pub crashed: bool,
}

impl Tally {
    pub fn add(&mut self, other: Tally) {
        self.tried += other.tried;
        self.passed += other.passed;
        for (why, seeds) in other.refused {
            self.refused.entry(why).or_default().extend(seeds);
        }
        for (pass, count) in other.fired {
            *self.fired.entry(pass).or_default() += count;
        }
        self.failed.extend(other.failed);
    }

    /// Counts, and why graphs were refused, the commonest reasons first.
    pub fn summary(&self, reasons: usize) -> String {
        let refused: usize = self.refused.values().map(Vec::len).sum();
        let mut out = format!(
            "{} graphs: {} pass, {refused} are refused, {} fail\n",
            self.tried,
            self.passed,
            self.failed.len()
        );
        let fired: Vec<String> = self.fired.iter().map(|(pass, n)| format!("{pass} {n}")).collect();
        out += &format!("passes that changed something: {}\n", fired.join(", "));
        let mut all: Vec<_> = self.refused.iter().collect();
        all.sort_by_key(|(_, seeds)| std::cmp::Reverse(seeds.len()));
        for (why, seeds) in all.into_iter().take(reasons) {
            out += &format!("  {} × {why} (seed {})\n", seeds.len(), seeds[0]);
        }
        out
    }

    fn end(&mut self, seed: u64, line: &str) {
        let (how, rest) = line.split_once(' ').unwrap_or((line, ""));
        self.tried += 1;
        match how {
            "passed" | "empty" => {
                self.passed += 1;
                rest.split(',')
                    .filter(|p| !p.is_empty())
                    .for_each(|p| *self.fired.entry(p.into()).or_default() += 1);
            }
            "refused" | "idle" => {
                self.refused.entry(format!("{how}: {}", gist(rest))).or_default().push(seed)
            }
            _ => self.failed.push(Failure { seed, message: rest.replace("\\n", "\n"), crashed: false }),
        }
    }
}

/// A message without what differs from graph to graph.
pub fn gist(message: &str) -> String {
    let mut out = String::new();
    let mut quoted = false;
    for c in message.chars() {
        match c {
            '`' => {
                quoted = !quoted;
                if quoted {
                    out.push('·');
                }
            }
            _ if quoted => {}
            '0'..='9' => {
                if !out.ends_with('#') {
                    out.push('#');
                }
            }
            c => out.push(c),
        }
    }
    out.chars().take(150).collect()
}

/// Tries the seeds from `first` to before `end`; `each` is told of every failure as it comes.
pub fn run(first: u64, end: u64, mut each: impl FnMut(&Failure)) -> Result<Tally, String> {
    let mut tally = Tally::default();
    let mut next = first;
    while next < end {
        let (mut child, lines) = spawn(next, end)?;
        let mut current = None;
        let why = loop {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    let mut words = line.splitn(3, ' ');
                    let (what, seed) = (words.next(), words.next().and_then(|s| s.parse::<u64>().ok()));
                    match (what, seed) {
                        (Some("begin"), Some(seed)) => (current, next) = (Some(seed), seed + 1),
                        (Some("end"), Some(seed)) => {
                            let before = tally.failed.len();
                            tally.end(seed, words.next().unwrap_or_default());
                            tally.failed[before..].iter().for_each(&mut each);
                            current = None;
                        }
                        _ => {}
                    }
                }
                Err(RecvTimeoutError::Timeout) => break "it does not end".to_string(),
                Err(RecvTimeoutError::Disconnected) => {
                    let status = child.wait().map_err(|e| e.to_string())?;
                    break format!("the process died: {status}");
                }
            }
        };
        let _ = child.kill();
        let _ = child.wait();
        match current {
            Some(seed) => {
                tally.tried += 1;
                tally.failed.push(Failure { seed, message: why, crashed: true });
                tally.failed.last().into_iter().for_each(&mut each);
            }
            None if next < end => return Err(format!("the process that tries seeds from {next} on: {why}")),
            None => {}
        }
    }
    Ok(tally)
}

fn spawn(first: u64, end: u64) -> Result<(Child, std::sync::mpsc::Receiver<String>), String> {
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut child = Command::new(exe)
        .env_remove(SEEDS)
        .env(CHILD, format!("{first}..{end}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| e.to_string())?;
    let out = child.stdout.take().ok_or("no output")?;
    let (send, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    Ok((child, lines))
}

/// What a process of its own says of a failure: the smallest graph that fails too.
pub fn explanation(failure: &Failure) -> String {
    let exe = std::env::current_exe().unwrap_or_default();
    let what = format!("{}{}", failure.seed, if failure.crashed { " crash" } else { "" });
    match Command::new(exe).env_remove(SEEDS).env(EXPLAIN, what).stderr(Stdio::null()).output() {
        Ok(output) => format!("{}\n{}", failure.message, String::from_utf8_lossy(&output.stdout)),
        Err(error) => format!("{}\n{error}", failure.message),
    }
}
