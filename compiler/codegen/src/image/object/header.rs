//! The C header of an object: its functions, and what there is to give to them.

use std::fmt::Write as _;

use trine_runtime::kernel::{STATUS_INDEX, STATUS_SHAPE};
use trine_runtime::{Port, State};

use super::super::Image;
use super::super::entry::{STATUS_CPU, STATUS_DIMS, STATUS_FULL};

/// Statuses of a run that are not 0, with what they mean.
const STATUSES: [(&str, i64, &str); 5] = [
    (
        "DIMS",
        STATUS_DIMS,
        "a dimension is negative, a size overflows, or sizes that have to be equal are not",
    ),
    ("CPU", STATUS_CPU, "the machine lacks instructions that the code uses"),
    ("FULL", STATUS_FULL, "the states have no room for so many positions"),
    ("INDEX", STATUS_INDEX, "an index points outside of the axis that it indexes"),
    ("SHAPE", STATUS_SHAPE, "dimensions that have to be equal are not"),
];

/// The header of the object `name`, whose weights are in a file of so many bytes, or in the object.
pub fn write(name: &str, image: &Image, weights: Option<usize>) -> String {
    let upper = name.to_ascii_uppercase();
    let (triple, extensions) = (image.target.isa.triple(), image.target.extensions().join(", "));
    let mut out = format!(
        "/* `{name}`, compiled by Trine {version} for {triple}{with}{extensions}.\n   \
         Tensors are dense and row-major, in the byte order of the machine. */\n\
         #ifndef {upper}_H\n#define {upper}_H\n\n#include <stdint.h>\n\n\
         #ifdef __cplusplus\nextern \"C\" {{\n#endif\n\n\
         #define {upper}_VERSION {version:?}\n",
        version = env!("CARGO_PKG_VERSION"),
        with = if extensions.is_empty() { "" } else { " with " },
    );
    if let Some(bytes) = weights {
        // A string takes all that is written to it, here and below.
        let _ = writeln!(
            out,
            "/* Of `{name}.weights`, which is read to, or mapped at, an address that 64 divides. */\n\
             #define {upper}_WEIGHTS_BYTES {bytes}"
        );
    }
    let symbols = &image.plan.symbols[..image.plan.plain_symbols()];
    let _ = writeln!(out, "\n/* What `dims` holds, in its order. */\n#define {upper}_DIMS {}", symbols.len());
    for (i, symbol) in symbols.iter().enumerate() {
        let _ = writeln!(out, "#define {upper}_DIM_{i} {}", literal(symbol));
    }
    ports(&mut out, &upper, "INPUT", &image.plan.inputs);
    ports(&mut out, &upper, "OUTPUT", &image.plan.outputs);
    states(&mut out, &upper, &image.plan.states);
    let _ = writeln!(out, "\n/* What functions return instead of 0, or of bytes. */");
    for (status, value, _) in STATUSES {
        let _ = writeln!(out, "#define {upper}_STATUS_{status} ({value})");
    }
    let _ = writeln!(
        out,
        "\nstatic inline const char *{name}_status_text(int64_t status) {{\n    switch (status) {{"
    );
    for (status, _, text) in STATUSES {
        let _ = writeln!(out, "    case {upper}_STATUS_{status}: return {text:?};");
    }
    let first = if weights.is_some() { "const void *weights, " } else { "" };
    let _ = write!(
        out,
        "    default: return status == 0 ? \"done\" : \"unknown\";\n    }}\n}}\n\n\
         /* 0 where this machine has what the code uses; nothing else may be called where it has not. */\n\
         int64_t {name}_check_cpu(void);\n\n\
         /* Bytes of an input or output, by its number, for these dimensions. */\n\
         int64_t {name}_input_bytes(int64_t input, const int64_t *dims);\n\
         int64_t {name}_output_bytes(int64_t output, const int64_t *dims);\n\n\
         /* Bytes of the arena for these dimensions. */\n\
         int64_t {name}_arena_size(const int64_t *dims);\n\n\
         /* Runs the model: 0 or a status. The arena is aligned to 64 bytes and belongs to one run at a time; outputs\n   \
         overlap nothing. Inputs are aligned to their elements, and a bool is 0 or 1. */\n\
         int64_t {name}_run({first}const void *const *inputs, void *const *outputs, const int64_t *dims,\n    \
         void *arena);\n\n"
    );
    if !image.plan.states.is_empty() {
        let _ = write!(
            out,
            "/* Bytes of a state, by its number, with room for `capacity` positions. */\n\
             int64_t {name}_state_bytes(int64_t state, const int64_t *dims, int64_t capacity);\n\n\
             /* As {name}_run, where states stay in memory of their own, aligned to their elements, and are neither given as\n   \
             inputs nor copied to outputs. The positions that `dims` says are there are read, and the run's own are written\n   \
             after them. While states hold anything, capacity and their other dimensions are the same. */\n\
             int64_t {name}_run_held({first}const void *const *inputs, void *const *outputs, const int64_t *dims,\n    \
             void *arena, void *const *states, int64_t capacity);\n\n"
        );
    }
    let (alike, held) = match image.plan.states.is_empty() {
        true => ("run", ""),
        false => ("run_held", "void *const *states, int64_t capacity, "),
    };
    let _ = write!(
        out,
        "/* As {name}_{alike}, by threads of the caller's: each calls it once, as `part` of `parts` from 0 up and with the same\n   \
         arguments otherwise, and the run is done when all have returned, and done well where all return 0. meet(context)\n   \
         returns once all have called it. */\n\
         int64_t {name}_arena_size_parts(const int64_t *dims, int64_t parts);\n\
         int64_t {name}_run_part({first}const void *const *inputs, void *const *outputs, const int64_t *dims,\n    \
         void *arena, {held}int64_t part, int64_t parts,\n    void (*meet)(void *), void *context);\n\n"
    );
    out + "#ifdef __cplusplus\n}\n#endif\n\n#endif\n"
}

/// What may stay from run to run.
fn states(out: &mut String, upper: &str, states: &[State]) {
    if states.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "\n/* States: an input, the output that it becomes, and its axis of positions. Where that is -1 its size stays, and it\n   \
         begins as zeros. */\n#define {upper}_STATES {}",
        states.len()
    );
    for (i, state) in states.iter().enumerate() {
        let axis = state.axis.map_or(-1, |axis| axis as i64);
        let (input, output) = (state.input, state.output);
        let _ = write!(
            out,
            "#define {upper}_STATE_{i}_INPUT {input}\n#define {upper}_STATE_{i}_OUTPUT {output}\n\
             #define {upper}_STATE_{i}_AXIS ({axis})\n"
        );
    }
}

fn ports(out: &mut String, upper: &str, kind: &str, ports: &[Port]) {
    let _ = writeln!(out, "\n#define {upper}_{kind}S {}", ports.len());
    for (i, port) in ports.iter().enumerate() {
        let dims: Vec<String> = port.ty.dims.iter().map(|dim| dim.to_string()).collect();
        let (name, shape) = (literal(&port.name), literal(&dims.join(",")));
        let _ = write!(
            out,
            "#define {upper}_{kind}_{i} {name}\n#define {upper}_{kind}_{i}_ELEM \"{}\"\n\
             #define {upper}_{kind}_{i}_RANK {}\n#define {upper}_{kind}_{i}_SHAPE {shape}\n",
            port.ty.elem,
            port.ty.dims.len(),
        );
    }
}

/// A string of C: whatever is not a letter, a digit or plain in any string is a number.
fn literal(text: &str) -> String {
    let mut out = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'.' | b',' | b'-' | b'+' | b'[' | b']' => {
                out.push(byte as char);
            }
            _ => out += &format!("\\{byte:03o}"),
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_nothing_but_a_string() {
        assert_eq!(literal("x.0"), "\"x.0\"");
        assert_eq!(literal("a\"; */ ??/"), "\"a\\042\\073\\040\\052\\057\\040\\077\\077\\057\"");
    }
}
