//! An order of nodes in which each comes after what it uses: the file's own, wherever that will do.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::{FxHashMap, FxHashSet};

use super::proto::{GraphProto, NodeProto};

/// Indices of `nodes` in order. The message names a value that is given twice, or a node on a cycle.
pub(super) fn sorted(nodes: &[NodeProto]) -> Result<Vec<usize>, String> {
    let mut producer = FxHashMap::default();
    for (i, node) in nodes.iter().enumerate() {
        for output in node.output.iter().filter(|o| !o.is_empty()) {
            if producer.insert(output.as_str(), i).is_some() {
                return Err(format!("value `{}` is produced twice", output.escape_debug()));
            }
        }
    }
    let needs: Vec<Vec<usize>> = nodes
        .iter()
        .map(|node| {
            let mut needs: Vec<_> = uses(node).iter().filter_map(|u| producer.get(u).copied()).collect();
            needs.sort_unstable();
            needs.dedup();
            needs
        })
        .collect();
    let mut waiting: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut users = vec![vec![]; nodes.len()];
    for (i, needs) in needs.iter().enumerate() {
        needs.iter().for_each(|n| users[*n].push(i));
    }
    let mut ready: BinaryHeap<_> = (0..nodes.len()).filter(|i| waiting[*i] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(Reverse(i)) = ready.pop() {
        order.push(i);
        for user in &users[i] {
            waiting[*user] -= 1;
            if waiting[*user] == 0 {
                ready.push(Reverse(*user));
            }
        }
    }
    match waiting.iter().position(|w| *w > 0) {
        None => Ok(order),
        Some(i) => {
            let output = nodes[i].output.first().map_or("", |o| o.as_str());
            Err(format!("value `{}` depends on itself", output.escape_debug()))
        }
    }
}

/// The names that a node takes from around it, those that its subgraphs capture among them.
fn uses(node: &NodeProto) -> FxHashSet<&str> {
    let mut uses: FxHashSet<_> = node.input.iter().map(String::as_str).collect();
    let graphs = node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs));
    graphs.for_each(|g| uses.extend(captures(g)));
    uses.remove("");
    uses
}

fn captures(graph: &GraphProto) -> FxHashSet<&str> {
    let mut uses: FxHashSet<_> = graph.node.iter().flat_map(uses).collect();
    uses.extend(graph.output.iter().map(|o| o.name()));
    let own = graph.input.iter().map(|i| i.name()).chain(graph.initializer.iter().map(|i| i.name()));
    own.chain(graph.node.iter().flat_map(|n| n.output.iter().map(String::as_str))).for_each(|name| {
        uses.remove(name);
    });
    uses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(inputs: &[&str], output: &str) -> NodeProto {
        let input = inputs.iter().map(|i| i.to_string()).collect();
        NodeProto { input, output: vec![output.into()], ..Default::default() }
    }

    #[test]
    fn order_changes_only_where_it_must() {
        let nodes = [node(&["x"], "a"), node(&["c"], "b"), node(&["a"], "c"), node(&["x"], "d")];
        assert_eq!(sorted(&nodes).unwrap(), [0, 2, 1, 3]);
    }

    #[test]
    fn cycles_and_repeats_are_named() {
        let cycle = [node(&["b"], "a"), node(&["a"], "b")];
        assert_eq!(sorted(&cycle).unwrap_err(), "value `a` depends on itself");
        let twice = [node(&[], "a"), node(&[], "a")];
        assert_eq!(sorted(&twice).unwrap_err(), "value `a` is produced twice");
    }
}
