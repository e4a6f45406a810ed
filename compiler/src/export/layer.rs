//! `MatMul(x, W)  →  MatMul(x·c, W_1) + MatMul(x·c, W_2) + … + b`, and the same within `Gemm` and `MatMulNBits`.

use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::{ExportError, Spelling};
use crate::calibrate::{Int8, Linear, Rounded, Weights};
use trine_formats::import::proto::attribute_proto::AttributeType;
use trine_formats::import::proto::tensor_proto::DataType;
use trine_formats::import::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
};
use trine_ternarize::{Plane, Quantized};

/// The domain of onnxruntime's own operators.
const CONTRIB: &str = "com.microsoft";

/// Replaces the nodes of all layers.
pub fn replace(model: &mut ModelProto, layers: &[Rounded], spelling: Spelling) -> Result<(), ExportError> {
    let graph = model.graph.as_mut().ok_or(ExportError::NoGraph)?;
    let by_name: FxHashMap<&str, &Rounded> = layers.iter().map(|l| (l.node.as_str(), l)).collect();
    let mut written = 0;
    let mut nodes = vec![];
    let mut initializers = vec![];
    for node in &graph.node {
        match by_name.get(name(node)).filter(|l| l.op_type == node.op_type()) {
            Some(layer) if matches!(layer.weights, Weights::Kept(_)) => {
                written += 1;
                nodes.push(node.clone());
            }
            Some(layer) => {
                written += 1;
                let base = format!("{}.trine{written}", layer.name);
                let mut lines = Lines { base, spelling, nodes: vec![], initializers: vec![] };
                lines.layer(node, layer)?;
                nodes.append(&mut lines.nodes);
                initializers.append(&mut lines.initializers);
            }
            None => nodes.push(node.clone()),
        }
    }
    if written < layers.len() {
        let mut all = layers.iter().map(|l| find(graph, (&l.name, &l.node, &l.op_type)));
        all.try_for_each(|node| node.map(drop))?;
    }
    graph.node = nodes;
    graph.initializer.append(&mut initializers);
    if spelling == Spelling::NBits && !model.opset_import.iter().any(|o| o.domain() == CONTRIB) {
        let import = OperatorSetIdProto { domain: Some(CONTRIB.into()), version: Some(1) };
        model.opset_import.push(import);
    }
    Ok(())
}

/// What the importer calls a node.
fn name(node: &NodeProto) -> &str {
    if node.name().is_empty() { node.output.first().map_or("", |o| o) } else { node.name() }
}

/// Refuses layers that [`replace`] would.
pub fn check(model: &ModelProto, layers: &[Linear]) -> Result<(), ExportError> {
    let graph = model.graph.as_ref().ok_or(ExportError::NoGraph)?;
    layers.iter().try_for_each(|l| product(find(graph, (&l.weights, &l.node, &l.op_type))?).map(drop))
}

/// The node of a layer: the name of its weights, that of the node, and its type.
fn find<'g>(
    graph: &'g GraphProto,
    (weights, node, op_type): (&str, &str, &str),
) -> Result<&'g NodeProto, ExportError> {
    let mut nodes = graph.node.iter();
    nodes.find(|n| name(n) == node && n.op_type() == op_type).ok_or_else(|| ExportError::NoNode {
        weights: weights.into(),
        node: node.into(),
        op_type: op_type.into(),
    })
}

/// What a node that multiplies by weights does besides: a factor, and an addend with its own.
type Product<'n> = (f32, Option<(&'n str, f32)>);

fn product(node: &NodeProto) -> Result<Product<'_>, ExportError> {
    let refuse = |reason| {
        Err(ExportError::Operator { node: name(node).into(), op_type: node.op_type().into(), reason })
    };
    let int = |name: &str| attribute(node, name).map_or(0, |a| a.i());
    let float = |name: &str| attribute(node, name).map_or(1.0, |a| a.f());
    Ok(match node.op_type() {
        "MatMul" => (1.0, None),
        "MatMulNBits" => (1.0, input(node, 5).map(|b| (b, 1.0))),
        "Gemm" if int("transA") != 0 => return refuse("it transposes its input"),
        "Gemm" => (float("alpha"), input(node, 2).map(|c| (c, float("beta")))),
        "FusedMatMul" if int("transA") + int("transBatchA") + int("transBatchB") != 0 => {
            return refuse("it transposes its input");
        }
        "FusedMatMul" => (float("alpha"), None),
        _ => return refuse("it is not a MatMul, Gemm or MatMulNBits"),
    })
}

fn input(node: &NodeProto, i: usize) -> Option<&str> {
    node.input.get(i).map(String::as_str).filter(|n| !n.is_empty())
}

/// The nodes that take the place of one.
struct Lines {
    /// What new names start with.
    base: String,
    spelling: Spelling,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
}

impl Lines {
    fn layer(&mut self, node: &NodeProto, layer: &Rounded) -> Result<(), ExportError> {
        let refuse = |reason| {
            Err(ExportError::Operator { node: name(node).into(), op_type: node.op_type().into(), reason })
        };
        let Some(x) = input(node, 0) else { return refuse("it has no input") };
        let (factor, addend) = product(node)?;
        let mut y = match &layer.weights {
            Weights::Planes(planes) => self.planes(planes, x),
            Weights::Int8(int8) => self.int8(int8, x),
            Weights::Kept(_) => return refuse("it stays as it is"),
        };
        if factor != 1.0 {
            let factor = self.floats("alpha", &[], &[factor]);
            y = self.node("Mul", &[&y, &factor]);
        }
        if let Some((c, beta)) = addend.filter(|(_, beta)| *beta != 0.0) {
            let mut c = c.to_string();
            if beta != 1.0 {
                let beta = self.floats("beta", &[], &[beta]);
                c = self.node("Mul", &[&c, &beta]);
            }
            self.node("Add", &[&y, &c]);
        }
        // The last line gives what the node gave.
        if let (Some(last), Some(output)) = (self.nodes.last_mut(), node.output.first()) {
            last.output = vec![output.clone()];
        }
        Ok(())
    }

    fn planes(&mut self, w: &Quantized, x: &str) -> String {
        let x = match &w.column_scale {
            Some(scale) => {
                let scale = self.floats("columns", &[w.k], scale);
                self.node("Mul", &[x, &scale])
            }
            None => x.to_string(),
        };
        let mut sum: Option<String> = None;
        for (i, plane) in planes(w).iter().enumerate() {
            let product = match self.spelling {
                Spelling::F32 => self.dense(plane, w.n, w.k, &x, i),
                Spelling::NBits => self.packed(plane, w.n, w.k, &x, i),
            };
            sum = Some(match sum {
                Some(sum) => self.node("Add", &[&sum, &product]),
                None => product,
            });
        }
        let sum = sum.unwrap_or(x);
        match &w.bias {
            Some(bias) => {
                let bias = self.floats("bias", &[w.n], bias);
                self.node("Add", &[&sum, &bias])
            }
            None => sum,
        }
    }

    /// A plane as f32 `[k, n]`.
    fn dense(&mut self, plane: &Plane, n: usize, k: usize, x: &str, i: usize) -> String {
        let cells = k.div_ceil(plane.group);
        let mut values = vec![0f32; n * k];
        for (at, trit) in plane.trits.iter().enumerate() {
            let (row, column) = (at / k, at % k);
            values[column * n + row] = f32::from(*trit) * plane.scales[row * cells + column / plane.group];
        }
        let w = self.floats(&format!("plane{i}"), &[k, n], &values);
        self.node("MatMul", &[x, &w])
    }

    /// A plane as 2-bit codes `trit + 2`, of which 2 is the zero point where none is given.
    fn packed(&mut self, plane: &Plane, n: usize, k: usize, x: &str, i: usize) -> String {
        let block = block(plane.group, k);
        let (blocks, cells) = (k.div_ceil(block), k.div_ceil(plane.group));
        let mut codes = vec![0xaau8; n * blocks * block / 4];
        for (at, trit) in plane.trits.iter().enumerate() {
            let place = at / k * blocks * block + at % k;
            let (byte, shift) = (place / 4, place % 4 * 2);
            codes[byte] = codes[byte] & !(3 << shift) | ((trit + 2) as u8) << shift;
        }
        let scales: Vec<f32> = (0..n * blocks)
            .map(|at| plane.scales[at / blocks * cells + at % blocks * block / plane.group])
            .collect();
        let dims = [n, blocks, block / 4];
        let w = self.initializer(&format!("plane{i}"), DataType::Uint8, &dims, codes.into());
        let scales = self.floats(&format!("plane{i}.scales"), &[n * blocks], &scales);
        let y = self.node("MatMulNBits", &[x, &w, &scales]);
        if let Some(node) = self.nodes.last_mut() {
            node.domain = Some(CONTRIB.into());
            let sizes = [("K", k), ("N", n), ("bits", 2), ("block_size", block)];
            node.attribute = sizes.iter().map(|(name, value)| integer(name, *value)).collect();
        }
        y
    }

    /// `[k, n]` of f32, as onnxruntime's `DequantizeLinear` of a column's scale would give it.
    fn int8(&mut self, w: &Int8, x: &str) -> String {
        let mut codes = vec![0u8; w.n * w.k];
        for (at, code) in w.codes.iter().enumerate() {
            codes[at % w.k * w.n + at / w.k] = *code as u8;
        }
        let codes = self.initializer("int8", DataType::Int8, &[w.k, w.n], codes.into());
        let dense = self.node("Cast", &[&codes]);
        if let Some(node) = self.nodes.last_mut() {
            node.attribute = vec![integer("to", DataType::Float as usize)];
        }
        let scales = self.floats("int8.scales", &[w.n], &w.scales);
        let dense = self.node("Mul", &[&dense, &scales]);
        self.node("MatMul", &[x, &dense])
    }

    fn node(&mut self, op_type: &str, inputs: &[&str]) -> String {
        let name = format!("{}.{}{}", self.base, op_type, self.nodes.len());
        self.nodes.push(NodeProto {
            name: Some(name.clone()),
            op_type: Some(op_type.into()),
            input: inputs.iter().map(|i| i.to_string()).collect(),
            output: vec![name.clone()],
            ..NodeProto::default()
        });
        name
    }

    fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) -> String {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.initializer(name, DataType::Float, dims, bytes.into())
    }

    fn initializer(&mut self, name: &str, ty: DataType, dims: &[usize], data: Bytes) -> String {
        let name = format!("{}.{name}", self.base);
        self.initializers.push(TensorProto {
            name: Some(name.clone()),
            dims: dims.iter().map(|d| *d as i64).collect(),
            data_type: Some(ty as i32),
            raw_data: Some(data),
            ..TensorProto::default()
        });
        name
    }
}

/// The planes, and one of ones for each offset: `Σ_g μ_g·Σ_g x` is a product with `+1` everywhere.
fn planes(w: &Quantized) -> Vec<Plane> {
    let mut all = vec![];
    for plane in &w.planes {
        all.push(Plane { offset: None, ..plane.clone() });
        if let Some(offset) = &plane.offset {
            let ones = vec![1; plane.trits.len()];
            all.push(Plane { trits: ones, scales: offset.clone(), offset: None, ..plane.clone() });
        }
    }
    all
}

/// The largest block that `MatMulNBits` takes and that no group of scales ends within.
fn block(group: usize, k: usize) -> usize {
    let sizes = [256, 128, 64, 32, 16];
    sizes.into_iter().find(|b| group >= k || group.is_multiple_of(*b)).unwrap_or(16)
}

fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|a| a.name() == name)
}

fn integer(name: &str, value: usize) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(value as i64),
        ..AttributeProto::default()
    }
}
