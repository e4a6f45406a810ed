//! Threads that run one job together, and meet on the way.
//!
//! A job is a function that every thread runs with its own number, so that which thread does what never depends on
//! timing. Where one needs what others have written, all meet: each counts its arrivals on a cache line that it alone
//! writes, and waits for the counts of the others. Between jobs workers spin for a moment, then park.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a worker spins before it parks: between two tokens somebody picks the next, which takes some time.
const SPIN: Duration = Duration::from_micros(200);
/// How often a thread looks for one that it meets before it lets others have its processor: some 10 µs.
const LOOKS: usize = 256;

/// Threads that a pool has at most, whatever is asked for.
pub const MAX_THREADS: usize = 1024;

/// Worker threads; the calling thread is one more.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

/// A thread at work on a job.
pub struct Member<'a> {
    part: usize,
    parts: usize,
    /// One a thread.
    lines: &'a [Line],
}

type Job<'a> = dyn Fn(&Member) + Sync + 'a;

struct Shared {
    post: Post,
    /// One a thread, the caller's first.
    lines: Vec<Line>,
}

/// What the workers are to do, on a cache line of its own; two, as they are fetched in pairs.
#[repr(align(128))]
struct Post {
    /// How many jobs there were.
    epoch: AtomicU64,
    /// The last of them; none to stop. Written only while all workers wait for the next epoch.
    job: UnsafeCell<Option<*const Job<'static>>>,
    parts: AtomicUsize,
}

/// What a thread tells the others.
#[repr(align(128))]
#[derive(Default)]
struct Line {
    /// How often it has met the others, ends of jobs counted.
    arrivals: AtomicU64,
    is_parked: AtomicBool,
}

// SAFETY: `job` is written by the holder of the pool, which `run` borrows mutably, while all workers wait: each has
// arrived at the end of the last job. They read it after they have seen the next epoch, which orders that after the
// write. Jobs may be shared between threads.
unsafe impl Send for Post {}
// SAFETY: as above.
unsafe impl Sync for Post {}

impl Pool {
    /// A pool that runs jobs on `threads` threads: on fewer where the system gives no more, or they are too many.
    pub fn new(threads: usize) -> Pool {
        let threads = threads.clamp(1, MAX_THREADS);
        let post = Post { epoch: AtomicU64::new(0), job: UnsafeCell::new(None), parts: AtomicUsize::new(1) };
        let lines = (0..threads).map(|_| Line::default()).collect();
        let shared = Arc::new(Shared { post, lines });
        let workers: Vec<_> = (1..threads)
            .map_while(|part| {
                let shared = shared.clone();
                let name = format!("trine-{part}");
                std::thread::Builder::new().name(name).spawn(move || shared.work(part)).ok()
            })
            .collect();
        shared.post.parts.store(workers.len() + 1, Ordering::Relaxed);
        Pool { shared, workers }
    }

    /// How many threads run a job.
    pub fn parts(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `job` on all threads and waits for them. It must not unwind, and every thread must meet the others as
    /// often.
    pub fn run(&mut self, job: &Job) {
        let member = self.shared.member(0, self.parts());
        self.publish(Some(job));
        job(&member);
        member.meet();
    }

    /// Tells the workers, which wait, what to do next.
    fn publish(&self, job: Option<&Job>) {
        let post = &self.shared.post;
        // SAFETY: only the lifetime changes, and workers are done with the job when `run` returns.
        let job = job.map(|job| unsafe {
            std::mem::transmute::<*const Job, *const Job<'static>>(std::ptr::from_ref(job))
        });
        // SAFETY: all workers have arrived at the end of the last job, and read nothing until the next epoch.
        unsafe { *post.job.get() = job };
        post.epoch.fetch_add(1, Ordering::Release);
        // Either a worker that is about to park sees the epoch, or this sees that it has parked.
        fence(Ordering::SeqCst);
        for (worker, line) in self.workers.iter().zip(&self.shared.lines[1..]) {
            if line.is_parked.load(Ordering::Relaxed) {
                worker.thread().unpark();
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.publish(None);
        for worker in self.workers.drain(..) {
            // A worker only runs kernels, which do not unwind.
            let _ = worker.join();
        }
    }
}

impl Member<'_> {
    /// The calling thread, without others.
    pub fn alone() -> Member<'static> {
        Member { part: 0, parts: 1, lines: &[] }
    }

    /// The number of this thread: zero is the caller's.
    pub fn part(&self) -> usize {
        self.part
    }

    pub fn parts(&self) -> usize {
        self.parts
    }

    /// Waits until all threads are here. What each wrote before, all see after it.
    pub fn meet(&self) {
        if self.parts == 1 {
            return;
        }
        let arrivals = self.arrive();
        for (part, line) in self.lines[..self.parts].iter().enumerate() {
            if part != self.part {
                wait(|| line.arrivals.load(Ordering::Acquire) >= arrivals);
            }
        }
    }

    /// Tells the others that this thread is here; how often it has.
    fn arrive(&self) -> u64 {
        let own = &self.lines[self.part].arrivals;
        let arrivals = own.load(Ordering::Relaxed) + 1;
        own.store(arrivals, Ordering::Release);
        arrivals
    }
}

/// Returns when `is_done`, which another thread that runs sees to.
fn wait(is_done: impl Fn() -> bool) {
    for _ in 0..LOOKS {
        if is_done() {
            return;
        }
        std::hint::spin_loop();
    }
    while !is_done() {
        std::thread::yield_now();
    }
}

impl Shared {
    fn member(&self, part: usize, parts: usize) -> Member<'_> {
        Member { part, parts, lines: &self.lines }
    }

    fn work(&self, part: usize) {
        let mut epoch = 0;
        loop {
            self.wait(epoch, &self.lines[part]);
            epoch += 1;
            // SAFETY: it was written before the epoch that `wait` has seen, and will not be again before this thread
            // arrives at its end.
            let Some(job) = (unsafe { *self.post.job.get() }) else { return };
            let member = self.member(part, self.post.parts.load(Ordering::Relaxed));
            // SAFETY: whoever runs the job waits for this thread to arrive.
            (unsafe { &*job })(&member);
            member.arrive();
        }
    }

    /// Returns when the epoch has moved beyond `seen`.
    fn wait(&self, seen: u64, line: &Line) {
        let moved = || self.post.epoch.load(Ordering::Acquire) != seen;
        let start = Instant::now();
        loop {
            for _ in 0..64 {
                if moved() {
                    return;
                }
                std::hint::spin_loop();
            }
            if start.elapsed() > SPIN {
                break;
            }
        }
        line.is_parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        while !moved() {
            std::thread::park();
        }
        line.is_parked.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_runs_a_job_once_however_long_it_waited() {
        for threads in [1, 2, 4] {
            let mut pool = Pool::new(threads);
            let counts: Vec<AtomicU64> = (0..pool.parts()).map(|_| AtomicU64::new(0)).collect();
            for round in 0..300 {
                pool.run(&|member| {
                    assert_eq!(member.parts(), counts.len());
                    counts[member.part()].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == round + 1));
                if round % 50 == 0 {
                    // Long enough to park.
                    std::thread::sleep(2 * SPIN);
                }
            }
        }
    }

    #[test]
    fn who_has_met_the_others_sees_what_they_wrote() {
        for threads in [1, 2, 3] {
            let mut pool = Pool::new(threads);
            let written: Vec<AtomicU64> = (0..pool.parts()).map(|_| AtomicU64::new(0)).collect();
            let wrong = AtomicUsize::new(0);
            pool.run(&|member| {
                for round in 0..1000 {
                    written[member.part()].store(round, Ordering::Relaxed);
                    member.meet();
                    let bad = written.iter().filter(|w| w.load(Ordering::Relaxed) != round).count();
                    wrong.fetch_add(bad, Ordering::Relaxed);
                    // Nobody writes the next before all have read this.
                    member.meet();
                }
            });
            assert_eq!(wrong.into_inner(), 0);
        }
    }
}
