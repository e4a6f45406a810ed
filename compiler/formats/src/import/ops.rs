//! What each ONNX op means in our language: one file a family, one match arm an op.
//!
//! A family's `find` gives the mapper of an op by domain (empty for ONNX's own) and op type:
//!
//! ```text
//! pub(super) fn find(domain: &str, op_type: &str) -> Option<Mapper> {
//!     Some(match (domain, op_type) {
//!         ("", "Relu") => |cx| unary(cx, Relu {}),
//!         ("", "Clip") => clip,
//!         _ => return None,
//!     })
//! }
//! ```
//!
//! A mapper reads the node through its [`NodeCx`], adds ops to the graph, and returns a value for each output
//! of the node; trailing outputs that nobody wants (`cx.wants(i)`) may be left out, and more may be given. Its
//! error is a sentence; the importer puts the node's name before it. Of the context:
//!
//! - `input(i)`, `opt(i)`, `inputs()`, `attr_int("axis", -1)`, `attr_ints("perm")`, `ints("axes", 1)` for what is an
//!   attribute or an input by opset, `opset()`;
//! - `ty(v)`, `rank(v)`, `axis(a, rank)`; `const_tensor(v)`, `const_ints(v)`, `const_scalar(v)` for what is constant however it
//!   was computed; `shape_values(v)` for integer vectors in terms of the symbols of inputs, which is how a `Reshape`
//!   to a computed shape gets a static attribute;
//! - `add(op, &[v])`, `add_node(op, &[Some(v), None])`, `constant(tensor)`, `fresh_dim()` for a dimension that depends on data;
//! - `body("then_branch", &[types])` for a subgraph as a function, `inline_body` for one in place.

use trine_ir::{OpResult, Value};

pub use super::cx::{Body, NodeCx};

mod contrib;
mod control;
mod conv;
mod index;
mod join;
mod layout;
mod loss;
mod math;
mod ml;
mod nn;
mod quant;
mod random;
mod recurrent;
mod resize;
mod signal;
mod vision;

/// Builds what a node means; a value for each of its outputs.
pub type Mapper = fn(&mut NodeCx) -> OpResult<Vec<Value>>;

/// The mapper of an op; `None` for an op that is not known.
pub(super) fn find(domain: &str, op_type: &str) -> Option<Mapper> {
    let families = [
        math::find,
        layout::find,
        join::find,
        index::find,
        resize::find,
        nn::find,
        conv::find,
        quant::find,
        recurrent::find,
        control::find,
        ml::find,
        random::find,
        signal::find,
        loss::find,
        vision::find,
        contrib::find,
    ];
    families.into_iter().find_map(|find| find(domain, op_type))
}
