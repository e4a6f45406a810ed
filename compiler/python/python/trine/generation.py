"""Text generation: a language model that is fed what it says."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union, overload

from . import _trine
from .compiled import CompiledModel
from .errors import InvalidArgument, InvalidModel
from .session import Source, source

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from typing_extensions import Self

__all__ = ["Decoder", "generate"]

Model = Union[Source, CompiledModel]

# What end-of-text tokens are called, where no file says which they are.
_END_NAMES = (
    "</s>",
    "<|endoftext|>",
    "<|im_end|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<eos>",
    "<end_of_turn>",
    "<|end|>",
)


class Decoder(_trine.Decoder):
    """A language model and what it has read.

    The model takes ``input_ids`` (and ``attention_mask``, ``position_ids``, ``past_key_values.*``, where it has them) and
    gives logits; where a ``genai_config.json`` lies beside it, its inputs and outputs are called what that says. It reads
    up to ``capacity`` tokens. Further keywords say how to compile, as for ``trine.compile``.
    """

    def __new__(cls, model: Model, *, capacity: int, threads: int = 0, **options: Any) -> Self:
        config = None
        if isinstance(model, CompiledModel):
            if options:
                raise InvalidArgument(f"the model is compiled, and `{next(iter(options))}` says how to compile")
            program = model.program()
        else:
            found = source(model)
            program = _trine.Program(found, options)
            if isinstance(found, str):
                config = _text_beside(Path(found), "genai_config.json")
        return super().__new__(cls, program, threads, capacity, config)


@overload
def generate(
    model: Model,
    prompt: str,
    tokenizer: Tokenizer | str | os.PathLike[str] | None = ...,
    *,
    max_tokens: int = ...,
    temperature: float = ...,
    top_p: float = ...,
    seed: int = ...,
    stop: Iterable[int | str] | None = ...,
    threads: int = ...,
    **options: Any,
) -> Iterator[str]: ...


@overload
def generate(
    model: Model,
    prompt: Sequence[int],
    tokenizer: None = ...,
    *,
    max_tokens: int = ...,
    temperature: float = ...,
    top_p: float = ...,
    seed: int = ...,
    stop: Iterable[int | str] | None = ...,
    threads: int = ...,
    **options: Any,
) -> Iterator[int]: ...


def generate(
    model: Model,
    prompt: str | Sequence[int],
    tokenizer: Tokenizer | str | os.PathLike[str] | None = None,
    *,
    max_tokens: int = 64,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    stop: Iterable[int | str] | None = None,
    threads: int = 0,
    **options: Any,
) -> Iterator[int] | Iterator[str]:
    """Goes on from a prompt, piece by piece as it comes.

    A prompt of text gives text, for which the package ``tokenizers`` is needed and ``tokenizer``: one of its tokenizers, or
    a file; ``tokenizer.json`` beside the model by default. A prompt of token ids gives ids.

    The likeliest token is taken unless ``temperature`` is above 0; then tokens are drawn from the likeliest that together
    have the probability ``top_p``, and the same ``seed`` draws the same. It ends after ``max_tokens``, or at a token of
    ``stop``; by default, for text, at those that files beside the tokenizer name. Further keywords say how to compile.
    """
    if max_tokens < 0:
        raise InvalidArgument("`max_tokens` is a number from 0 up")
    draw = (temperature, top_p, seed)
    if isinstance(prompt, str):
        text = _Text(model, tokenizer)
        ids = text.encode(prompt)
        stops = text.stops(stop)
        return text.decode(_tokens(_decoder(model, ids, max_tokens, threads, options), ids, max_tokens, draw, stops))
    if tokenizer is not None:
        raise InvalidArgument("`tokenizer` is for a prompt of text, and this one is of token ids")
    ids = [int(token) for token in prompt]
    stops = set()
    for token in stop or ():
        if isinstance(token, str):
            raise InvalidArgument(f"`stop` is of token ids where the prompt is, not `{token}`")
        stops.add(int(token))
    return _tokens(_decoder(model, ids, max_tokens, threads, options), ids, max_tokens, draw, stops)


def _decoder(model: Model, ids: list[int], max_tokens: int, threads: int, options: dict[str, Any]) -> Decoder:
    if not ids:
        raise InvalidArgument("the prompt is empty")
    return Decoder(model, capacity=len(ids) + max_tokens, threads=threads, **options)


def _tokens(
    decoder: Decoder, ids: list[int], max_tokens: int, draw: tuple[float, float, int], stops: set[int]
) -> Iterator[int]:
    unread = ids
    for step in range(max_tokens):
        token = decoder.next(unread, *draw, step)
        if token in stops:
            return
        yield token
        unread = [token]


class _Text:
    """A tokenizer, and where a text ends."""

    def __init__(self, model: Model, given: Tokenizer | str | os.PathLike[str] | None) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise InvalidArgument("a prompt of text needs the package `tokenizers`") from None
        self.path: Path | None = None
        if given is None:
            if isinstance(model, (CompiledModel, bytes, bytearray, memoryview)):
                raise InvalidArgument("a prompt of text needs `tokenizer`: the model is no file that it lies beside")
            path = source(model)
            self.path = Path(os.fsdecode(path)).parent / "tokenizer.json"
            if not self.path.is_file() and self.path.parent.name == "onnx":
                self.path = self.path.parent.parent / "tokenizer.json"
        elif isinstance(given, (str, os.PathLike)):
            self.path = Path(given)
        else:
            self.tokenizer = given
        if self.path is not None:
            if not self.path.is_file():
                raise InvalidModel(f"there is no tokenizer `{self.path}`")
            try:
                self.tokenizer = Tokenizer.from_file(str(self.path))
            except Exception as error:  # The package has no class of its own for it.
                raise InvalidModel(f"`{self.path}` is not a tokenizer: {error}") from None

    def encode(self, prompt: str) -> list[int]:
        return list(self.tokenizer.encode(prompt).ids)

    def stops(self, given: Iterable[int | str] | None) -> set[int]:
        """The ids of tokens that end a text, by what was asked for or by what lies beside the tokenizer."""
        if given is None:
            return self._usual_stops()
        stops: set[int] = set()
        for token in given:
            known = self.tokenizer.token_to_id(token) if isinstance(token, str) else token
            if known is None:
                raise InvalidArgument(f"the tokenizer has no token `{token}`")
            stops.add(known)
        return stops

    def _usual_stops(self) -> set[int]:
        if self.path is not None:
            for name in ("generation_config.json", "config.json"):
                found = _json_beside(self.path, name).get("eos_token_id")
                ids = {token for token in (found if isinstance(found, list) else [found]) if isinstance(token, int)}
                if ids:
                    return ids
            token = _json_beside(self.path, "tokenizer_config.json").get("eos_token")
            token = token.get("content") if isinstance(token, dict) else token
            known = self.tokenizer.token_to_id(token) if isinstance(token, str) else None
            if known is not None:
                return {known}
        added = self.tokenizer.get_added_tokens_decoder()
        return {id for id, token in added.items() if token.special and token.content in _END_NAMES}

    def decode(self, tokens: Iterator[int]) -> Iterator[str]:
        from tokenizers.decoders import DecodeStream

        stream = DecodeStream(skip_special_tokens=True)
        for token in tokens:
            piece = stream.step(self.tokenizer, token)
            # A token may be a part of a letter.
            if piece is not None:
                yield piece


def _text_beside(path: Path, name: str) -> str | None:
    beside = path.with_name(name)
    return beside.read_text(encoding="utf-8") if beside.is_file() else None


def _json_beside(path: Path, name: str) -> dict[str, Any]:
    text = _text_beside(path, name)
    if text is None:
        return {}
    try:
        read = json.loads(text)
    except ValueError as error:
        raise InvalidModel(f"`{path.with_name(name)}` is not JSON: {error}") from None
    return read if isinstance(read, dict) else {}
