//! What a session keeps between runs: the memory of its states.
//!
//! States have room for so many positions of the dimensions that they were made for, or are of a size that stays and begin
//! as zeros. Under other dimensions what they hold lies elsewhere: that is an error while it is wanted, and they are laid
//! out again when it is not.

use crate::budget::{self, Budget};
use crate::error::RunError;
use crate::program::Parts;
use crate::sizes::eval;
use crate::slots::{Arena, Slots};

/// What a session may have, and what it has besides its states.
#[derive(Clone, Copy)]
pub struct Room {
    pub budget: Budget,
    pub others: usize,
}

pub struct States {
    /// Positions that each has room for; `None` if the session holds no states.
    capacity: Option<usize>,
    /// One a state.
    slots: Slots,
    /// Together they are worth huge pages.
    arena: Arena,
    /// The dimensions of all states that they were made for, one state's after the other's, the axes of positions left out;
    /// `None` before the first run.
    made_for: Option<Vec<usize>>,
    /// Whether a run may have written into states without positions, which begin as zeros.
    written: bool,
}

impl States {
    pub fn new(program: &Parts, capacity: Option<usize>, is_guarded: bool) -> States {
        let slots = Slots::new(program.states.len());
        States { capacity, arena: Arena::new(&slots, is_guarded), slots, made_for: None, written: false }
    }

    pub fn capacity(&self) -> Option<usize> {
        self.capacity
    }

    /// A run begins, which may write into states without positions.
    pub fn begin(&mut self, program: &Parts) {
        self.written = self.capacity.is_some() && program.states.iter().any(|state| state.axis.is_none());
    }

    /// Fills the states without positions with zeros again, if a run may have written into them.
    pub fn forget(&mut self, program: &Parts) {
        if !std::mem::take(&mut self.written) || self.made_for.is_none() {
            return;
        }
        for s in (0..program.states.len()).filter(|s| program.states[*s].axis.is_none()) {
            self.arena.clear(&self.slots, s);
        }
    }

    /// Makes states for the dimensions, if they are not, in what `room` leaves them: `filled` says how many positions there
    /// are to lose. Whether they moved.
    pub fn reserve(
        &mut self,
        program: &Parts,
        dims: &[i64],
        filled: usize,
        room: Room,
    ) -> Result<bool, RunError> {
        if self.capacity.is_none() {
            return Ok(false);
        }
        let is_wanted = filled > 0 || self.written;
        if let Some(made_for) = &self.made_for {
            let mut known = made_for.iter();
            let mut changed = None;
            for (name, axis, dim) in fixed_dims(program, dims) {
                let (dim, was) = (dim?, known.next().copied());
                if was != Some(dim) {
                    changed = changed.or(was.map(|was| (name, axis, was, dim)));
                }
            }
            let Some((name, axis, was, now)) = changed else { return Ok(false) };
            if is_wanted {
                return Err(RunError::StateDims { name: name.into(), axis, was, now });
            }
        }
        let new = fixed_dims(program, dims).map(|(_, _, dim)| dim).collect::<Result<_, RunError>>();
        self.made_for = None;
        self.make(program, new?, room)?;
        Ok(true)
    }

    /// The dimensions of all states that they are made for, as `make` takes them, where they hold something: `filled` positions,
    /// or what runs wrote into states without positions.
    pub fn held(&self, filled: usize) -> Option<&[usize]> {
        self.made_for.as_deref().filter(|_| filled > 0 || self.written)
    }

    /// Makes states for dimensions, one state's after the other's, the axes of positions left out, in what `room` leaves them.
    /// What they held is lost.
    pub fn make(&mut self, program: &Parts, new: Vec<usize>, room: Room) -> Result<(), RunError> {
        self.made_for = None;
        let Some(capacity) = self.capacity else { return Ok(()) };
        let mut total = 0usize;
        let made = self.make_for(program, &new, capacity, room, &mut total);
        made.map_err(|error| error.wanted_by(|| (budget::states(program, capacity), total)))?;
        self.made_for = Some(new);
        Ok(())
    }

    /// Bytes of all states.
    pub fn bytes(&self) -> usize {
        if self.made_for.is_some() { self.slots.total() } else { 0 }
    }

    /// `total` is told what all of them take.
    fn make_for(
        &mut self,
        program: &Parts,
        new: &[usize],
        capacity: usize,
        Room { budget, others }: Room,
        total: &mut usize,
    ) -> Result<(), RunError> {
        let mut rest = new;
        self.slots.clear();
        for (s, state) in program.states.iter().enumerate() {
            let ty = &program.inputs[state.input].ty;
            let (own, others) = rest.split_at(ty.dims.len() - usize::from(state.axis.is_some()));
            rest = others;
            let positions = if state.axis.is_some() { capacity } else { 1 };
            let count = own.iter().try_fold(positions, |n, dim| n.checked_mul(*dim));
            let bytes = count.and_then(|count| ty.elem.bytes(count));
            self.slots.need(s, bytes.ok_or_else(|| RunError::memory(usize::MAX))?);
        }
        self.slots.lay_out(true)?;
        *total = self.slots.total();
        budget.check(others.saturating_add(*total), || (budget::states(program, capacity), *total))?;
        self.arena.grow(&self.slots)?;
        for (s, state) in program.states.iter().enumerate() {
            let (_, len) = self.arena.at(&self.slots, s);
            match self.arena.guarded(s).filter(|_| state.axis.is_some()) {
                Some(block) => block.poison(len),
                None if state.axis.is_none() => self.arena.clear(&self.slots, s),
                None => {}
            }
        }
        Ok(())
    }

    /// Start and length of a state.
    pub fn at(&self, state: usize) -> (*mut u8, usize) {
        match self.made_for {
            Some(_) => self.arena.at(&self.slots, state),
            None => (std::ptr::null_mut(), 0),
        }
    }

    /// The first state that something was written outside of.
    pub fn overrun(&self) -> Option<usize> {
        self.arena.overrun()
    }
}

/// The dimensions of states but for the positions: name of the input, axis, value.
fn fixed_dims<'a>(
    program: &'a Parts,
    dims: &'a [i64],
) -> impl Iterator<Item = (&'a str, usize, Result<usize, RunError>)> {
    program.states.iter().flat_map(move |state| {
        let port = &program.inputs[state.input];
        let axes = port.shape.iter().enumerate().filter(|(axis, _)| Some(*axis) != state.axis);
        axes.map(move |(axis, size)| (&port.name[..], axis, eval(size, program, dims)))
    })
}
