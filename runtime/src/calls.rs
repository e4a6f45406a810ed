//! Steps as threads call them: functions, and where their operands lie.
//!
//! Addresses are looked up when memory moves, not at every call: a step of a small layer takes a few microseconds.
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::kernel::KernelFn;
use crate::memory::{Home, Memory};
use crate::pool::Member;
use crate::program::{Parts, Place, Step};
use crate::schedule::{Schedule, Share};

pub struct Calls {
    /// By step; none for one that is interpreted.
    functions: Vec<Option<KernelFn>>,
    /// Where the arguments of each step start.
    starts: Vec<usize>,
    /// For each thread the arguments of all steps: operands, results, scratch.
    args: Vec<Vec<*mut u8>>,
    /// Steps with operands, results or scratch that can lie elsewhere in each run.
    moving: Vec<usize>,
}

/// The step that failed first and its status; `NONE` if none did.
pub struct Failure(AtomicU64);

// SAFETY: the pointers are only handed to kernels, which write disjoint parts of their results, memory of their own
// thread, or the same bytes where attention appends to a cache that parts share, each reading only what it wrote
// itself. What one writes and another touches has a meeting of all threads between: the schedule sees to that.
unsafe impl Sync for Calls {}
// SAFETY: as above.
unsafe impl Send for Calls {}

impl Calls {
    pub fn new(program: &Parts, memory: &Memory, threads: usize) -> Calls {
        let function = |step: &Step| Some(program.kernel(step)?.function);
        let mut count = 0;
        let start = |step: &Step| {
            let start = count;
            count += step.args.len() + step.results.len() + 1;
            start
        };
        let moves = |step: &usize| {
            let home = |place: Place| memory.homes().of(place);
            memory.has_late_scratch(*step)
                || places(&program.steps[*step])
                    .flatten()
                    .any(|p| matches!(home(p), Home::Input(_) | Home::Own(_)))
        };
        let starts = program.steps.iter().map(start).collect();
        Calls {
            functions: program.steps.iter().map(function).collect(),
            starts,
            args: vec![vec![std::ptr::null_mut(); count]; threads],
            moving: (0..program.steps.len()).filter(moves).collect(),
        }
    }

    /// Looks up where all operands lie.
    pub fn bind(&mut self, program: &Parts, memory: &Memory, schedule: &Schedule) {
        for (i, step) in program.steps.iter().enumerate() {
            self.bind_step(i, step, memory, schedule.share(i));
        }
    }

    /// Those of `steps` with operands, results or scratch that can lie elsewhere in each run.
    pub fn moving(&self, steps: &Range<usize>) -> &[usize] {
        &self.moving[self.moving_among(steps)]
    }

    /// Looks up where the operands of those lie in this run.
    pub fn rebind(&mut self, steps: &Range<usize>, program: &Parts, memory: &Memory, schedule: &Schedule) {
        for m in self.moving_among(steps) {
            let i = self.moving[m];
            self.bind_step(i, &program.steps[i], memory, schedule.share(i));
        }
    }

    fn moving_among(&self, steps: &Range<usize>) -> Range<usize> {
        let at = |step: usize| self.moving.partition_point(|m| *m < step);
        at(steps.start)..at(steps.end)
    }

    fn bind_step(&mut self, i: usize, step: &Step, memory: &Memory, share: Share) {
        let start = self.starts[i];
        for (thread, args) in self.args.iter_mut().enumerate() {
            let located =
                places(step).map(|p| p.map_or(std::ptr::null_mut(), |p| memory.locate(p, thread).0));
            let all = located.chain([memory.scratch(i, share, thread)]);
            args[start..].iter_mut().zip(all).for_each(|(arg, at)| *arg = at);
        }
    }

    /// Runs `steps` of one stretch as `member`, up to the first that fails.
    pub fn run(
        &self,
        steps: Range<usize>,
        schedule: &Schedule,
        dims: &[i64],
        member: &Member,
        failure: &Failure,
    ) {
        let (thread, threads) = (member.part(), member.parts());
        let mut has_failed = false;
        for i in steps {
            if schedule.meets(i) {
                member.meet();
                // All threads see the same failures of the steps before, and leave together.
                if failure.is_before(i) {
                    return;
                }
            }
            let (part, parts) = match schedule.share(i) {
                Share::Part => (thread, threads),
                Share::First if thread > 0 => continue,
                Share::Whole | Share::First => (0, 1),
            };
            let Some(function) = self.functions[i].filter(|_| !has_failed) else { continue };
            let args = &self.args[thread][self.starts[i]..];
            // SAFETY: the arguments are the step's operands, results and scratch in the order of the ABI, each as long as
            // its type says under `dims`: checked for inputs, laid out or made before the stretch for others, whose sizes
            // have values by then, as the program was checked to. Slots of values that are alive together are disjoint
            // by the plan. All outlive the call.
            let status = unsafe { function(args.as_ptr(), dims.as_ptr(), part as i64, parts as i64) };
            if status != 0 {
                failure.note(i, status);
                has_failed = true;
            }
        }
    }
}

fn places(step: &Step) -> impl Iterator<Item = Option<Place>> + '_ {
    step.args.iter().copied().chain(step.results.iter().copied().map(Some))
}

impl Failure {
    const NONE: u64 = u64::MAX;

    pub fn none() -> Failure {
        Failure(AtomicU64::new(Failure::NONE))
    }

    /// Statuses are small numbers.
    fn note(&self, step: usize, status: i64) {
        self.0.fetch_min((step as u64) << 32 | (status as u64 & 0xffff_ffff), Ordering::Relaxed);
    }

    fn is_before(&self, step: usize) -> bool {
        self.0.load(Ordering::Relaxed) < (step as u64) << 32
    }

    /// The first step that failed, and its status.
    pub fn first(&self) -> Option<(usize, i64)> {
        let noted = self.0.load(Ordering::Relaxed);
        (noted != Failure::NONE).then_some(((noted >> 32) as usize, i64::from(noted as u32)))
    }
}
