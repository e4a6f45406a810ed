//! Which threads run each step, and where they meet.
//!
//! A step with enough work is split among the threads. What is too small for that would have the others wait for one
//! of them, and then for the cache lines that it wrote: each runs it for itself instead, into memory of its own. So
//! threads meet only before a step that touches what another may have written, or may still read, since they met last.

use crate::memory::{Home, Homes};
use crate::program::{Parts, Place, Step, StepKind};
use crate::sizes::{Known, SizeId, Sizes};

/// Below this much work a step is not split among threads.
pub const MIN_SPLIT_WORK: usize = 16_384;

/// Who runs a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Every thread its part.
    Part,
    /// Every thread the whole, into memory of its own.
    Whole,
    /// The first thread alone: there is no other, or the results are in no slot, as states are not.
    First,
}

/// Of one program, for the dimensions at hand.
pub struct Schedule {
    /// By step: what its kernel has to do, if that is known before the run, and whether its results may lie in memory of
    /// a thread.
    works: Vec<Option<(Option<SizeId>, bool)>>,
    shares: Vec<Share>,
    /// Whether threads meet before a step.
    meets: Vec<bool>,
    /// By buffer: whether each thread has one of its own.
    private: Vec<bool>,
    /// Whether some steps are split, so that it takes more than one thread.
    is_shared: bool,
    marks: Marks,
}

/// What was read and written since threads met last.
struct Marks {
    /// How often they have met.
    stage: u32,
    /// By resource: the last stage that read it, and that wrote it.
    read: Vec<u32>,
    written: Vec<u32>,
}

impl Schedule {
    /// Of one thread, until `update` has seen the dimensions.
    pub fn new(program: &Parts, homes: &Homes, sizes: &mut Sizes) -> Schedule {
        let count = program.steps.len();
        let in_slot = |place: &Place| matches!(homes.of(*place), Home::Slot(_));
        let work = |step: &Step| {
            let kernel = program.kernel(step)?;
            Some((sizes.add(&kernel.work), step.results.iter().all(in_slot)))
        };
        let resources = Resources::new(program).count();
        Schedule {
            works: program.steps.iter().map(work).collect(),
            shares: vec![Share::First; count],
            meets: vec![false; count],
            private: vec![false; program.buffers.len()],
            is_shared: false,
            marks: Marks { stage: 0, read: vec![0; resources], written: vec![0; resources] },
        }
    }

    /// Fits the schedule to the sizes. Whether that changed anything.
    pub fn update(&mut self, program: &Parts, homes: &Homes, sizes: &Known, threads: usize) -> bool {
        let mut changed = false;
        for (share, work) in self.shares.iter_mut().zip(&self.works) {
            let new = match *work {
                // What only the step knows may be much.
                Some((work, _)) if threads > 1 && work.is_none_or(|w| sizes.get(w) >= MIN_SPLIT_WORK) => {
                    Share::Part
                }
                Some((_, true)) if threads > 1 => Share::Whole,
                _ => Share::First,
            };
            changed |= *share != new;
            *share = new;
        }
        if changed {
            self.private.fill(false);
            for (share, step) in self.shares.iter().zip(&program.steps) {
                for result in step.results.iter().filter(|_| *share == Share::Whole) {
                    if let Place::Buffer(b) = result {
                        self.private[*b] = true;
                    }
                }
            }
            self.is_shared = self.shares.contains(&Share::Part);
            self.place_meets(program, homes);
        }
        changed
    }

    fn place_meets(&mut self, program: &Parts, homes: &Homes) {
        let resources = Resources::new(program);
        self.marks.read.fill(0);
        self.marks.written.fill(0);
        self.marks.stage = 1;
        for (i, step) in program.steps.iter().enumerate() {
            if matches!(step.kind, StepKind::Interpret(_)) {
                // The threads have all come to the end of their job.
                self.marks.stage += 1;
                continue;
            }
            let shared = |place: &Place| match place {
                Place::Buffer(b) if self.private[*b] => None,
                _ => resources.of(homes.of(*place)),
            };
            // Parts of one step have scratch side by side, which need not be where those of the next have it.
            let scratch = (self.shares[i] == Share::Part).then_some(resources.scratch());
            let read = || step.args.iter().flatten().filter_map(shared);
            let written = || step.results.iter().filter_map(shared).chain(scratch);
            self.meets[i] = self.marks.conflict(read(), written());
            if self.meets[i] {
                self.marks.stage += 1;
            }
            self.marks.note(read(), written());
        }
    }

    pub fn share(&self, step: usize) -> Share {
        self.shares[step]
    }

    /// Whether threads meet before `step`.
    pub fn meets(&self, step: usize) -> bool {
        self.meets[step]
    }

    /// Whether each thread has a buffer `b` of its own.
    pub fn is_private(&self, b: usize) -> bool {
        self.private[b]
    }

    /// Whether some steps are split, so that it takes more than one thread.
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }
}

impl Marks {
    fn conflict(
        &self,
        mut read: impl Iterator<Item = usize>,
        mut written: impl Iterator<Item = usize>,
    ) -> bool {
        let is_written = |r: usize| self.written[r] == self.stage;
        read.any(is_written) || written.any(|r| is_written(r) || self.read[r] == self.stage)
    }

    fn note(&mut self, read: impl Iterator<Item = usize>, written: impl Iterator<Item = usize>) {
        read.for_each(|r| self.read[r] = self.stage);
        written.for_each(|r| self.written[r] = self.stage);
    }
}

/// Numbers of what threads share: slots, scratch, buffers in no slot, states.
struct Resources {
    slots: usize,
    buffers: usize,
    states: usize,
}

impl Resources {
    fn new(program: &Parts) -> Resources {
        let (slots, buffers, states) = (program.slots, program.buffers.len(), program.states.len());
        Resources { slots, buffers, states }
    }

    fn count(&self) -> usize {
        self.slots + 1 + self.buffers + self.states
    }

    fn scratch(&self) -> usize {
        self.slots
    }

    fn of(&self, home: Home) -> Option<usize> {
        match home {
            // Nothing writes to them.
            Home::Input(_) | Home::Const(_) => None,
            Home::Slot(slot) => Some(slot),
            Home::Own(b) => Some(self.slots + 1 + b),
            Home::State(s) => Some(self.slots + 1 + self.buffers + s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use proptest::prelude::*;
    use trine_ir::{Elem, Module, Type};

    use crate::code::Code;
    use crate::kernel::Kernel;
    use crate::program::{Buffer, Plan, Size, StepKind};

    const LITTLE: bool = false;
    const MUCH: bool = true;

    extern "C" fn nothing(_: *const *mut u8, _: *const i64, _: i64, _: i64) -> i64 {
        0
    }

    fn kernel(work: i64) -> Kernel {
        let none = || Size::constant(0);
        Kernel {
            name: String::new(),
            function: nothing,
            scratch_shared: none(),
            scratch_part: none(),
            work: Size::constant(work),
            operations: none(),
            bytes: none(),
        }
    }

    /// A step that reads and writes buffers, and does little or much.
    fn step(is_much: bool, read: &[usize], written: &[usize]) -> Step {
        Step {
            kind: StepKind::Kernel(usize::from(is_much)),
            node: None,
            args: read.iter().map(|b| Some(Place::Buffer(*b))).collect(),
            results: written.iter().map(|b| Place::Buffer(*b)).collect(),
            place: String::new(),
        }
    }

    /// Who runs each step on two threads, and before which they meet; buffers are in the slots that are given.
    fn scheduled(slots: &[Option<usize>], steps: Vec<Step>) -> (Vec<Share>, Vec<bool>) {
        let ty = Type::scalar(Elem::F32);
        let buffer = |slot: &Option<usize>| Buffer {
            ty: ty.clone(),
            shape: vec![],
            bytes: Size::constant(4),
            slot: *slot,
        };
        let plan = Plan {
            symbols: vec![],
            derived: vec![],
            requires: vec![],
            inputs: vec![],
            outputs: vec![],
            buffers: slots.iter().map(buffer).collect(),
            slots: slots.iter().flatten().map(|s| s + 1).max().unwrap_or(0),
            kernels: vec![kernel(1), kernel(MIN_SPLIT_WORK as i64)],
            steps,
            states: vec![],
        };
        let code = Code::load(&[], []).unwrap();
        let program = Parts { plan, consts: vec![], code, module: Arc::new(Module::default()) };
        let (homes, mut sizes) = (Homes::new(&program, false), Sizes::new(&program));
        let mut schedule = Schedule::new(&program, &homes, &mut sizes);
        let sizes = sizes.update(&program, &[]).unwrap();
        schedule.update(&program, &homes, &sizes, 2);
        assert!(!schedule.update(&program, &homes, &sizes, 2));
        (schedule.shares, schedule.meets)
    }

    #[test]
    fn threads_meet_where_one_reads_what_others_wrote() {
        let steps = vec![
            step(MUCH, &[], &[0]),
            step(LITTLE, &[0], &[1]),
            // Reads what each thread has made for itself.
            step(MUCH, &[1], &[2]),
            step(MUCH, &[2], &[3]),
        ];
        let (shares, meets) = scheduled(&[Some(0), Some(1), Some(2), Some(0)], steps);
        assert_eq!(shares, [Share::Part, Share::Whole, Share::Part, Share::Part]);
        assert_eq!(meets, [false, true, false, true]);
    }

    #[test]
    fn threads_meet_where_one_writes_what_others_may_still_read() {
        // The last step writes to the slot that the second reads.
        let steps = || vec![step(MUCH, &[], &[0]), step(LITTLE, &[0], &[1]), step(MUCH, &[1], &[2])];
        assert_eq!(scheduled(&[Some(0), Some(1), Some(0)], steps()).1, [false, true, true]);
        assert_eq!(scheduled(&[Some(0), Some(1), Some(2)], steps()).1, [false, true, false]);
    }

    #[test]
    fn what_outlives_the_run_is_written_once() {
        let steps = vec![step(LITTLE, &[], &[0]), step(LITTLE, &[0], &[1]), step(MUCH, &[1], &[2])];
        let (shares, meets) = scheduled(&[None, Some(0), Some(1)], steps);
        assert_eq!(shares, [Share::First, Share::Whole, Share::Part]);
        assert_eq!(meets, [false, true, false]);
    }

    /// Whether two steps touch the same memory, one of them to write: a slot, or a buffer in none. Buffer `b` is what
    /// step `b` makes.
    fn conflict(
        slots: &[Option<usize>],
        shares: &[Share],
        steps: &[(bool, Vec<usize>)],
        a: usize,
        b: usize,
    ) -> bool {
        let memory = |buffer: usize| {
            let private = shares[buffer] == Share::Whole;
            (!private).then_some(slots[buffer].ok_or(buffer))
        };
        let read = |step: usize| steps[step].1.iter().filter_map(|b| memory(*b)).collect::<Vec<_>>();
        let (wrote_a, wrote_b) = (memory(a), memory(b));
        let touched = |wrote: &Option<_>, step: usize| wrote.is_some_and(|m| read(step).contains(&m));
        let scratch = shares[a] == Share::Part && shares[b] == Share::Part;
        scratch || wrote_a.is_some() && wrote_a == wrote_b || touched(&wrote_a, b) || touched(&wrote_b, a)
    }

    proptest! {
        #[test]
        fn threads_meet_between_steps_that_touch_the_same_memory(
            steps in prop::collection::vec((any::<bool>(), prop::collection::vec(0usize..20, 0..3)), 1..20),
            slots in prop::collection::vec(prop::option::weighted(0.9, 0usize..4), 20),
        ) {
            // A step reads what is made before it.
            let steps: Vec<(bool, Vec<usize>)> = steps
                .into_iter()
                .enumerate()
                .map(|(i, (is_much, read))| (is_much, read.into_iter().filter(|b| *b < i).collect()))
                .collect();
            let slots = &slots[..steps.len()];
            let made = steps.iter().enumerate().map(|(i, (is_much, read))| step(*is_much, read, &[i])).collect();
            let (shares, meets) = scheduled(slots, made);
            // Without a part, one thread runs all.
            for b in 0..if shares.contains(&Share::Part) { steps.len() } else { 0 } {
                for a in (0..b).filter(|a| conflict(slots, &shares, &steps, *a, b)) {
                    prop_assert!(meets[a + 1..=b].contains(&true), "{a} and {b}");
                }
            }
        }
    }
}
