//! One model on its way through calibration: the module with the layers that are rounded so far, and what each
//! batch holds at the cut.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use trine_ir::ops::{Add, Matmul};
use trine_ir::{DimEnv, Graph, MAIN, Module, Tensor, Type, Value};
use trine_runtime::{RunError, Session, SessionOptions, View};

use crate::compiler::Compiler;
use crate::options::Options;

use super::CalibrateError;
use super::Weights;
use super::cut::segment;
use super::layers::Linear;

/// A model of which each op runs once.
#[derive(Clone)]
pub struct Stream {
    module: Module,
    threads: usize,
    /// What stands for a layer's output once a bias was added to it.
    biased: FxHashMap<Value, Value>,
    /// The cut that `batches` are at.
    held: Vec<Value>,
    /// Values of `held`, batch by batch.
    batches: Vec<Vec<Tensor>>,
}

impl Stream {
    pub fn new(module: &Module, batches: usize, threads: usize) -> Stream {
        let module = module.clone();
        Stream { module, threads, biased: FxHashMap::default(), held: vec![], batches: vec![vec![]; batches] }
    }

    /// The program that goes on from where this is to `targets`.
    pub fn ahead(&self, targets: &[Value]) -> Result<Ahead, CalibrateError> {
        let resolve = |v: &Value| self.biased.get(v).copied().unwrap_or(*v);
        let graph = self.graph()?;
        let given: Vec<Value> = graph.params().iter().copied().chain(self.held.iter().copied()).collect();
        let place = |v: &Value| given.iter().position(|g| g == v);
        let mut computed: Vec<Value> = vec![];
        let mut sources = vec![];
        for value in targets {
            sources.push(match (place(value), computed.iter().position(|t| *t == resolve(value))) {
                (Some(i), _) => Source::Given(i),
                (None, Some(i)) => Source::Computed(i),
                (None, None) => {
                    computed.push(resolve(value));
                    Source::Computed(computed.len() - 1)
                }
            });
        }
        let held: Vec<Value> = self.held.iter().map(resolve).collect();
        let session = if computed.is_empty() {
            None
        } else {
            let part = segment(&self.module, graph, &held, &computed);
            let program = Compiler::new(Options::default())?.program(part)?;
            let options = SessionOptions { threads: self.threads, ..SessionOptions::default() };
            Some(Session::new(Arc::new(program), &options))
        };
        Ok(Ahead { session, sources })
    }

    /// What batch `i` has at the targets of `ahead`; `inputs` are those of the model.
    pub fn values(
        &self,
        ahead: &mut Ahead,
        i: usize,
        inputs: &[Tensor],
    ) -> Result<Vec<Tensor>, CalibrateError> {
        let given: Vec<&Tensor> = inputs.iter().chain(&self.batches[i]).collect();
        if let Some(session) = &mut ahead.session {
            let views: Vec<View> = given.iter().map(|t| View::from(*t)).collect();
            session.execute(&views)?;
        }
        let tensor = |source: &Source| match (source, &ahead.session) {
            (Source::Computed(i), Some(session)) => owned(session.output(*i)),
            (Source::Given(i) | Source::Computed(i), _) => Ok(given[*i].clone()),
        };
        ahead.sources.iter().map(tensor).collect()
    }

    /// Moves batch `i` on to the targets of `ahead`, all but the first of which it holds. Returns that.
    pub fn advance(
        &mut self,
        ahead: &mut Ahead,
        i: usize,
        inputs: &[Tensor],
    ) -> Result<Tensor, CalibrateError> {
        let mut values = self.values(ahead, i, inputs)?;
        let first = values.remove(0);
        self.batches[i] = values;
        Ok(first)
    }

    /// Says that all batches have moved on to `cut`.
    pub fn arrive(&mut self, cut: &[Value]) {
        self.held = cut.to_vec();
    }

    /// Puts rounded weights in the place of a layer's.
    pub fn round(&mut self, layer: &Linear, rounded: &Weights) -> Result<(), CalibrateError> {
        let broken = |reason: String| CalibrateError::Weights { weights: layer.weights.clone(), reason };
        let dense = rounded.dequantized();
        let (n, k) = (layer.n, layer.k);
        let (dims, values) = match layer.trans_b {
            true => (vec![n, k], dense),
            false => (vec![k, n], turned(&dense, n, k)),
        };
        let weights = Tensor::from_vec(dims, values).map_err(|e| broken(e.to_string()))?;
        let ty = weights.ty();
        let key = self.module.add_const(&format!("{}.rounded", layer.weights), weights);
        for name in &layer.functions {
            let function = self.module.functions.get_mut(name).ok_or(CalibrateError::NoLayers)?;
            let constant = function.graph.constant(&key, ty.clone());
            function.graph.set_operand(layer.output.node, Matmul::b, Some(constant));
        }
        rounded.bias().map_or(Ok(()), |bias| self.add_bias(layer, bias))
    }

    /// Adds a bias to a layer's outputs.
    pub fn add_bias(&mut self, layer: &Linear, bias: &[f32]) -> Result<(), CalibrateError> {
        let broken = |reason: String| CalibrateError::Weights { weights: layer.weights.clone(), reason };
        let key = self.module.add_const(&format!("{}.bias", layer.weights), Tensor::vector(bias.to_vec()));
        let ty = Type::new(trine_ir::Elem::F32, [layer.n]);
        for name in &layer.functions {
            let function = self.module.functions.get_mut(name).ok_or(CalibrateError::NoLayers)?;
            let graph = &mut function.graph;
            let users = graph.users(layer.output);
            let bias = graph.constant(&key, ty.clone());
            let sum = graph.add(Add {}, &[layer.output, bias]).map_err(|e| broken(e.0))?;
            for (user, slot) in users {
                graph.set_operand(user, slot, Some(sum));
            }
            if name == MAIN {
                // A second bias is added before the first.
                self.biased.entry(layer.output).or_insert(sum);
            } else {
                let moved = |v: &Value| if *v == layer.output { sum } else { *v };
                graph.set_outputs(graph.outputs().iter().map(moved).collect());
            }
        }
        Ok(())
    }

    /// What it would be with rounded weights in the place of a layer's.
    pub fn with(&self, layer: &Linear, rounded: &Weights) -> Result<Stream, CalibrateError> {
        let mut stream = self.clone();
        stream.round(layer, rounded)?;
        Ok(stream)
    }

    pub fn graph(&self) -> Result<&Graph, CalibrateError> {
        Ok(&self.module.main().ok_or(CalibrateError::NoLayers)?.graph)
    }
}

/// A program from where a stream is to values that are further on.
pub struct Ahead {
    session: Option<Session>,
    /// Where each of those comes from.
    sources: Vec<Source>,
}

#[derive(Clone, Copy)]
enum Source {
    /// An input of the program, by index.
    Given(usize),
    /// An output of the program, by index.
    Computed(usize),
}

/// The most bytes that a batch with these `inputs` holds at two cuts that follow each other.
pub fn held_bytes(graph: &Graph, cuts: &[Vec<Value>], inputs: &[Tensor]) -> Result<usize, CalibrateError> {
    let env: DimEnv = trine_ir::eval::bind(graph, inputs, &DimEnv::default())
        .map_err(|e| CalibrateError::Inputs(e.to_string()))?;
    let size = |v: &Value| {
        let ty = graph.ty(*v);
        let count = ty.dims.iter().try_fold(1usize, |n, d| n.checked_mul(d.eval(&env)?));
        count.and_then(|n| ty.elem.bytes(n)).unwrap_or(0)
    };
    let sizes: Vec<usize> = cuts.iter().map(|cut| cut.iter().map(size).sum()).collect();
    Ok(sizes.iter().copied().max().unwrap_or(0))
}

fn owned(view: View) -> Result<Tensor, CalibrateError> {
    Tensor::new(view.elem, view.dims.to_vec(), view.data.to_vec().into()).map_err(|e| {
        CalibrateError::Run(RunError::Eval { place: "a value at a cut".into(), message: e.to_string() })
    })
}

/// `[n, k]` as `[k, n]`.
fn turned(values: &[f32], n: usize, k: usize) -> Vec<f32> {
    (0..k).flat_map(|i| (0..n).map(move |j| values[j * k + i])).collect()
}
