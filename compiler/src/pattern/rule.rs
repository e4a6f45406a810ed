//! Rules: a pattern, and what its root becomes.

use indexmap::IndexMap;
use rustc_hash::FxHashSet;
use serde::Serialize;
use trine_ir::error::Place;
use trine_ir::module::unused;
use trine_ir::{
    Elem, Graph, Kind, Literal, Loc, Module, NodeId, Op, OpError, OpResult, Tensor, TensorError, Type, Value,
};

use super::{Match, Pat, Scope};
use crate::serialize::as_text;

/// Constants of one name among which an equal one is looked for, and users among which an equal op is.
const MAX_TWINS: usize = 64;

/// Rounds over a function after which rules that still find something are left alone.
const MAX_ROUNDS: usize = 32;

/// `root → build(match)`.
pub struct Rule {
    pub name: &'static str,
    root: Pat,
    kinds: Option<Vec<Kind>>,
    build: Build,
}

type Build = Box<dyn Fn(&Match, &mut Rewrite) -> Result<Value, Refusal>>;

/// Why a rule that matched does not apply after all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

/// A rule that matched and was refused, for `trine explain`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NearMiss {
    pub rule: &'static str,
    #[serde(serialize_with = "as_text")]
    pub place: Place,
    pub reason: String,
}

/// A rule. `build` returns the value that takes the place of what `root` matched, of the same type; or it
/// refuses, and whatever it had added is swept away.
pub fn rule(
    name: &'static str,
    root: Pat,
    build: impl Fn(&Match, &mut Rewrite) -> Result<Value, Refusal> + 'static,
) -> Rule {
    Rule { name, kinds: root.kinds(), root, build: Box::new(build) }
}

/// Refuses: the match is not what the rule is about.
pub fn refuse<T>(reason: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(reason.into()))
}

/// Applies `rules` to every function, operands before users, until none applies. The first rule that
/// fits a value wins. Returns how many values were replaced and what nearly was.
pub fn apply(module: &mut Module, rules: &[Rule]) -> (usize, Vec<NearMiss>) {
    let (mut count, mut misses) = (0, vec![]);
    for (name, function) in &mut module.functions {
        let mut refused = FxHashSet::default();
        for _ in 0..MAX_ROUNDS {
            let mut rewrite = Rewrite::new(&mut function.graph, &mut module.consts);
            let replaced = round(&mut rewrite, rules, &mut |graph, node, rule, refusal| {
                if refused.insert((node, rule)) {
                    let place = Place::new(name, graph, node);
                    misses.push(NearMiss { rule, place, reason: refusal.0 });
                }
            });
            function.graph.sweep();
            count += replaced;
            if replaced == 0 {
                break;
            }
        }
    }
    (count, misses)
}

type Miss<'a> = dyn FnMut(&Graph, NodeId, &'static str, Refusal) + 'a;

/// Offers every value once to the rules.
fn round(rewrite: &mut Rewrite, rules: &[Rule], miss: &mut Miss) -> usize {
    let mut count = 0;
    for node in rewrite.graph.order() {
        let Some(kind) = rewrite.graph.kind(node) else { continue };
        for value in rewrite.graph.results(node) {
            if rewrite.graph.use_count(value) == 0 {
                continue;
            }
            for rule in rules.iter().filter(|r| r.kinds.as_ref().is_none_or(|k| k.contains(&kind))) {
                let Some(found) = Match::find(&rewrite.scope(), &rule.root, value) else { continue };
                match rewrite.replace_by(rule, &found, value) {
                    Ok(()) => {
                        count += 1;
                        break;
                    }
                    Err(refusal) => miss(rewrite.graph, node, rule.name, refusal),
                }
            }
        }
    }
    count
}

/// The function under a rule, as far as a rule may touch it: it reads, and it adds.
pub struct Rewrite<'a> {
    graph: &'a mut Graph,
    consts: &'a mut IndexMap<String, Tensor>,
    created: FxHashSet<NodeId>,
    also: Vec<(Value, Value)>,
}

impl<'a> Rewrite<'a> {
    pub fn new(graph: &'a mut Graph, consts: &'a mut IndexMap<String, Tensor>) -> Rewrite<'a> {
        Rewrite { graph, consts, created: FxHashSet::default(), also: vec![] }
    }

    pub fn scope(&self) -> Scope<'_> {
        Scope { graph: self.graph, consts: self.consts }
    }

    pub fn graph(&self) -> &Graph {
        self.graph
    }

    pub fn ty(&self, v: Value) -> &Type {
        self.graph.ty(v)
    }

    pub fn op(&self, v: Value) -> Option<&Op> {
        self.graph.op(v.node)
    }

    /// The number that a matched scalar is worth.
    pub fn scalar(&self, v: Value) -> Result<f64, Refusal> {
        self.scope().scalar(v).ok_or_else(|| Refusal(format!("{} is not a known number", self.describe(v))))
    }

    /// The number that a matched scalar is worth, where an attribute of f32 is worth just as much.
    pub fn single(&self, v: Value) -> Result<f32, Refusal> {
        let value = self.scalar(v)?;
        match value as f32 {
            single if f64::from(single) == value => Ok(single),
            _ => refuse(format!("{} is {value}, which no f32 equals", self.describe(v))),
        }
    }

    /// The tensor of a matched constant.
    pub fn tensor(&self, v: Value) -> Result<Tensor, Refusal> {
        self.scope().tensor(v).ok_or_else(|| Refusal(format!("{} is not a constant", self.describe(v))))
    }

    /// A value as reasons name it.
    pub fn describe(&self, v: Value) -> String {
        match self.graph.const_key(v) {
            Some(key) => format!("`@{key}`"),
            None => format!("`%{}`", self.graph.name(v)),
        }
    }

    /// An op with one result, all of whose operands are present.
    pub fn add(&mut self, op: impl Into<Op>, args: &[Value]) -> OpResult<Value> {
        let args: Vec<_> = args.iter().map(|v| Some(*v)).collect();
        let node = self.add_node(op, &args)?;
        match self.graph.results(node).len() {
            1 => Ok(Value { node, result: 0 }),
            n => Err(OpError(format!("has {n} results where one is used"))),
        }
    }

    /// An op with any number of operands and results.
    pub fn add_node(&mut self, op: impl Into<Op>, args: &[Option<Value>]) -> OpResult<NodeId> {
        let op = op.into();
        let mnemonic = op.kind().mnemonic();
        let node = self
            .graph
            .add_node(op, args, &())
            .map_err(|OpError(message)| OpError(format!("`{mnemonic}`: {message}")))?;
        self.created.insert(node);
        Ok(node)
    }

    /// The node that already is this op on these operands, or a new one.
    pub fn share(&mut self, op: impl Into<Op>, args: &[Option<Value>]) -> OpResult<NodeId> {
        let op = op.into();
        let same =
            |node: &NodeId| self.graph.op(*node) == Some(&op) && self.graph.operands(*node)[..] == *args;
        let first = args.iter().flatten().next();
        let found = first.and_then(|v| self.graph.latest_users(*v).take(MAX_TWINS).find(same));
        match found {
            Some(node) => Ok(node),
            None => self.add_node(op, args),
        }
    }

    /// Says where the op of a value came from.
    pub fn set_loc(&mut self, v: Value, loc: Option<Loc>) {
        self.graph.set_loc(v.node, loc);
    }

    pub fn literal(&mut self, literal: Literal) -> Value {
        self.graph.literal(literal)
    }

    /// The zero of an element type of numbers, as a scalar.
    pub fn zero(&mut self, elem: Elem) -> Result<Value, Refusal> {
        let Some(size) = elem.bytes(1).filter(|_| elem.bits() >= 8) else {
            return refuse(format!("no zero of {elem}"));
        };
        let zero = Tensor::new(elem, vec![], vec![0; size].into())?;
        Ok(self.constant("zero", zero))
    }

    /// A constant named after `base`; scalars become literals.
    pub fn constant(&mut self, base: &str, tensor: Tensor) -> Value {
        match Literal::from_tensor(&tensor) {
            Some(literal) => self.graph.literal(literal),
            None => {
                let ty = tensor.ty();
                let key = add_const(self.consts, base, tensor);
                self.graph.constant(&key, ty)
            }
        }
    }

    /// Replaces `old` besides the root once the rule has applied.
    pub fn also_replace(&mut self, old: Value, new: Value) {
        self.also.push((old, new));
    }

    fn replace_by(&mut self, rule: &Rule, found: &Match, root: Value) -> Result<(), Refusal> {
        self.created.clear();
        self.also.clear();
        let new = (rule.build)(found, self)?;
        if new == root {
            return refuse("nothing would change");
        }
        let mut pairs = std::mem::take(&mut self.also);
        pairs.push((root, new));
        for (old, new) in &pairs {
            if self.ty(*old) != self.ty(*new) {
                return refuse(format!("the type would change from {} to {}", self.ty(*old), self.ty(*new)));
            }
        }
        let loc = self.graph.loc(root.node).cloned();
        for node in &self.created {
            self.graph.set_loc(*node, loc.clone());
        }
        pairs.into_iter().try_for_each(|(old, new)| self.replace(old, new))
    }

    /// Puts `new` where `old` was. What a function's results are called is its interface, so an output
    /// keeps its name; otherwise a value keeps the name that it had before.
    pub fn replace(&mut self, old: Value, new: Value) -> Result<(), Refusal> {
        let is_output = |v| self.graph.is_output(v);
        let fresh = self.created.contains(&new.node);
        if is_output(old) && !fresh && (self.graph.op(new.node).is_none() || is_output(new)) {
            return refuse("an output would lose its name");
        }
        let keep = (!fresh && !is_output(old)).then(|| self.graph.name(new).to_string());
        self.graph.replace(old, new);
        if let Some(name) = keep.filter(|_| self.graph.op(new.node).is_some()) {
            self.graph.set_name(old, "replaced");
            self.graph.set_name(new, &name);
        }
        Ok(())
    }
}

/// Adds a constant under `base`, or under `base_N` if that is taken by another. Returns its name.
fn add_const(consts: &mut IndexMap<String, Tensor>, base: &str, tensor: Tensor) -> String {
    let taken = |name: &str| consts.get(name).is_some_and(|t| *t != tensor);
    let numbered = (1..MAX_TWINS).map(|i| format!("{base}_{i}"));
    let near = std::iter::once(base.to_string()).chain(numbered).find(|name| !taken(name));
    let name = near.unwrap_or_else(|| unused(base, taken));
    consts.insert(name.clone(), tensor);
    name
}

impl From<OpError> for Refusal {
    fn from(error: OpError) -> Refusal {
        Refusal(error.0)
    }
}
impl From<TensorError> for Refusal {
    fn from(error: TensorError) -> Refusal {
        Refusal(error.to_string())
    }
}
impl From<&str> for Refusal {
    fn from(reason: &str) -> Refusal {
        Refusal(reason.into())
    }
}
impl From<String> for Refusal {
    fn from(reason: String) -> Refusal {
        Refusal(reason)
    }
}
