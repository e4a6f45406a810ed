//! One step of a recurrent layer as ordinary ops, the equations of `rnn`, `gru` and `lstm` in their own order.

use trine_ir::ops::{
    Activation, Add, Elu, Gru, LeakyRelu, Lstm, Matmul, Max, Min, Mul, Relu, Sigmoid, Softplus, Softsign,
    Split, Sub, Tanh, ThresholdedRelu,
};
use trine_ir::{Dim, Literal, Op, Tensor, Value};

use super::layer::{Layer, Weights, rows};
use crate::pattern::{Refusal, Rewrite, refuse};

pub(super) struct Cell<'a> {
    pub layer: &'a Layer,
    pub weights: &'a Weights,
    pub slope: Option<f32>,
}

impl Cell<'_> {
    /// The next `h`, and `c` if there is one. `gates` is what the input gives to them, `[batch, gates·hidden]`.
    pub fn step(
        &self,
        g: &mut Rewrite,
        h: Value,
        c: Option<Value>,
        gates: Value,
    ) -> Result<(Value, Option<Value>), Refusal> {
        match (&self.layer.op, c) {
            (Op::Lstm(lstm), Some(c)) => {
                let (h, c) = self.remember(g, lstm, h, c, gates)?;
                Ok((h, Some(c)))
            }
            (Op::Gru(gru), _) => Ok((self.update(g, gru, h, gates)?, None)),
            _ => {
                let recurrent = self.recur(g, h, 0..1)?;
                let sum = g.add(Add {}, &[gates, recurrent])?;
                Ok((self.activate(g, 0, sum)?, None))
            }
        }
    }

    fn update(&self, g: &mut Rewrite, gru: &Gru, h: Value, gates: Value) -> Result<Value, Refusal> {
        let of_input = self.split(g, gates, &[2, 1])?;
        let (zr, n) = if gru.linear_before_reset {
            let all = self.recur(g, h, 0..3)?;
            let of_state = self.split(g, all, &[2, 1])?;
            let (z, r) = self.update_and_reset(g, of_input[0], of_state[0])?;
            let reset = g.add(Mul {}, &[r, of_state[1]])?;
            (z, g.add(Add {}, &[of_input[1], reset])?)
        } else {
            let of_state = self.recur(g, h, 0..2)?;
            let (z, r) = self.update_and_reset(g, of_input[0], of_state)?;
            let reset = g.add(Mul {}, &[r, h])?;
            let recurrent = self.recur(g, reset, 2..3)?;
            (z, g.add(Add {}, &[of_input[1], recurrent])?)
        };
        let n = self.activate(g, 1, n)?;
        let one = g.literal(Literal::F32(1.0));
        let rest = g.add(Sub {}, &[one, zr])?;
        let new = g.add(Mul {}, &[rest, n])?;
        let old = g.add(Mul {}, &[zr, h])?;
        Ok(g.add(Add {}, &[new, old])?)
    }

    fn update_and_reset(
        &self,
        g: &mut Rewrite,
        of_input: Value,
        of_state: Value,
    ) -> Result<(Value, Value), Refusal> {
        let sum = g.add(Add {}, &[of_input, of_state])?;
        let both = self.activate(g, 0, sum)?;
        let parts = self.split(g, both, &[1, 1])?;
        Ok((parts[0], parts[1]))
    }

    fn remember(
        &self,
        g: &mut Rewrite,
        lstm: &Lstm,
        h: Value,
        c: Value,
        gates: Value,
    ) -> Result<(Value, Value), Refusal> {
        let recurrent = self.recur(g, h, 0..4)?;
        let sums = g.add(Add {}, &[gates, recurrent])?;
        let parts = self.split(g, sums, &[1, 1, 1, 1])?;
        let input = self.gate(g, parts[0], 0, c)?;
        let forget = if lstm.input_forget {
            let one = g.literal(Literal::F32(1.0));
            g.add(Sub {}, &[one, input])?
        } else {
            self.gate(g, parts[2], 2, c)?
        };
        let kept = g.add(Mul {}, &[forget, c])?;
        let candidate = self.activate(g, 1, parts[3])?;
        let added = g.add(Mul {}, &[input, candidate])?;
        let c = g.add(Add {}, &[kept, added])?;
        let output = self.gate(g, parts[1], 1, c)?;
        let shown = self.function(g, 2, c)?;
        Ok((g.add(Mul {}, &[output, shown])?, c))
    }

    /// A gate of an LSTM that may look at `c`.
    fn gate(&self, g: &mut Rewrite, sum: Value, peephole: usize, c: Value) -> Result<Value, Refusal> {
        let Some(peepholes) = &self.weights.peepholes else { return self.activate(g, 0, sum) };
        let p = self.constant(g, "peephole", &peepholes[peephole]);
        let seen = g.add(Mul {}, &[p, c])?;
        let sum = g.add(Add {}, &[sum, seen])?;
        self.activate(g, 0, sum)
    }

    /// `R·h + Rb` of some gates.
    fn recur(&self, g: &mut Rewrite, h: Value, gates: std::ops::Range<usize>) -> Result<Value, Refusal> {
        let whole = gates.len() == self.layer.gates();
        let range = gates.start * self.layer.hidden..gates.end * self.layer.hidden;
        let suffix = match (whole, gates.start) {
            (true, _) => "",
            (_, 0) => ".zr",
            _ => ".n",
        };
        let name = format!("{}{suffix}", self.weights.name_r);
        let r = g.constant(&name, rows(&self.weights.r, range.clone())?);
        let product = g.add(Matmul { trans_b: true }, &[h, r])?;
        let Some(bias) = &self.weights.bias_r else { return Ok(product) };
        let bias = g.constant(&format!("{name}.bias"), rows(bias, range)?);
        Ok(g.add(Add {}, &[product, bias])?)
    }

    /// Parts of a row, each of so many gates.
    fn split(&self, g: &mut Rewrite, x: Value, gates: &[usize]) -> Result<Vec<Value>, Refusal> {
        let sizes = gates.iter().map(|n| Dim::constant(n * self.layer.hidden)).collect();
        let node = g.add_node(Split { axis: 1, sizes }, &[Some(x)])?;
        Ok(g.graph().results(node).collect())
    }

    /// The `i`-th activation of a gate, after the clip.
    fn activate(&self, g: &mut Rewrite, i: usize, mut x: Value) -> Result<Value, Refusal> {
        if let Some(clip) = self.layer.clip() {
            let (upper, lower) = (g.literal(Literal::F32(clip)), g.literal(Literal::F32(-clip)));
            x = g.add(Min {}, &[x, upper])?;
            x = g.add(Max {}, &[x, lower])?;
        }
        self.function(g, i, x)
    }

    fn function(&self, g: &mut Rewrite, i: usize, mut x: Value) -> Result<Value, Refusal> {
        let Some(activation) = self.weights.activations.get(i) else {
            return refuse("an activation is missing");
        };
        let mut number = |v: f32| g.literal(Literal::F32(v));
        let (op, args): (Op, Vec<Value>) = match *activation {
            Activation::Sigmoid => {
                if let Some(slope) = self.slope {
                    let slope = number(slope);
                    x = g.add(Mul {}, &[slope, x])?;
                }
                (Sigmoid {}.into(), vec![x])
            }
            Activation::Tanh => (Tanh {}.into(), vec![x]),
            Activation::Relu => (Relu {}.into(), vec![x]),
            Activation::Softsign => (Softsign {}.into(), vec![x]),
            Activation::Softplus => (Softplus {}.into(), vec![x]),
            Activation::LeakyRelu(alpha) => (LeakyRelu { alpha }.into(), vec![x]),
            Activation::ThresholdedRelu(alpha) => (ThresholdedRelu { alpha }.into(), vec![x]),
            Activation::Elu(alpha) => (Elu { alpha }.into(), vec![x]),
            Activation::Affine(a, b) => {
                let (a, b) = (number(a), number(b));
                let scaled = g.add(Mul {}, &[a, x])?;
                (Add {}.into(), vec![scaled, b])
            }
            Activation::ScaledTanh(a, b) => {
                let (a, b) = (number(a), number(b));
                let scaled = g.add(Mul {}, &[b, x])?;
                let tanh = g.add(Tanh {}, &[scaled])?;
                (Mul {}.into(), vec![a, tanh])
            }
            Activation::HardSigmoid(a, b) => {
                let (a, b, zero, one) = (number(a), number(b), number(0.0), number(1.0));
                let scaled = g.add(Mul {}, &[a, x])?;
                let line = g.add(Add {}, &[scaled, b])?;
                let above = g.add(Max {}, &[line, zero])?;
                (Min {}.into(), vec![above, one])
            }
        };
        Ok(g.add(op, &args)?)
    }

    fn constant(&self, g: &mut Rewrite, what: &str, tensor: &Tensor) -> Value {
        g.constant(&format!("{}.{what}", self.weights.name_r), tensor.clone())
    }
}
