"""What the cells of the exporter matrix came to, as markdown."""

from dataclasses import dataclass, field

from facts import Facts
from machine import described

HEAD = (
    "exporter", "checkpoint", "variant", "imports", "ternary", "int8", "norms", "rotary", "attention", "caches",
    "interpreted", "tokens",
)  # fmt: skip
FACTS = ("ternary", "int8", "norms", "rotary", "attention", "cached", "interpreted")
FAMILIES = {
    "ternary": "linear", "int8": "linear", "norms": "norm", "rotary": "attention", "attention": "attention",
    "cached": "attention",
}  # fmt: skip
NOTES = """\
Layers are counted as the checkpoint has them, if an exporter joined them or not. Caches are those that a session holds
and that grow or are written in place; others are copied each token. A model of halves rounds more often than to int8, so
that layers of int8 are asserted where it is made wide. Tokens are compared with the framework's, or, marked †, with
onnxruntime's, where the exporter rounds weights or its file answers other than the framework."""


@dataclass
class Row:
    exporter: str
    checkpoint: str
    variant: str
    dtype: str
    # Whether Trine was asked to make all that is f16 or bf16 wide.
    widened: bool = False
    model: str = ""
    # Why the exporter made no model.
    unexported: str = ""
    imports: bool = False
    facts: Facts | None = None
    # What there should be of each fact; what is not named is not asserted.
    expected: dict[str, int] = field(default_factory=dict)
    tokens: list[list[int]] = field(default_factory=list)
    wanted: list[list[int]] = field(default_factory=list)
    reference: str = ""
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    explained: list[str] = field(default_factory=list)

    @property
    def green(self) -> bool:
        return bool(self.unexported) or self.imports and not self.failures

    @property
    def name(self) -> str:
        return " ".join(filter(None, (self.exporter, self.checkpoint, self.way)))

    @property
    def way(self) -> str:
        return " ".join(filter(None, (self.variant, self.dtype, "widened" * self.widened)))

    @property
    def families(self) -> set[str]:
        """What `trine explain` calls those parts of which some are missing."""
        missing = {fact for fact, wanted in self.expected.items() if self.facts and getattr(self.facts, fact) != wanted}
        return {FAMILIES[fact] for fact in missing if fact in FAMILIES}

    def count(self, cell) -> None:
        """Compares what was found with what the checkpoint has."""
        layers = cell.of.size.layers
        self.expected = {
            "norms": cell.of.norm_count, "rotary": 2 * layers, "attention": layers, "cached": layers, "interpreted": 0,
        }  # fmt: skip
        if not cell.rounded:
            self.expected["ternary"] = cell.of.ternary
            # Halves round what is multiplied by the scale once more, which rows of int8 do not.
            if self.dtype == "f32" or self.widened:
                self.expected["int8"] = cell.of.int8 * cell.of.ternary
        if self.facts:
            for fact in filter(self.expected.__contains__, FACTS):
                if (got := getattr(self.facts, fact)) != (wanted := self.expected[fact]):
                    self.failures.append(f"{fact}: {got}, not {wanted}")


def render(rows: list[Row], machine: dict, versions: dict) -> str:
    made = [row for row in rows if not row.unexported]
    green = sum(row.green for row in made)
    lines = [
        described(machine),
        ", ".join(f"{name} {version}" for name, version in versions.items()),
        "",
        f"{green} of {len(made)} cells are as they should be; exporters cannot make {len(rows) - len(made)} more",
        "",
        f"| {' | '.join(HEAD)} |",
        "|---|---|---|---|" + "---:|" * (len(HEAD) - 4),
        *(f"| {' | '.join(cells(row))} |" for row in made),
        "",
        NOTES,
    ]
    wrong = [row for row in made if not row.green]
    if wrong:
        lines += ["", "What is wrong:", ""]
        for row in wrong:
            lines.append(f"- {row.name}: {short('; '.join(row.failures))}")
            interpreted = [f"interpreted: {place}" for place in row.facts.places] if row.facts else []
            lines += [f"  - {short(reason)}" for reason in [*interpreted[:8], *row.explained[:6]]]
    notes = [(row, note) for row in made for note in row.notes if note]
    if notes:
        lines += ["", "Notes:", "", *(f"- {row.name}: {short(note)}" for row, note in notes)]
    if len(rows) > len(made):
        lines += ["", "What exporters cannot make, in their own words:", ""]
        lines += [f"- {row.name}: {short(row.unexported)}" for row in rows if row.unexported]
    return "\n".join(lines)


def cells(row: Row) -> list[str]:
    words = [row.exporter, row.checkpoint, row.way, "yes" if row.imports else "**no**"]
    return [*words, *(figure(row, fact) for fact in FACTS), answer(row)]


def figure(row: Row, fact: str) -> str:
    if row.facts is None:
        return ""
    got, wanted = getattr(row.facts, fact), row.expected.get(fact)
    said = str(got) if fact == "interpreted" or wanted is None or wanted == got == 0 else f"{got}/{wanted}"
    return said if wanted in (None, got) else f"**{said}**"


def answer(row: Row) -> str:
    if not row.tokens:
        return "**none**"
    mark = "†" if row.reference == "onnxruntime" else ""
    count = sum(map(len, row.wanted or row.tokens))
    if not row.wanted or row.wanted == row.tokens:
        return f"{count}/{count}{mark}"
    return f"**{sum(map(agreeing, row.tokens, row.wanted))}/{count}**{mark}"


def agreeing(ours: list[int], theirs: list[int]) -> int:
    """How many tokens are the same before the first that is not."""
    pairs = enumerate(zip(ours, theirs, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(ours), len(theirs)))


def short(text: str) -> str:
    cut = text if len(text) <= 400 else f"{text[:399]}…"
    return cut.replace("\n", " ")
