//! How much memory a session has and wants, and what for.

use super::{Memory, Scratch, scratch_bytes};
use crate::arena::AlignedBytes;
use crate::budget;
use crate::error::RunError;
use crate::guard::Block;
use crate::sizes::Known;
use crate::states::Room;

impl Memory {
    /// Bytes that all of it may be, the weights among them.
    pub fn max_bytes(&self) -> Option<usize> {
        self.budget.allowed()
    }

    /// Bytes besides weights and states, as slots are laid out.
    pub(super) fn taken(&self) -> usize {
        let threads = self.own_arenas.len();
        let blocks = self.single.iter().chain(&self.own_late).chain([&self.late]).map(Block::len);
        let staged = self.staged.iter().map(AlignedBytes::len);
        let slots = [self.slots.total(), self.own_slots.total().saturating_mul(threads)];
        blocks.chain(staged).chain(slots).fold(0, usize::saturating_add)
    }

    pub(super) fn room(&self) -> Room {
        Room { budget: self.budget, others: self.taken() }
    }

    /// Refuses memory of which so many bytes more are wanted by something.
    pub(super) fn check(&self, more: usize, wanted: impl FnOnce() -> String) -> Result<(), RunError> {
        if self.budget.allowed().is_none() {
            return Ok(());
        }
        let bytes = self.taken().saturating_add(self.states.bytes()).saturating_add(more);
        self.budget.check(bytes, || (wanted(), more))
    }

    /// That the states have more positions than can be counted.
    pub fn no_room_for_states(&self) -> RunError {
        let what = budget::states(&self.program, self.states.capacity().unwrap_or(0));
        RunError::Memory { what, bytes: usize::MAX }
    }

    /// What takes the most of what has a size already, and how much: a value or scratch.
    pub(super) fn largest(&self, sizes: &Known) -> (String, usize) {
        let program = &self.program;
        let values = self.buffers.iter().enumerate();
        let value = values.filter_map(|(b, at)| Some((sizes.get((*at)?.1), b))).max();
        let scratches = self.scratches.iter().enumerate().filter_map(|(i, scratch)| match scratch {
            Some(Scratch::Bound { shared, part }) => {
                let parts = self.own_arenas.len();
                Some((scratch_bytes(sizes.get(*shared), sizes.get(*part), parts).unwrap_or(usize::MAX), i))
            }
            _ => None,
        });
        match (value, scratches.max()) {
            (value, Some((bytes, step))) if value.is_none_or(|(most, _)| most < bytes) => {
                (format!("the scratch of {}", program.steps[step].place), bytes)
            }
            (Some((bytes, b)), _) => (budget::buffer(program, b), bytes),
            (None, _) => ("a value".into(), 0),
        }
    }
}
