//! Threads that share one kernel call: they spin for a moment, then park.
//!
//! A call is published by raising `epoch`; each worker takes the part of its own number, so that which thread does what
//! never depends on timing, and answers on a cache line of its own. A step of a small layer takes a few microseconds,
//! so that nothing on the way is written by two threads but for the lines that carry a message.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering, fence};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::kernel::Call;

/// How long a worker spins before it parks.
const SPIN: Duration = Duration::from_micros(40);

/// Worker threads; the calling thread is one more.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    job: Job,
    /// One a worker.
    answers: Vec<Answer>,
}

/// What the workers are to do, on a cache line of its own; two, as they are fetched in pairs.
#[repr(align(128))]
struct Job {
    /// How many calls there were.
    epoch: AtomicUsize,
    /// The last of them; none to stop. Written only between the answers to one epoch and the next.
    call: UnsafeCell<Option<Call>>,
    parts: AtomicUsize,
}

/// What a worker has done.
#[repr(align(128))]
#[derive(Default)]
struct Answer {
    /// The epoch of the last call it has run.
    epoch: AtomicUsize,
    status: AtomicI64,
    is_parked: AtomicBool,
}

// SAFETY: `call` is written by the holder of the pool, which `run` borrows mutably, while all workers wait: each has
// answered to the last epoch. They read it after they have seen the next one, which orders that after the write.
unsafe impl Sync for Job {}

impl Pool {
    /// A pool that runs calls in `threads` parts, on as many threads.
    pub fn new(threads: usize) -> Pool {
        let job = Job { epoch: AtomicUsize::new(0), call: UnsafeCell::new(None), parts: AtomicUsize::new(1) };
        let answers = (1..threads.max(1)).map(|_| Answer::default()).collect();
        let shared = Arc::new(Shared { job, answers });
        let workers: Vec<_> = (1..threads.max(1))
            .map_while(|part| {
                let shared = shared.clone();
                let name = format!("trine-{part}");
                std::thread::Builder::new().name(name).spawn(move || shared.work(part)).ok()
            })
            .collect();
        shared.job.parts.store(workers.len() + 1, Ordering::Relaxed);
        Pool { shared, workers }
    }

    /// How many parts a call is split into.
    pub fn parts(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs all parts of `call` and waits for them; the first status that is not zero, else zero.
    pub fn run(&mut self, call: Call) -> i64 {
        let parts = self.parts();
        if parts == 1 {
            return call.run(0, 1);
        }
        let epoch = self.publish(Some(call));
        let mut status = call.run(0, parts);
        for answer in &self.shared.answers[..self.workers.len()] {
            while answer.epoch.load(Ordering::Acquire) != epoch {
                std::hint::spin_loop();
            }
            if status == 0 {
                status = answer.status.load(Ordering::Relaxed);
            }
        }
        status
    }

    /// Tells the workers, which wait, what to do next.
    fn publish(&mut self, call: Option<Call>) -> usize {
        let job = &self.shared.job;
        let epoch = job.epoch.load(Ordering::Relaxed).wrapping_add(1);
        // SAFETY: all workers have answered to the last epoch, and read nothing until the next.
        unsafe { *job.call.get() = call };
        job.epoch.store(epoch, Ordering::Release);
        // Either a worker that is about to park sees the epoch, or this sees that it has parked.
        fence(Ordering::SeqCst);
        for (worker, answer) in self.workers.iter().zip(&self.shared.answers) {
            if answer.is_parked.load(Ordering::Relaxed) {
                worker.thread().unpark();
            }
        }
        epoch
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

impl Shared {
    fn work(&self, part: usize) {
        let answer = &self.answers[part - 1];
        let mut epoch = 0usize;
        loop {
            self.wait(epoch, answer);
            epoch = epoch.wrapping_add(1);
            // SAFETY: it was written before the epoch that `wait` has seen, and will not be again before the answer.
            let Some(call) = (unsafe { *self.job.call.get() }) else { return };
            let status = call.run(part, self.job.parts.load(Ordering::Relaxed));
            answer.status.store(status, Ordering::Relaxed);
            answer.epoch.store(epoch, Ordering::Release);
        }
    }

    /// Returns when the epoch has moved beyond `seen`.
    fn wait(&self, seen: usize, answer: &Answer) {
        let moved = || self.job.epoch.load(Ordering::Acquire) != seen;
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
        answer.is_parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        while !moved() {
            std::thread::park();
        }
        answer.is_parked.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    /// Counts the parts that ran; its argument is where it counts, and the status is that of the last part.
    unsafe extern "C" fn count(args: *const *mut u8, dims: *const i64, part: i64, parts: i64) -> i64 {
        // SAFETY: the tests give one argument, an `AtomicU64` for each part, and one dimension.
        let (counts, status) = unsafe { (*args as *const AtomicU64, *dims) };
        // SAFETY: as above.
        unsafe { &*counts.add(part as usize) }.fetch_add(1, Ordering::Relaxed);
        if part + 1 == parts { status } else { 0 }
    }

    #[test]
    fn each_part_runs_once_a_call_however_long_workers_waited() {
        for threads in [1, 2, 4] {
            let mut pool = Pool::new(threads);
            let counts: Vec<AtomicU64> = (0..pool.parts()).map(|_| AtomicU64::new(0)).collect();
            let args = [counts.as_ptr() as *mut u8];
            for round in 0..300i64 {
                let dims = [round % 3];
                // SAFETY: that is what `count` takes, and the pool is done with it when `run` returns.
                let call = unsafe { Call::new(count, &args, &dims) };
                assert_eq!(pool.run(call), round % 3);
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == round as u64 + 1));
                if round % 50 == 0 {
                    // Long enough to park.
                    std::thread::sleep(2 * SPIN);
                }
            }
        }
    }
}
