//! Threads that share one kernel call: they spin for a moment, then park.
//!
//! A call is published by raising `epoch`; each worker takes the part of its own number, so that which thread
//! does what never depends on timing.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::kernel::Call;

/// How long a worker spins before it parks.
const SPIN: Duration = Duration::from_micros(40);

/// Worker threads; the calling thread is one more.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<std::thread::JoinHandle<()>>,
}

struct Shared {
    /// The current call; written only while no worker reads it.
    call: Mutex<Option<(Call, usize)>>,
    epoch: AtomicUsize,
    pending: AtomicUsize,
    status: AtomicI64,
    parked: Mutex<usize>,
    wake: Condvar,
    stop: AtomicBool,
}

impl Pool {
    /// A pool that runs calls in `threads` parts, on as many threads.
    pub fn new(threads: usize) -> Pool {
        let shared = Arc::new(Shared {
            call: Mutex::new(None),
            epoch: AtomicUsize::new(0),
            pending: AtomicUsize::new(0),
            status: AtomicI64::new(0),
            parked: Mutex::new(0),
            wake: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let workers = (1..threads.max(1))
            .map_while(|part| {
                let shared = shared.clone();
                let name = format!("trine-{part}");
                std::thread::Builder::new().name(name).spawn(move || shared.work(part)).ok()
            })
            .collect::<Vec<_>>();
        Pool { shared, workers }
    }

    /// How many parts a call is split into.
    pub fn parts(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs all parts of `call` and waits for them; the first status that is not zero, else zero.
    pub fn run(&self, call: Call) -> i64 {
        let shared = &*self.shared;
        let parts = self.parts();
        if parts == 1 {
            return call.run(0, 1);
        }
        *shared.call.lock().expect("no holder panics") = Some((call, parts));
        shared.status.store(0, Ordering::Relaxed);
        shared.pending.store(parts - 1, Ordering::Relaxed);
        shared.epoch.fetch_add(1, Ordering::Release);
        if *shared.parked.lock().expect("no holder panics") > 0 {
            shared.wake.notify_all();
        }
        let status = call.run(0, parts);
        while shared.pending.load(Ordering::Acquire) > 0 {
            std::hint::spin_loop();
        }
        if status != 0 { status } else { shared.status.load(Ordering::Relaxed) }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.epoch.fetch_add(1, Ordering::Release);
        drop(self.shared.parked.lock());
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            // A worker only runs kernels, which do not unwind.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn work(&self, part: usize) {
        let mut seen = 0;
        loop {
            self.wait(seen);
            seen += 1;
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            let call = *self.call.lock().expect("no holder panics");
            if let Some((call, parts)) = call {
                let status = call.run(part, parts);
                if status != 0 {
                    self.status.store(status, Ordering::Relaxed);
                }
            }
            self.pending.fetch_sub(1, Ordering::Release);
        }
    }

    /// Returns when the epoch has moved beyond `seen`.
    fn wait(&self, seen: usize) {
        let moved = || self.epoch.load(Ordering::Acquire) != seen;
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
        let mut parked = self.parked.lock().expect("no holder panics");
        *parked += 1;
        while !moved() {
            parked = self.wake.wait(parked).expect("no holder panics");
        }
        *parked -= 1;
    }
}
