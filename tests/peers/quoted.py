"""What is known of peers that no registry has, and that are therefore not run here.

Measured earlier on a 2-core AMX Xeon, built from source and with huge pages where they help: medians of one thread's
CPU time, minima of two threads' wall time. By engine, case and threads, as in `contest.Contest`; of ranges the best.
"""

SOURCE = "measured earlier on a 2-core AMX Xeon"

# Batch 128 was measured across shapes.
_LARGE_BATCH = {
    "ik_llama.cpp IQ2_BN": {1: 372, 2: 777},
    "bitnet.cpp I2_S": {1: 184, 2: 393},
}
_BATCH_1 = {
    (2560, 2560): {
        "ik_llama.cpp IQ2_BN": {1: 160, 2: 79},
        "bitnet.cpp TL2": {1: 164, 2: 81},
        "bitnet.cpp I2_S": {1: 216, 2: 128},
    },
    (6912, 2560): {
        "ik_llama.cpp IQ2_BN": {1: 429},
        "bitnet.cpp TL2": {1: 452},
        "bitnet.cpp I2_S": {1: 578},
    },
    (14336, 4096): {
        "ik_llama.cpp IQ2_BN": {1: 1306, 2: 641},
        "bitnet.cpp TL2": {1: 1423, 2: 673},
        "bitnet.cpp I2_S": {1: 1694, 2: 844},
    },
}
# A decoder of 2.2 B parameters, whose vocabulary was not noted. llama.cpp's TQ2_0 made 11.8 and 19.5 tokens a second of
# it, and makes 10.1 and 18.3 of the one with 32,000 tokens, 8.0 with 128,256.
LARGE = {
    "ik_llama.cpp IQ2_BN": {"decode": {1: 17.0, 2: 28.9}, "prompt": {1: 56, 2: 107}},
    "ik_llama.cpp IQ2_BN_R4": {"prompt": {1: 78, 2: 146}},
}


def layer(shape: tuple[int, int]) -> dict[str, dict[str, dict[int, float]]]:
    engines = _BATCH_1[shape].keys() | _LARGE_BATCH.keys()
    return {
        engine: {"batch 1": _BATCH_1[shape].get(engine, {}), "batch 128": _LARGE_BATCH.get(engine, {})}
        for engine in sorted(engines, reverse=True)
    }
