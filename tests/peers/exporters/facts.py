"""What Trine makes of an exported model: which parts are found, what is interpreted, and which tokens it gives."""

import json
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from checkpoints import TOKENS, text

# The last pass before ops are lowered, after which each is still called what it is.
RECOGNIZED = "detect-integers"
CONST = re.compile(r"^const @(\S+): trit\[(\d+),(\d+)\]")
OP = re.compile(r"^  %.+? = (\w+)(?: (.*))?$")
# Prompts are read whole, and then tokens one by one: the same program does both.
SECONDS, LIMIT = 0.05, 300


class Failed(Exception):
    """A command of Trine that failed, in its own words."""


@dataclass
class Facts:
    """Layers are counted as the checkpoint has them, if an exporter joined them or not."""

    ternary: int = 0
    int8: int = 0
    norms: int = 0
    rotary: int = 0
    attention: int = 0
    # Attention whose caches, of keys and values, a session holds and grows or writes in place.
    cached: int = 0
    compiled: int = 0
    interpreted: int = 0
    # What is interpreted, by the places that `trine bench --profile` names.
    places: list[str] = field(default_factory=list)


class Trine:
    """`options` are those of compiling."""

    def __init__(self, command: Path, model: Path, options: tuple[str, ...] = ()):
        self.command, self.model, self.options = command, model, options

    def facts(self, joined: dict[tuple[int, int], int]) -> Facts:
        """`joined` says of weights of which shapes, `[outputs, inputs]`, how many layers they are."""
        facts = Facts()
        self._count(facts, joined)
        self._steps(facts)
        return facts

    def _count(self, facts: Facts, joined: dict[tuple[int, int], int]) -> None:
        printed = self.call("opt", self.model, "--print-ir-after", RECOGNIZED, *self.options).stderr
        shapes: dict[str, tuple[int, int]] = {}
        for line in printed.splitlines():
            if const := CONST.match(line):
                shapes[const[1]] = (int(const[2]), int(const[3]))
            if not (op := OP.match(line)):
                continue
            kind, rest = op[1], op[2] or ""
            if kind == "ternary_matmul":
                weights = re.search(r"@(\S+?)[, ]", rest)
                layers = joined.get(shapes.get(weights[1], (0, 0)), 1) if weights else 1
                facts.ternary += layers
                facts.int8 += layers * ("int8=true" in rest)
            facts.norms += kind in ("rms_norm", "layer_norm")
            facts.rotary += kind == "rotary"
            if kind in ("attention", "cached_attention"):
                facts.attention += 1

    def _steps(self, facts: Facts) -> None:
        settings = ["--json", "--profile", "--threads", 1, "--seconds", SECONDS]
        found = json.loads(self.call("bench", self.model, *settings, *self.options).stdout)
        facts.cached = found["held_states"] // 2
        facts.compiled, facts.interpreted = found["steps"]["compiled"], found["steps"]["interpreted"]
        steps = {step["place"]: step["kernel"] for profile in found.get("profiles", []) for step in profile["steps"]}
        facts.places = [place for place, kernel in steps.items() if kernel.endswith("(interpreted)")]

    def tokens(self, tokenizer: Path, prompt: list[int]) -> list[int]:
        words = ["--tokenizer", tokenizer, "--prompt", text(prompt), "-n", TOKENS, "--ids", "--threads", 1]
        return [int(line) for line in self.call("generate", self.model, *words, *self.options).stdout.split()]

    def explained(self, families: set[str]) -> list[str]:
        """The rules that nearly matched a part of these families that was not recognised, and why they did not."""
        try:
            fates = json.loads(self.call("explain", self.model, "--json", *self.options).stdout)["layers"]
        except Failed as failure:
            return [str(failure)]
        lines = []
        for fate in fates:
            if fate["became"] is None and fate["family"] in families:
                reasons = "; ".join(f"{miss['rule']}: {miss['reason']}" for miss in fate["misses"])
                lines.append(f"{fate['family']} `{fate['node']}` ({fate['op_type']}): {reasons or 'no rule is near'}")
        return lines

    def call(self, verb: str, *arguments: object) -> subprocess.CompletedProcess:
        words = [str(word) for word in (self.command, verb, *arguments)]
        try:
            result = subprocess.run(words, capture_output=True, text=True, check=False, timeout=LIMIT)
        except subprocess.TimeoutExpired:
            raise Failed(f"`trine {verb}` takes more than {LIMIT} s") from None
        if result.returncode:
            said = " ".join(line.strip() for line in result.stderr.strip().splitlines() if line.strip())
            told = said.replace(str(self.model), self.model.name) or "it said nothing"
            raise Failed(f"`trine {verb}` ended with {result.returncode}: {told}")
        return result
