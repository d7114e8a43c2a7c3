"""The cases of language models that have more than the common parts of one."""

from __future__ import annotations

from .case import QUICK, Case

TOKENS = {"tokens": "input_ids"}
LOGITS = {"logits": "out"}
PICTURED = {"tokens": "input_ids", "image": "pixel_values"}

SMALL_LLAMA4 = (
    {
        "layers": 4,
        "d": 32,
        "heads": 4,
        "kv_heads": 2,
        "head": 8,
        "hidden": 24,
        "experts": 4,
        "dense_hidden": 48,
    }
    | {"vocab": 60, "stretch": 4, "steady": 4, "size": 16, "patch": 4, "vision_layers": 2, "vision_d": 32}
    | {"vision_heads": 2, "vision_out": 24, "image_token": 59}
)

LATER_LANGUAGE = (
    Case(
        "mamba2",
        "language/mamba2.dl",
        "Mamba2",
        {"layers": 2, "d": 32, "p": 8, "heads": 8, "groups": 2, "s": 16, "chunk": 4, "vocab": 60},
        "mamba-2",
        TOKENS,
        LOGITS,
        weights="huggingface",
        full=[
            ("Mamba2_130M", 128_989_632),
            ("Mamba2_370M", 368_346_624),
            ("Mamba2_780M", 780_161_280),
            ("Mamba2_1B3", 1_343_757_312),
            ("Mamba2_2B7", 2_702_599_680),
        ],
        package="transformers",
        backends=QUICK,
    ),
    Case(
        "deepseek_v2_lite",
        "language/deepseek_v2_lite.dl",
        "DeepSeekV2Lite",
        {
            "layers": 2,
            "d": 32,
            "heads": 4,
            "kv_rank": 16,
            "nope": 8,
            "turn": 16,
            "v_dim": 8,
            "dense_hidden": 48,
        }
        | {"hidden": 16, "experts": 8, "k": 3, "vocab": 60, "original": 64},
        "deepseek-v2-lite",
        TOKENS,
        LOGITS,
        full=[("DeepSeekV2Lite", 15_706_484_224)],
        package="transformers",
        backends=QUICK,
    ),
    Case(
        "llama4_scout",
        "language/llama4_scout.dl",
        "Llama4",
        SMALL_LLAMA4,
        "llama-4-scout",
        PICTURED,
        LOGITS,
        full=[("Llama4Scout", 108_641_793_536)],
        package="transformers",
        backends=QUICK,
    ),
    Case(
        "llama4_maverick",
        "language/llama4_maverick.dl",
        "Llama4Maverick",
        SMALL_LLAMA4 | {"experts": 8},
        "llama-4-maverick",
        PICTURED,
        LOGITS,
        full=[("Llama4Maverick", 401_583_781_376)],
        package="transformers",
        backends=QUICK,
    ),
    Case(
        "reward_model",
        "language/reward_model.dl",
        "RewardModel.compare",
        {"layers": 2, "d": 32, "heads": 4, "vocab": 60, "context": 32, "padding": 59},
        "reward-model-gpt2",
        {"better": "better", "worse": "worse"},
        {"better_reward": "0", "worse_reward": "1", "loss": "2"},
        weights="huggingface",
        full=[("RewardModel", 124_440_576)],
        package="transformers",
        gradients=True,
    ),
)
