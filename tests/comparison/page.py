"""The page of a comparison."""

import seeds
from fit import CONTEXT, TOKENS
from machine import described
from parts import PARTS

INTRODUCTION = """\
# Ternarization

What `python3 tests/comparison/run.py` printed, and nothing else: to change a table, run it again. Losses are in nats a
token on {held_out} of Debian's fortunes, every twentieth, which neither training nor fitting saw; the f32 model loses
{f32:.3f} on them. Weights are fitted to {tokens} tokens of other fortunes, in windows of {context}.

{machine}; {trine}. Seconds are of {threads}, beside other work."""

ELSEWHERE = """\
[RESULTS.md](RESULTS.md) has a table of SmolLM2-135M, and [examples/train/README.md](examples/train/README.md) has
tables of longer trainings."""
SYSTEMS = """\
Most of the papers train, on models far larger: what they quote is beside ours for its shape alone, and where nothing
is quoted the shape is that of what they claim. Each test named is in the tree, or this page would not be written."""


def page(about: dict, results: dict) -> str:
    data = {name: part["data"] for name, part in results.items()}
    there = {name: part for name, part in PARTS.items() if name in data}
    blocks = [introduction(about)]
    blocks += ["## The ten systems that it started from", SYSTEMS, seeds.markdown(data)]
    claims = {part.title: part.module.claims(data[name]) for name, part in there.items()}
    failing = [claim.line() for of in claims.values() for claim in of if not claim.holds]
    blocks += ["## What does not hold", "\n".join(failing) or "Nothing that was asked."]
    for name, part in there.items():
        minutes = results[name]["seconds"] / 60
        about_it = f"{part.about} Measured in {minutes:.1f} minutes."
        blocks += [f"## {part.title}", about_it, part.module.markdown(data[name])]
        if of := claims[part.title]:
            blocks.append("\n".join(claim.line() for claim in of))
    if absent := [part.title for name, part in PARTS.items() if name not in there]:
        blocks += ["## Not in this run", f"{', '.join(absent)}.\n{ELSEWHERE}"]
    return "\n\n".join(blocks) + "\n"


def introduction(about: dict) -> str:
    threads = about["threads"]
    return INTRODUCTION.format(
        held_out=f"{about['held_out']} texts",
        f32=about["loss"],
        tokens=f"{TOKENS:,}",
        context=CONTEXT,
        machine=described(about["machine"]),
        trine=about["trine"],
        threads=f"{threads} thread{'s' * (threads > 1)}",
    )
