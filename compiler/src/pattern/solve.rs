//! Matching with full backtracking: over operand orders and over alternatives.
//!
//! What is still to match is a list of goals on the call stack, so a choice made early is taken back when
//! a goal far after it fails. Patterns are small, but a graph may be hostile: the steps are bounded.

use std::ops::Index;

use indexmap::IndexMap;
use trine_ir::{Def, Elem, Graph, Tensor, Value};

use super::{Form, Pat};

/// Steps after which an attempt counts as failed.
const MAX_STEPS: usize = 20_000;

/// A function and the constants of its module, as tests and rules see them.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    pub graph: &'a Graph,
    pub consts: &'a IndexMap<String, Tensor>,
}

impl Scope<'_> {
    /// The tensor of a constant or a literal.
    pub fn tensor(&self, v: Value) -> Option<Tensor> {
        match self.graph.def(v.node) {
            Def::Const(key) => self.consts.get(key).cloned(),
            Def::Literal(literal) => literal.tensor().ok(),
            Def::Param { .. } | Def::Op(_) => None,
        }
    }

    /// The number that a literal or a constant of one element is worth.
    pub fn scalar(&self, v: Value) -> Option<f64> {
        let t = match self.graph.def(v.node) {
            Def::Literal(literal) => return Some(literal.as_f64()),
            Def::Const(key) => self.consts.get(key)?,
            Def::Param { .. } | Def::Op(_) => return None,
        };
        if t.len() != 1 {
            return None;
        }
        Scope::scalars(t)?.first().copied()
    }

    /// The elements of a tensor of floats or signed integers as numbers.
    pub fn scalars(t: &Tensor) -> Option<Vec<f64>> {
        Some(match t.elem() {
            Elem::F32 => t.values::<f32>().ok()?.iter().map(|v| f64::from(*v)).collect(),
            Elem::F64 => t.values::<f64>().ok()?.to_vec(),
            Elem::F16 => t.values::<half::f16>().ok()?.iter().map(|v| v.to_f64()).collect(),
            Elem::Bf16 => t.values::<half::bf16>().ok()?.iter().map(|v| v.to_f64()).collect(),
            Elem::I64 => t.values::<i64>().ok()?.iter().map(|v| *v as f64).collect(),
            Elem::I32 => t.values::<i32>().ok()?.iter().map(|v| f64::from(*v)).collect(),
            _ => return None,
        })
    }
}

/// What each pattern of a rule matched.
#[derive(Default)]
pub struct Match(Vec<(*const Form, Option<Value>)>);

impl Match {
    /// How `pat` matches `value`, if it does.
    pub fn find(scope: &Scope, pat: &Pat, value: Value) -> Option<Match> {
        let mut solver = Solver { scope, found: Match::default(), steps: 0 };
        let goal = Goal { pat, value: Some(value), next: None };
        solver.solve(Some(&goal)).then_some(solver.found)
    }

    /// The value of a pattern; `None` if it stands for an absent operand or for an alternative that was
    /// not taken.
    pub fn get(&self, pat: &Pat) -> Option<Value> {
        self.bound(pat).flatten()
    }

    fn bound(&self, pat: &Pat) -> Option<Option<Value>> {
        self.0.iter().find(|(key, _)| *key == pat.key()).map(|(_, value)| *value)
    }
}

impl Index<&Pat> for Match {
    type Output = Value;
    fn index(&self, pat: &Pat) -> &Value {
        let bound = self.0.iter().find(|(key, _)| *key == pat.key());
        bound
            .and_then(|(_, v)| v.as_ref())
            .expect("the pattern is a part of the rule that always has a value")
    }
}

/// A pattern that a value must still match, and the goals after it.
#[derive(Clone, Copy)]
struct Goal<'a> {
    pat: &'a Pat,
    value: Option<Value>,
    next: Option<&'a Goal<'a>>,
}

struct Solver<'a> {
    scope: &'a Scope<'a>,
    found: Match,
    steps: usize,
}

impl Solver<'_> {
    /// Whether all goals can be met together; if so their bindings are in `found`.
    fn solve(&mut self, goal: Option<&Goal>) -> bool {
        let Some(goal) = goal else { return true };
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return false;
        }
        if let Some(bound) = self.found.bound(goal.pat) {
            return bound == goal.value && self.solve(goal.next);
        }
        let mark = self.found.0.len();
        self.found.0.push((goal.pat.key(), goal.value));
        let met = self.meet(goal);
        if !met {
            self.found.0.truncate(mark);
        }
        met
    }

    fn meet(&mut self, goal: &Goal) -> bool {
        let graph = self.scope.graph;
        if let Form::AnyOf(pats) = &*goal.pat.0 {
            return pats.iter().any(|pat| self.solve(Some(&Goal { pat, ..*goal })));
        }
        let Some(value) = goal.value else {
            return matches!(*goal.pat.0, Form::Absent) && self.solve(goal.next);
        };
        match &*goal.pat.0 {
            Form::Any => self.solve(goal.next),
            Form::Constant => {
                matches!(graph.def(value.node), Def::Const(_) | Def::Literal(_)) && self.solve(goal.next)
            }
            Form::Scalar => self.scope.scalar(value).is_some() && self.solve(goal.next),
            Form::Absent | Form::AnyOf(_) => false,
            Form::Where(pat, test) => test(self.scope, value) && self.solve(Some(&Goal { pat, ..*goal })),
            Form::Result(pat, index) => {
                let first = Value { result: 0, ..value };
                value.result == *index && self.solve(Some(&Goal { pat, value: Some(first), ..*goal }))
            }
            Form::Op(kind, pats) => {
                if value.result != 0 || graph.kind(value.node) != Some(*kind) {
                    return false;
                }
                let mut args = graph.operands(value.node);
                args.resize(args.len().max(pats.len()), None);
                if args.iter().skip(pats.len()).any(Option::is_some) {
                    return false;
                }
                if self.operands(pats, &args, goal.next) {
                    return true;
                }
                if !kind.commutes() || args.len() < 2 || args[0] == args[1] {
                    return false;
                }
                args.swap(0, 1);
                self.operands(pats, &args, goal.next)
            }
        }
    }

    /// Puts a goal for each operand, the first in front, before those that wait.
    fn operands(&mut self, pats: &[Pat], args: &[Option<Value>], next: Option<&Goal>) -> bool {
        match pats.split_last() {
            None => self.solve(next),
            Some((pat, rest)) => {
                self.operands(rest, args, Some(&Goal { pat, value: args[rest.len()], next }))
            }
        }
    }
}
