"""Arrays that models are made for, of sizes that are named: pictures, sound, text.

Functions give what to feed a model in turn, of one size or by the names of several; values come from a generator.
"""

import math
from collections.abc import Callable

import numpy as np

Feed = dict[str, np.ndarray]
Random = np.random.Generator
# What a model is fed in turn: more than once where it carries something from run to run.
Feeds = Callable[[Random], list[Feed]]
Shape = tuple[int, ...]

# How many samples of the frame before it a frame of silero-vad begins with, by its length.
CONTEXT = {576: 64, 288: 32}


def named(shape: Shape) -> str:
    return "×".join(map(str, shape))


def once(**arrays: Callable[[Random], np.ndarray]) -> Feeds:
    return lambda random: [{name: array(random) for name, array in arrays.items()}]


def picture(random: Random, *shape: int) -> np.ndarray:
    """`[..., height, width]` from -1 to 1: patches of one shade and a little noise."""
    *front, height, width = shape
    patches = random.uniform(-1, 1, (*front, math.ceil(height / 8), math.ceil(width / 8)))
    shades = patches.repeat(8, -2).repeat(8, -1)[..., :height, :width]
    return np.clip(shades + random.normal(0, 0.05, shape), -1, 1).astype(np.float32)


def page(random: Random, *shape: int) -> np.ndarray:
    """`[batch, channels, height, width]` from -1 to 1: lines of dark strokes on light paper, as text looks."""
    batch, channels, height, width = shape
    sheets = np.full((batch, height, width), 0.8)
    for sheet in sheets:
        for top in range(6, height - 18, 32):
            for left in range(8, width - 12, 10):
                up, along = random.integers(0, 8, 2), random.integers(0, 6, 2)
                sheet[top + up[0] : top + up[0] + 12, left + along[0] : left + along[0] + 2] = -0.9
                sheet[top + up[1] : top + up[1] + 2, left : left + 3 + along[1]] = -0.9
    noisy = np.repeat(sheets[:, None], channels, 1) + random.normal(0, 0.03, shape)
    return np.clip(noisy, -1, 1).astype(np.float32)


def pictures(name: str, *shapes: Shape, lowest: float = -1, highest: float = 1, of=picture) -> dict[str, Feeds]:
    half = (highest - lowest) / 2

    def feeds(shape: Shape) -> Feeds:
        return once(**{name: lambda random: (lowest + half * (1 + of(random, *shape))).astype(np.float32)})

    return {named(shape): feeds(shape) for shape in shapes}


def photos(name: str, *batches: int) -> dict[str, Feeds]:
    """Channels last, shades around the mean of a training set."""

    def feeds(batch: int) -> Feeds:
        return once(**{name: lambda random: 120 * np.moveaxis(picture(random, batch, 3, 224, 224), 1, -1).copy()})

    return {named((batch, 224, 224, 3)): feeds(batch) for batch in batches}


def sound(random: Random, rows: int, samples: int, rate: int = 16000) -> np.ndarray:
    """`[rows, samples]` from -1 to 1: a voice's tones, rising and falling, and a little noise."""
    time = np.arange(samples) / rate
    pitch = random.uniform(90, 250, (rows, 1))
    tones = sum(np.sin(2 * np.pi * pitch * k * time + random.uniform(0, 6, (rows, 1))) / k for k in range(1, 12))
    loudness = 0.5 + 0.5 * np.sin(2 * np.pi * random.uniform(2, 5, (rows, 1)) * time)
    return (0.15 * tones * loudness + random.normal(0, 0.005, (rows, samples))).astype(np.float32)


def frames(rows: int, samples: int, rate: int, states: dict[str, Shape], tells_rate: bool = True) -> Feeds:
    """Four frames of a voice and its states, whose rows are 0 in `states`."""
    kept = CONTEXT.get(samples, 0)
    step = samples - kept

    def feeds(random: Random) -> list[Feed]:
        whole = sound(random, rows, kept + 4 * step, rate)
        found = [{"input": whole[:, start : start + samples].copy()} for start in range(0, 4 * step, step)]
        for frame in found if tells_rate else []:
            frame["sr"] = np.array(rate, np.int64)
        zeros = {name: np.zeros([rows if d == 0 else d for d in dims], np.float32) for name, dims in states.items()}
        return [found[0] | zeros, *found[1:]]

    return feeds


def frame_blocks(count: int) -> Feeds:
    """Frames of 512 samples behind the last 64 of the frame before them, in two runs."""

    def feeds(random: Random) -> list[Feed]:
        whole = sound(random, 1, 64 + 2 * count * 512)[0]
        rows = np.stack([whole[start : start + 576] for start in range(0, 2 * count * 512, 512)])
        zeros = np.zeros((1, 1, 128), np.float32)
        return [{"input": rows[:count], "h": zeros, "c": zeros}, {"input": rows[count:]}]

    return feeds


def waves(*shapes: Shape) -> dict[str, Feeds]:
    """Samples as sound cards have them: 16 bits."""

    def feeds(shape: Shape) -> Feeds:
        return once(input=lambda random: np.rint(32767 * sound(random, *shape)))

    return {named(shape): feeds(shape) for shape in shapes}


def normal(random: Random, *shape: int) -> np.ndarray:
    return random.standard_normal(shape).astype(np.float32)


def normals(name: str, *shapes: Shape, scale: float) -> dict[str, Feeds]:
    def feeds(shape: Shape) -> Feeds:
        return once(**{name: lambda random: np.float32(scale) * normal(random, *shape)})

    return {named(shape): feeds(shape) for shape in shapes}


def ids(random: Random, count: int, *shape: int) -> np.ndarray:
    """From 1, for 0 is what rows are filled up with."""
    return random.integers(1, count, shape, np.int64)


def tokens(name: str, count: int, *shapes: Shape, kind: type = np.int64) -> dict[str, Feeds]:
    def feeds(shape: Shape) -> Feeds:
        return once(**{name: lambda random: ids(random, count, *shape).astype(kind)})

    return {named(shape): feeds(shape) for shape in shapes}


def letters(name: str, space: int, first: int, *shapes: Shape) -> dict[str, Feeds]:
    """Of 32 from `first` on; one in six is a space."""

    def text(random: Random, shape: Shape) -> np.ndarray:
        return np.where(random.random(shape) < 1 / 6, space, first + random.integers(0, 32, shape))

    return {named(shape): once(**{name: lambda random, shape=shape: text(random, shape)}) for shape in shapes}


def mask(random: Random, rows: int, length: int) -> np.ndarray:
    """The first row is whole, the others end earlier."""
    lengths = np.array([length, *random.integers(1, length + 1, rows - 1)])
    return (np.arange(length) < lengths[:, None]).astype(np.int64)


def sentences(count: int, *shapes: Shape, has_types: bool = False) -> dict[str, Feeds]:
    def feeds(shape: Shape) -> Feeds:
        types = {"token_type_ids": lambda _: np.zeros(shape, np.int64)} if has_types else {}
        return once(
            input_ids=lambda random: ids(random, count, *shape),
            attention_mask=lambda random: mask(random, *shape),
            **types,
        )

    return {named(shape): feeds(shape) for shape in shapes}


def answers(count: int, width: int, *sizes: tuple[int, int, int]) -> dict[str, Feeds]:
    """What a decoder reads: rows and tokens of its own, and the states of what was read."""

    def feeds(rows: int, length: int, read: int) -> Feeds:
        return once(
            input_ids=lambda random: ids(random, count, rows, length),
            encoder_hidden_states=lambda random: np.float32(0.2) * normal(random, rows, read, width),
            encoder_attention_mask=lambda random: mask(random, rows, read),
        )

    return {f"{rows}×{length} after {read}": feeds(rows, length, read) for rows, length, read in sizes}


def sentence_lengths(count: int, *shapes: Shape) -> dict[str, Feeds]:
    def feeds(shape: Shape) -> Feeds:
        lengths = np.full(shape[0], shape[1], np.int64)
        return once(token_ids=lambda random: ids(random, count, *shape), length=lambda _: lengths)

    return {named(shape): feeds(shape) for shape in shapes}


def windows(limits: dict[str, int], *counts: int) -> dict[str, Feeds]:
    """21 characters around each: by input which they are, of which kind, in which syllable, as floats."""

    def feeds(count: int) -> Feeds:
        def input_of(limit: int) -> Callable[[Random], np.ndarray]:
            return lambda random: ids(random, limit, count, 21).astype(np.float32)

        return once(**{name: input_of(limit) for name, limit in limits.items()})

    return {named((count, 21)): feeds(count) for count in counts}
