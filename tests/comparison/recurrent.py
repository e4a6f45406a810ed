"""HitNet's quantizers on recurrent networks that had no training for them: weights × states × slopes of the gates."""

from lab import ROOT, Lab
from table import Claim, mean, spread, table
from text import Texts

DIGITS = ROOT / "tests" / "models" / "digits"
MODELS = {"LSTM": DIGITS / "rows_lstm.onnx", "GRU": DIGITS / "rows_gru.onnx"}
DATA = DIGITS / "rows.npz"
# What is drawn is averaged over so many seeds.
SEEDS = range(8)
WEIGHTS = {"f32": None, "threshold": "twn", "Bernoulli": "bernoulli{{seed={seed}}}"}
STATES = {"f32": "keep", "threshold": "threshold", "Bernoulli": "bernoulli"}
SLOPES = ["0.5", "1", "2", "3"]


def measure(lab: Lab, texts: Texts) -> dict:
    del texts
    return {
        model: {
            weights: {states: {slope: cell(lab, path, weights, states, slope) for slope in SLOPES} for states in STATES}
            for weights in WEIGHTS
        }
        for model, path in MODELS.items()
    }


def cell(lab: Lab, model, weights: str, states: str, slope: str) -> list[float]:
    """The shares of digits that are read right, one a seed."""
    seeds = SEEDS if "Bernoulli" in (weights, states) else SEEDS[:1]
    how = WEIGHTS[weights]

    def share(seed: int) -> float:
        options = ["--ternarize", how.format(seed=seed)] if how else []
        drawn = f"seed={seed}," if states == "Bernoulli" else ""
        # What is kept has gates as they are.
        if states != "f32" or slope != "1":
            options += ["--states", f"{STATES[states]}{{{drawn}slope={slope}}}"]
        common = ["--data", DATA, "--activations", "f32", "--head", "keep"]
        return lab.ask("accuracy", model, *common, *options)["accuracy"]

    return [share(seed) for seed in seeds]


def markdown(data: dict) -> str:
    parts = []
    for model, grid in data.items():
        head = ["weights", "states", *(f"λ = {slope}" for slope in SLOPES)]
        rows = [
            [weights, states, *(percent(by_slope[slope]) for slope in SLOPES)]
            for weights, by_states in grid.items()
            for states, by_slope in by_states.items()
        ]
        parts.append(f"{model}:\n\n{table(head, rows, words=2)}")
    return "\n\n".join(parts)


def percent(shares: list[float]) -> str:
    return spread([100 * share for share in shares], 1)


def claims(data: dict) -> list[Claim]:
    found = []
    for model, grid in data.items():
        plain = {(w, s): mean(grid[w][s]["1"]) for w in grid for s in grid[w]}
        rounded = {pair: share for pair, share in plain.items() if "f32" not in pair}
        best = max(rounded, key=rounded.get)
        figures = ", ".join(f"{w}/{s} {100 * share:.1f}" for (w, s), share in rounded.items())
        steep = {
            states: [100 * mean(grid["threshold"][states][slope]) for slope in SLOPES]
            for states in ("threshold", "Bernoulli")
        }
        found += [
            Claim(
                f"{model}: weights by threshold keep more than weights at random, whatever the states",
                all(plain["threshold", s] > plain["Bernoulli", s] for s in STATES),
                figures,
            ),
            Claim(
                f"{model}: of the four cells with both rounded, HitNet's own (threshold, Bernoulli) is the best",
                best == ("threshold", "Bernoulli"),
                f"the best is {'/'.join(best)}: {figures}",
            ),
            Claim(
                f"{model}: gates of slope 0.5 are the worst for rounded states",
                all(min(shares) == shares[0] for shares in steep.values()),
                "; ".join(f"{states} {', '.join(f'{s:.1f}' for s in shares)}" for states, shares in steep.items()),
            ),
        ]
    return found
