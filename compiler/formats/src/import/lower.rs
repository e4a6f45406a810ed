//! Graphs into functions, node by node: names become values, unknown ops are gathered, bodies of control
//! flow become functions of their own, and calls of the model's functions are replaced by their bodies.

use std::sync::Arc;

use indexmap::IndexMap;
use rustc_hash::FxHashMap;
use trine_ir::dim::Symbol;
use trine_ir::{
    Def, Dim, Function, FunctionKind, Graph, Literal, Loc, Module, Requirement, Tensor, Type, Value,
};

use super::cx::NodeCx;
use super::declared::Declared;
use super::dims::Symbols;
use super::error::{ImportError, Unsupported};
use super::external::Files;
use super::knowledge::{Finding, Knowledge};
use super::model::{self, LocalFunction, Model, Opsets};
use super::proto::{AttributeProto, GraphProto, NodeProto};
use super::shape::Elements;
use super::signature::{open_inputs, sparse_name};
use super::{ops, schema, shape, sort, tensor};

/// Nodes that a model may have once its functions are inlined.
const MAX_NODES: usize = 1 << 18;

/// One import under way.
pub(super) struct Importer<'m> {
    pub model: &'m Model<'m>,
    pub files: &'m Files,
    pub module: Module,
    pub symbols: Symbols,
    pub knowledge: Knowledge,
    /// Symbols of the inputs of the model, in order.
    pub inputs: Vec<Symbol>,
    /// Names of inputs that are parameters though there are initializers for them.
    pub fed: &'m [String],
    /// Whether the caller gives no sizes, so that those which the model declares have to be right.
    sizes_are_open: bool,
    /// What nodes of the model itself, which run always, require of these.
    pub required: Vec<Finding>,
    /// Functions that are being built, the outermost first.
    pub levels: Vec<Level>,
    /// Name spaces, the innermost last.
    pub scopes: Vec<Scope<'m>>,
    pub unsupported: Vec<Unsupported>,
    /// What went wrong inside of a body; the mapper that asked for it only knows that it failed.
    pub failure: Option<Failure>,
    nodes: usize,
}

/// A function that is being built.
#[derive(Default)]
pub(super) struct Level {
    pub graph: Graph,
    /// What is known of the elements of integer values.
    pub elements: FxHashMap<Value, Elements>,
    /// Values of the level around this one, by the parameters that stand for them.
    pub captures: IndexMap<Value, Value>,
}

/// The names of one graph or of one call of a function.
pub(super) struct Scope<'m> {
    pub level: usize,
    pub names: FxHashMap<&'m str, Named>,
    /// What the graph says of the types of values.
    pub declared: Declared<'m>,
    /// Whether the names around this scope cannot be seen from it.
    pub closed: bool,
    /// Attributes of the call, which nodes of the function's body may refer to.
    pub attributes: FxHashMap<&'m str, &'m AttributeProto>,
    pub opsets: &'m Opsets,
    /// Stands before the names of values and nodes.
    pub prefix: Arc<str>,
    /// The function that is called, if the scope is a call's.
    pub function: Option<&'m LocalFunction<'m>>,
}

/// What a name stands for.
#[derive(Clone, Copy)]
pub(super) enum Named {
    Value(Value),
    /// An input of a function that the call leaves out.
    Absent,
    /// What an unsupported op gives.
    Unsupported,
}

/// Why there is no result: an error, or an op that is already among the unsupported.
pub(super) enum Failure {
    Error(ImportError),
    Unsupported,
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Failure {
        Failure::Error(error)
    }
}

impl<'m> Importer<'m> {
    pub fn new(model: &'m Model<'m>, files: &'m Files, knowledge: Knowledge) -> Importer<'m> {
        let symbols = Symbols::new(knowledge.symbols.clone());
        let sizes_are_open = knowledge.given().next().is_none();
        Importer {
            model,
            files,
            module: Module::default(),
            symbols,
            knowledge,
            inputs: vec![],
            fed: &[],
            sizes_are_open,
            required: vec![],
            levels: vec![],
            scopes: vec![],
            unsupported: vec![],
            failure: None,
            nodes: 0,
        }
    }

    /// Builds a function of a graph. `types` are those of the inputs that are open. Results are
    /// the function's graph and the values around it that it captures, whose parameters come last.
    pub fn function(
        &mut self,
        graph: &'m GraphProto,
        types: Vec<Type>,
    ) -> Result<(Function, Vec<Value>), Failure> {
        self.levels.push(Level::default());
        let outer = self.scopes.last();
        let scope = Scope {
            level: self.levels.len() - 1,
            names: FxHashMap::default(),
            declared: Declared::new(graph, outer.is_none() && self.sizes_are_open),
            closed: false,
            attributes: outer.map(|s| s.attributes.clone()).unwrap_or_default(),
            opsets: outer.map_or(&self.model.opsets, |s| s.opsets),
            prefix: "".into(),
            function: None,
        };
        self.scopes.push(scope);
        let outputs = self.params(graph, types).and_then(|()| self.body(graph));
        self.scopes.pop();
        let mut level = self.levels.pop().expect("pushed above");
        level.graph.set_outputs(outputs?);
        let captures = level.captures.into_keys().collect();
        Ok((Function { kind: FunctionKind::Graph, graph: level.graph }, captures))
    }

    /// Puts the nodes of a graph, on these inputs, into the function that is being built.
    pub fn inline(&mut self, graph: &'m GraphProto, inputs: &[Value]) -> Result<Vec<Value>, Failure> {
        let outer = self.scopes.last().expect("a graph is being built");
        let scope = Scope {
            level: self.levels.len() - 1,
            names: FxHashMap::default(),
            declared: Declared::new(graph, false),
            closed: false,
            attributes: outer.attributes.clone(),
            opsets: outer.opsets,
            prefix: outer.prefix.clone(),
            function: None,
        };
        self.scopes.push(scope);
        let mut named = graph.input.iter().zip(inputs);
        let defined =
            named.try_for_each(|(input, value)| self.define(graph, input.name(), Named::Value(*value)));
        let outputs = defined.map_err(Failure::from).and_then(|()| self.body(graph));
        self.scopes.pop();
        outputs
    }

    /// Notes that a node needs two dimensions to be equal. A node of a body needs it only where the body runs, which
    /// sees to it then, and so do nodes that need it of sizes that come up during the run.
    pub fn require(&mut self, left: &Dim, right: &Dim, loc: &Loc, assumed: bool) {
        let known = |d: &Dim| d.symbols().iter().all(|s| self.inputs.contains(s));
        if self.levels.len() == 1 && known(left) && known(right) {
            let (left, right) = (left.clone(), right.clone());
            let same = |f: &Finding| f.requirement.left == left && f.requirement.right == right;
            if !self.required.iter().any(|f| same(f) && f.assumed == assumed) {
                let requirement = Requirement { left, right, loc: Some(loc.clone()) };
                self.required.push(Finding { requirement, assumed });
            }
        }
    }

    pub fn level(&mut self) -> &mut Level {
        self.levels.last_mut().expect("a graph is being built")
    }

    pub fn scope(&self) -> &Scope<'m> {
        self.scopes.last().expect("a graph is being built")
    }

    /// A constant of the function that is being built; scalars are literals where there is one.
    pub fn constant(&mut self, name: &str, tensor: Tensor) -> Value {
        if let Some(literal) = Literal::from_tensor(&tensor) {
            return self.level().graph.literal(literal);
        }
        let ty = tensor.ty();
        let key = self.module.add_const(if name.is_empty() { "const" } else { name }, tensor);
        self.level().graph.constant(&key, ty)
    }

    fn params(&mut self, graph: &'m GraphProto, types: Vec<Type>) -> Result<(), Failure> {
        let inputs = open_inputs(graph, self.fed_here());
        debug_assert_eq!(inputs.len(), types.len());
        for (name, ty) in inputs.into_iter().zip(types) {
            let value = self.level().graph.param(name, ty);
            self.define(graph, name, Named::Value(value))?;
        }
        Ok(())
    }

    /// Initializers, nodes and outputs of a graph whose inputs are defined.
    fn body(&mut self, graph: &'m GraphProto) -> Result<Vec<Value>, Failure> {
        let fed = self.fed_here();
        let is_fed = |name: &str| fed.iter().any(|n| n == name);
        for proto in graph.initializer.iter().filter(|i| !is_fed(i.name())) {
            let tensor = tensor::tensor(proto, self.files)?;
            let value = self.constant(proto.name(), tensor);
            self.define(graph, proto.name(), Named::Value(value))?;
        }
        for proto in &graph.sparse_initializer {
            let name = sparse_name(proto);
            if !is_fed(name) {
                let tensor = tensor::sparse(proto, self.files)?;
                let value = self.constant(name, tensor);
                self.define(graph, name, Named::Value(value))?;
            }
        }
        self.nodes(&graph.node, graph.name())?;
        graph.output.iter().map(|o| self.output(graph.name(), o.name())).collect()
    }

    /// Whether the type of a value is what the graph declares for its name.
    fn agrees(&self, name: &str, value: Value) -> Result<(), String> {
        let graph = &self.levels.last().expect("a graph is being built").graph;
        self.scope().declared.contradicts(name, graph.ty(value))
    }

    /// Names of initializers of the graph that is being built which are parameters: the model's alone may be fed.
    fn fed_here(&self) -> &'m [String] {
        if self.scopes.len() == 1 { self.fed } else { &[] }
    }

    /// The value that an output of a graph or function is.
    pub fn output(&mut self, graph: &str, name: &str) -> Result<Value, Failure> {
        match self.lookup(name).map_err(|e| graph_error(graph, format!("output {e}")))? {
            Named::Value(value) => Ok(value),
            Named::Unsupported => Err(Failure::Unsupported),
            Named::Absent => {
                let message = format!("output `{}` is an input that is left out", name.escape_debug());
                Err(graph_error(graph, message).into())
            }
        }
    }

    pub fn nodes(&mut self, nodes: &'m [NodeProto], graph: &str) -> Result<(), Failure> {
        for i in sort::sorted(nodes).map_err(|e| graph_error(graph, e))? {
            self.node(&nodes[i])?;
        }
        Ok(())
    }

    fn node(&mut self, node: &'m NodeProto) -> Result<(), Failure> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(ImportError::Limit(format!("more than {MAX_NODES} nodes")).into());
        }
        let inputs = node.input.iter().map(|name| match name.as_str() {
            "" => Ok(Named::Absent),
            name => self.lookup(name),
        });
        let inputs: Vec<Named> =
            inputs.collect::<Result<_, _>>().map_err(|e| self.node_error(node, format!("input {e}")))?;
        let known: Option<Vec<Option<Value>>> = inputs
            .iter()
            .map(|input| match input {
                Named::Value(value) => Some(Some(*value)),
                Named::Absent => Some(None),
                Named::Unsupported => None,
            })
            .collect();
        let function = self.model.function(node);
        let mapper = ops::find(model::domain(node.domain()), node.op_type());
        let results = match (known, function, mapper) {
            (_, None, None) => {
                self.note_unsupported(node, &inputs);
                None
            }
            (None, ..) => None,
            (Some(inputs), Some(function), _) => Some(self.call(node, function, inputs)?),
            (Some(inputs), None, Some(mapper)) => {
                self.map(node, mapper, inputs)?.map(|results| results.into_iter().map(Some).collect())
            }
        };
        for (i, name) in node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let value = match &results {
                None => Named::Unsupported,
                Some(results) => match results.get(i).copied().flatten() {
                    Some(value) => {
                        self.agrees(name, value).map_err(|e| self.node_error(node, format!("output {e}")))?;
                        Named::Value(value)
                    }
                    None => return Err(self.node_error(node, format!("there is no output {i}")).into()),
                },
            };
            if self.scopes.last_mut().expect("a graph is being built").names.insert(name, value).is_some() {
                let message = format!("value `{}` is defined twice", name.escape_debug());
                return Err(self.node_error(node, message).into());
            }
        }
        Ok(())
    }

    /// Lets `mapper` build what the node means, then names its results and learns their elements.
    fn map(
        &mut self,
        node: &'m NodeProto,
        mapper: ops::Mapper,
        inputs: Vec<Option<Value>>,
    ) -> Result<Option<Vec<Value>>, Failure> {
        let domain = model::domain(node.domain());
        let Some(opset) = self.scope().opsets.get(domain).copied() else {
            let message =
                format!("the model does not say which opset of `{}` it uses", domain.escape_debug());
            return Err(self.node_error(node, message).into());
        };
        schema::check(node, opset).map_err(|e| self.node_error(node, e))?;
        let first_new = self.level().graph.node_count();
        let loc = Loc { node: self.node_name(node).into(), op_type: node.op_type().into() };
        self.failure = None;
        let mut cx = NodeCx::new(self, node, inputs, opset, loc);
        let results = match mapper(&mut cx) {
            Ok(results) => results,
            Err(message) => {
                return match self.failure.take() {
                    Some(Failure::Unsupported) => Ok(None),
                    Some(error) => Err(error),
                    None => Err(self.node_error(node, message.0).into()),
                };
            }
        };
        let learnt = shape::elements(&cx, &results);
        for (value, elements) in results.iter().zip(learnt) {
            if let Some(elements) = elements {
                self.level().elements.insert(*value, elements);
            }
        }
        for (value, name) in results.iter().zip(&node.output) {
            // A value that was there before is another node's, or no node's at all.
            let graph = &mut self.levels.last_mut().expect("a graph is being built").graph;
            if value.node.index() >= first_new
                && matches!(graph.def(value.node), Def::Op(_))
                && !name.is_empty()
            {
                let prefix = &self.scopes.last().expect("a graph is being built").prefix;
                graph.set_name(*value, &format!("{prefix}{name}"));
            }
        }
        Ok(Some(results))
    }

    /// The attribute itself, or the one of the call around it that it refers to, if that is given.
    pub fn attribute(&self, attribute: &'m AttributeProto) -> Option<&'m AttributeProto> {
        match attribute.ref_attr_name() {
            "" => Some(attribute),
            name => self.scope().attributes.get(name).copied(),
        }
    }

    /// The value of a name, captured into the function that is being built if it is from around it.
    fn lookup(&mut self, name: &str) -> Result<Named, String> {
        for scope in self.scopes.iter().rev() {
            if let Some(found) = scope.names.get(name) {
                let level = scope.level;
                return Ok(match *found {
                    Named::Value(value) => Named::Value(self.capture(value, level)),
                    other => other,
                });
            }
            if scope.closed {
                break;
            }
        }
        Err(format!("`{}` is not defined", name.escape_debug()))
    }

    fn capture(&mut self, mut value: Value, level: usize) -> Value {
        for inner in level + 1..self.levels.len() {
            let (outer, rest) = self.levels.split_at_mut(inner);
            let (outer, inner) = (&outer[outer.len() - 1], &mut rest[0]);
            value = match outer.graph.def(value.node) {
                Def::Const(key) => inner.graph.constant(key, outer.graph.ty(value).clone()),
                Def::Literal(literal) => inner.graph.literal(*literal),
                Def::Param { .. } | Def::Op(_) => *inner.captures.entry(value).or_insert_with(|| {
                    let param = inner.graph.param(outer.graph.name(value), outer.graph.ty(value).clone());
                    if let Some(elements) = outer.elements.get(&value) {
                        inner.elements.insert(param, elements.clone());
                    }
                    param
                }),
            };
        }
        value
    }

    fn define(&mut self, graph: &GraphProto, name: &'m str, value: Named) -> Result<(), ImportError> {
        if let Named::Value(value) = value {
            self.agrees(name, value).map_err(|e| graph_error(graph.name(), e))?;
        }
        let scope = self.scopes.last_mut().expect("a graph is being built");
        if name.is_empty() {
            return Err(graph_error(graph.name(), "an input or initializer has no name".into()));
        }
        match scope.names.insert(name, value) {
            None => Ok(()),
            Some(_) => {
                let message = format!("value `{}` is defined twice", name.escape_debug());
                Err(graph_error(graph.name(), message))
            }
        }
    }

    fn note_unsupported(&mut self, node: &NodeProto, inputs: &[Named]) {
        let graph = &self.levels.last().expect("a graph is being built").graph;
        let inputs = inputs.iter().map(|i| match i {
            Named::Unsupported => "?".into(),
            Named::Absent => "_".into(),
            Named::Value(v) => graph.ty(*v).to_string(),
        });
        let domain = model::domain(node.domain());
        let unsupported = Unsupported {
            inputs: inputs.collect(),
            node: self.node_name(node),
            domain: domain.into(),
            op_type: node.op_type().into(),
            opset: self.scope().opsets.get(domain).copied().unwrap_or_default(),
        };
        // A body may be built more than once.
        if !self.unsupported.contains(&unsupported) {
            self.unsupported.push(unsupported);
        }
    }

    /// The node's name, or that of its first output.
    pub fn node_name(&self, node: &NodeProto) -> String {
        let own = if node.name().is_empty() { node.output.first().map_or("", |o| o) } else { node.name() };
        let module = model::module_path(node).map_or(String::new(), |path| format!("{path}/"));
        format!("{}{module}{own}", self.scopes.last().map_or("", |s| &s.prefix))
    }

    pub fn node_error(&self, node: &NodeProto, message: String) -> ImportError {
        ImportError::Node { node: self.node_name(node), op_type: node.op_type().into(), message }
    }
}

pub(super) fn graph_error(graph: &str, message: String) -> ImportError {
    ImportError::Graph { graph: graph.into(), message }
}
