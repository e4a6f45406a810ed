"""The ten systems that the project started from: what each became, what proves it, and what it comes to here.

Figures are those of the other parts. Those of papers are of larger models, most of them trained: they are quoted for
their shape alone.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import training
from lab import ROOT
from methods import losses
from table import mean, table

# Where tests are, and how each language writes one.
TEST = r"^\s*(?:def|fn|async fn) {name}\("
NOT_RUN = "not run"
# Nats that are not a gain.
SLIGHT = 0.01
HITNET = "ternary, Bernoulli in training"


@dataclass(frozen=True)
class Seed:
    system: str
    paper: str
    ours: str
    works: str
    # `file::test`, or the name of a file of `tests/ir`.
    tests: list[str]
    quoted: str
    # Of the results of the parts: our figure, and whether its shape is the paper's.
    found: Callable[[dict], tuple[str, str]]


def tequila(results: dict) -> tuple[str, str]:
    absmean, ours, fitted = losses(
        results["methods"], "absmean{group=128}", "absmean+tequila{group=128}", "absmean+dead-bias{group=128}"
    )
    text = f"loss {absmean:.3f} by absmean, {ours:.3f} with the bias, {fitted:.3f} with the calibrated one"
    shape = verdict(ours < absmean - SLIGHT, "without training the bias is worth next to nothing")
    shape += "; the calibrated one does harm" if fitted > absmean else ""
    if "training" in results:
        trained = results["training"]["losses"]
        text += f"; trained {trained['']:.3f} without, {trained['--tequila']:.3f} with"
        gained = trained["--tequila"] < trained[""] - training.SEED
        shape += "; training gains by it" if gained else "; in training the difference is one that a seed makes"
    return text, shape


def features(results: dict) -> tuple[str, str]:
    data = results["features"]
    report = data["features"]["pixels, standardized"]["1"]
    best, state = report["best"][0], data["features"]["state of the GRU"]["1"]
    crossovers = data["crossovers"]
    text = (
        f"pixels: D {report['D']:.3f} to {best['point']['D']:.3f} at {best['point']['multiple']:g}·mean, neighbours "
        f"{100 * report['neighbours']:.1f} % to {100 * best['neighbours']:.1f} %; states of the GRU: D "
        f"{state['D']:.3f} to {state['best'][0]['point']['D']:.3f}; "
        f"crossovers {crossovers['ternary']:.4f}, {crossovers['binary']:.4f}"
    )
    raised = best["point"]["D"] > report["D"]
    return text, verdict(raised, "no threshold raises D") + "; not for features that a network was trained to"


def norms(results: dict) -> tuple[str, str]:
    plain, columns = losses(results["methods"], "gptq+cd+compensate", "gptq+cd+compensate+columns")
    text = f"scaled columns: loss {plain:.3f} to {columns:.3f}"
    if "training" not in results:
        return text, "no claim without training"
    table_of = results["training"]["norms"]
    (one, gradual), (bare, bare_gradual) = table_of["with extra norms"], table_of["without"]
    text += f"; trained with / without norms: {one:.3f} / {bare:.3f}, λ by layer {gradual:.3f} / {bare_gradual:.3f}"
    where = "norms help where λ moves" if gradual < bare_gradual else "norms do not help where λ moves"
    best = gradual == min(one, gradual, bare, bare_gradual)
    return text, verdict(best, f"{where}, but both together are not the best")


def hitnet(results: dict) -> tuple[str, str]:
    cells, best = [], []
    for model, grid in results["recurrent"].items():
        found = {(w, s): 100 * mean(grid[w][s]["1"]) for w in grid for s in grid[w]}
        rounded = {pair: share for pair, share in found.items() if "f32" not in pair}
        listed = ", ".join(f"{share:.1f} {w}/{s}" for (w, s), share in rounded.items())
        cells.append(f"{model} {found['f32', 'f32']:.1f} % as f32; {listed}")
        best.append(max(rounded, key=rounded.get) == ("threshold", "Bernoulli"))
    if "training" in results:
        found = results["training"]["hitnet"]
        cells += [
            f"trained {cell.upper()} {100 * found[f'f32, f32, {cell}']['accuracy']:.1f} % as f32, "
            f"{100 * found[f'{HITNET}, {cell}']['accuracy']:.1f} % as HitNet"
            for cell in training.CELLS
        ]
    why = "weights by threshold are far better, but without training states by threshold are better than by chance"
    shape = verdict(all(best), why)
    if "training" in results:
        lost = [found[f"f32, f32, {c}"]["accuracy"] - found[f"{HITNET}, {c}"]["accuracy"] for c in training.CELLS]
        shape += f"; trained, rounding both costs at most {100 * max(lost):.1f} points"
    return "; ".join(cells), shape


def spheres(results: dict) -> tuple[str, str]:
    plain, unit = losses(results["methods"], "exact", "exact{normalize_rows=true}")
    return f"loss {plain:.3f}, {unit:.3f} with rows of unit length", "no figures to compare"


def survey(results: dict) -> tuple[str, str]:
    rows = results["methods"]["rows"]
    found = {name: mean([run["loss"] for run in runs]) for name, runs in rows.items()}
    best = min((name for name in found if mean([run["bits"] for run in rows[name]]) < 2.1), key=found.get)
    worst = max(found, key=found.get)
    ends = f"{found[worst]:.3f} (`{worst}`) to {found[best]:.3f} (`{best}`, one plane)"
    text = f"{len(found)} recipes: loss from {ends}"
    return text, "no figures to compare"


def hypersphere(results: dict) -> tuple[str, str]:
    exact, sphere, refit, angle = losses(results["methods"], "exact", "hypersphere", "exact+refit", "exact+angle")
    text = f"loss {sphere:.3f}, exact {exact:.3f}; by output errors {angle:.3f}, exact with scales refitted {refit:.3f}"
    shape = verdict(sphere == exact and angle < refit, "the angle does not decide")
    if "training" in results:
        trained = results["training"]["losses"]
        text += f"; in the loss of training {trained['--hypersphere 1']:.3f}, without {trained['']:.3f}"
        if trained["--hypersphere 1"] >= trained[""]:
            shape += "; in training it does not pay here"
    return text, shape


def smart(results: dict) -> tuple[str, str]:
    if "budget" not in results:
        return NOT_RUN, NOT_RUN
    data = results["budget"]

    def loss(runs: list[dict]) -> float:
        return mean([run["loss"] for run in runs])

    binary, ternary = loss(data["binary"]), loss(data["ternary"])
    bought = {bits: loss(runs) for bits, runs in data["budgets"].items()}
    listed = ", ".join(f"{bits} bits {one:.3f}" for bits, one in bought.items())
    text = f"all binary {binary:.3f}, all ternary {ternary:.3f}; {listed}"
    shape = verdict(ternary < bought["1.35"] < binary, "a mixture is not between its ends")
    if bought["1.7"] > ternary:
        shape += "; where the bits are those of all ternary, all ternary is better"
    return text, shape


def clusters(results: dict) -> tuple[str, str]:
    once, fixed, plain, compensated = losses(
        results["methods"], "three-means+refit", "three-means+slq", "gptq+cd", "gptq+cd+compensate"
    )
    text = f"loss {once:.3f} one-shot, {fixed:.3f} cluster by cluster; depth: {plain:.3f} to {compensated:.3f}"
    return text, verdict(fixed < once and compensated < plain, "one of the two does not gain")


def admm(results: dict) -> tuple[str, str]:
    names = ["twn", "exact+refit", "admm"]
    twn, refit, ours = losses(results["methods"], *names)
    rel = [mean([run["relX_held_out"] for run in results["methods"]["rows"][name]]) for name in names]
    (steps,) = losses(results["methods"], "extragradient")
    text = (
        f"loss {twn:.3f} TWN, {refit:.3f} refitted, {ours:.3f} ADMM ({steps:.3f} by extragradient); relX held out "
        f"{', '.join(f'{value:.3f}' for value in rel)}"
    )
    ordered = ours < refit < twn and rel[2] < rel[1] < rel[0]
    return text, verdict(ordered, "not in order") + "; the paper trains, this does not"


def verdict(holds: bool, otherwise: str) -> str:
    return "yes" if holds else f"no: {otherwise}"


CALIBRATED = "compiler/ternarize/src/tests/calibrated.rs"
PROJECTIONS = "compiler/ternarize/src/tests/projections.rs"
BIAS = "compiler/ternarize/src/tests/bias.rs"
TRAIN = "examples/train/test_train.py"
SEEDS = [
    Seed(
        "Tequila: dead weights become a bias",
        "2509.23809",
        "`+tequila`, `+dead-bias`, `+bias`; `train_lm.py --tequila`",
        "no op but the bias; λ = 0 gives absmean's bits; the bias is the row sum of dead weights to 1e-6; the "
        "calibrated one zeroes the mean error, and stays only where held-out loss falls",
        [
            f"{BIAS}::dead_weights_as_a_bias_are_row_sums",
            f"{BIAS}::a_calibrated_bias_zeroes_the_mean_error",
            "compiler/cli/tests/biases.rs::a_bias_stays_only_where_held_out_loss_falls",
            f"{TRAIN}::test_tequila",
        ],
        "1B, mean of 6 tasks: .502 f32, .445 absmean, .477 Tequila, after 10B tokens",
        tequila,
    ),
    Seed(
        "Binary and ternary features",
        "2504.13792",
        "`trine features`; `--features ternary{threshold=…}`",
        "crossovers 0.6635 and 0.7648; on digits D 1.494 to 1.663 and neighbours no worse",
        [
            "compiler/src/discrimination.rs::gaussian_classes_gain_from_where_the_analysis_says",
            "compiler/src/discrimination.rs::digits_are_told_apart_better_once_they_are_ternary",
            "tests/ir/passes/ternarize_features.ir",
        ],
        "none quoted",
        features,
    ),
    Seed(
        "An extra RMSNorm, λ from 0 to 1 by layer",
        "2505.08823",
        "`norm-inputs`, `+columns`; `train_lm.py --gradual`, `--no-norm`, `--table`",
        "every ternary layer reads a fused norm; one that takes back what it does moves logits by less than 1e-5 of the "
        "largest; λ ends at exactly 1; the 2×2 table is printed; inputs scaled back give scaled columns the same error",
        [
            "compiler/cli/tests/norms.rs::every_ternary_layer_reads_a_norm_that_is_fused",
            "compiler/cli/tests/norms.rs::norms_that_take_back_what_they_do_leave_logits_as_they_are",
            f"{TRAIN}::test_lambda_goes_from_0_to_exactly_1_by_layer",
            f"{TRAIN}::test_the_table",
            "compiler/ternarize/src/metric.rs::scaled_inputs_give_scaled_weights_the_same_error",
        ],
        "none quoted",
        norms,
    ),
    Seed(
        "HitNet: weights by threshold, states by chance",
        "NeurIPS 2018",
        "`--ternarize twn --states bernoulli{slope=…}`; `train_rnn.py`",
        "f32 layers as onnxruntime to 1e-5; threshold far above Bernoulli for weights; a seed gives the same bits "
        "interpreted and compiled",
        [
            "tests/recurrent.rs::layers_answer_as_onnxruntime_within_a_hundred_thousandth",
            "tests/rows.rs::weights_by_threshold_keep_what_weights_at_random_lose",
            "tests/rows.rs::one_seed_gives_the_same_bits_interpreted_and_compiled",
        ],
        "PTB perplexity: LSTM 97.2 f32, 110.3; GRU 113.5",
        hitnet,
    ),
    Seed(
        "Working with hyperspheres, part 2",
        "",
        "its text describes no such system, see the seventh; `--normalize-rows` rounds rows at unit length",
        "outputs change by less than 1e-6 of their size, whatever the method; one that gives all rows one scale refuses",
        [
            "compiler/ternarize/src/tests/interface.rs::rows_of_unit_length_give_the_same_outputs",
            "compiler/cli/tests/ternarize.rs::rows_of_unit_length_change_no_loss",
        ],
        "none quoted",
        spheres,
    ),
    Seed(
        "A survey of projections and optimizers",
        "2303.01505",
        "`trine ternarize --list`, with both axes",
        "brute force over 3^12 finds nothing better than `exact`; errors on Gaussian rows are those of theory",
        [
            f"{PROJECTIONS}::exact_is_optimal_among_all_trits_of_twelve_weights",
            f"{PROJECTIONS}::errors_on_gaussian_rows_are_those_of_theory",
            "compiler/ternarize/src/tests/interface.rs::names_are_told_apart_and_described",
        ],
        "none quoted",
        survey,
    ),
    Seed(
        "Hyperspherical, loss-aware",
        "2212.12649",
        "`hypersphere`, `+angle`; `train_lm.py --hypersphere`",
        "cos² is 1 − relW to 1e-6, and the trits are exact's",
        [
            f"{PROJECTIONS}::least_squares_is_the_smallest_angle",
            f"{CALIBRATED}::angles_are_no_wider_than_those_of_the_start",
            f"{TRAIN}::test_the_hyperspherical_distance_is_what_the_best_scale_loses",
        ],
        "none quoted",
        hypersphere,
    ),
    Seed(
        "Smart ternary: a depth for each layer",
        "1909.12205",
        "`smart`, `--bits B`; `train_lm.py --smart`",
        "more bits lose less; the ends are all binary and all kept, or all ternary; no worse than random choices at "
        "equal bits",
        [
            "compiler/ternarize/src/depth.rs::more_bits_lose_less_and_ends_are_pure",
            "compiler/ternarize/src/depth.rs::random_assignments_that_cost_no_more_lose_no_less",
            "compiler/ternarize/src/project/smart.rs::two_humps_are_binary_and_one_is_ternary",
            "compiler/cli/tests/ternarize.rs::budgets_choose_depths",
        ],
        "none quoted",
        smart,
    ),
    Seed(
        "SLQ and MLQ: clusters one by one, layers aware of earlier ones",
        "1803.03289",
        "`three-means+slq`, `+compensate`",
        "the error falls in each round and ends below one-shot clusters; compensation lowers the error of disturbed "
        "inputs",
        [
            f"{CALIBRATED}::clusters_fixed_one_by_one_end_below_one_shot",
            f"{CALIBRATED}::compensation_lowers_the_error_of_disturbed_inputs",
            "compiler/ternarize/src/refine/compensate.rs::the_target_undoes_what_was_done_to_the_inputs",
        ],
        "none quoted",
        clusters,
    ),
    Seed(
        "ADMM",
        "1707.09870",
        "`iterative`, `admm`, `extragradient`",
        "the projection's error never rises; relX in the order ADMM, refitted, TWN; the extragradient within 1 %",
        [
            "compiler/ternarize/src/project/alternate.rs::the_error_never_rises",
            f"{CALIBRATED}::methods_are_in_order_on_the_inputs_that_they_saw",
            f"{CALIBRATED}::splitting_beats_refitting_on_other_inputs_too",
            f"{CALIBRATED}::the_extragradient_comes_to_what_the_closed_form_finds",
        ],
        "ImageNet top-1/top-5: AlexNet 58.2/80.6, ResNet-18 67.0/87.5",
        admm,
    ),
]


def missing() -> list[str]:
    """Tests that are named here and are not in the tree."""
    return [test for seed in SEEDS for test in seed.tests if not exists(test)]


def exists(test: str) -> bool:
    file, _, name = test.partition("::")
    path = ROOT / file
    if not path.is_file():
        return False
    return not name or bool(re.search(TEST.format(name=re.escape(name)), path.read_text("utf-8"), re.MULTILINE))


def markdown(results: dict) -> str:
    if absent := missing():
        raise SystemExit(f"named as tests and not there: {', '.join(absent)}")
    rows = []
    for number, seed in enumerate(SEEDS, 1):
        try:
            ours, shape = seed.found(results)
        except KeyError as error:
            # A part that it needs was not run.
            if error.args[0] not in PARTS_NEEDED:
                raise
            ours, shape = NOT_RUN, NOT_RUN
        paper = f"{seed.system} ({seed.paper})" if seed.paper else seed.system
        tests = "; ".join(f"`{test.rpartition('/')[2]}`" for test in seed.tests)
        works = f"{seed.works}: {tests}"
        rows.append([str(number), paper, seed.ours, works, ours, seed.quoted, shape])
    head = ["", "system", "here", "works when: the test that says so", "our figure", "the paper's", "same shape?"]
    return table(head, rows, words=len(head))


PARTS_NEEDED = ["methods", "recurrent", "features"]
