//! Whether it pays to share work. Where other programs want the processors as well, a thread that waits for one keeps all
//! the others waiting, and one thread alone is faster.

use std::time::{Duration, Instant};

/// How long threads work together before that is judged.
const WATCHED: Duration = Duration::from_millis(10);

/// A job in so many is watched, which takes a microsecond; and the next after one that takes longer than that matters.
const OFTEN: u32 = 8;
const LONG: Duration = Duration::from_micros(200);

/// How long one thread is left alone before all try again: the longer, the more often in a row that did not pay.
const SHORTEST_REST: Duration = Duration::from_millis(20);
const LONGEST_REST: Duration = Duration::from_millis(640);

/// Threads together do so many times what one alone does, or are not worth it.
const WORTH: f64 = 1.1;

/// What is known of how crowded the machine is.
pub struct Crowd {
    /// How long threads have worked together since that was judged last, and how long of it one had no processor.
    watched: Duration,
    lost: Duration,
    alone_until: Option<Instant>,
    rest: Duration,
    jobs: u32,
    /// Whether the last job that was watched took long.
    is_long: bool,
}

impl Crowd {
    pub fn new() -> Crowd {
        Crowd {
            watched: Duration::ZERO,
            lost: Duration::ZERO,
            alone_until: None,
            rest: SHORTEST_REST,
            jobs: 0,
            is_long: false,
        }
    }

    /// Whether all threads are to work together now.
    pub fn allows(&mut self) -> bool {
        self.alone_until.is_none() || self.allows_at(Instant::now())
    }

    /// Whether the job that comes now is to be watched.
    pub fn watches(&mut self) -> bool {
        self.jobs = self.jobs.wrapping_add(1);
        self.is_long || self.jobs.is_multiple_of(OFTEN)
    }

    fn allows_at(&mut self, now: Instant) -> bool {
        if self.alone_until.is_some_and(|until| now < until) {
            return false;
        }
        self.alone_until = None;
        true
    }

    /// Notes that `threads` have worked together for `time` until `now`, one of which had no processor for `lost` of it.
    pub fn note(&mut self, threads: usize, now: Instant, time: Duration, lost: Duration) {
        self.is_long = time > LONG;
        self.watched += time;
        self.lost += lost.min(time);
        if self.watched < WATCHED {
            return;
        }
        // Each does the same, so that all wait for the one that can do the least.
        let worked = 1.0 - self.lost.as_secs_f64() / self.watched.as_secs_f64();
        if worked * (threads as f64) < WORTH {
            self.alone_until = Some(now + self.rest);
            self.rest = (2 * self.rest).min(LONGEST_REST);
        } else {
            self.rest = SHORTEST_REST;
        }
        (self.watched, self.lost) = (Duration::ZERO, Duration::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_left_alone_where_another_has_no_processor_and_for_longer_each_time() {
        let (mut crowd, mut now) = (Crowd::new(), Instant::now());
        let work = |crowd: &mut Crowd, now, lost: u64| {
            crowd.note(2, now, WATCHED, Duration::from_millis(lost));
        };
        work(&mut crowd, now, 3);
        assert!(crowd.allows_at(now));
        let mut rest = SHORTEST_REST;
        for _ in 0..8 {
            work(&mut crowd, now, 6);
            assert!(!crowd.allows_at(now + rest - Duration::from_millis(1)));
            now += rest;
            assert!(crowd.allows_at(now));
            rest = (2 * rest).min(LONGEST_REST);
        }
        work(&mut crowd, now, 0);
        work(&mut crowd, now, 6);
        assert!(!crowd.allows_at(now) && crowd.allows_at(now + SHORTEST_REST));
    }

    #[test]
    fn short_jobs_are_watched_now_and_then_and_long_ones_always() {
        let (mut crowd, now) = (Crowd::new(), Instant::now());
        let watched = |crowd: &mut Crowd| (0..80).filter(|_| crowd.watches()).count();
        crowd.note(2, now, LONG / 2, Duration::ZERO);
        assert_eq!(watched(&mut crowd), 10);
        crowd.note(2, now, 2 * LONG, Duration::ZERO);
        assert_eq!(watched(&mut crowd), 80);
    }

    #[test]
    fn many_threads_are_worth_it_for_longer() {
        let (mut crowd, now) = (Crowd::new(), Instant::now());
        crowd.note(8, now, WATCHED, WATCHED / 2);
        assert!(crowd.allows_at(now));
        // What is too short to judge is added up.
        crowd.note(8, now, WATCHED / 2, WATCHED / 2);
        assert!(crowd.allows_at(now));
        crowd.note(8, now, WATCHED / 2, WATCHED / 2);
        assert!(!crowd.allows_at(now));
    }
}
