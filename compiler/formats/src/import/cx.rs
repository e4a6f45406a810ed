//! What a mapping sees of the node it maps, and how it builds what the node means.

use trine_ir::attr::SymbolRef;
use trine_ir::dim::Symbol;
use trine_ir::graph::Operands;
use trine_ir::op::Demands;
use trine_ir::{Dim, Loc, Op, OpError, OpResult, Tensor, Type, Value, bail};

use super::lower::{Failure, Importer, Level};
use super::model;
use super::proto::attribute_proto::AttributeType;
use super::proto::{AttributeProto, GraphProto, NodeProto};
use super::shape;
use super::tensor;

/// A node under way. Methods that read attributes are named `attr_*`.
pub struct NodeCx<'a, 'm> {
    importer: &'a mut Importer<'m>,
    node: &'m NodeProto,
    inputs: Vec<Option<Value>>,
    opset: i64,
    loc: Loc,
}

/// A subgraph that has become a function.
#[derive(Clone, Debug)]
pub struct Body {
    pub function: SymbolRef,
    /// Values of this graph that the function takes after its own parameters.
    pub captures: Vec<Value>,
    /// Types of the function's own parameters, as they were asked for.
    pub params: Vec<Type>,
    pub results: Vec<Type>,
    /// Symbols of `results` that mean nothing around the body: sizes that depend on data in it.
    pub inner_symbols: Vec<Symbol>,
}

impl<'a, 'm> NodeCx<'a, 'm> {
    pub(super) fn new(
        importer: &'a mut Importer<'m>,
        node: &'m NodeProto,
        mut inputs: Vec<Option<Value>>,
        opset: i64,
        loc: Loc,
    ) -> Self {
        while inputs.last().is_some_and(Option::is_none) {
            inputs.pop();
        }
        NodeCx { importer, node, inputs, opset, loc }
    }

    pub fn op_type(&self) -> &'m str {
        self.node.op_type()
    }

    /// Empty for ONNX's own domain.
    pub fn domain(&self) -> &'m str {
        model::domain(self.node.domain())
    }

    /// The node's name, or that of its first output, after those of the calls that it is in.
    pub fn name(&self) -> &str {
        &self.loc.node
    }

    /// Version of the operator set of the node's domain.
    pub fn opset(&self) -> i64 {
        self.opset
    }
}

/// Inputs and outputs.
impl<'m> NodeCx<'_, 'm> {
    /// Inputs up to the last that is present.
    pub fn input_count(&self) -> usize {
        self.inputs.len()
    }

    /// A required input.
    pub fn input(&self, i: usize) -> OpResult<Value> {
        self.opt(i).ok_or_else(|| OpError(format!("input {i} is missing")))
    }

    /// An optional input.
    pub fn opt(&self, i: usize) -> Option<Value> {
        self.inputs.get(i).copied().flatten()
    }

    /// All inputs, none of which may be absent.
    pub fn inputs(&self) -> OpResult<Vec<Value>> {
        self.inputs_from(0)
    }

    /// The inputs from `first` on, none of which may be absent.
    pub fn inputs_from(&self, first: usize) -> OpResult<Vec<Value>> {
        (first..self.inputs.len()).map(|i| self.input(i)).collect()
    }

    /// Outputs that the node lists, absent ones included.
    pub fn output_count(&self) -> usize {
        self.node.output.len()
    }

    /// Whether output `i` has a name, so that somebody may use it.
    pub fn wants(&self, i: usize) -> bool {
        self.node.output.get(i).is_some_and(|name| !name.is_empty())
    }
}

/// Attributes. A wrong type is an error, absence is not unless it says so.
impl<'m> NodeCx<'_, 'm> {
    /// Whether the attribute is there.
    pub fn has_attr(&self, name: &str) -> bool {
        self.find_attr(name).is_some()
    }

    pub fn attr_int(&self, name: &str, default: i64) -> OpResult<i64> {
        Ok(self.attr_int_opt(name)?.unwrap_or(default))
    }

    pub fn attr_int_opt(&self, name: &str) -> OpResult<Option<i64>> {
        self.attr(name, AttributeType::Int, |a| Some(a.i()))
    }

    /// An integer that means yes unless it is 0.
    pub fn attr_bool(&self, name: &str, default: bool) -> OpResult<bool> {
        Ok(self.attr_int_opt(name)?.map_or(default, |i| i != 0))
    }

    pub fn attr_float(&self, name: &str, default: f32) -> OpResult<f32> {
        Ok(self.attr_float_opt(name)?.unwrap_or(default))
    }

    pub fn attr_float_opt(&self, name: &str) -> OpResult<Option<f32>> {
        self.attr(name, AttributeType::Float, |a| Some(a.f()))
    }

    pub fn attr_str(&self, name: &str, default: &'static str) -> OpResult<&'m str> {
        Ok(self.attr_str_opt(name)?.unwrap_or(default))
    }

    pub fn attr_str_opt(&self, name: &str) -> OpResult<Option<&'m str>> {
        self.attr(name, AttributeType::String, |a| {
            std::str::from_utf8(a.s.as_deref().unwrap_or_default()).ok()
        })
    }

    pub fn attr_ints(&self, name: &str) -> OpResult<Option<&'m [i64]>> {
        self.attr(name, AttributeType::Ints, |a| Some(a.ints.as_slice()))
    }

    pub fn attr_floats(&self, name: &str) -> OpResult<Option<&'m [f32]>> {
        self.attr(name, AttributeType::Floats, |a| Some(a.floats.as_slice()))
    }

    pub fn attr_strs(&self, name: &str) -> OpResult<Option<Vec<&'m str>>> {
        self.attr(name, AttributeType::Strings, |a| {
            a.strings.iter().map(|s| std::str::from_utf8(s).ok()).collect()
        })
    }

    /// A tensor, dense or sparse.
    pub fn attr_tensor(&self, name: &str) -> OpResult<Option<Tensor>> {
        let files = self.importer.files;
        let read = |t: Result<Tensor, super::ImportError>| t.map(Some).map_err(|e| OpError(e.to_string()));
        if let Some(sparse) =
            self.attr_of(name, AttributeType::SparseTensor).and_then(|a| a.sparse_tensor.as_ref())
        {
            return read(tensor::sparse(sparse, files));
        }
        match self.attr(name, AttributeType::Tensor, |a| a.t.as_ref())? {
            Some(proto) => read(tensor::tensor(proto, files)),
            None => Ok(None),
        }
    }

    /// An element type, as `Cast` has it.
    pub fn attr_elem(&self, name: &str) -> OpResult<Option<trine_ir::Elem>> {
        let data_type = self.attr_int_opt(name)?;
        data_type.map(|d| Ok(tensor::elem(i32::try_from(d).unwrap_or(-1))?)).transpose()
    }

    /// Integers that are an attribute in some opsets and an input in others: whichever is there.
    pub fn ints(&self, attribute: &str, input: usize) -> OpResult<Option<Vec<i64>>> {
        if let Some(ints) = self.attr_ints(attribute)? {
            return Ok(Some(ints.to_vec()));
        }
        match self.opt(input) {
            Some(v) => match self.const_ints(v) {
                Some(ints) => Ok(Some(ints)),
                None => bail!("`{attribute}` must be known when the model is compiled"),
            },
            None => Ok(None),
        }
    }

    fn attr<T>(
        &self,
        name: &str,
        ty: AttributeType,
        get: impl FnOnce(&'m AttributeProto) -> Option<T>,
    ) -> OpResult<Option<T>> {
        let Some(attribute) = self.find_attr(name) else { return Ok(None) };
        let is = AttributeType::try_from(attribute.r#type.unwrap_or_default());
        // Before IR version 2, attributes did not say their type.
        if is != Ok(ty) && is != Ok(AttributeType::Undefined) {
            let is = is.map_or("unknown".into(), |t| t.as_str_name().to_lowercase());
            bail!("attribute `{name}` is of type {is}, not {}", ty.as_str_name().to_lowercase());
        }
        match get(attribute) {
            Some(value) => Ok(Some(value)),
            None => bail!("attribute `{name}` is no {}", ty.as_str_name().to_lowercase()),
        }
    }

    fn attr_of(&self, name: &str, ty: AttributeType) -> Option<&'m AttributeProto> {
        self.find_attr(name).filter(|a| a.r#type == Some(ty as i32))
    }

    fn find_attr(&self, name: &str) -> Option<&'m AttributeProto> {
        let node = self.node;
        node.attribute.iter().find(|a| a.name() == name).and_then(|a| self.importer.attribute(a))
    }
}

/// What is known of values.
impl NodeCx<'_, '_> {
    pub fn ty(&self, v: Value) -> Type {
        self.graph().ty(v).clone()
    }

    pub fn rank(&self, v: Value) -> usize {
        self.graph().ty(v).rank()
    }

    /// The axis that `axis` is of a tensor of that rank, from the end if negative.
    pub fn axis(&self, axis: i64, rank: usize) -> OpResult<usize> {
        let n = rank as i64;
        match axis {
            a if (0..n).contains(&a) => Ok(a as usize),
            a if (-n..0).contains(&a) => Ok((a + n) as usize),
            _ => bail!("axis {axis} is out of range for rank {rank}"),
        }
    }

    /// `axis` of each; the same axis twice is an error.
    pub fn axes(&self, axes: &[i64], rank: usize) -> OpResult<Vec<usize>> {
        let mut found = Vec::with_capacity(axes.len().min(rank));
        for axis in axes {
            let a = self.axis(*axis, rank)?;
            if found.contains(&a) {
                bail!("axis {axis} occurs twice");
            }
            found.push(a);
        }
        Ok(found)
    }

    /// The tensor that a value always is, if that is known.
    pub fn const_tensor(&self, v: Value) -> Option<Tensor> {
        match self.graph().const_key(v) {
            Some(key) => self.importer.module.consts.get(key).cloned(),
            None => shape::fold(self.level(), &self.importer.module, v),
        }
    }

    /// The elements of a constant of i64 or i32, in order.
    pub fn const_ints(&self, v: Value) -> Option<Vec<i64>> {
        let tensor = self.const_tensor(v)?;
        match tensor.values::<i64>() {
            Ok(values) => Some(values.to_vec()),
            Err(_) => Some(tensor.values::<i32>().ok()?.iter().map(|v| i64::from(*v)).collect()),
        }
    }

    /// The only element of a constant of any float type, i64 or i32.
    pub fn const_scalar(&self, v: Value) -> Option<f64> {
        let tensor = self.const_tensor(v).filter(|t| t.len() == 1)?.reshape(vec![]).ok()?;
        trine_ir::Literal::from_tensor(&tensor).map(|l| l.as_f64())
    }

    /// The elements of an integer vector or scalar as dimensions, which may be negative constants, when
    /// each is known in terms of the sizes of inputs.
    pub fn shape_values(&self, v: Value) -> Option<Vec<Dim>> {
        self.partial_shape_values(v)?.into_iter().collect()
    }

    /// As `shape_values`, with `None` for elements that are not known.
    pub fn partial_shape_values(&self, v: Value) -> Option<Vec<Option<Dim>>> {
        match self.elements(v) {
            Some(elements) => Some(elements.clone()),
            None => shape::of_tensor(&self.const_tensor(v)?),
        }
    }

    pub(super) fn elements(&self, v: Value) -> Option<&shape::Elements> {
        self.level().elements.get(&v)
    }

    /// The op that makes a value.
    pub fn producer(&self, v: Value) -> Option<&Op> {
        self.graph().op(v.node)
    }

    /// What is known of the elements of operand `i` of the op that makes a value.
    pub fn operand_elements(&self, v: Value, i: usize) -> Option<shape::Elements> {
        self.partial_shape_values(self.graph().operand(v.node, i)?)
    }

    fn graph(&self) -> &trine_ir::Graph {
        &self.level().graph
    }

    fn level(&self) -> &Level {
        self.importer.levels.last().expect("a node is of a graph")
    }
}

/// Building.
impl<'m> NodeCx<'_, 'm> {
    /// An op with one result.
    pub fn add(&mut self, op: impl Into<Op>, args: &[Value]) -> OpResult<Value> {
        let args: Operands = args.iter().map(|a| Some(*a)).collect();
        match self.add_node(op, &args)?.as_slice() {
            [value] => Ok(*value),
            values => bail!("has {} results where one is used", values.len()),
        }
    }

    /// An op with several results or absent operands.
    pub fn add_node(&mut self, op: impl Into<Op>, args: &[Option<Value>]) -> OpResult<Vec<Value>> {
        let level = self.importer.levels.last_mut().expect("a node is of a graph");
        let demands = Demands::new(&self.importer.module);
        let node = level.graph.add_node(op, args, &demands)?;
        level.graph.set_loc(node, Some(self.loc.clone()));
        let results: Vec<_> = level.graph.results(node).collect();
        for value in &results {
            let ty = level.graph.ty(*value);
            let dims = ty.dims.iter().map(|d| self.importer.knowledge.simplified(d)).collect();
            let ty = Type { elem: ty.elem, dims };
            level.graph.set_type(*value, ty);
        }
        for (left, right) in demands.into_pairs() {
            self.importer.require(&left, &right, &self.loc, false);
        }
        Ok(results)
    }

    /// Needs two dimensions to be equal, as the operator does.
    pub fn require(&mut self, left: &Dim, right: &Dim) {
        self.importer.require(left, right, &self.loc, false);
    }

    /// Takes two dimensions to be equal where the model means something else if they are not, which nobody sees but for
    /// [`NodeCx::can_require`].
    pub fn assume(&mut self, left: &Dim, right: &Dim) {
        self.importer.require(left, right, &self.loc, true);
    }

    /// Whether the node is one of the model itself and not of a body, and what it requires of these dimensions is seen
    /// to before a run.
    pub fn can_require(&self, dims: &[&Dim]) -> bool {
        let known = |d: &Dim| d.symbols().iter().all(|s| self.importer.inputs.contains(s));
        self.importer.levels.len() == 1 && dims.iter().all(|d| known(d))
    }

    /// The branch to take where the branches of this node cannot be joined.
    pub fn choose_then(&mut self) -> bool {
        let node = self.loc.node.clone();
        self.importer.knowledge.choose(&node)
    }

    /// A constant, named after the node's first output; scalars are literals where there is one.
    pub fn constant(&mut self, tensor: Tensor) -> Value {
        let name = self.node.output.first().map_or("", |o| o.as_str());
        self.importer.constant(name, tensor)
    }

    /// A symbol for a dimension that depends on data, named after the op.
    pub fn fresh_dim(&mut self) -> Dim {
        self.importer.symbols.fresh(&self.node.op_type().to_lowercase())
    }

    /// The subgraph `attribute` as a function whose own parameters have the types `params`. What it takes
    /// from around it follows as further parameters, but for constants, which functions share.
    pub fn body(&mut self, attribute: &str, params: &[Type]) -> OpResult<Body> {
        let graph = self.attr_graph(attribute)?;
        if graph.input.len() != params.len() {
            bail!("`{attribute}` takes {} inputs, not {}", graph.input.len(), params.len());
        }
        if let Some(input) =
            graph.input.iter().find(|i| graph.initializer.iter().any(|t| t.name() == i.name()))
        {
            bail!("input `{}` of `{attribute}` is also an initializer", input.name().escape_debug());
        }
        let known = self.importer.symbols.count();
        let built = self.importer.function(graph, params.to_vec());
        let (function, captures) = self.caught(built)?;
        let results = function.signature().results;
        let mut inner_symbols: Vec<_> = results.iter().flat_map(|r| &r.dims).flat_map(Dim::symbols).collect();
        inner_symbols.retain(|s| self.importer.symbols.is_newer(s, known));
        let base = format!("{}.{attribute}", self.loc.node);
        let function = SymbolRef(self.importer.module.add_function(&base, function));
        Ok(Body { function, captures, params: params.to_vec(), results, inner_symbols })
    }

    /// The function that a body became.
    pub fn body_graph(&self, body: &Body) -> Option<&trine_ir::Graph> {
        self.importer.module.functions.get(&body.function.0).map(|f| &f.graph)
    }

    /// Takes back the last body, to build it again for other types.
    pub fn drop_body(&mut self, body: Body) {
        self.importer.module.functions.shift_remove(&body.function.0);
    }

    /// Puts the nodes of the subgraph `attribute`, on these inputs, in the place of this one.
    pub fn inline_body(&mut self, attribute: &str, inputs: &[Value]) -> OpResult<Vec<Value>> {
        let graph = self.attr_graph(attribute)?;
        if graph.input.len() != inputs.len() {
            bail!("`{attribute}` takes {} inputs, not {}", graph.input.len(), inputs.len());
        }
        let built = self.importer.inline(graph, inputs);
        self.caught(built)
    }

    fn attr_graph(&self, name: &str) -> OpResult<&'m GraphProto> {
        match self.attr(name, AttributeType::Graph, |a| a.g.as_ref())? {
            Some(graph) => Ok(graph),
            None => bail!("attribute `{name}` is missing"),
        }
    }

    /// Keeps why a body failed for the importer, which knows more than a mapping.
    fn caught<T>(&mut self, built: Result<T, Failure>) -> OpResult<T> {
        built.map_err(|failure| {
            self.importer.failure = Some(failure);
            OpError("a subgraph cannot be imported".into())
        })
    }
}
