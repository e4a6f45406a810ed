//! Work beside what is measured, as on a machine that does other things too.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// Threads that compute and never wait, until they are dropped.
pub struct Load {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

impl Load {
    pub fn new(threads: usize) -> Load {
        let is_over = Arc::new(AtomicBool::new(false));
        let start = |_| {
            let is_over = is_over.clone();
            thread::spawn(move || {
                let mut number = 1u64;
                while !is_over.load(Ordering::Relaxed) {
                    (0..1000).for_each(|_| number = black_box(number.wrapping_mul(6364136223846793005)));
                }
                number
            })
        };
        let threads = (0..threads).map(start).collect();
        Load { is_over, threads }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It cannot have panicked, and nothing is lost if it has.
            let _ = thread.join();
        }
    }
}
