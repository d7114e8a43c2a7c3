"""The cases of networks that see and read, and of those that fold what a language model reads in proteins."""

from __future__ import annotations

from .case import QUICK, Case

LOGITS = {"logits": "out"}
PICTURES = {each: each for each in ("positions", "patches", "places", "picture")}
SMALL_READER = {"layers": 2, "d": 32, "heads": 4, "kv_heads": 2, "ff": 48, "vocab": 70, "sections": [1, 1, 2]}
SMALL_SIGHT = {"vision_layers": 2, "vision_d": 32, "vision_heads": 4, "patch": 4}
SMALL_QWEN2_VL = SMALL_READER | SMALL_SIGHT | {"image_token": 60, "video_token": 61}

SEEING = (
    Case(
        "llava",
        "multimodal/llava_15_7b.dl",
        "Llava",
        {"size": 16, "patch": 8, "vision_layers": 3, "vision_d": 32, "vision_heads": 4}
        | {"layers": 2, "d": 24, "heads": 4, "ff": 48, "vocab": 60, "context": 16, "image_token": 50},
        "llava",
        {"tokens": "input_ids", "image": "pixel_values"},
        LOGITS,
        weights="huggingface",
        full=[("Llava_15_7B", 7_063_427_072), ("Llava_15_13B", 13_351_494_656)],
        package="transformers",
        backends=QUICK,
    ),
    Case(
        "qwen2_vl",
        "multimodal/qwen2_vl.dl",
        "Qwen2VL",
        SMALL_QWEN2_VL | {"tied": False},
        "qwen2-vl",
        {"tokens": "input_ids"} | PICTURES,
        LOGITS,
        weights="huggingface",
        full=[
            ("Qwen2_VL_2B", 2_208_985_600),
            ("Qwen2_VL_7B", 8_291_375_616),
            ("Qwen2_VL_72B", 73_405_560_320),
        ],
        package="transformers",
        backends=QUICK,
    ),
    Case(
        "qwen2_vl_tied",
        "multimodal/qwen2_vl.dl",
        "Qwen2VL",
        SMALL_QWEN2_VL,
        "qwen2-vl-tied",
        {"tokens": "input_ids"} | PICTURES,
        LOGITS,
        weights="huggingface",
        package="transformers",
        backends=("torch",),
    ),
)

RESIDUES = {each: each for each in ("kind", "index", "mask")}
FOLDED = ("atoms", "angles", "plddt", "distogram", "errors", "letters", "s", "z")

FOLDING = (
    Case(
        "esmfold",
        "science/esmfold.dl",
        "ESMFold",
        {"cycles": 2, "lm_layers": 2, "lm_d": 32, "lm_heads": 4, "lm_ff": 48, "blocks": 2, "cs": 32, "cz": 16}
        | {"s_head": 8, "z_head": 4, "away": 4, "turns": 2, "c": 24, "cp": 12, "heads": 3, "e": 8, "d": 16}
        | {"hidden": 16},
        "esmfold",
        RESIDUES,
        {name: str(k) for k, name in enumerate(FOLDED)},
        weights="huggingface",
        full=[("ESMFold", 3_525_038_915), ("Trunk", 688_548_524)],
        package="transformers",
        backends=QUICK,
    ),
)
