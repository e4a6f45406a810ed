//! `group_sum(sign_select(x, w))  →  call @sums(x, w)`, where no kernel has taken it
//!
//! The interpreter evaluates such sums without the products, `n` times what there is to read; but a session runs step by
//! step, and would have to hold them. As one step the two are evaluated together.

use rustc_hash::FxHashMap;
use trine_ir::attr::SymbolRef;
use trine_ir::ops::{Call, GroupSum};
use trine_ir::{Function, FunctionKind, Graph, MAIN, Module, NodeId, Op, Value, text};

/// Makes functions of the sums of lowered layers that `@main` has.
pub fn outline_sums(module: &mut Module) {
    let Some(main) = module.main() else { return };
    let found: Vec<(NodeId, Value)> = main
        .graph
        .order()
        .into_iter()
        .filter_map(|node| Some((node, products(&main.graph, node)?)))
        .collect();
    if found.is_empty() {
        return;
    }
    let mut known: FxHashMap<String, String> = FxHashMap::default();
    for (sum, products) in found {
        let graph = &module.functions[MAIN].graph;
        let args = graph.operands(products.node);
        let Some(body) = body(graph, sum, products) else { continue };
        let function = Function { kind: FunctionKind::Graph, graph: body };
        let types = function.signature().results;
        let mut alone = Module { stage: module.stage, ..Module::default() };
        alone.functions.insert(String::new(), function.clone());
        let text = text::print(&alone);
        let symbol = known.entry(text).or_insert_with(|| module.add_function("sums", function)).clone();
        let main = &mut module.functions[MAIN].graph;
        let call = main.insert(Call { f: SymbolRef(symbol) }, &args, types);
        main.replace(Value { node: sum, result: 0 }, Value { node: call, result: 0 });
    }
    module.sweep();
}

/// What the node sums, if that is products of a layer that nothing else reads.
fn products(graph: &Graph, node: NodeId) -> Option<Value> {
    let Some(Op::GroupSum(_)) = graph.op(node) else { return None };
    let products = graph.operand(node, 0)?;
    let are_products = graph.op(products.node).is_some_and(GroupSum::is_of);
    (are_products && graph.use_count(products) == 1).then_some(products)
}

fn body(main: &Graph, sum: NodeId, products: Value) -> Option<Graph> {
    let mut body = Graph::default();
    let params: Vec<_> = ["x", "w"]
        .iter()
        .zip(main.operands(products.node))
        .map(|(name, v)| Some(body.param(name, main.ty(v?).clone())))
        .collect();
    let of = body.insert(main.op(products.node)?.clone(), &params, vec![main.ty(products).clone()]);
    let sums = main.ty(Value { node: sum, result: 0 }).clone();
    let sum = body.insert(main.op(sum)?.clone(), &[Some(Value { node: of, result: 0 })], vec![sums]);
    body.set_outputs(vec![Value { node: sum, result: 0 }]);
    Some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_that_only_a_sum_reads_are_of_a_function() {
        let source = "stage lowered\n\nconst @w: trit[2,4] = [1,0,-1,1,0,1,1,-1]\n\n\
                      graph @main(%x: i8[b,4]) -> (%y: i32[b,2,1]) {\n  %p = sign_select %x, @w : i8[b,2,4]\n  \
                      %y = group_sum %p {group=4} : i32[b,2,1]\n}\n";
        let mut module = text::parse(source).unwrap();
        outline_sums(&mut module);
        trine_ir::verify(&module).unwrap();
        let want = "stage lowered\n\nconst @w: trit[2,4] = [1,0,-1,1,0,1,1,-1]\n\n\
                    graph @main(%x: i8[b,4]) -> (%y: i32[b,2,1]) {\n  %y = call %x, @w {f=@sums} : i32[b,2,1]\n}\n\n\
                    graph @sums(%x: i8[b,4], %w: trit[2,4]) -> (%group_sum: i32[b,2,1]) {\n  \
                    %sign_select = sign_select %x, %w : i8[b,2,4]\n  \
                    %group_sum = group_sum %sign_select {group=4} : i32[b,2,1]\n}\n";
        assert_eq!(text::print(&module), want);
        // Products that are a result, too, stay what they are.
        let shown = source.replace("-> (", "-> (%p: i8[b,2,4], ");
        let mut module = text::parse(&shown).unwrap();
        outline_sums(&mut module);
        assert_eq!(text::print(&module), shown);
    }
}
