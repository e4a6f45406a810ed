"""What the text that weights are fitted to must be: how long, and of what kind."""

from fit import TOKENS, before, drawn, fitted
from lab import Lab
from table import Claim, falls, mean, spread, table
from text import SEEDS, Texts

RECIPE = "gptq+cd+compensate"
SIZES = [1024, 2048, 4096, 8192, 16384, 32768]
FORTUNES = "other fortunes"
NOTE = "relX is of the text fitted to, held out or not: between rows of the second table it says nothing."


def measure(lab: Lab, texts: Texts) -> dict:
    sizes = {str(size): drawn(lab, texts, RECIPE, SEEDS, tokens=size) for size in SIZES}
    domains = {FORTUNES: drawn(lab, texts, RECIPE, SEEDS)}
    for name, path in texts.domains().items():
        # Which windows are taken is drawn too.
        domains[name] = [fitted(lab, texts, RECIPE, path, seed=seed) for seed in SEEDS]
    return {"before": before(lab, texts)["loss"], "sizes": sizes, "domains": domains}


def markdown(data: dict) -> str:
    def rows(runs: dict) -> list[list[str]]:
        return [
            [name, *(spread([run[measure] for run in some]) for measure in ("relX", "relX_held_out", "loss"))]
            for name, some in runs.items()
        ]

    head = ["relX", "relX held out", "loss on fortunes"]
    sizes = table(["tokens", *head], rows(data["sizes"]))
    domains = table([f"{TOKENS} tokens of", *head], rows(data["domains"]))
    return f"{sizes}\n\n{domains}\n\n{NOTE}"


def claims(data: dict) -> list[Claim]:
    losses = {name: mean([run["loss"] for run in runs]) for name, runs in (data["sizes"] | data["domains"]).items()}
    sizes = [losses[str(size)] for size in SIZES]
    shortest, longest = sizes[0], sizes[-1]
    letters, own = losses["random letters"], losses[FORTUNES]
    others = {name: losses[name] for name in data["domains"] if name != FORTUNES}
    return [
        Claim(
            "More text is better, at every doubling",
            falls(sizes),
            f"{shortest:.3f} with {SIZES[0]} tokens, {longest:.3f} with {SIZES[-1]}",
        ),
        Claim(
            "Half as much text as by default would do (within 0.02)",
            losses["8192"] - losses["16384"] < 0.02,
            f"{losses['8192']:.3f}, {losses['16384']:.3f}",
        ),
        Claim(
            "Text of the kind that is read is the best to fit to",
            own < min(others.values()),
            f"{own:.3f}, then {min(others, key=others.get)} with {min(others.values()):.3f}",
        ),
        Claim("Random letters would do (within 0.1)", letters - own < 0.1, f"{letters:.3f} to {own:.3f}"),
    ]
