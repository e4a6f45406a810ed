//! A model under way: values with the sizes that their axes will have, and ops that fit them.
//!
//! A size is not a formula but what it is in each of the runs that are planned, so that whether an op is legal is
//! plain arithmetic, and what a model calls its dimensions may be anything that those numbers allow: one name for
//! one number, two names for the same, none, or a name for what is always 1.

use std::ops::Range;

use trine::import::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
};
use trine_ir::{Elem, Tensor};

use super::choices::Choices;
use super::data::{self, Draw};
use super::proto::{self, Declared};

/// Runs that a graph is planned for, each with other sizes.
pub const RUNS: usize = 3;

/// Elements that a value may have in any of them.
const MOST: usize = 4096;

/// What open sizes are in each run.
#[rustfmt::skip]
const OPEN: [[usize; RUNS]; 8] =
    [[2, 3, 1], [1, 2, 3], [5, 1, 2], [1, 1, 1], [7, 4, 8], [3, 9, 1], [1, 16, 2], [4, 4, 4]];

/// What an axis has in each run. Sizes that only a run itself tells have an `id`, and are equal only to themselves; their
/// numbers are bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    pub at: [usize; RUNS],
    id: u32,
}

/// A tensor of the model.
#[derive(Clone, Debug)]
pub struct Val {
    pub name: String,
    pub elem: Elem,
    pub dims: Vec<Size>,
    /// Bounds that its elements, whole numbers, are known to keep.
    pub range: Option<(i64, i64)>,
    /// Bodies around the node that gives it; inputs and initializers are seen everywhere.
    depth: usize,
    /// Whether a node gives it.
    made: bool,
}

/// A model and what to run it on: a list of inputs for each run.
#[derive(Clone, Debug)]
pub struct Case {
    pub model: ModelProto,
    pub runs: Vec<Vec<Tensor>>,
}

struct Input {
    name: String,
    elem: Elem,
    declared: Vec<Declared>,
    data: Vec<Tensor>,
}

pub struct Builder<'c, 'b> {
    pub choices: &'c mut Choices<'b>,
    pub opset: i64,
    /// Whether axes may meet of which one is 1 in some runs alone.
    loose: bool,
    /// Of a hundred.
    special: usize,
    /// Whether to leave out what other runtimes answer in ways of their own.
    pub tame: bool,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    inputs: Vec<Input>,
    pool: Vec<Val>,
    palette: Vec<Size>,
    names: Vec<(Size, String)>,
    depth: usize,
    count: usize,
    used: Vec<String>,
}

impl Size {
    pub const ONE: Size = Size::fixed(1);

    pub const fn fixed(n: usize) -> Size {
        Size { at: [n; RUNS], id: 0 }
    }

    /// Whether the size is known before a run.
    pub fn known(self) -> bool {
        self.id == 0
    }

    /// The one number that it always is.
    pub fn constant(self) -> Option<usize> {
        (self.known() && self.at.iter().all(|n| *n == self.at[0])).then_some(self.at[0])
    }

    pub fn least(self) -> usize {
        if self.known() { self.at.into_iter().min().unwrap_or(0) } else { 0 }
    }

    pub fn most(self) -> usize {
        self.at.into_iter().max().unwrap_or(0)
    }

    /// The sizes that `f` makes of those of each run, if it does of all.
    pub fn map(self, f: impl Fn(usize) -> Option<usize>) -> Option<Size> {
        Size::zip(&[self], |at| f(at[0]))
    }

    pub fn zip(sizes: &[Size], f: impl Fn(&[usize]) -> Option<usize>) -> Option<Size> {
        let mut at = [0; RUNS];
        for (run, size) in at.iter_mut().enumerate() {
            *size = f(&sizes.iter().map(|s| s.at[run]).collect::<Vec<_>>())?;
        }
        sizes.iter().all(|s| s.known()).then_some(Size { at, id: 0 })
    }

    pub fn product(sizes: &[Size]) -> Option<Size> {
        match sizes {
            [size] => Some(*size),
            _ => Size::zip(sizes, |at| Some(at.iter().product())),
        }
    }
}

impl Val {
    pub fn rank(&self) -> usize {
        self.dims.len()
    }

    /// What a value of another type or shape would be in its place.
    pub fn with(&self, elem: Elem, dims: Vec<Size>) -> Val {
        Val { elem, dims, ..self.clone() }
    }

    pub fn last(&self) -> Size {
        self.dims.last().copied().unwrap_or(Size::ONE)
    }
}

impl<'c, 'b> Builder<'c, 'b> {
    pub fn new(choices: &'c mut Choices<'b>, tame: bool) -> Self {
        let opset = choices
            .pick(&[9, 11, 12, 13, 14, 15, 17, 17, 18, 18, 19, 20, 21, 21, 22, 23, 23, 24, 24, 27, 28, 28]);
        let mut palette = vec![Size::ONE];
        for _ in 0..choices.between(1, 3) {
            palette.push(Size::fixed(choices.pick(&[1, 2, 3, 4, 4, 5, 6, 7, 8, 8, 12, 16, 17, 32])));
        }
        for _ in 0..choices.below(3) {
            let at = choices.pick(&OPEN);
            palette.push(Size { at, id: 0 });
        }
        if choices.chance(3) {
            palette.push(Size { at: [2, 0, 1], id: 0 });
        }
        // NaN of keys that attention hides does not reach its result, as it does in the model: seeds with it are on request.
        let asked = std::env::var_os("TRINE_GRAPHS_SPECIAL").is_some();
        let (loose, special) =
            (choices.chance(12), if choices.chance(12) && !tame && asked { 40 } else { 0 });
        Builder {
            choices,
            opset,
            loose,
            special,
            tame,
            nodes: vec![],
            initializers: vec![],
            inputs: vec![],
            pool: vec![],
            palette,
            names: vec![],
            depth: 0,
            count: 0,
            used: vec![],
        }
    }

    /// The model, whose outputs are what no node uses, and other values now and then; with `all` every value that a
    /// node gives.
    pub fn finish(self, all: bool) -> Option<Case> {
        let made: Vec<Val> = self.pool.iter().filter(|v| v.made).cloned().collect();
        let mut outputs = vec![];
        for v in made {
            if all || !self.used.contains(&v.name) || self.choices.chance(12) {
                outputs.push(v);
            }
        }
        if outputs.is_empty() {
            return None;
        }
        let graph = GraphProto {
            name: Some("g".into()),
            input: self.inputs.iter().map(|i| proto::value(&i.name, i.elem, Some(&i.declared))).collect(),
            output: outputs.iter().map(|v| proto::value(&v.name, v.elem, None)).collect(),
            node: self.nodes,
            initializer: self.initializers,
            ..Default::default()
        };
        let opset = |domain: &str, version| OperatorSetIdProto {
            domain: Some(domain.into()),
            version: Some(version),
        };
        let model = ModelProto {
            ir_version: Some(if self.opset > 20 { 10 } else { 8 }),
            opset_import: vec![opset("", self.opset), opset("com.microsoft", 1)],
            graph: Some(graph),
            ..Default::default()
        };
        let runs = (0..RUNS).map(|r| self.inputs.iter().map(|i| i.data[r].clone()).collect()).collect();
        Some(Case { model, runs })
    }
}

/// Choosing.
impl Builder<'_, '_> {
    pub fn size(&mut self) -> Size {
        self.choices.pick(&self.palette)
    }

    /// The shape of a new value, of a rank in `ranks`.
    pub fn shape(&mut self, ranks: Range<usize>) -> Vec<Size> {
        let rank = self.choices.between(ranks.start as i64, ranks.end as i64 - 1) as usize;
        let mut dims: Vec<Size> = (0..rank).map(|_| self.size()).collect();
        while !fits(&dims) {
            let largest = (0..rank).max_by_key(|i| dims[*i].most()).unwrap_or(0);
            dims[largest] = Size::fixed(2);
        }
        dims
    }

    /// A value of the model, those that came last most often.
    pub fn find(&mut self, fit: impl Fn(&Val) -> bool) -> Option<Val> {
        let found: Vec<usize> = (0..self.pool.len()).filter(|i| fit(&self.pool[*i])).collect();
        if found.is_empty() {
            return None;
        }
        let back = self.choices.below(found.len()).min(self.choices.below(found.len()));
        Some(self.pool[found[found.len() - 1 - back]].clone())
    }

    /// A value of one of `elems` and a rank in `ranks`, a new one where there is none and sometimes where there is.
    pub fn operand(&mut self, elems: &[Elem], ranks: Range<usize>) -> Val {
        if !self.choices.chance(15)
            && let Some(v) = self.find(|v| elems.contains(&v.elem) && ranks.contains(&v.rank()))
        {
            return v;
        }
        let (elem, shape) = (self.choices.pick(elems), self.shape(ranks));
        self.leaf(elem, &shape)
    }

    /// A value that broadcasts with `a`, and the shape that both have together.
    pub fn partner(&mut self, a: &Val) -> (Val, Vec<Size>) {
        if self.choices.chance(55) {
            let loose = self.loose;
            let fit =
                |v: &Val| v.elem == a.elem && broadcast(&v.dims, &a.dims, loose).is_some_and(|d| fits(&d));
            if let Some(v) = self.find(fit)
                && let Some(shape) = broadcast(&v.dims, &a.dims, loose)
            {
                return (v, shape);
            }
        }
        let dims = self.narrowed(&a.dims);
        let mut dims: Vec<Size> = dims
            .into_iter()
            .map(|d| if d == Size::ONE && self.choices.chance(15) { self.size() } else { d })
            .collect();
        if self.choices.chance(4) {
            dims.insert(0, Size::fixed(2));
        }
        if !broadcast(&dims, &a.dims, false).is_some_and(|d| fits(&d)) {
            dims = vec![];
        }
        let b = self.leaf(a.elem, &dims);
        let shape = broadcast(&dims, &a.dims, false).unwrap_or_else(|| a.dims.clone());
        (b, shape)
    }

    /// How a node may say an axis: from the front, or from the end.
    pub fn axis(&mut self, axis: usize, rank: usize) -> i64 {
        if self.opset >= 11 && self.choices.chance(35) { axis as i64 - rank as i64 } else { axis as i64 }
    }

    /// A shape that broadcasts to `dims`.
    pub fn narrowed(&mut self, dims: &[Size]) -> Vec<Size> {
        let from = if self.choices.chance(50) { 0 } else { self.choices.below(dims.len() + 1) };
        let narrow = self.choices.pick(&[0, 0, 30, 70]);
        // What only a run tells cannot be the size of anything new.
        let dim = |d: &Size, narrow: bool| if narrow || !d.known() { Size::ONE } else { *d };
        dims[from..].iter().map(|d| dim(d, self.choices.chance(narrow))).collect()
    }
}

/// Making values.
impl Builder<'_, '_> {
    /// A new input, or constant where the shape allows it.
    pub fn leaf(&mut self, elem: Elem, dims: &[Size]) -> Val {
        let draw = match elem {
            _ if elem.is_float() && self.choices.chance(self.special) => Draw::Special,
            _ if elem.is_float() => Draw::Reals,
            Elem::Bool => Draw::Whole(0, 1),
            _ if elem.is_signed() => Draw::Whole(-5, 6),
            _ => Draw::Whole(0, 11),
        };
        self.drawn(elem, dims, draw)
    }

    /// A new input or constant that holds what `draw` says.
    pub fn drawn(&mut self, elem: Elem, dims: &[Size], draw: Draw) -> Val {
        let fixed: Option<Vec<usize>> = dims.iter().map(|d| d.constant()).collect();
        let is_input = !matches!(elem, Elem::I4 | Elem::U4 | Elem::I2 | Elem::U2) && self.choices.chance(70);
        match fixed {
            Some(fixed) if !is_input || self.inputs.len() > 6 => {
                let tensor = data::tensor(elem, &fixed, draw, self.choices.seed());
                self.constant(tensor, dims)
            }
            _ => self.input(elem, dims, draw),
        }
    }

    /// A new input.
    pub fn input(&mut self, elem: Elem, dims: &[Size], draw: Draw) -> Val {
        let name = self.fresh("x");
        let declared = dims.iter().map(|d| self.declared(*d)).collect();
        let seed = self.choices.seed();
        let data = |run: usize| {
            let sizes: Vec<usize> = dims.iter().map(|d| d.at[run]).collect();
            data::tensor(elem, &sizes, draw, seed.wrapping_add(run as u64))
        };
        self.inputs.push(Input { name: name.clone(), elem, declared, data: (0..RUNS).map(data).collect() });
        self.keep(name, elem, dims.to_vec(), draw)
    }

    fn keep(&mut self, name: String, elem: Elem, dims: Vec<Size>, draw: Draw) -> Val {
        let range = if let Draw::Whole(low, high) = draw { Some((low, high)) } else { None };
        let v = Val { name, elem, dims, range, depth: 0, made: false };
        self.pool.push(v.clone());
        v
    }

    /// A constant: an initializer, or a node `Constant`.
    pub fn constant(&mut self, tensor: Tensor, dims: &[Size]) -> Val {
        let name = self.fresh("c");
        // A body's nodes are not seen outside of it.
        if self.depth > 0 || self.choices.chance(80) {
            self.initializers.push(proto::tensor(&name, &tensor));
        } else {
            let mut node = proto::node("", "Constant", &[], std::slice::from_ref(&name));
            node.attribute.push(proto::constant("value", &tensor));
            self.nodes.push(node);
        }
        let v = Val { name, elem: tensor.elem(), dims: dims.to_vec(), range: None, depth: 0, made: false };
        self.pool.push(v.clone());
        v
    }

    /// A constant vector, which no other op takes by chance.
    pub fn ints(&mut self, values: &[i64]) -> String {
        self.tensor(Tensor::vector(values.to_vec()))
    }

    pub fn scalar(&mut self, elem: Elem, value: f64) -> String {
        self.tensor(data::of_values(elem, &[], &[value]))
    }

    pub fn tensor(&mut self, tensor: Tensor) -> String {
        let name = self.fresh("k");
        self.initializers.push(proto::tensor(&name, &tensor));
        name
    }

    /// A node, whose domain is ONNX's own or, before a point, `ms`. Its results are as `results` says.
    pub fn emit(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
        results: &[(Elem, Vec<Size>)],
    ) -> Option<Vec<Val>> {
        if !results.iter().all(|(_, dims)| fits(dims)) {
            return None;
        }
        let (domain, op) = op.strip_prefix("ms.").map_or(("", op), |op| ("com.microsoft", op));
        let outputs: Vec<String> = results.iter().map(|_| self.fresh("v")).collect();
        let mut node = proto::node(domain, op, inputs, &outputs);
        node.attribute = attributes;
        self.used.extend(inputs.iter().map(|i| i.to_string()));
        self.nodes.push(node);
        let depth = self.depth;
        let made = outputs.into_iter().zip(results).map(|(name, (elem, dims))| Val {
            name,
            elem: *elem,
            dims: dims.clone(),
            range: None,
            depth,
            made: true,
        });
        let made: Vec<Val> = made.collect();
        self.pool.extend(made.iter().cloned());
        Some(made)
    }

    /// A node with one result.
    pub fn emit1(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
        elem: Elem,
        dims: Vec<Size>,
    ) -> Option<Val> {
        self.emit(op, inputs, attributes, &[(elem, dims)])?.pop()
    }

    /// A size that only a run tells, of at most `bound`.
    pub fn unknown(&mut self, bound: Size) -> Size {
        self.count += 1;
        Size { at: bound.at, id: self.count as u32 }
    }

    /// The subgraph that `build` makes: its parameters have types, its outputs are the values that `build` gives.
    pub fn body(
        &mut self,
        params: &[(Elem, Vec<Size>)],
        build: impl FnOnce(&mut Self, &[Val]) -> Option<Vec<Val>>,
    ) -> Option<GraphProto> {
        let outer = std::mem::take(&mut self.nodes);
        let was = self.depth;
        self.depth += 1;
        let mut own = vec![];
        for (elem, dims) in params {
            let (name, depth) = (self.fresh("p"), self.depth);
            own.push(Val { name, elem: *elem, dims: dims.clone(), range: None, depth, made: true });
        }
        self.pool.extend(own.iter().cloned());
        let outputs = build(self, &own);
        self.depth = was;
        self.pool.retain(|v| v.depth <= was);
        let nodes = std::mem::replace(&mut self.nodes, outer);
        let outputs = outputs?;
        Some(GraphProto {
            name: Some(self.fresh("g")),
            input: own.iter().map(|v| proto::value(&v.name, v.elem, None)).collect(),
            output: outputs.iter().map(|v| proto::value(&v.name, v.elem, None)).collect(),
            node: nodes,
            ..Default::default()
        })
    }

    fn fresh(&mut self, base: &str) -> String {
        self.count += 1;
        format!("{base}{}", self.count)
    }

    /// What the model says of an axis of an input.
    fn declared(&mut self, size: Size) -> Declared {
        if let Some(n) = size.constant()
            && self.choices.chance(95)
        {
            return Declared::Fixed(n);
        }
        if self.choices.chance(6) {
            return Declared::Open;
        }
        let known: Vec<String> =
            self.names.iter().filter(|(s, _)| *s == size).map(|(_, n)| n.clone()).collect();
        if !known.is_empty() && !self.choices.chance(15) {
            return Declared::Named(known[self.choices.below(known.len())].clone());
        }
        let name = self.fresh("s");
        self.names.push((size, name.clone()));
        Declared::Named(name)
    }
}

/// Whether a value of this shape is small enough.
pub fn fits(dims: &[Size]) -> bool {
    (0..RUNS).all(|r| dims.iter().map(|d| d.at[r]).product::<usize>() <= MOST)
}

/// The shape of two together. With `loose`, an axis may be 1 in some runs alone.
pub fn broadcast(a: &[Size], b: &[Size], loose: bool) -> Option<Vec<Size>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[Size], i: usize| (i + dims.len()).checked_sub(rank).map_or(Size::ONE, |i| dims[i]);
    let both =
        |at: &[usize]| if at[0] == at[1] { Some(at[0]) } else { at.contains(&1).then(|| at[0] * at[1]) };
    let meet = |x: Size, y: Size| match (x == Size::ONE, y == Size::ONE) {
        (_, true) => Some(x),
        (true, _) => Some(y),
        _ if x == y => Some(x),
        _ => loose.then(|| Size::zip(&[x, y], both))?,
    };
    (0..rank).map(|i| meet(at(a, i), at(b, i))).collect()
}
