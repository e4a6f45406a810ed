//! What a step of the generator may add, and how often.

mod attention;
mod contrib;
mod control;
mod conv;
mod eight_bits;
mod elementwise;
mod fused;
mod index;
mod layout;
mod norm;
mod product;
mod quant;
mod recurrent;
mod reduce;
mod select;
mod signal;
mod vision;

use super::build::Builder;

/// Adds an op, or a few that belong together; `None` if nothing there is fits.
pub type Step = fn(&mut Builder) -> Option<()>;

/// Every step with its weight.
#[rustfmt::skip]
pub const STEPS: &[(usize, Step)] = &[
    (10, elementwise::unary), (6, elementwise::activation), (14, elementwise::binary), (4, elementwise::variadic),
    (4, elementwise::comparison), (2, elementwise::logic), (4, elementwise::choice), (4, elementwise::clip),
    (6, elementwise::cast), (4, elementwise::spelled), (5, elementwise::chain), (1, elementwise::dropout),
    (2, elementwise::shapes), (3, elementwise::outer), (4, elementwise::bits), (1, elementwise::stored),
    (10, reduce::reduce), (5, reduce::softmax), (2, reduce::extreme), (2, reduce::cumulative), (3, reduce::top),
    (3, reduce::spelled),
    (6, layout::reshape), (2, layout::flatten), (6, layout::transpose), (2, layout::squeeze), (3, layout::unsqueeze),
    (5, layout::concat), (4, layout::split), (6, layout::slice), (2, layout::slice_to), (4, layout::pad),
    (2, layout::tile), (4, layout::expand), (2, layout::triangle), (1, layout::blocks), (3, layout::made),
    (4, index::gather), (2, index::embedding), (2, index::gather_elements), (2, index::gather_nd),
    (2, index::scatter), (2, index::scatter_nd), (1, index::one_hot), (3, index::non_zero),
    (2, index::sized_by_found), (1, index::tensor_scatter),
    (10, product::matmul), (5, product::gemm), (12, product::ternary), (4, product::nbits), (2, product::fused),
    (3, product::einsum),
    (5, conv::conv), (2, conv::transposed), (4, conv::pool), (2, conv::resize), (3, conv::norm),
    (4, norm::layer), (2, norm::skip), (1, norm::lp), (5, norm::spelled),
    (4, quant::quantize), (3, quant::round_trip), (3, quant::dynamic), (3, quant::integers), (2, quant::linear),
    (2, quant::convolved),
    (4, attention::op), (4, attention::spelled), (2, attention::grouped), (2, attention::rotary),
    (2, attention::turned),
    (4, control::branch), (3, control::repeat), (3, control::scan),
    (1, contrib::embed_norm), (1, contrib::simplified), (2, contrib::scaled), (1, contrib::lstm), (2, contrib::grouped),
    (3, contrib::linear_attention), (2, contrib::causal_conv),
    (2, eight_bits::binary), (3, eight_bits::unary), (2, eight_bits::pool), (2, eight_bits::product),
    (2, eight_bits::transformer), (2, eight_bits::gathered),
    (3, fused::convolution), (2, fused::product), (3, fused::piece), (2, fused::group_norm), (2, fused::transform),
    (3, fused::moved),
    (2, recurrent::layer), (1, recurrent::linear),
    (2, signal::transform), (1, signal::frames), (1, signal::made), (3, signal::random),
    (2, select::compress), (2, select::unique), (2, select::reversed), (1, select::eye), (1, select::shrink),
    (4, select::products), (1, select::determinant), (1, select::grams), (3, select::loss),
    (3, vision::grid_sample), (3, vision::affine), (2, vision::suppression), (3, vision::regions), (3, vision::deformed),
    (1, vision::blocks), (2, vision::norms), (2, vision::unpooled), (2, vision::centred),
];
