//! What a session holds, outside of it: saved, restored, and shared by sessions that go on from one prefix.
//!
//! States have room for more positions than they hold. What is saved is dense, so that it does not depend on the capacity
//! of the session that it comes from, and goes by the names of the program's inputs.

use bytes::Bytes;
use prost::Message as _;
use trine_ir::{Elem, Tensor, trit};
use xxhash_rust::xxh3::Xxh3;

use crate::error::RunError;
use crate::program::State;
use crate::session::{Session, SessionOptions};

/// The version of the format that is written, and the one that is read.
const FORMAT: u32 = 1;
/// No transfer as text leaves it as it is.
const MAGIC: [u8; 8] = *b"\x89TRS\r\n\x1a\n";
/// Magic, version (4 bytes), length of the whole (8); a checksum of 16 bytes follows.
const CHECKSUM: usize = 20;
const HEAD: usize = CHECKSUM + 16;

/// What a session held, as [`Session::save`] gives it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Saved {
    filled: usize,
    states: Vec<Held>,
}

/// One state.
#[derive(Clone, Debug, PartialEq)]
struct Held {
    /// Of the input that is the state.
    name: String,
    /// The axis of positions; none where the size of the state stays.
    axis: Option<usize>,
    tensor: Tensor,
}

/// Why bytes are not saved states. They are damaged, or not what [`Saved::to_bytes`] wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SavedError {
    #[error("they are not saved states")]
    Magic,
    #[error("they are of format {format}; Trine {} reads format {FORMAT}", env!("CARGO_PKG_VERSION"))]
    Format { format: u32 },
    #[error("they are {actual} bytes long, not {stated}")]
    Length { stated: u64, actual: u64 },
    #[error("they are not what was written: their checksum differs")]
    Checksum,
    #[error("they cannot be read: {0}")]
    Message(String),
    #[error("the state `{name}` {message}")]
    State { name: String, message: String },
}

/// The bytes after the head.
#[derive(Clone, PartialEq, prost::Message)]
struct Message {
    #[prost(uint64, tag = "1")]
    filled: u64,
    #[prost(message, repeated, tag = "2")]
    states: Vec<StateMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StateMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    elem: String,
    #[prost(uint64, optional, tag = "3")]
    axis: Option<u64>,
    #[prost(uint64, repeated, tag = "4")]
    dims: Vec<u64>,
    #[prost(bytes = "bytes", tag = "5")]
    data: Bytes,
}

impl Session {
    /// Copies what the session holds: of caches the positions up to [`Session::filled`], and states whose size stays as they
    /// are. Where nothing is held, it is empty. The error is memory that cannot be had.
    pub fn save(&self) -> Result<Saved, RunError> {
        let Some(dims) = self.held_dims() else { return Ok(Saved::default()) };
        let save = |(s, dims): (usize, Vec<usize>)| {
            let state = &self.program.states[s];
            let port = &self.program.inputs[state.input];
            let layout = Layout::new(port.ty.elem, &dims, state.axis);
            let count = trine_ir::tensor::count(&dims).and_then(|count| port.ty.elem.bytes(count));
            let mut data = zeros(count)?;
            layout.copy(self.memory.state(s), self.room(state), &mut data, layout.positions);
            let tensor = Tensor::new(port.ty.elem, dims, data.into());
            let tensor = tensor.map_err(|e| misfit(&port.name, e.to_string()))?;
            Ok(Held { name: port.name.clone(), axis: state.axis, tensor })
        };
        let states = dims.into_iter().enumerate().map(save).collect::<Result<_, _>>()?;
        Ok(Saved { filled: self.filled, states })
    }

    /// Holds what was saved, of a session of this program or of one whose states have the same names and types; the next run
    /// goes on from there. What the session held is gone, and the outputs of its last run stay.
    ///
    /// Where a state does not fit, or has more positions than there is room for, the error names it, and the session holds
    /// what it held. Where memory cannot be had the session holds nothing.
    pub fn restore(&mut self, saved: &Saved) -> Result<(), RunError> {
        let program = self.program.clone();
        let states = self.fitting(saved)?;
        self.reset();
        if saved.is_empty() {
            return Ok(());
        }
        let but_axis = |held: &&Held| but_axis(held.tensor.dims(), held.axis);
        // The states may move, so that the next run binds its calls to memory once more.
        self.made_for.clear();
        self.memory.make_states(states.iter().flat_map(but_axis).collect())?;
        for (s, held) in states.into_iter().enumerate() {
            let room = self.room(&program.states[s]);
            let layout = Layout::new(held.tensor.elem(), held.tensor.dims(), held.axis);
            layout.copy(held.tensor.bytes(), layout.positions, self.memory.state_mut(s), room);
        }
        self.memory.begin_run();
        self.filled = saved.filled;
        Ok(())
    }

    /// Another session of the same program, with the same options, that holds a copy of what this one holds. Both go on from
    /// there, and neither changes what the other holds. The error is memory that cannot be had.
    pub fn fork(&self) -> Result<Session, RunError> {
        let (threads, state_capacity) = (self.threads(), self.memory.capacity());
        let options = SessionOptions { threads, state_capacity, max_bytes: self.memory.max_bytes() };
        let mut fork = Session::build(self.program.clone(), &options, self.memory.is_guarded());
        let Some(dims) = self.held_dims() else { return Ok(fork) };
        let states = &self.program.states;
        let own = dims.iter().zip(states).flat_map(|(dims, state)| but_axis(dims, state.axis));
        fork.memory.make_states(own.collect())?;
        for (s, (dims, state)) in dims.iter().zip(states).enumerate() {
            let layout = Layout::new(self.program.inputs[state.input].ty.elem, dims, state.axis);
            let room = self.room(state);
            layout.copy(self.memory.state(s), room, fork.memory.state_mut(s), room);
        }
        fork.memory.begin_run();
        fork.filled = self.filled;
        Ok(fork)
    }

    /// The dimensions of what each state holds; none where nothing is held.
    fn held_dims(&self) -> Option<Vec<Vec<usize>>> {
        let mut rest = self.memory.held_states(self.filled)?;
        let dims = |state: &State| {
            let rank = self.program.inputs[state.input].shape.len();
            let (own, others) = rest.split_at(rank - usize::from(state.axis.is_some()));
            rest = others;
            let mut dims = own.to_vec();
            state.axis.into_iter().for_each(|axis| dims.insert(axis, self.filled));
            dims
        };
        Some(self.program.states.iter().map(dims).collect())
    }

    /// Positions that a state has room for.
    fn room(&self, state: &State) -> usize {
        state.axis.and(self.memory.capacity()).unwrap_or(1)
    }

    /// The saved states in the order of the program's, each of which it fits.
    fn fitting<'a>(&self, saved: &'a Saved) -> Result<Vec<&'a Held>, RunError> {
        if saved.is_empty() {
            return Ok(vec![]);
        }
        let program = &self.program;
        let states = if self.holds_states() { &program.states[..] } else { &[] };
        let is_known = |held: &&Held| states.iter().any(|s| program.inputs[s.input].name == held.name);
        if let Some(stranger) = saved.states.iter().find(|held| !is_known(held)) {
            return Err(misfit(&stranger.name, "the session holds no state of this name".into()));
        }
        let mut found = vec![];
        for state in states {
            let port = &program.inputs[state.input];
            let held = saved.states.iter().find(|held| held.name == port.name);
            let held = held.ok_or_else(|| misfit(&port.name, "it is not among what was saved".into()))?;
            let (rank, ty) = (held.tensor.rank(), held.tensor.ty());
            if (ty.elem, rank, held.axis) != (port.ty.elem, port.ty.rank(), state.axis) {
                return Err(misfit(&port.name, format!("the session's is {}, not {ty}", port.ty)));
            }
            if state.axis.is_some() && saved.filled > self.room(state) {
                let message = format!("{} positions, and room for {}", saved.filled, self.room(state));
                return Err(misfit(&port.name, message));
            }
            found.push(held);
        }
        // Two rounds, as for inputs: a size of several symbols is checked once the others are known.
        let mut dims = vec![-1; program.symbols.len() + 1];
        let pairs = || {
            states.iter().zip(&found).flat_map(|(state, held)| {
                let port = &program.inputs[state.input];
                port.shape.iter().zip(held.tensor.dims()).enumerate().map(move |at| (port, at))
            })
        };
        for (port, (axis, (size, actual))) in pairs().chain(pairs()) {
            let unified = size.unify(&mut dims, program.plain_symbols(), *actual);
            if unified.is_err() || program.derive(&mut dims).is_err() {
                let dim = &port.ty.dims[axis];
                return Err(misfit(&port.name, format!("axis {axis} has {actual} elements, not `{dim}`")));
            }
        }
        Ok(found)
    }
}

impl Saved {
    /// Whether nothing was held.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// How many positions were held.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// As bytes for [`Saved::from_bytes`], of this machine or another.
    pub fn to_bytes(&self) -> Vec<u8> {
        let state = |held: &Held| StateMessage {
            name: held.name.clone(),
            elem: held.tensor.elem().name().into(),
            axis: held.axis.map(|axis| axis as u64),
            dims: held.tensor.dims().iter().map(|dim| *dim as u64).collect(),
            data: held.tensor.bytes().clone(),
        };
        let message = Message { filled: self.filled as u64, states: self.states.iter().map(state).collect() };
        let len = HEAD + message.encoded_len();
        let mut bytes = Vec::with_capacity(len);
        bytes.extend(MAGIC);
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend((len as u64).to_le_bytes());
        bytes.extend([0; HEAD - CHECKSUM]);
        message.encode_raw(&mut bytes);
        let checksum = checksum(&bytes);
        bytes[CHECKSUM..HEAD].copy_from_slice(&checksum);
        bytes
    }

    /// Reads what [`Saved::to_bytes`] wrote. Whatever was changed is an error. Memory stays within a small multiple of the
    /// bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Saved, SavedError> {
        if bytes.get(..MAGIC.len()) != Some(&MAGIC[..]) {
            return Err(SavedError::Magic);
        }
        let actual = bytes.len() as u64;
        let Some((head, body)) = bytes.split_at_checked(HEAD) else {
            return Err(SavedError::Length { stated: HEAD as u64, actual });
        };
        let number = |at: std::ops::Range<usize>| at.rev().fold(0, |n, i| n << 8 | u64::from(head[i]));
        let (format, stated) = (number(8..12), number(12..CHECKSUM));
        if format != u64::from(FORMAT) {
            return Err(SavedError::Format { format: format as u32 });
        }
        if stated != actual {
            return Err(SavedError::Length { stated, actual });
        }
        if head[CHECKSUM..] != checksum(bytes) {
            return Err(SavedError::Checksum);
        }
        let message = Message::decode(body).map_err(|e| SavedError::Message(e.to_string()))?;
        let filled = usize::try_from(message.filled).map_err(|e| SavedError::Message(e.to_string()))?;
        let mut states: Vec<Held> = vec![];
        for state in message.states {
            let name = state.name.clone();
            let held = held(state, filled).map_err(|message| SavedError::State { name, message })?;
            if states.iter().any(|other| other.name == held.name) {
                return Err(SavedError::State { name: held.name, message: "is there twice".into() });
            }
            states.push(held);
        }
        if states.is_empty() && filled > 0 {
            return Err(SavedError::Message("there are positions without states".into()));
        }
        Ok(Saved { filled, states })
    }
}

/// A state as it was read, which holds `filled` positions.
fn held(state: StateMessage, filled: usize) -> Result<Held, String> {
    let elem = Elem::parse(&state.elem).ok_or("is of no known type")?;
    let size = |size: u64| usize::try_from(size).map_err(|e| e.to_string());
    let dims = state.dims.into_iter().map(size).collect::<Result<Vec<_>, _>>()?;
    let axis = state.axis.map(size).transpose()?;
    if axis.is_some_and(|axis| dims.get(axis) != Some(&filled)) {
        return Err(format!("does not hold {filled} positions"));
    }
    let tensor = Tensor::new(elem, dims, state.data).map_err(|e| e.to_string())?;
    if elem == Elem::Trit && !trit::is_valid(tensor.bytes(), tensor.len()) {
        return Err("has two bits that are not a trit".into());
    }
    Ok(Held { name: state.name, axis, tensor })
}

/// Of all but itself.
fn checksum(bytes: &[u8]) -> [u8; HEAD - CHECKSUM] {
    let mut hash = Xxh3::new();
    hash.update(&bytes[..CHECKSUM]);
    hash.update(&bytes[HEAD..]);
    hash.digest128().to_le_bytes()
}

fn misfit(name: &str, message: String) -> RunError {
    RunError::SavedState { name: name.into(), message }
}

/// Dimensions without the axis of positions.
fn but_axis(dims: &[usize], axis: Option<usize>) -> Vec<usize> {
    let others = dims.iter().enumerate().filter(|(i, _)| Some(*i) != axis);
    others.map(|(_, dim)| *dim).collect()
}

/// So many zero bytes, or an error where there is no memory for them.
fn zeros(bytes: Option<usize>) -> Result<Vec<u8>, RunError> {
    let bytes = bytes.unwrap_or(usize::MAX);
    let mut data = vec![];
    data.try_reserve_exact(bytes)
        .map_err(|_| RunError::Memory { what: "a copy of the states".into(), bytes })?;
    data.resize(bytes, 0);
    Ok(data)
}

/// Blocks of positions, of which each is so many bits. Blocks follow one another, with room for more positions in each.
struct Layout {
    blocks: usize,
    positions: usize,
    bits: usize,
}

impl Layout {
    fn new(elem: Elem, dims: &[usize], axis: Option<usize>) -> Layout {
        if dims.contains(&0) {
            return Layout { blocks: 0, positions: 0, bits: 0 };
        }
        // What there is memory for does not overflow.
        let count = |dims: &[usize]| dims.iter().product::<usize>();
        match axis {
            Some(axis) => Layout {
                blocks: count(&dims[..axis]),
                positions: dims[axis],
                bits: count(&dims[axis + 1..]) * elem.bits(),
            },
            None => Layout { blocks: 1, positions: 1, bits: count(dims) * elem.bits() },
        }
    }

    /// Copies all blocks, whose starts are as many positions apart as there is room for.
    fn copy(&self, from: &[u8], from_room: usize, to: &mut [u8], to_room: usize) {
        for block in 0..self.blocks {
            let [start, end] = [from_room, to_room].map(|room| block * room * self.bits);
            copy_bits(from, start, to, end, self.positions * self.bits);
        }
    }
}

/// Copies `len` bits from bit `start` to bit `end`, low bits of a byte first. All are even, as the widths of elements are.
fn copy_bits(from: &[u8], start: usize, to: &mut [u8], end: usize, len: usize) {
    let mut done = 0;
    if start.is_multiple_of(8) && end.is_multiple_of(8) {
        done = len / 8 * 8;
        to[end / 8..][..len / 8].copy_from_slice(&from[start / 8..][..len / 8]);
    }
    for at in (done..len).step_by(2) {
        let (from_bit, to_bit) = (start + at, end + at);
        let two = from[from_bit / 8] >> (from_bit % 8) & 3;
        let byte = &mut to[to_bit / 8];
        *byte = *byte & !(3 << (to_bit % 8)) | two << (to_bit % 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache of elements of each width, its axis of positions not the outermost.
    fn saved() -> Saved {
        let held = |(i, elem): (usize, &Elem)| {
            let bytes = elem.bytes(2 * 3 * 5).unwrap();
            let data: Vec<u8> = (0..bytes).map(|at| (at * 37 + i) as u8 & 0xa9 & !3).collect();
            let tensor = Tensor::new(*elem, vec![2, 3, 5], data.into()).unwrap();
            Held { name: format!("s{i}"), axis: Some(1), tensor }
        };
        let elems = [Elem::F16, Elem::U4, Elem::F32];
        let mut states: Vec<Held> = elems.iter().enumerate().map(held).collect();
        let trits = Tensor::pack(Elem::Trit, vec![5], &[1, 0, 255, 1, 1]).unwrap();
        states.push(Held { name: "t".into(), axis: None, tensor: trits });
        Saved { filled: 3, states }
    }

    #[test]
    fn bytes_give_what_was_saved() {
        for saved in [saved(), Saved::default()] {
            assert_eq!(Saved::from_bytes(&saved.to_bytes()), Ok(saved));
        }
    }

    #[test]
    fn damage_is_refused() {
        let good = saved().to_bytes();
        for len in 0..good.len() {
            Saved::from_bytes(&good[..len]).unwrap_err();
        }
        for bit in 0..8 * good.len() {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            Saved::from_bytes(&bad).unwrap_err();
        }
        let longer = [&good[..], &[0]].concat();
        let (stated, actual) = (good.len() as u64, longer.len() as u64);
        assert_eq!(Saved::from_bytes(&longer), Err(SavedError::Length { stated, actual }));
    }

    /// What has a right checksum may still be wrong.
    #[test]
    fn states_that_contradict_themselves_are_refused() {
        let message = |change: fn(&mut Message)| {
            let mut message = Message::decode(&saved().to_bytes()[HEAD..]).unwrap();
            change(&mut message);
            let mut bytes = [&Saved::default().to_bytes()[..HEAD], &message.encode_to_vec()].concat();
            let len = bytes.len() as u64;
            bytes[12..CHECKSUM].copy_from_slice(&len.to_le_bytes());
            let checksum = checksum(&bytes);
            bytes[CHECKSUM..HEAD].copy_from_slice(&checksum);
            Saved::from_bytes(&bytes).map(|_| ()).map_err(|e| e.to_string())
        };
        assert_eq!(message(|_| ()), Ok(()));
        let fails = |change: fn(&mut Message), with: &str| {
            let error = message(change).unwrap_err();
            assert!(error.contains(with), "{error}");
        };
        fails(|m| m.filled = 4, "the state `s0` does not hold 4 positions");
        fails(|m| m.states[1].axis = Some(9), "the state `s1` does not hold 3 positions");
        fails(|m| m.states[1].name = "s0".into(), "the state `s0` is there twice");
        fails(|m| m.states[0].elem = "f99".into(), "the state `s0` is of no known type");
        fails(|m| m.states[2].dims[0] = 1 << 62, "the state `s2`");
        fails(|m| m.states[2].data = Bytes::new(), "the state `s2`");
        fails(|m| m.states[3].data = vec![0xff; 2].into(), "the state `t` has two bits that are not a trit");
        fails(|m| m.states.clear(), "positions without states");
    }

    /// Rows with room for more, of elements that share bytes, keep what lies beside them.
    #[test]
    fn positions_are_copied_bit_by_bit() {
        for elem in [Elem::F64, Elem::Bf16, Elem::I8, Elem::I4, Elem::Trit] {
            for (dims, axis) in [(vec![3, 2, 5], Some(1)), (vec![2, 3], Some(0)), (vec![3, 1], Some(1))] {
                let axis: Option<usize> = axis;
                let (layout, room) = (Layout::new(elem, &dims, axis), 7);
                let mut roomy = dims.clone();
                roomy[axis.unwrap()] = room;
                let bytes = |dims: &[usize]| elem.bytes(dims.iter().product()).unwrap();
                let dense: Vec<u8> = (0..bytes(&dims)).map(|i| (i * 83 + 5) as u8).collect();
                for fill in [0, 0xff] {
                    let mut wide = vec![fill; bytes(&roomy)];
                    layout.copy(&dense, layout.positions, &mut wide, room);
                    // As many bits as are not copied are as they were.
                    let bit = |at: usize| wide[at / 8] >> (at % 8) & 1;
                    let row = room * layout.bits;
                    let rest =
                        (0..layout.blocks * row).filter(|at| at % row >= layout.positions * layout.bits);
                    assert!(rest.into_iter().all(|at| bit(at) == fill & 1), "{elem} {dims:?}");
                    let mut back = vec![0; dense.len()];
                    layout.copy(&wide, room, &mut back, layout.positions);
                    let bits = layout.blocks * layout.positions * layout.bits;
                    let same = (0..bits).all(|at| (back[at / 8] ^ dense[at / 8]) >> (at % 8) & 1 == 0);
                    assert!(same, "{elem} {dims:?}");
                }
            }
        }
    }
}
