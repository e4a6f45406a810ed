//! Drops the nodes and initializers that nothing needs any more.

use rustc_hash::FxHashSet;

use trine_formats::import::proto::{GraphProto, ModelProto};

pub fn sweep(model: &mut ModelProto) {
    let Some(graph) = &mut model.graph else { return };
    loop {
        let mut used = FxHashSet::default();
        uses(graph, &mut used);
        let before = graph.node.len();
        graph.node.retain(|node| node.output.iter().any(|o| used.contains(o)));
        if graph.node.len() < before {
            continue;
        }
        let gone: FxHashSet<String> =
            graph.initializer.iter().map(|i| i.name().to_string()).filter(|n| !used.contains(n)).collect();
        graph.initializer.retain(|i| !gone.contains(i.name()));
        // Old models list initializers among the inputs too.
        graph.input.retain(|i| !gone.contains(i.name()));
        return;
    }
}

/// All names that a graph and those inside of its nodes read.
fn uses(graph: &GraphProto, used: &mut FxHashSet<String>) {
    used.extend(graph.output.iter().map(|o| o.name().to_string()));
    for node in &graph.node {
        used.extend(node.input.iter().cloned());
        for attribute in &node.attribute {
            attribute.g.iter().chain(&attribute.graphs).for_each(|g| uses(g, used));
        }
    }
}
