//! Threads that run one job together, and meet on the way.
//!
//! A job is a function that every thread runs with its own number, so that which thread does what never depends on
//! timing. Where one needs what others have written, all meet: each counts its arrivals on a cache line that it alone
//! writes, and waits for the counts of the others. Who waits looks again for a moment, then lets others have its
//! processor, and sleeps at last: on a machine that has other work too, the one that is waited for may want a processor itself.
#![allow(unsafe_code)]

use std::cell::{Cell, UnsafeCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::crowd::Crowd;

/// How long a thread looks for what it waits for before it lets others have its processor.
const SPIN: Duration = Duration::from_micros(50);
/// How long it does so before it sleeps: where it waits for a thread at work, and where it waits for the next job. Between
/// two tokens somebody picks the next, which takes some time.
const AT_WORK: Duration = Duration::from_millis(4);
const IDLE: Duration = Duration::from_micros(200);
/// How often it looks before it asks for the time.
const LOOKS: usize = 64;

/// Threads that a pool has at most, whatever is asked for.
pub const MAX_THREADS: usize = 1024;

/// Worker threads; the calling thread is one more.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    crowd: Crowd,
}

/// A thread at work on a job.
pub struct Member<'a> {
    part: usize,
    parts: usize,
    /// One a thread.
    lines: &'a [Line],
    /// How long it slept because others were not where it met them.
    slept: Cell<Duration>,
}

type Job<'a> = dyn Fn(&Member) + Sync + 'a;

struct Shared {
    post: Post,
    /// One a thread, the caller's first.
    lines: Vec<Line>,
}

/// What the workers are to do.
struct Post {
    /// How many jobs there were.
    epoch: Count,
    /// The last of them, and when it was told if it is watched; none to stop. Written only while all workers wait for the
    /// next epoch.
    job: UnsafeCell<Option<(*const Job<'static>, Option<Instant>)>>,
    parts: AtomicUsize,
}

/// What a thread tells the others.
#[derive(Default)]
struct Line {
    /// How often it has met the others, ends of jobs counted.
    arrivals: Count,
    /// Nanoseconds of its last job in which it had no processor.
    lost: AtomicU64,
}

/// A number that one thread counts up and others wait for, on a cache line of its own; two, as they are fetched in pairs.
/// It wraps.
#[repr(align(128))]
#[derive(Default)]
struct Count {
    value: AtomicU32,
    /// Those that sleep until it changes, or are about to.
    sleepers: AtomicU32,
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
        let post = Post { epoch: Count::default(), job: UnsafeCell::new(None), parts: AtomicUsize::new(1) };
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
        Pool { shared, workers, crowd: Crowd::new() }
    }

    /// How many threads run a job.
    pub fn parts(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `job` on all threads and waits for them, or on the calling thread alone where the machine has no processors for
    /// all. It must not unwind, and every thread must meet the others as often.
    pub fn run(&mut self, job: &Job) {
        if self.workers.is_empty() || !self.crowd.allows() {
            return job(&Member::alone());
        }
        let start = self.crowd.watches().then(Instant::now);
        self.share(job, start);
        if let Some(start) = start {
            let lines = &self.shared.lines[..self.parts()];
            let lost = lines.iter().map(|line| line.lost.load(Ordering::Relaxed)).max().unwrap_or(0);
            let end = Instant::now();
            self.crowd.note(self.parts(), end, end - start, Duration::from_nanos(lost));
        }
    }

    /// Runs `job` on all threads. Where it has a `start`, which is now, each tells for how long it had no processor.
    fn share(&mut self, job: &Job, start: Option<Instant>) {
        let member = self.shared.member(0, self.parts());
        self.publish(Some(job), start);
        member.work(job, start);
        member.meet();
    }

    /// Tells the workers, which wait, what to do next.
    fn publish(&self, job: Option<&Job>, start: Option<Instant>) {
        let post = &self.shared.post;
        // SAFETY: only the lifetime changes, and workers are done with the job when `run` returns.
        let job = job.map(|job| unsafe {
            std::mem::transmute::<*const Job, *const Job<'static>>(std::ptr::from_ref(job))
        });
        // SAFETY: all workers have arrived at the end of the last job, and read nothing until the next epoch.
        unsafe { *post.job.get() = job.map(|job| (job, start)) };
        post.epoch.advance();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.publish(None, None);
        for worker in self.workers.drain(..) {
            // A worker only runs kernels, which do not unwind.
            let _ = worker.join();
        }
    }
}

impl Member<'_> {
    /// The calling thread, without others.
    pub fn alone() -> Member<'static> {
        Member { part: 0, parts: 1, lines: &[], slept: Cell::default() }
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
                self.slept.set(self.slept.get() + line.arrivals.wait_for(arrivals, AT_WORK));
            }
        }
    }

    /// Runs a job, and tells for how long after its `start`, if that is watched, this thread had no processor and wanted one.
    fn work(&self, job: &Job, start: Option<Instant>) {
        let Some(start) = start else { return job(self) };
        let cpu = cpu_time();
        job(self);
        let lost = start.elapsed().saturating_sub(cpu_time() - cpu + self.slept.get());
        self.lines[self.part].lost.store(lost.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Tells the others that this thread is here; how often it has.
    fn arrive(&self) -> u32 {
        self.lines[self.part].arrivals.advance()
    }
}

impl Count {
    /// Counts up, and wakes those that sleep. Only one thread may.
    fn advance(&self) -> u32 {
        let value = self.value.load(Ordering::Relaxed).wrapping_add(1);
        self.value.store(value, Ordering::Release);
        // Either one that is about to sleep sees the value, or this sees that it sleeps.
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::Relaxed) > 0 {
            atomic_wait::wake_all(&self.value);
        }
        value
    }

    /// Returns when the value has come to `least`, which is less than half of all numbers ahead of it: for how long the thread
    /// slept, which it does after `awake`.
    fn wait_for(&self, least: u32, awake: Duration) -> Duration {
        let is_there = |value: u32| value.wrapping_sub(least) as i32 >= 0;
        let mut start = None;
        let asleep = loop {
            for _ in 0..LOOKS {
                if is_there(self.value.load(Ordering::Acquire)) {
                    return Duration::ZERO;
                }
                std::hint::spin_loop();
            }
            let now = Instant::now();
            match now - *start.get_or_insert(now) {
                waited if waited > awake => break now,
                waited if waited > SPIN => std::thread::yield_now(),
                _ => {}
            }
        };
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        loop {
            let value = self.value.load(Ordering::SeqCst);
            if is_there(value) {
                break;
            }
            atomic_wait::wait(&self.value, value);
        }
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
        asleep.elapsed()
    }
}

/// How long the calling thread has run on a processor.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes one `timespec`. It cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

impl Shared {
    fn member(&self, part: usize, parts: usize) -> Member<'_> {
        Member { part, parts, lines: &self.lines, slept: Cell::default() }
    }

    fn work(&self, part: usize) {
        let mut epoch = 0u32;
        loop {
            epoch = epoch.wrapping_add(1);
            self.post.epoch.wait_for(epoch, IDLE);
            // SAFETY: it was written before the epoch that `wait_for` has seen, and will not be again before this thread
            // arrives at its end.
            let Some((job, start)) = (unsafe { *self.post.job.get() }) else { return };
            let member = self.member(part, self.post.parts.load(Ordering::Relaxed));
            // SAFETY: whoever runs the job waits for this thread to arrive.
            member.work(unsafe { &*job }, start);
            member.arrive();
        }
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
                let job = |member: &Member| {
                    assert_eq!(member.parts(), counts.len());
                    counts[member.part()].fetch_add(1, Ordering::Relaxed);
                };
                pool.share(&job, Some(Instant::now()));
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == round + 1));
                if round % 50 == 0 {
                    // Long enough to park.
                    std::thread::sleep(2 * IDLE);
                }
            }
        }
    }

    #[test]
    fn who_sleeps_is_woken() {
        let mut pool = Pool::new(3);
        for round in 0..60 {
            let job = |member: &Member| {
                for meeting in 0..3 {
                    // Each comes last in turn, about when the others go to sleep.
                    if member.part() == (round + meeting) % member.parts() {
                        std::thread::sleep(AT_WORK * (round % 4) as u32 / 2);
                    }
                    member.meet();
                }
            };
            pool.share(&job, Some(Instant::now()));
        }
    }

    #[test]
    fn counts_wrap() {
        let count = Count { value: AtomicU32::new(u32::MAX), sleepers: AtomicU32::new(0) };
        count.wait_for(u32::MAX, SPIN);
        assert_eq!(count.advance(), 0);
        count.wait_for(u32::MAX, SPIN);
        count.wait_for(0, SPIN);
    }

    #[test]
    fn who_has_met_the_others_sees_what_they_wrote() {
        for threads in [1, 2, 3] {
            let mut pool = Pool::new(threads);
            let written: Vec<AtomicU64> = (0..pool.parts()).map(|_| AtomicU64::new(0)).collect();
            let wrong = AtomicUsize::new(0);
            let job = |member: &Member| {
                for round in 0..1000 {
                    written[member.part()].store(round, Ordering::Relaxed);
                    member.meet();
                    let bad = written.iter().filter(|w| w.load(Ordering::Relaxed) != round).count();
                    wrong.fetch_add(bad, Ordering::Relaxed);
                    // Nobody writes the next before all have read this.
                    member.meet();
                }
            };
            pool.share(&job, Some(Instant::now()));
            assert_eq!(wrong.into_inner(), 0);
        }
    }
}
