//! Which node gives a symbol its value, where no parameter has it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, VecDeque};

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Def, Graph, NodeId, NodeIndexable};
use crate::dim::{Dim, Factor, Symbol};
use crate::op::Sizes;
use crate::ops::Kind;
use crate::ty::Type;

/// What a node waits for before it can run.
#[derive(PartialEq, Eq, Hash)]
enum Awaited {
    Operand(NodeId),
    Size(Symbol),
}

/// How many things a node waits for.
#[derive(Clone, Copy, Default)]
struct Waits {
    /// Sizes that it reads but could also find.
    own: usize,
    others: usize,
}

impl Graph {
    /// By symbol that no parameter has, the node that gives it its value: the first that can run, where each runs
    /// after its operands and after the nodes that find what it reads. So no node waits for itself. A node that can
    /// find what it reads does so only where no other node can go on.
    pub(super) fn sizers(&self) -> FxHashMap<Symbol, NodeId> {
        let mut sizers = FxHashMap::default();
        if self.sizers.is_empty() {
            return sizers;
        }
        // On a cycle nothing runs.
        let mut able: Vec<NodeId> = self.sizers.iter().copied().collect();
        able.sort_unstable();
        let roots = self.outputs.iter().map(|v| v.node).chain(able);
        let Ok(order) = self.order_of(roots, &sizers) else { return sizers };
        let given: FxHashSet<Symbol> =
            self.params.iter().flat_map(|v| &self.ty(*v).dims).flat_map(Dim::symbols).collect();
        let mut waits = vec![Waits::default(); self.dag.node_bound()];
        let mut places = vec![0; self.dag.node_bound()];
        let mut waiting = FxHashMap::<Awaited, Vec<NodeId>>::default();
        for (place, node) in order.iter().enumerate() {
            places[node.index()] = place;
            let mut awaited: FxHashSet<Awaited> =
                self.operands(*node).into_iter().flatten().map(|v| Awaited::Operand(v.node)).collect();
            self.each_read(*node, &mut |dim| {
                let read = dim.symbols().into_iter();
                let untold = read.filter(|symbol| !given.contains(symbol) && self.is_without(*node, symbol));
                awaited.extend(untold.map(Awaited::Size));
            });
            for awaited in awaited {
                *self.count(*node, &awaited, &mut waits) += 1;
                waiting.entry(awaited).or_default().push(*node);
            }
        }
        let is_ready = |waits: &Waits| waits.own + waits.others == 0;
        let mut ready: VecDeque<_> =
            order.iter().copied().filter(|node| is_ready(&waits[node.index()])).collect();
        // Places of the nodes that could find all that they still wait for.
        let mut able: BTreeSet<usize> =
            (0..order.len()).filter(|i| waits[order[*i].index()].others == 0).collect();
        let mut done = vec![false; self.dag.node_bound()];
        while let Some(node) = ready.pop_front().or_else(|| able.pop_first().map(|place| order[place])) {
            if std::mem::replace(&mut done[node.index()], true) {
                continue;
            }
            let mut told = |awaited: &Awaited| {
                for node in waiting.remove(awaited).unwrap_or_default() {
                    *self.count(node, awaited, &mut waits) -= 1;
                    match &waits[node.index()] {
                        waits if is_ready(waits) => ready.push_back(node),
                        Waits { others: 0, .. } => drop(able.insert(places[node.index()])),
                        _ => {}
                    }
                }
            };
            told(&Awaited::Operand(node));
            for symbol in self.found(node).filter(|symbol| !given.contains(symbol)) {
                if let Entry::Vacant(entry) = sizers.entry(symbol.clone()) {
                    entry.insert(node);
                    told(&Awaited::Size(symbol));
                }
            }
        }
        sizers
    }

    /// The count, among a node's, of things like this one.
    fn count<'w>(&self, node: NodeId, awaited: &Awaited, waits: &'w mut [Waits]) -> &'w mut usize {
        let waits = &mut waits[node.index()];
        match awaited {
            Awaited::Size(symbol) if self.found(node).any(|found| found == *symbol) => &mut waits.own,
            _ => &mut waits.others,
        }
    }

    /// The symbols to which the node could give their values.
    fn found(&self, node: NodeId) -> impl Iterator<Item = Symbol> {
        let results = self.sizers.contains(&node).then(|| self.results(node)).into_iter().flatten();
        let symbols = results.flat_map(|v| self.ty(v).dims.iter().flat_map(Dim::symbols));
        symbols.filter(move |symbol| self.is_without(node, symbol))
    }

    /// Keeps the node in mind if it may give a symbol its value.
    pub(super) fn note_sizer(&mut self, node: NodeId) {
        let Def::Op(op) = self.def(node) else { return };
        let symbols = || {
            let dims = self.results(node).flat_map(|v| &self.ty(v).dims);
            dims.filter(|dim| dim.as_const().is_none()).flat_map(Dim::symbols)
        };
        if op.kind().sizes() != Sizes::Read && symbols().any(|symbol| self.is_without(node, &symbol)) {
            self.sizers.insert(node);
        }
    }

    /// Shows the dimensions that a node may have to be told.
    pub(super) fn each_read(&self, node: NodeId, see: &mut dyn FnMut(&Dim)) {
        let Some(op) = self.op(node) else { return };
        match op.kind() {
            // Its function reads them.
            Kind::Call => self.results(node).flat_map(|v| &self.ty(v).dims).for_each(see),
            kind if kind.sizes() != Sizes::Found => op.each_dim(see),
            _ => {}
        }
    }

    /// Whether no operand of the node has the symbol.
    pub(super) fn is_without(&self, node: NodeId, symbol: &Symbol) -> bool {
        let has_it = |ty: &Type| ty.dims.iter().any(|dim| has(dim, symbol));
        !self.operands(node).into_iter().flatten().any(|v| has_it(self.ty(v)))
    }
}

/// Whether the dimension depends on the symbol.
fn has(dim: &Dim, symbol: &Symbol) -> bool {
    dim.factors().any(|factor| matches!(factor, Factor::Symbol(s) if s == symbol) || factor.hides(symbol))
}
