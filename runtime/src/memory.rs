//! Where the values of a session lie.
//!
//! Slots are laid out again when one must hold more than it can, or other threads run other steps; memory only ever
//! grows. What has a size that depends on data gets its memory when the turn of its step comes. For tests all of it can
//! be guarded (`guard.rs`).
#![allow(unsafe_code)]

mod wants;

use std::sync::Arc;

use trine_ir::Elem;

use crate::arena::AlignedBytes;
use crate::budget::{self, Budget};
use crate::error::RunError;
use crate::guard::Block;
use crate::program::{Buffer, Parts, Place, Program, Size, Step};
use crate::schedule::{Schedule, Share};
use crate::session::View;
use crate::sizes::{Known, SizeId, Sizes, eval};
use crate::slots::{Arena, Slots};
use crate::states::States;

/// What memory a place is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// The caller's.
    Input(usize),
    Const(usize),
    /// A slot, of the arena or of a thread.
    Slot(usize),
    /// A buffer in no slot.
    Own(usize),
    /// What the session keeps between runs.
    State(usize),
}

/// The homes of a program's places.
pub struct Homes {
    inputs: Vec<Home>,
    buffers: Vec<Home>,
}

impl Homes {
    /// Where the session holds states, their inputs and outputs are one memory.
    pub fn new(program: &Parts, holds_states: bool) -> Homes {
        let mut inputs: Vec<Home> = (0..program.inputs.len()).map(Home::Input).collect();
        let slot = |(b, buffer): (usize, &Buffer)| buffer.slot.map_or(Home::Own(b), Home::Slot);
        let mut buffers: Vec<Home> = program.buffers.iter().enumerate().map(slot).collect();
        for (s, state) in program.states.iter().enumerate().filter(|_| holds_states) {
            inputs[state.input] = Home::State(s);
            if let Place::Buffer(b) = program.outputs[state.output].place {
                buffers[b] = Home::State(s);
            }
        }
        Homes { inputs, buffers }
    }

    pub fn of(&self, place: Place) -> Home {
        match place {
            Place::Input(i) => self.inputs[i],
            Place::Const(c) => Home::Const(c),
            Place::Buffer(b) => self.buffers[b],
        }
    }
}

/// When the size of a step's scratch is known: what parts share, and what each has.
enum Scratch {
    /// When dimensions are bound: it lies in the slot after the last.
    Bound { shared: SizeId, part: SizeId },
    /// When the turn of the step comes.
    AtStep { shared: Size, part: Size },
}

pub struct Memory {
    program: Arc<Program>,
    homes: Homes,
    budget: Budget,
    is_guarded: bool,
    /// Slots that threads share, and after them scratch of split steps.
    slots: Slots,
    arena: Arena,
    /// Slots that each thread has, and after them scratch of steps that it runs for itself.
    own_slots: Slots,
    own_arenas: Vec<Arena>,
    /// By buffer: its slot and size, if it is in one.
    buffers: Vec<Option<(usize, SizeId)>>,
    /// By step that has a kernel.
    scratches: Vec<Option<Scratch>>,
    /// Scratch of a step that learns its size when its turn comes: of all parts, or of each thread.
    late: Block,
    own_late: Vec<Block>,
    /// By buffer: whether it is in the slots that each thread has.
    private: Vec<bool>,
    /// Memory of buffers that are in no slot.
    single: Vec<Block>,
    /// Inputs of the run at hand: pointers that are used only while the caller lends the views.
    inputs: Vec<(*mut u8, usize)>,
    /// Copies of inputs that kernels cannot read where the caller has them.
    staged: Vec<AlignedBytes>,
    states: States,
}

// SAFETY: the raw pointers are refilled by each run; between runs nothing reads them.
unsafe impl Send for Memory {}

impl Memory {
    /// Of a session on `threads` threads, which holds `capacity` positions of the program's states and has `max_bytes` at most.
    pub fn new(
        program: Arc<Program>,
        threads: usize,
        capacity: Option<usize>,
        max_bytes: Option<usize>,
        is_guarded: bool,
        sizes: &mut Sizes,
    ) -> Memory {
        let homes = Homes::new(&program, capacity.is_some());
        let slot = |b: usize| match homes.of(Place::Buffer(b)) {
            // The program is checked: what is in a slot has a size that follows from the inputs'.
            Home::Slot(slot) => sizes.add(&program.buffers[b].bytes).map(|size| (slot, size)),
            _ => None,
        };
        let buffers = (0..program.buffers.len()).map(slot).collect();
        let scratch = |step: &Step| {
            let k = program.kernel(step)?;
            Some(match (sizes.add(&k.scratch_shared), sizes.add(&k.scratch_part)) {
                (Some(shared), Some(part)) => Scratch::Bound { shared, part },
                _ => Scratch::AtStep { shared: k.scratch_shared.clone(), part: k.scratch_part.clone() },
            })
        };
        let scratches = program.steps.iter().map(scratch).collect();
        let slots = || Slots::new(program.slots + 1);
        let block = || Block::empty(is_guarded);
        let arena = |slots: &Slots| Arena::new(slots, is_guarded);
        Memory {
            homes,
            budget: Budget::new(&program, max_bytes),
            is_guarded,
            arena: arena(&slots()),
            slots: slots(),
            own_arenas: (0..threads).map(|_| arena(&slots())).collect(),
            own_slots: slots(),
            buffers,
            scratches,
            late: block(),
            own_late: (0..threads).map(|_| block()).collect(),
            private: vec![false; program.buffers.len()],
            single: program.buffers.iter().map(|_| block()).collect(),
            inputs: vec![(std::ptr::null_mut(), 0); program.inputs.len()],
            staged: program.inputs.iter().map(|_| AlignedBytes::empty()).collect(),
            states: States::new(&program, capacity, is_guarded),
            program,
        }
    }

    pub fn homes(&self) -> &Homes {
        &self.homes
    }

    /// Whether steps are to be run one by one, each between `poison` and `check`.
    pub fn is_guarded(&self) -> bool {
        self.is_guarded
    }

    /// Positions that the states have room for, where the session holds them.
    pub fn capacity(&self) -> Option<usize> {
        self.states.capacity()
    }

    /// Makes `view` input `i` of the run at hand. Kernels read whole elements, and no truth but 0 and 1: it is copied if it is not
    /// aligned, or has others.
    pub fn place_input(&mut self, i: usize, view: &View) -> Result<(), RunError> {
        let is_aligned = view.data.as_ptr().addr().is_multiple_of(view.elem.bits().div_ceil(8));
        let is_normal = view.elem != Elem::Bool || view.data.iter().all(|b| *b <= 1);
        if is_aligned && is_normal && !self.is_guarded {
            self.inputs[i] = (view.data.as_ptr().cast_mut(), view.data.len());
            return Ok(());
        }
        let len = view.data.len();
        let wanted = |program: &Parts| format!("a copy of input `{}`", program.inputs[i].name.escape_debug());
        self.check(len.saturating_sub(self.staged[i].len()), || wanted(&self.program))?;
        let named = |error: RunError| error.wanted_by(|| (wanted(&self.program), len));
        let staged = &mut self.staged[i];
        if self.is_guarded {
            *staged = AlignedBytes::at_an_edge(len).map_err(named)?;
        } else if staged.len() < len {
            *staged = AlignedBytes::zeroed(len).map_err(named)?;
        }
        let copy = &mut staged.as_mut_slice()[..len];
        copy.copy_from_slice(view.data);
        if !is_normal {
            copy.iter_mut().for_each(|b| *b = u8::from(*b != 0));
        }
        self.inputs[i] = (staged.as_ptr(), len);
        Ok(())
    }

    /// Makes the states, where the session holds them, for the dimensions. Whether they moved; `filled` positions of them are
    /// still wanted.
    pub fn reserve_states(&mut self, dims: &[i64], filled: usize) -> Result<bool, RunError> {
        let room = self.room();
        self.states.reserve(&self.program, dims, filled, room)
    }

    /// A run begins, which may write into states whose size stays.
    pub fn begin_run(&mut self) {
        self.states.begin(&self.program);
    }

    /// Fills the states whose size stays with zeros again.
    pub fn forget_states(&mut self) {
        self.states.forget(&self.program);
    }

    /// What states that hold something are made for, and the making of them: as in [`States`].
    pub fn held_states(&self, filled: usize) -> Option<&[usize]> {
        self.states.held(filled)
    }

    pub fn make_states(&mut self, dims: Vec<usize>) -> Result<(), RunError> {
        let room = self.room();
        self.states.make(&self.program, dims, room)
    }

    /// The memory of a state.
    pub fn state(&self, state: usize) -> &[u8] {
        match self.states.at(state) {
            (_, 0) => &[],
            // SAFETY: the states have `len` initialised bytes there, and all that writes to them borrows `self` alone.
            (start, len) => unsafe { std::slice::from_raw_parts(start, len) },
        }
    }

    pub fn state_mut(&mut self, state: usize) -> &mut [u8] {
        match self.states.at(state) {
            (_, 0) => &mut [],
            // SAFETY: as in `state`, and `self` is borrowed alone.
            (start, len) => unsafe { std::slice::from_raw_parts_mut(start, len) },
        }
    }

    /// Gives slots what they need. Whether anything moved; `must` says that it has to.
    pub fn lay_out(&mut self, sizes: &Known, schedule: &Schedule, must: bool) -> Result<bool, RunError> {
        self.slots.clear();
        self.own_slots.clear();
        for (b, (slot, size)) in self.buffers.iter().enumerate().filter_map(|(b, at)| Some((b, (*at)?))) {
            let slots = if schedule.is_private(b) { &mut self.own_slots } else { &mut self.slots };
            slots.need(slot, sizes.get(size));
        }
        for (i, scratch) in self.scratches.iter().enumerate() {
            let Some(Scratch::Bound { shared, part }) = *scratch else { continue };
            let (slots, parts) = match schedule.share(i) {
                Share::Part => (&mut self.slots, self.own_arenas.len()),
                Share::Whole | Share::First => (&mut self.own_slots, 1),
            };
            slots.need(self.program.slots, scratch_bytes(sizes.get(shared), sizes.get(part), parts)?);
        }
        if !must && self.slots.fit() && self.own_slots.fit() {
            return Ok(false);
        }
        for (private, b) in self.private.iter_mut().zip(0..) {
            *private = schedule.is_private(b);
        }
        let made = self.make_slots(must);
        made.map_err(|error| error.wanted_by(|| self.largest(sizes)))?;
        let bytes = self.taken().saturating_add(self.states.bytes());
        self.budget.check(bytes, || self.largest(sizes))?;
        self.grow_slots().map_err(|error| error.wanted_by(|| self.largest(sizes)))?;
        Ok(true)
    }

    fn make_slots(&mut self, must: bool) -> Result<(), RunError> {
        self.slots.lay_out(must)?;
        self.own_slots.lay_out(must)
    }

    fn grow_slots(&mut self) -> Result<(), RunError> {
        self.arena.grow(&self.slots)?;
        self.own_arenas.iter_mut().try_for_each(|arena| arena.grow(&self.own_slots))
    }

    /// Whether a step learns only when its turn comes how much scratch it needs.
    pub fn has_late_scratch(&self, step: usize) -> bool {
        matches!(self.scratches[step], Some(Scratch::AtStep { .. }))
    }

    /// Makes memory for what a step wants that has a size only now: results in no slot, and scratch.
    pub fn make_late(&mut self, step: usize, share: Share, dims: &[i64]) -> Result<(), RunError> {
        let program = self.program.clone();
        for result in &program.steps[step].results {
            self.make(*result, dims)?;
        }
        if self.has_late_scratch(step) {
            let bytes = self.late_scratch(step, share, dims)?;
            let wanted = || format!("the scratch of {}", program.steps[step].place);
            let (blocks, count) = match share {
                Share::Part => (std::slice::from_ref(&self.late), 1),
                Share::Whole | Share::First => (&self.own_late[..], self.own_late.len()),
            };
            let had: usize = blocks.iter().map(Block::len).sum();
            self.check(bytes.saturating_mul(count).saturating_sub(had), wanted)?;
            let grown = match share {
                Share::Part => self.late.grow(bytes),
                Share::Whole | Share::First => self.own_late.iter_mut().try_for_each(|b| b.grow(bytes)),
            };
            grown.map_err(|error| error.wanted_by(|| (wanted(), bytes)))?;
        }
        Ok(())
    }

    /// Bytes of scratch of a step that is late, of all parts or of a thread.
    fn late_scratch(&self, step: usize, share: Share, dims: &[i64]) -> Result<usize, RunError> {
        let Some(Scratch::AtStep { shared, part }) = &self.scratches[step] else { return Ok(0) };
        let [shared, part] = [shared, part].map(|size| eval(size, &self.program, dims));
        let parts = if share == Share::Part { self.own_late.len() } else { 1 };
        scratch_bytes(shared?, part?, parts)
    }

    /// Makes memory for a place that is a buffer in no slot, now that its size is known.
    pub fn make(&mut self, place: Place, dims: &[i64]) -> Result<(), RunError> {
        let Home::Own(b) = self.homes.of(place) else { return Ok(()) };
        let bytes = eval(&self.program.buffers[b].bytes, &self.program, dims)?;
        self.check(bytes.saturating_sub(self.single[b].len()), || budget::buffer(&self.program, b))?;
        let grown = self.single[b].grow(bytes);
        grown.map_err(|error| error.wanted_by(|| (budget::buffer(&self.program, b), bytes)))
    }

    /// Start and length of the memory of a place, as `thread` sees it.
    pub fn locate(&self, place: Place, thread: usize) -> (*mut u8, usize) {
        match (self.homes.of(place), place) {
            (Home::Input(i), _) => self.inputs[i],
            (Home::Const(c), _) => {
                let bytes = self.program.consts[c].bytes();
                (bytes.as_ptr().cast_mut(), bytes.len())
            }
            (Home::Slot(slot), Place::Buffer(b)) if self.private[b] => {
                self.own_arenas[thread].at(&self.own_slots, slot)
            }
            (Home::Slot(slot), _) => self.arena.at(&self.slots, slot),
            (Home::Own(b), _) => (self.single[b].start(), self.single[b].len()),
            (Home::State(s), _) => self.states.at(s),
        }
    }

    /// Scratch of a step: what its parts share, or what `thread` has for itself.
    pub fn scratch(&self, step: usize, share: Share, thread: usize) -> *mut u8 {
        let slot = self.program.slots;
        match (self.has_late_scratch(step), share) {
            (true, Share::Part) => self.late.start(),
            (true, Share::Whole | Share::First) => self.own_late[thread].start(),
            (false, Share::Part) => self.arena.at(&self.slots, slot).0,
            (false, Share::Whole | Share::First) => self.own_arenas[thread].at(&self.own_slots, slot).0,
        }
    }

    /// Where memory is guarded: makes a pattern of all that a step is to write.
    pub fn poison(&mut self, step: usize, sizes: &Known, share: Share, dims: &[i64]) -> Result<(), RunError> {
        let program = self.program.clone();
        for result in &program.steps[step].results {
            let Place::Buffer(b) = *result else { continue };
            let bytes = eval(&program.buffers[b].bytes, &program, dims)?;
            self.guarded_blocks(*result).for_each(|block| block.poison(bytes));
        }
        let late = self.late_scratch(step, share, dims)?;
        let threads = self.own_arenas.len();
        let bytes = match &self.scratches[step] {
            Some(Scratch::Bound { shared, part }) => {
                let parts = if share == Share::Part { threads } else { 1 };
                scratch_bytes(sizes.get(*shared), sizes.get(*part), parts)?
            }
            _ => 0,
        };
        let slot = program.slots;
        match share {
            Share::Part => {
                self.late.poison(late);
                self.arena.guarded(slot).into_iter().for_each(|block| block.poison(bytes));
            }
            Share::Whole | Share::First => {
                self.own_late.iter_mut().for_each(|block| block.poison(late));
                let own = self.own_arenas.iter_mut().filter_map(|arena| arena.guarded(slot));
                own.for_each(|block| block.poison(bytes));
            }
        }
        Ok(())
    }

    /// The blocks that a buffer lies in, where memory is guarded.
    fn guarded_blocks(&mut self, place: Place) -> impl Iterator<Item = &mut Block> {
        let (home, private) = (self.homes.of(place), matches!(place, Place::Buffer(b) if self.private[b]));
        let (mut arenas, mut single): (&mut [Arena], _) = (&mut [], None);
        let slot = match home {
            Home::Slot(slot) if private => {
                arenas = &mut self.own_arenas;
                slot
            }
            Home::Slot(slot) => {
                arenas = std::slice::from_mut(&mut self.arena);
                slot
            }
            Home::Own(b) => {
                single = Some(&mut self.single[b]);
                0
            }
            Home::Input(_) | Home::Const(_) | Home::State(_) => 0,
        };
        arenas.iter_mut().filter_map(move |arena| arena.guarded(slot)).chain(single)
    }

    /// What memory a step wrote to outside of what it is to write.
    pub fn overrun(&self) -> Option<String> {
        let slot = |slot: usize| match slot == self.program.slots {
            true => "scratch".into(),
            false => format!("slot {slot}"),
        };
        let shared = self.arena.overrun().map(slot);
        let own = || self.own_arenas.iter().find_map(Arena::overrun).map(slot);
        let late = || {
            let mut late = self.own_late.iter().chain([&self.late]);
            late.any(|block| !block.is_intact()).then(|| "scratch".into())
        };
        let single = || {
            let at = self.single.iter().position(|block| !block.is_intact());
            at.map(|b| format!("buffer {b}"))
        };
        let state = || {
            let at = self.states.overrun();
            at.map(|s| format!("state `{}`", self.program.inputs[self.program.states[s].input].name))
        };
        shared.or_else(own).or_else(late).or_else(single).or_else(state)
    }

    /// The first `len` bytes of a place, as the first thread sees it; fewer if it has not as many.
    pub fn bytes(&self, place: Place, len: usize) -> &[u8] {
        if let Place::Const(c) = place {
            let bytes = self.program.consts[c].bytes();
            return &bytes[..len.min(bytes.len())];
        }
        let (start, available) = self.locate(place, 0);
        if len == 0 || start.is_null() {
            return &[];
        }
        // SAFETY: `locate` gives memory of the session that is valid for `available` bytes, or of an input of the run
        // at hand: only steps read those, while the caller lends them.
        unsafe { std::slice::from_raw_parts(start, len.min(available)) }
    }

    /// Writes to the start of a buffer; whether it has room.
    pub fn write(&mut self, place: Place, bytes: &[u8]) -> bool {
        let (start, available) = self.locate(place, 0);
        if !matches!(place, Place::Buffer(_)) || bytes.len() > available {
            return false;
        }
        // SAFETY: `start` is valid for `available` bytes of memory that is the session's, borrowed alone.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), start, bytes.len()) };
        self.guarded_blocks(place).for_each(|block| block.reserve(bytes.len()));
        true
    }
}

/// Bytes of scratch for so many parts.
fn scratch_bytes(shared: usize, part: usize, parts: usize) -> Result<usize, RunError> {
    let bytes = part.checked_mul(parts).and_then(|bytes| bytes.checked_add(shared));
    bytes.ok_or_else(|| RunError::memory(usize::MAX))
}
