//! Views: how a kernel reads an operand through transposes, slices, broadcasts and reshapes, without a copy.

pub use trine_ir::domain::is_view;
use trine_ir::{Dim, Elem, Graph, Op, Type, Value};

/// The number of `param`, if it is a constant that nothing in the kernel reads but the reader of `v`, a view of it: only then
/// may it lie as that reader wants it.
pub fn packable(graph: &Graph, v: Value, param: Value) -> Option<usize> {
    let mut read = v;
    while read != param {
        let uses: usize = graph.results(read.node).map(|result| graph.use_count(result)).sum();
        read = graph.operand(read.node, 0).filter(|_| uses == 1)?;
    }
    let alone = graph.is_constant_param(param) && graph.use_count(param) == 1;
    graph.params().iter().position(|p| *p == param).filter(|_| alone)
}

/// An affine walk over an argument: element `(i0, i1, …)` lies `offset + Σ i·stride` elements from its start.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The argument's number among those of the kernel.
    pub arg: usize,
    /// The type of its elements.
    pub elem: Elem,
    /// The sizes of what is read, which may be fewer or more than the argument has.
    pub dims: Vec<Dim>,
    /// Elements from one index of each axis to the next; 0 where an axis repeats.
    pub strides: Vec<Dim>,
    /// Elements before the first.
    pub offset: Dim,
}

impl View {
    /// All of a row-major argument; `None` when sizes overflow.
    pub fn dense(arg: usize, ty: &Type) -> Option<View> {
        let strides = dense_strides(&ty.dims)?;
        Some(View { arg, elem: ty.elem, dims: ty.dims.clone(), strides, offset: Dim::constant(0) })
    }

    /// What the value is as a view of an argument of the kernel, if it is one.
    pub fn of(graph: &Graph, value: Value) -> Option<View> {
        if let Some(arg) = graph.params().iter().position(|p| *p == value) {
            return View::dense(arg, graph.ty(value));
        }
        let op = graph.op(value.node)?;
        let source = View::of(graph, graph.operand(value.node, 0)?)?;
        source.through(op, value.result as usize, graph.ty(value))
    }

    /// The view of result `result`, of type `ty`, of an op applied to this view.
    fn through(mut self, op: &Op, result: usize, ty: &Type) -> Option<View> {
        match op {
            Op::Transpose(t) => {
                self.strides = t.perm.iter().map(|p| self.strides.get(*p).cloned()).collect::<Option<_>>()?;
            }
            Op::Expand(_) => return self.broadcast(&ty.dims),
            Op::Reshape(_) => self.strides = self.reshaped(&ty.dims)?,
            Op::Split(s) => {
                for size in &s.sizes[..result] {
                    self.offset = self.offset.add(&size.mul(&self.strides[s.axis])?)?;
                }
            }
            _ => return None,
        }
        self.dims = ty.dims.clone();
        Some(self)
    }

    /// The view repeated along dimensions of one, to `dims`. Where an open dimension differs by name, it is as long or is
    /// 1, which a run tells: the caller knows that no other sizes come here.
    pub fn broadcast(mut self, dims: &[Dim]) -> Option<View> {
        let missing = dims.len().checked_sub(self.dims.len())?;
        let mut strides = vec![Dim::constant(0); missing];
        for ((own, stride), to) in self.dims.iter().zip(&self.strides).zip(&dims[missing..]) {
            strides.push(match own.as_const() {
                _ if own == to => stride.clone(),
                Some(1) => Dim::constant(0),
                Some(_) => return None,
                None => stride.mul(&is_many(own)?)?,
            });
        }
        self.dims = dims.to_vec();
        self.strides = strides;
        Some(self)
    }

    /// Whether elements lie one after another, row-major.
    pub fn is_dense(&self) -> bool {
        dense_strides(&self.dims).is_some_and(|dense| {
            let pairs = dense.iter().zip(&self.strides).zip(&self.dims);
            pairs.clone().all(|((d, s), n)| d == s || n.as_const() == Some(1))
        })
    }

    /// Whether it is all of an argument, in its order.
    pub fn is_plain(&self) -> bool {
        self.is_dense() && self.offset.as_const() == Some(0)
    }

    /// The stride by which all axes but the last `inner` advance as one, if they do.
    pub fn outer_stride(&self, inner: usize) -> Option<Dim> {
        let outer = self.dims.len().checked_sub(inner)?;
        let axes = || (0..outer).filter(|i| self.dims[*i].as_const() != Some(1));
        let Some(last) = axes().next_back() else { return Some(Dim::constant(0)) };
        let stride = self.strides[last].clone();
        let mut expected = stride.clone();
        for i in axes().rev() {
            if self.strides[i] != expected {
                return None;
            }
            expected = expected.mul(&self.dims[i])?;
        }
        Some(stride)
    }

    /// Strides under another shape: each old axis is kept, split, or was merged from axes that lie dense.
    fn reshaped(&self, dims: &[Dim]) -> Option<Vec<Dim>> {
        if self.is_dense() {
            return dense_strides(dims);
        }
        // Match runs of new axes against single old axes.
        let one = Dim::constant(1);
        let mut old = self.dims.iter().zip(&self.strides).filter(|(d, _)| **d != one).peekable();
        let mut strides = vec![Dim::constant(0); dims.len()];
        let mut i = 0;
        while i < dims.len() {
            if dims[i] == one {
                i += 1;
                continue;
            }
            let (size, stride) = old.next()?;
            let mut product = dims[i].clone();
            let mut end = i + 1;
            while product != *size {
                product = product.mul(dims.get(end)?)?;
                end += 1;
            }
            let mut step = stride.clone();
            for j in (i..end).rev() {
                strides[j] = step.clone();
                step = step.mul(&dims[j])?;
            }
            i = end;
        }
        old.next().is_none().then_some(strides)
    }
}

/// 0 for a dimension of 1, 1 for a longer one.
fn is_many(dim: &Dim) -> Option<Dim> {
    let one = Dim::constant(1);
    dim.max_of(&one)?.sub(&one)?.min_of(&one)
}

/// Row-major strides; `None` on overflow.
pub fn dense_strides(dims: &[Dim]) -> Option<Vec<Dim>> {
    let mut strides = vec![Dim::constant(1); dims.len()];
    for i in (1..dims.len()).rev() {
        strides[i - 1] = strides[i].mul(&dims[i])?;
    }
    Some(strides)
}
