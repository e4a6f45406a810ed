//! Where the values of a session lie.
//!
//! Slots are laid out anew when one must hold more than it can, or other threads run other steps; memory only ever
//! grows.
#![allow(unsafe_code)]

use std::sync::Arc;

use crate::arena::{ALIGN, AlignedBytes};
use crate::error::RunError;
use crate::program::{Buffer, Place, Program, Size, Step, StepKind};
use crate::schedule::{Schedule, Share};
use crate::session::View;
use crate::sizes::{SizeId, Sizes};

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
    pub fn new(program: &Program, holds_states: bool) -> Homes {
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

pub struct Memory {
    program: Arc<Program>,
    homes: Homes,
    /// Slots that threads share, behind them scratch of split steps.
    slots: Slots,
    arena: AlignedBytes,
    /// Slots that each thread has, behind them scratch of steps that it runs for itself.
    own_slots: Slots,
    own_arenas: Vec<AlignedBytes>,
    /// By buffer: its slot and size, if it is in one.
    buffers: Vec<Option<(usize, SizeId)>>,
    /// By step: scratch that parts share, and that of each.
    scratches: Vec<Option<(SizeId, SizeId)>>,
    /// By buffer: whether it is in the slots that each thread has.
    private: Vec<bool>,
    /// Memory of buffers that are in no slot.
    single: Vec<AlignedBytes>,
    /// Inputs of the run at hand: pointers that are used only while the caller lends the views.
    inputs: Vec<(*mut u8, usize)>,
    /// Copies of inputs that the caller holds unaligned.
    staged: Vec<AlignedBytes>,
    capacity: Option<usize>,
    /// Memory of all states, once their size is known: together they are worth huge pages.
    states: AlignedBytes,
    /// Where each starts, and its length.
    state_places: Vec<(usize, usize)>,
}

// SAFETY: the raw pointers are refilled by each run; between runs nothing reads them.
unsafe impl Send for Memory {}

/// Slots side by side.
struct Slots {
    needs: Vec<usize>,
    capacities: Vec<usize>,
    offsets: Vec<usize>,
}

impl Slots {
    fn new(count: usize) -> Slots {
        Slots { needs: vec![0; count], capacities: vec![0; count], offsets: vec![0; count] }
    }

    fn need(&mut self, slot: usize, bytes: usize) {
        self.needs[slot] = self.needs[slot].max(bytes);
    }

    fn fit(&self) -> bool {
        self.needs.iter().zip(&self.capacities).all(|(need, capacity)| need <= capacity)
    }

    /// Makes each slot as large as it must be, `anew`, or those larger that are too small: those a quarter more, so that
    /// what grows with a sequence does not move at every step of it. The bytes of all; `None` on overflow.
    fn lay_out(&mut self, anew: bool) -> Option<usize> {
        let mut total = 0usize;
        for ((need, capacity), offset) in self.needs.iter().zip(&mut self.capacities).zip(&mut self.offsets) {
            if anew || need > capacity {
                let more = if anew { 0 } else { need / 4 };
                *capacity = need.checked_add(more)?.checked_next_multiple_of(ALIGN)?;
            }
            *offset = total;
            total = total.checked_add(*capacity)?;
        }
        Some(total)
    }
}

impl Memory {
    /// Of a session on `threads` threads, which holds `capacity` positions of the program's states.
    pub fn new(program: Arc<Program>, threads: usize, capacity: Option<usize>, sizes: &mut Sizes) -> Memory {
        let empty = || AlignedBytes::zeroed(0).expect("nothing is allocated");
        let homes = Homes::new(&program, capacity.is_some());
        let slot = |b: usize| match homes.of(Place::Buffer(b)) {
            Home::Slot(slot) => Some((slot, sizes.add(&program.buffers[b].bytes))),
            _ => None,
        };
        let buffers = (0..program.buffers.len()).map(slot).collect();
        let scratch = |step: &Step| match &step.kind {
            StepKind::Kernel(k) => Some((sizes.add(&k.scratch_shared), sizes.add(&k.scratch_part))),
            StepKind::Interpret(_) => None,
        };
        let scratches = program.steps.iter().map(scratch).collect();
        Memory {
            homes,
            slots: Slots::new(program.slots + 1),
            arena: empty(),
            own_slots: Slots::new(program.slots + 1),
            own_arenas: (0..threads).map(|_| empty()).collect(),
            buffers,
            scratches,
            private: vec![false; program.buffers.len()],
            single: program.buffers.iter().map(|_| empty()).collect(),
            inputs: vec![(std::ptr::null_mut(), 0); program.inputs.len()],
            staged: program.inputs.iter().map(|_| empty()).collect(),
            capacity,
            states: empty(),
            state_places: vec![],
            program,
        }
    }

    pub fn homes(&self) -> &Homes {
        &self.homes
    }

    /// Positions that the states have room for, where the session holds them.
    pub fn capacity(&self) -> Option<usize> {
        self.capacity
    }

    /// Makes `view` input `i` of the run at hand. Kernels read whole elements: it is copied if they are not aligned.
    pub fn place_input(&mut self, i: usize, view: &View) -> Result<(), RunError> {
        let is_aligned = view.data.as_ptr().addr().is_multiple_of(view.elem.bits().div_ceil(8));
        self.inputs[i] = if is_aligned {
            (view.data.as_ptr().cast_mut(), view.data.len())
        } else {
            grow(&mut self.staged[i], view.data.len())?;
            self.staged[i].as_mut_slice()[..view.data.len()].copy_from_slice(view.data);
            (self.staged[i].as_ptr(), view.data.len())
        };
        Ok(())
    }

    /// Makes the states, where the session holds them and has not yet made them.
    pub fn reserve_states(&mut self, dims: &[i64]) -> Result<(), RunError> {
        let Some(capacity) = self.capacity.filter(|_| self.state_places.is_empty()) else { return Ok(()) };
        let too_large = || RunError::Memory { bytes: usize::MAX };
        let (mut places, mut end) = (vec![], 0usize);
        for state in &self.program.states {
            let port = &self.program.inputs[state.input];
            let mut count = capacity;
            for (axis, size) in port.shape.iter().enumerate() {
                if axis != state.axis {
                    let dim = size.eval(dims).ok_or(RunError::Unbound { symbol: port.name.clone() })?;
                    count = count.checked_mul(dim).ok_or_else(too_large)?;
                }
            }
            let bytes = port.ty.elem.bytes(count).ok_or_else(too_large)?;
            places.push((end, bytes));
            let next = end.checked_add(bytes).and_then(|end| end.checked_next_multiple_of(ALIGN));
            end = next.ok_or_else(too_large)?;
        }
        self.states = AlignedBytes::zeroed(end)?;
        self.state_places = places;
        Ok(())
    }

    /// Gives slots what they need. Whether anything moved; `must` says that it has to.
    pub fn lay_out(
        &mut self,
        sizes: &Sizes,
        dims: &[i64],
        schedule: &Schedule,
        must: bool,
    ) -> Result<bool, RunError> {
        self.slots.needs.fill(0);
        self.own_slots.needs.fill(0);
        for (b, (slot, size)) in self.buffers.iter().enumerate().filter_map(|(b, at)| Some((b, (*at)?))) {
            let bytes = sizes.get(size).ok_or_else(|| unbound(&self.program, sizes.size(size), dims))?;
            let slots = if schedule.is_private(b) { &mut self.own_slots } else { &mut self.slots };
            slots.need(slot, bytes);
        }
        let scratch = self.program.slots;
        for (i, (shared, part)) in self.scratches.iter().enumerate().filter_map(|(i, s)| Some((i, (*s)?))) {
            let (slots, parts) = match schedule.share(i) {
                Share::Part => (&mut self.slots, self.own_arenas.len()),
                Share::Whole | Share::First => (&mut self.own_slots, 1),
            };
            let parts = sizes.get(part).unwrap_or(0).saturating_mul(parts);
            slots.need(scratch, sizes.get(shared).unwrap_or(0).saturating_add(parts));
        }
        if !must && self.slots.fit() && self.own_slots.fit() {
            return Ok(false);
        }
        for (private, b) in self.private.iter_mut().zip(0..) {
            *private = schedule.is_private(b);
        }
        let bytes = self.slots.lay_out(must).ok_or(RunError::Memory { bytes: usize::MAX })?;
        grow(&mut self.arena, bytes)?;
        let bytes = self.own_slots.lay_out(must).ok_or(RunError::Memory { bytes: usize::MAX })?;
        self.own_arenas.iter_mut().try_for_each(|arena| grow(arena, bytes))?;
        Ok(true)
    }

    /// Makes memory for a place that is a buffer in no slot, now that its size is known.
    pub fn make(&mut self, place: Place, dims: &[i64]) -> Result<(), RunError> {
        let Home::Own(b) = self.homes.of(place) else { return Ok(()) };
        let size = &self.program.buffers[b].bytes;
        grow(&mut self.single[b], size.eval(dims).ok_or_else(|| unbound(&self.program, size, dims))?)
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
                inside(&self.own_arenas[thread], &self.own_slots, slot)
            }
            (Home::Slot(slot), _) => inside(&self.arena, &self.slots, slot),
            (Home::Own(b), _) => whole(&self.single[b]),
            (Home::State(s), _) => match self.state_places.get(s) {
                Some(&(start, len)) => (self.states.as_ptr().wrapping_add(start), len),
                None => (std::ptr::null_mut(), 0),
            },
        }
    }

    /// Scratch of a step: what its parts share, or what `thread` has for itself.
    pub fn scratch(&self, share: Share, thread: usize) -> *mut u8 {
        let slot = self.program.slots;
        match share {
            Share::Part => inside(&self.arena, &self.slots, slot).0,
            Share::Whole | Share::First => inside(&self.own_arenas[thread], &self.own_slots, slot).0,
        }
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
        true
    }
}

/// The error of a size with a symbol that nothing has given a value.
fn unbound(program: &Program, size: &Size, dims: &[i64]) -> RunError {
    let unbound = size.symbols().find(|s| dims[*s as usize] < 0);
    let symbol = unbound.map_or("a size".into(), |s| program.symbols[s as usize].to_string());
    RunError::Unbound { symbol }
}

fn inside(arena: &AlignedBytes, slots: &Slots, slot: usize) -> (*mut u8, usize) {
    let offset = slots.offsets[slot].min(arena.len());
    // SAFETY: not beyond the end of the arena.
    (unsafe { arena.as_ptr().add(offset) }, (arena.len() - offset).min(slots.capacities[slot]))
}

fn whole(bytes: &AlignedBytes) -> (*mut u8, usize) {
    (bytes.as_ptr(), bytes.len())
}

/// A quarter more than it needs, so that what grows with a sequence seldom moves: pages that nothing touches cost nothing.
fn grow(memory: &mut AlignedBytes, bytes: usize) -> Result<(), RunError> {
    if memory.len() < bytes {
        *memory = AlignedBytes::zeroed(bytes.saturating_add(bytes / 4 + (4 << 10)))?;
    }
    Ok(())
}
