//! A recurrent layer as the module has it: what is known of it, and why it has to stay closed.

use trine_ir::ops::{Activation, Direction, Gru, Lstm, Rnn};
use trine_ir::{Dim, Elem, NodeId, Op, Tensor, Value};

use crate::layers::weights_name;
use crate::pattern::{Refusal, Rewrite, refuse};

/// A layer with known weights.
pub(super) struct Layer {
    pub op: Op,
    /// What its steps are named after.
    pub name: String,
    pub x: Value,
    pub seq: Dim,
    pub batch: Dim,
    pub hidden: usize,
    /// `h` and `c`, `[directions, batch, hidden]`.
    pub initial: [Option<Value>; 2],
    /// By direction.
    pub weights: Vec<Weights>,
}

/// The weights of one direction: `[gates·hidden, input]`, `[gates·hidden, hidden]` and vectors.
pub(super) struct Weights {
    pub name_w: String,
    pub name_r: String,
    pub w: Tensor,
    pub r: Tensor,
    pub bias_w: Option<Tensor>,
    pub bias_r: Option<Tensor>,
    /// Of the gates `i`, `o` and `f`.
    pub peepholes: Option<[Tensor; 3]>,
    pub activations: Vec<Activation>,
}

impl Layer {
    /// The layer, if the node is one.
    pub fn read(g: &Rewrite, node: NodeId) -> Result<Option<Layer>, Refusal> {
        let graph = g.graph();
        let Some(op @ (Op::Rnn(_) | Op::Gru(_) | Op::Lstm(_))) = graph.op(node).cloned() else {
            return Ok(None);
        };
        // The operands of an LSTM are those of the others, and two more.
        let operands = graph.operands(node);
        let operand = |i: usize| operands.get(i).copied().flatten();
        let (Some(x), Some(w), Some(r)) = (operand(Lstm::x), operand(Lstm::w), operand(Lstm::r)) else {
            return refuse("an operand is absent");
        };
        let ty = g.ty(x).clone();
        if ty.elem != Elem::F32 {
            return refuse(format!("the sequence is {ty}, and steps are of f32"));
        }
        let (seq, batch) = (ty.dims[0].clone(), ty.dims[1].clone());
        let known = |v: Value, what: &str| match g.scope().known(v) {
            Some(tensor) => Ok(tensor),
            None => refuse(format!("the {what} is not known")),
        };
        if let Some(lens) = operand(Lstm::lens) {
            let lens = known(lens, "length of each sequence")?;
            if lens.values::<i32>()?.iter().any(|len| seq.as_const() != usize::try_from(*len).ok()) {
                return refuse("sequences have lengths of their own");
            }
        }
        let tensors = Tensors {
            w: known(w, "weight on the input")?,
            r: known(r, "weight on the state")?,
            bias: operand(Lstm::bias).map(|v| known(v, "bias")).transpose()?,
            peepholes: operand(Lstm::peepholes).map(|v| known(v, "peephole weight")).transpose()?,
        };
        let names = (weights_name(g, w), weights_name(g, r));
        let (direction, activations) = common(&op);
        let directions = direction.count();
        let hidden = *tensors.r.dims().last().ok_or("the weights have no axes")?;
        let per_direction = activations.len() / directions;
        let way = |d: usize| if d == 1 || direction == Direction::Reverse { "reverse" } else { "forward" };
        let weights = (0..directions)
            .map(|d| {
                let activations = &activations[d * per_direction..][..per_direction];
                tensors.of(d, directions, &names, way(d), activations)
            })
            .collect::<Result<_, _>>()?;
        let name = g.graph().name(Value { node, result: 0 }).to_string();
        let initial = [operand(Lstm::initial_h), operand(Lstm::initial_c)];
        Ok(Some(Layer { op, name, x, seq, batch, hidden, initial, weights }))
    }

    pub fn gates(&self) -> usize {
        match self.op {
            Op::Lstm(_) => 4,
            Op::Gru(_) => 3,
            _ => 1,
        }
    }

    /// How many states there are: `h`, and `c` of an LSTM.
    pub fn states(&self) -> usize {
        if matches!(self.op, Op::Lstm(_)) { 2 } else { 1 }
    }

    pub fn clip(&self) -> Option<f32> {
        match &self.op {
            Op::Lstm(Lstm { clip, .. }) | Op::Gru(Gru { clip, .. }) | Op::Rnn(Rnn { clip, .. }) => *clip,
            _ => None,
        }
    }

    pub fn is_reversed(&self, direction: usize) -> bool {
        direction == 1 || common(&self.op).0 == Direction::Reverse
    }
}

fn common(op: &Op) -> (Direction, &[Activation]) {
    match op {
        Op::Lstm(Lstm { direction, activations, .. })
        | Op::Gru(Gru { direction, activations, .. })
        | Op::Rnn(Rnn { direction, activations, .. }) => (*direction, activations),
        _ => (Direction::Forward, &[]),
    }
}

/// The constant operands, directions along their first axes.
struct Tensors {
    w: Tensor,
    r: Tensor,
    bias: Option<Tensor>,
    peepholes: Option<Tensor>,
}

impl Tensors {
    fn of(
        &self,
        direction: usize,
        directions: usize,
        names: &(String, String),
        way: &str,
        activations: &[Activation],
    ) -> Result<Weights, Refusal> {
        let own =
            |t: &Tensor| part(t, direction, directions).and_then(|t| Ok(t.reshape(t.dims()[1..].to_vec())?));
        let halves = self.bias.as_ref().map(own).transpose()?;
        let half = |i: usize| halves.as_ref().map(|b| part(b, i, 2)).transpose();
        let peepholes = self.peepholes.as_ref().map(own).transpose()?;
        let peepholes =
            peepholes.map(|p| Ok::<_, Refusal>([part(&p, 0, 3)?, part(&p, 1, 3)?, part(&p, 2, 3)?]));
        Ok(Weights {
            name_w: format!("{}.{way}", names.0),
            name_r: format!("{}.{way}", names.1),
            w: own(&self.w)?,
            r: own(&self.r)?,
            bias_w: half(0)?,
            bias_r: half(1)?,
            peepholes: peepholes.transpose()?,
            activations: activations.to_vec(),
        })
    }
}

/// The `i`-th of `count` equal parts along the first axis.
pub(super) fn part(t: &Tensor, i: usize, count: usize) -> Result<Tensor, Refusal> {
    rows(t, i * (t.dims()[0] / count)..(i + 1) * (t.dims()[0] / count))
}

/// Some rows of a tensor of f32.
pub(super) fn rows(t: &Tensor, range: std::ops::Range<usize>) -> Result<Tensor, Refusal> {
    let (_, rest) = t.dims().split_first().ok_or("a scalar has no rows")?;
    let size: usize = rest.iter().product();
    let values = t.values::<f32>()?[range.start * size..range.end * size].to_vec();
    Ok(Tensor::from_vec([&[range.len()], rest].concat(), values)?)
}
