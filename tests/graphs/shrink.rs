//! A failing module made small: fewer runs and outputs, inputs in the place of what is computed, no symbols, plain data.
//!
//! Each change is kept if the same kind of failure remains. What is left is text that can become a filetest.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use trine_ir::ops::Slice;
use trine_ir::{
    Def, Dim, DimEnv, Function, FunctionKind, Graph, MAIN, Module, Op, Tensor, Value, eval, text, verify,
};

use crate::graphs::data::{self, Draw};
use crate::graphs::walk;

/// A module and the inputs of its runs.
#[derive(Clone, Debug)]
pub struct Failing {
    pub module: Module,
    pub runs: Vec<Vec<Tensor>>,
}

/// How long to look for something smaller.
const PATIENCE: Duration = Duration::from_secs(60);

/// The smallest that was found for which `fails` holds, as it does for `start`.
pub fn shrink(start: Failing, fails: &mut dyn FnMut(&Failing) -> bool) -> Failing {
    let began = Instant::now();
    let mut best = start;
    let moves: [fn(&Failing) -> Moves; 6] =
        [fewer_runs, one_output, cuts, bypasses, numbers_for_symbols, plain_data];
    loop {
        let before = size(&best);
        for list in moves {
            // A change that is kept makes others of its list, which name places, wrong.
            let mut next = 0;
            while began.elapsed() < PATIENCE {
                let candidates = list(&best);
                let Some(change) = candidates.get(next) else { break };
                match change(&best).filter(|c| verify(&c.module).is_ok() && size(c) < size(&best) && fails(c))
                {
                    Some(smaller) => {
                        best = smaller;
                        next = 0;
                    }
                    None => next += 1,
                }
            }
        }
        if size(&best) == before || began.elapsed() >= PATIENCE {
            return best;
        }
    }
}

/// What there is less of in what is smaller.
fn size(f: &Failing) -> (usize, usize, usize, usize, usize) {
    let Some(main) = f.module.main() else { return Default::default() };
    let graph = &main.graph;
    let nodes = graph.order().into_iter().filter(|n| graph.op(*n).is_some()).count();
    let symbols: BTreeSet<_> =
        graph.params().iter().flat_map(|p| &graph.ty(*p).dims).flat_map(Dim::symbols).collect();
    let elements: usize = f.runs.iter().flatten().map(Tensor::len).sum();
    // How many different bytes the data has.
    let data: BTreeSet<_> = f.runs.iter().flatten().flat_map(|t| t.bytes().to_vec()).collect();
    (nodes, f.runs.len() + graph.outputs().len(), symbols.len(), elements, data.len())
}

/// Something smaller, if the change is possible.
type Move = Box<dyn Fn(&Failing) -> Option<Failing>>;

type Moves = Vec<Move>;

fn fewer_runs(f: &Failing) -> Moves {
    let n = f.runs.len();
    let mut moves: Moves = vec![];
    for i in (0..n).filter(|_| n > 1) {
        moves.push(Box::new(move |f| Some(Failing { runs: vec![f.runs[i].clone()], ..f.clone() })));
    }
    for i in (0..n).filter(|_| n > 2) {
        moves.push(Box::new(move |f| {
            let mut less = f.clone();
            less.runs.remove(i);
            Some(less)
        }));
    }
    moves
}

fn one_output(f: &Failing) -> Moves {
    let count = f.module.main().map_or(0, |m| m.graph.outputs().len());
    let one = |i: usize| -> Move {
        Box::new(move |f| {
            let outputs = vec![*f.module.main()?.graph.outputs().get(i)?];
            rebuilt(f, &outputs, &HashSet::new(), &HashMap::new())
        })
    };
    (0..count).filter(|_| count > 1).map(one).collect()
}

/// An input for the results of a node; those near the outputs first.
fn cuts(f: &Failing) -> Moves {
    let Some(main) = f.module.main() else { return vec![] };
    let graph = &main.graph;
    let nodes: Vec<_> = graph.order().into_iter().rev().filter(|n| graph.op(*n).is_some()).collect();
    nodes
        .into_iter()
        .map(|node| -> Move {
            Box::new(move |f| {
                let graph = &f.module.main()?.graph;
                let cut: HashSet<Value> = graph.results(node).collect();
                if graph.outputs().iter().any(|o| cut.contains(o)) {
                    return None;
                }
                rebuilt(f, graph.outputs(), &cut, &HashMap::new())
            })
        })
        .collect()
}

/// An operand for the result of its node, where both have one type.
fn bypasses(f: &Failing) -> Moves {
    let Some(main) = f.module.main() else { return vec![] };
    let graph = &main.graph;
    let mut moves: Moves = vec![];
    for node in graph.order().into_iter().rev().filter(|n| graph.op(*n).is_some()) {
        for operand in graph.operands(node).into_iter().flatten() {
            for result in graph.results(node).filter(|r| graph.ty(*r) == graph.ty(operand)) {
                moves.push(Box::new(move |f| {
                    let graph = &f.module.main()?.graph;
                    let is_op = graph.op(operand.node).is_some();
                    if graph.outputs().contains(&result) && !is_op {
                        return None;
                    }
                    rebuilt(f, graph.outputs(), &HashSet::new(), &HashMap::from([(result, operand)]))
                }));
            }
        }
    }
    moves
}

/// The number that a symbol is, where it is the same in all runs; smaller numbers where inputs can be cut.
fn numbers_for_symbols(f: &Failing) -> Moves {
    let Some(main) = f.module.main() else { return vec![] };
    let graph = &main.graph;
    let symbols: BTreeSet<_> =
        graph.params().iter().flat_map(|p| &graph.ty(*p).dims).flat_map(Dim::symbols).collect();
    let mut moves: Moves = vec![];
    for symbol in symbols {
        for less in [1, 2, 3] {
            let symbol = symbol.clone();
            moves.push(Box::new(move |f| cut_to(f, &symbol, less)));
        }
        moves.push(Box::new(move |f| {
            let graph = &f.module.main()?.graph;
            let mut value = None;
            for inputs in &f.runs {
                let env = eval::bind(graph, inputs, &DimEnv::default()).ok()?;
                let this = env.get(&symbol)?;
                if value.is_some_and(|v| v != this) {
                    return None;
                }
                value = Some(this);
            }
            let printed = replaced(&text::print(&f.module), &symbol, &value?.to_string());
            let module = text::parse_with(&printed, &|name, _| f.module.consts.get(name).cloned()).ok()?;
            Some(Failing { module, runs: f.runs.clone() })
        }));
    }
    moves
}

/// The inputs without what lies beyond `less` along axes of `symbol`.
fn cut_to(f: &Failing, symbol: &str, less: usize) -> Option<Failing> {
    let graph = &f.module.main()?.graph;
    let mut cut = f.clone();
    for inputs in &mut cut.runs {
        for (param, tensor) in graph.params().iter().zip(inputs) {
            for (axis, dim) in graph.ty(*param).dims.iter().enumerate() {
                if dim.as_symbol().is_some_and(|s| s.as_ref() == symbol) && tensor.dims()[axis] > less {
                    let (starts, ends) = (vec![Dim::constant(0)], vec![Dim::constant(less)]);
                    let op = Op::from(Slice { axes: vec![axis], starts, ends, steps: vec![1], sizes: None });
                    *tensor = op.eval(&[Some(&*tensor)], &DimEnv::default()).ok()?.pop()?;
                }
            }
        }
    }
    Some(cut)
}

/// Inputs that hold the same number everywhere.
fn plain_data(f: &Failing) -> Moves {
    let count = f.runs.first().map_or(0, Vec::len);
    let mut moves: Moves = vec![];
    for i in 0..count {
        for draw in [Draw::All(0.0), Draw::All(1.0), Draw::Whole(0, 1), Draw::Whole(-2, 2)] {
            moves.push(Box::new(move |f| {
                let mut plain = f.clone();
                for (r, inputs) in plain.runs.iter_mut().enumerate() {
                    let t = inputs.get_mut(i)?;
                    *t = data::tensor(t.elem(), t.dims(), draw, r as u64 + 1);
                }
                Some(plain)
            }));
        }
    }
    moves
}

/// `@main` with these outputs, inputs for what is in `cut`, and other values for those in `instead`.
fn rebuilt(
    f: &Failing,
    outputs: &[Value],
    cut: &HashSet<Value>,
    instead: &HashMap<Value, Value>,
) -> Option<Failing> {
    let old = &f.module.main()?.graph;
    let now = |v: Value| *instead.get(&v).unwrap_or(&v);
    let mut needed: HashSet<Value> = HashSet::new();
    let mut stack: Vec<Value> = outputs.iter().map(|v| now(*v)).collect();
    while let Some(v) = stack.pop() {
        if needed.insert(v) && !cut.contains(&v) {
            stack.extend(old.operands(v.node).into_iter().flatten().map(now));
        }
    }
    let taken: Vec<Value> = old.params().iter().copied().filter(|p| needed.contains(p)).collect();
    let mut made: Vec<Value> = cut.iter().copied().filter(|c| needed.contains(c)).collect();
    made.sort_by_key(|v| (old.name(*v).to_string(), v.result));
    let mut graph = Graph::default();
    let mut new: HashMap<Value, Value> = HashMap::new();
    for v in taken.iter().chain(&made) {
        new.insert(*v, graph.param(old.name(*v), old.ty(*v).clone()));
    }
    for node in old.order() {
        let results: Vec<Value> = old.results(node).collect();
        if !results.iter().any(|r| needed.contains(r) && !cut.contains(r)) {
            continue;
        }
        match old.def(node) {
            Def::Param { .. } => {}
            Def::Const(key) => {
                new.insert(results[0], graph.constant(key, old.ty(results[0]).clone()));
            }
            Def::Literal(l) => {
                new.insert(results[0], graph.literal(*l));
            }
            Def::Op(op) => {
                let args: Option<Vec<_>> = old
                    .operands(node)
                    .into_iter()
                    .map(|o| o.map_or(Some(None), |v| new.get(&now(v)).map(|n| Some(*n))))
                    .collect();
                let types = results.iter().map(|r| (old.name(*r), old.ty(*r).clone())).collect();
                let made = graph.insert_named(op.clone(), &args?, types);
                for (was, is) in results.iter().zip(graph.results(made)) {
                    new.entry(*was).or_insert(is);
                }
            }
        }
    }
    graph.set_outputs(outputs.iter().map(|v| new.get(&now(*v)).copied()).collect::<Option<_>>()?);
    let mut runs = vec![];
    for inputs in &f.runs {
        let values = walk::values(&f.module, inputs, None).ok()?;
        runs.push(taken.iter().chain(&made).map(|v| values[v].clone()).collect());
    }
    let mut module = f.module.clone();
    module.functions.insert(MAIN.into(), Function { kind: FunctionKind::Graph, graph });
    drop_unused(&mut module);
    module.sweep();
    Some(Failing { module, runs })
}

/// Functions that nothing calls go.
fn drop_unused(module: &mut Module) {
    let mut reached = HashSet::from([MAIN.to_string()]);
    let mut stack = vec![MAIN.to_string()];
    while let Some(f) = stack.pop().and_then(|name| module.functions.get(&name)) {
        for op in f.graph.order().into_iter().filter_map(|n| f.graph.op(n)) {
            stack.extend(op.callees().into_iter().filter(|c| reached.insert(c.clone())));
        }
    }
    module.functions.retain(|name, _| reached.contains(name));
}

/// The text with another word for a symbol wherever it stands in brackets.
fn replaced(text: &str, symbol: &str, by: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (mut out, mut rest, mut depth, mut last) = (String::new(), text, 0usize, ' ');
    while let Some(c) = rest.chars().next() {
        let word: &str = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
        if word.is_empty() {
            depth = match c {
                '[' => depth + 1,
                ']' => depth.saturating_sub(1),
                _ => depth,
            };
            out.push(c);
            last = c;
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let plain = depth > 0 && word == symbol && !matches!(last, '%' | '@' | '.' | '/' | '"');
        out += if plain { by } else { word };
        last = 'a';
        rest = &rest[word.len()..];
    }
    out
}
