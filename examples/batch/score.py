"""Scores a Parquet dataset with a compiled model, by Ray Data.

    python3 examples/batch/score.py model.trine in.parquet out.parquet --input x=pixels --output logits=scores

Each worker is a process that holds one session. It maps the file of the model and does not read it, so that the workers of
a machine share the memory of its weights. A `.trine` file is code: score only with what you trust.
"""

import argparse
from collections.abc import Callable

import numpy as np
import ray
import trine

Batch = dict[str, np.ndarray]

# What a worker is given at a time: small files are read as one piece, which only one worker could score.
BATCHES_AT_A_TIME = 16


class Scorer:
    """An actor: a session of the model, and which columns its inputs and outputs are, by their names."""

    def __init__(self, model: str, inputs: dict[str, str], outputs: dict[str, str], threads: int) -> None:
        self.session = trine.InferenceSession(model, threads=threads)
        self.inputs = inputs
        self.outputs = outputs

    def __call__(self, batch: Batch) -> Batch:
        """The batch with outputs in place of inputs. Columns that the model does not read stay."""
        nodes = self.session.get_inputs()
        feed = {node.name: stacked(batch[self.inputs[node.name]], node.shape) for node in nodes}
        scores = dict(zip(self.outputs.values(), self.session.run(list(self.outputs), feed)))
        read = set(self.inputs.values())
        return {name: column for name, column in batch.items() if name not in read} | scores


def stacked(column: np.ndarray, shape: list[int | str]) -> np.ndarray:
    """A column as an input of a shape whose first size is the number of rows; Parquet has rows as flat lists."""
    if column.dtype == object:
        column = np.stack(list(column))
    known = all(isinstance(size, int) for size in shape[1:])
    return column.reshape(len(column), *shape[1:]) if known else column


def score(
    dataset: ray.data.Dataset,
    model: str,
    inputs: dict[str, str],
    outputs: dict[str, str],
    *,
    workers: int,
    threads: int = 1,
    batch_size: int = 256,
    scorer: type[Scorer] = Scorer,
) -> ray.data.Dataset:
    """The dataset with the outputs of the model, which `workers` actors compute in batches, in any order."""
    pieces = dataset.repartition(target_num_rows_per_block=BATCHES_AT_A_TIME * batch_size)
    return pieces.map_batches(
        scorer,
        fn_constructor_args=(model, inputs, outputs, threads),
        batch_format="numpy",
        batch_size=batch_size,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=threads,
    )


def columns(names: list[str], asked: list[str], fail: Callable[[str], None]) -> dict[str, str]:
    """The column of each name: what `NAME=COLUMN` says, or that of its own name."""
    found = {name: name for name in names}
    for pair in asked:
        name, equals, column = pair.partition("=")
        if not equals or name not in found:
            fail(f"`{pair}` is not NAME=COLUMN, with a NAME of {', '.join(names)}")
        found[name] = column
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Scores a Parquet dataset with a compiled model.")
    parser.add_argument("model", help="what `trine compile -o model.trine` wrote, at the same path on every machine")
    parser.add_argument("input_path", metavar="in.parquet", help="a file, or a folder of files")
    parser.add_argument("output_path", metavar="out.parquet", help="a folder that is not there yet")
    pair = {"action": "append", "default": [], "metavar": "NAME=COLUMN"}
    parser.add_argument("--input", help="the column that an input reads; its own name unless given", **pair)
    parser.add_argument("--output", help="the column that an output becomes; its own name unless given", **pair)
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes, each with a session")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of a session")
    parser.add_argument("--batch-size", type=int, default=256, metavar="ROWS", help="rows of a run")
    parser.add_argument("--address", help="the Ray cluster to run on, or this machine alone")
    args = parser.parse_args()
    # A model that does not fit is told before anything is started.
    session = trine.InferenceSession(args.model, threads=1)
    inputs = columns([node.name for node in session.get_inputs()], args.input, parser.error)
    outputs = columns([node.name for node in session.get_outputs()], args.output, parser.error)
    if args.address:
        ray.init(args.address)
    else:
        # Reading and writing need a place beside the workers, or nothing ever arrives.
        ray.init("local", num_cpus=args.workers * args.threads + 2, include_dashboard=False)
    dataset = ray.data.read_parquet(args.input_path)
    missing = set(inputs.values()) - set(dataset.columns() or [])
    if missing:
        parser.error(f"`{args.input_path}` has no column `{min(missing)}`; --input NAME=COLUMN says which an input reads")
    how = {"workers": args.workers, "threads": args.threads, "batch_size": args.batch_size}
    scored = score(dataset, args.model, inputs, outputs, **how)
    scored.write_parquet(args.output_path, mode=ray.data.SaveMode.ERROR)


if __name__ == "__main__":
    main()
