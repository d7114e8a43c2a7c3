"""Which spec is compared with which public network, at which settings. Data only, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BACKENDS = ("torch", "jax", "onnx", "tvm")
QUICK = ("torch", "jax", "onnx")  # tvm compiles for half a minute, and has the same parts in other cases


@dataclass(frozen=True)
class Case:
    """One comparison at a small size, and the published sizes of the same spec.

    `spec` is relative to `specs/`, or to `specs/` beside this file, where specs lie that do not ship: written from
    the language's reference alone, as its users would. `reference` is a name in `builders.REFERENCES`, which needs `package`.
    `inputs` maps the spec's inputs to the reference's, `outputs` the spec's outputs to the reference's
    (`out`, or the position in a tuple). `weights` names the spec's `weights` block for the reference's names;
    None where the names are the same. `training` says that training mode differs and is worth comparing, with
    `training_outputs` where there are more of them, and a wider `training_tolerance` where batch statistics
    amplify rounding (there the reference itself is that far from float64). `full` holds (model or preset, its
    exact number of parameters). `backends` are those that run it.
    """

    name: str
    spec: str
    model: str
    settings: Mapping[str, Any]
    reference: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    weights: str | None = None
    full: Sequence[tuple[str, int]] = ()
    package: str = "torch"
    training: bool = False
    training_outputs: Mapping[str, str] = field(default_factory=dict)
    training_tolerance: float = 1e-5
    backends: Sequence[str] = BACKENDS

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> Path:
        """The spec's file."""
        ships = Path(__file__).parents[2] / "specs" / self.spec
        return ships if ships.exists() else Path(__file__).parent / "specs" / self.spec


X = {"x": "x"}
LOGITS = {"logits": "out"}
TOKENS = {"tokens": "input_ids"}
PAIRS = {"source": "source", "target": "target"}
TRANSLATION = {"input_ids": "input_ids", "decoder_input_ids": "decoder_input_ids"}
MASKED = {**TRANSLATION, "attention_mask": "attention_mask"}
BERT_INPUTS = {each: each for each in ("input_ids", "token_type_ids", "attention_mask")}

SMALL_BERT = {"layers": 2, "d": 32, "heads": 4, "ff": 64, "vocab": 60, "context": 32}
SMALL_LLAMA = {"layers": 2, "d": 32, "heads": 4, "ff": 64, "vocab": 60, "context": 64}
SMALL_TRANSFORMER = {"layers": 2, "d": 32, "heads": 4, "ff": 64, "vocab": 60, "context": 64}
SMALL_T5 = {"layers": 2, "d": 32, "heads": 4, "head": 8, "ff": 64, "vocab": 60}

VISION = (
    Case(
        "mlp",
        "vision/mlp.dl",
        "MLP",
        {},
        "mlp-784-512-512-10",
        X,
        LOGITS,
        full=[("MLP", 669_706)],
    ),
    Case(
        "xor",
        "vision/mlp.dl",
        "XOR",
        {},
        "xor-mlp-2-2-1",
        X,
        {"y": "out"},
        full=[("XOR", 9)],
    ),
    Case(
        "lenet5",
        "vision/lenet5.dl",
        "LeNet5",
        {},
        "lenet5-61706",
        X,
        LOGITS,
        full=[("LeNet5", 61_706)],
    ),
    Case(
        "lenet5_1998",
        "vision/lenet5_1998.dl",
        "LeNet5_1998",
        {},
        "lenet5-original-1998",
        X,
        {"penalty": "out"},
        full=[("LeNet5_1998", 60_000)],
    ),
    Case(
        "alexnet",
        "vision/alexnet.dl",
        "AlexNet",
        {"size": 96, "classes": 10, "hidden": 64, "p": 0.0},
        "alexnet-torchvision",
        X,
        LOGITS,
        full=[("AlexNet", 61_100_840)],
        package="torchvision",
    ),
    Case(
        "alexnet_2012",
        "vision/alexnet.dl",
        "AlexNet2012",
        {"widths": [12, 32, 48, 48, 32], "hidden": 512, "classes": 10, "p": 0.0},
        "alexnet-2012",
        X,
        LOGITS,
        full=[("AlexNet2012", 60_965_224)],
    ),
    Case(
        "vgg",
        "vision/vgg.dl",
        "VGG",
        {"stages": [[8], [16, 16], [32], [32], [32]], "size": 64, "hidden": 64, "classes": 10, "p": 0.0},
        "vgg16",
        X,
        LOGITS,
        full=[("VGG11", 132_863_336), ("VGG13", 133_047_848), ("VGG16", 138_357_544), ("VGG19", 143_667_240)],
        package="torchvision",
    ),
    Case(
        "googlenet",
        "vision/googlenet.dl",
        "GoogLeNet",
        {"size": 64, "classes": 10, "p": 0.0, "p_aux": 0.0},
        "googlenet-torchvision",
        X,
        {"logits": "0"},
        full=[("GoogLeNet", 13_004_888)],
        package="torchvision",
        training=True,
        training_outputs={"logits": "0", "aux2": "1", "aux1": "2"},
        training_tolerance=1e-4,
    ),
    Case(
        "googlenet_2014",
        "vision/googlenet.dl",
        "GoogLeNet2014",
        {"classes": 10, "p": 0.0, "p_aux": 0.0},
        "googlenet-2014",
        X,
        {"logits": "0", "aux1": "1", "aux2": "2"},
        full=[("GoogLeNet2014", 13_378_280)],
    ),
    Case(
        "resnet_basic",
        "vision/resnet.dl",
        "ResNet",
        {"depths": [1, 2, 1, 1], "bottleneck": False, "classes": 10},
        "resnet18",
        X,
        LOGITS,
        full=[("ResNet18", 11_689_512), ("ResNet34", 21_797_672)],
        package="torchvision",
        training=True,
    ),
    Case(
        "resnet_bottleneck",
        "vision/resnet.dl",
        "ResNet",
        {"depths": [1, 2, 1, 1], "classes": 10},
        "resnet50",
        X,
        LOGITS,
        full=[("ResNet50", 25_557_032), ("ResNet101", 44_549_160), ("ResNet152", 60_192_808)],
        package="torchvision",
        training=True,
    ),
    Case(
        "mobilenet_v2",
        "vision/mobilenet_v2.dl",
        "MobileNetV2",
        {"width": 0.25, "classes": 10, "p": 0.0},
        "mobilenet-v2",
        X,
        LOGITS,
        full=[("MobileNetV2", 3_504_872)],
        package="torchvision",
        training=True,
        training_tolerance=5e-5,
    ),
    Case(
        "vit",
        "vision/vit.dl",
        "ViT",
        {"size": 32, "patch": 8, "layers": 2, "d": 32, "heads": 4, "mlp": 64, "classes": 10},
        "vit-b-16",
        X,
        LOGITS,
        full=[
            ("ViT_B16", 86_567_656),
            ("ViT_B32", 88_224_232),
            ("ViT_L16", 304_326_632),
            ("ViT_L32", 306_535_400),
            ("ViT_H14", 632_045_800),
        ],
        package="torchvision",
    ),
)

LANGUAGE = (
    Case(
        "transformer",
        "language/transformer.dl",
        "Transformer",
        SMALL_TRANSFORMER,
        "transformer-base",
        TRANSLATION,
        LOGITS,
        weights="marian",
        full=[("TransformerBase", 63_082_496), ("TransformerBig", 214_245_376)],
        package="transformers",
    ),
    Case(
        "transformer_padded",
        "language/transformer.dl",
        "Transformer",
        SMALL_TRANSFORMER,
        "transformer-base-padded",
        MASKED,
        LOGITS,
        weights="marian",
        package="transformers",
    ),
    Case(
        "encoder_decoder",
        "language/transformer.dl",
        "EncoderDecoder",
        {"layers": 2, "d": 32, "heads": 4, "ff": 64, "final_norm": True},
        "transformer-big",
        {"src": "src", "tgt": "tgt"},
        {"y": "out"},
        weights="torch",
    ),
    Case(
        "bert",
        "language/bert.dl",
        "BERT",
        SMALL_BERT,
        "bert-base-uncased",
        BERT_INPUTS,
        {"last_hidden_state": "0", "pooler_output": "1"},
        weights="huggingface",
        full=[("BERT_BASE", 109_482_240), ("BERT_LARGE", 335_141_888)],
        package="transformers",
    ),
    Case(
        "bert_plain",
        "language/bert.dl",
        "BERT",
        SMALL_BERT,
        "bert-base-uncased-plain",
        {"input_ids": "input_ids"},
        {"last_hidden_state": "0", "pooler_output": "1"},
        weights="huggingface",
        package="transformers",
    ),
    Case(
        "bert_pretraining",
        "language/bert.dl",
        "BERTForPreTraining",
        SMALL_BERT,
        "bert-base-uncased-pretraining",
        BERT_INPUTS,
        {"prediction_logits": "0", "seq_relationship_logits": "1"},
        weights="huggingface_pretraining",
        full=[("BERTForPreTraining", 110_106_428), ("BERT_LARGE_FOR_PRE_TRAINING", 336_226_108)],
        package="transformers",
    ),
    Case(
        "gpt2",
        "language/gpt2.dl",
        "GPT2",
        {"layers": 2, "d": 32, "heads": 4, "vocab": 60, "context": 32},
        "gpt2",
        TOKENS,
        LOGITS,
        weights="huggingface",
        full=[
            ("GPT2", 124_439_808),
            ("GPT2_MEDIUM", 354_823_168),
            ("GPT2_LARGE", 774_030_080),
            ("GPT2_XL", 1_557_611_200),
        ],
        package="transformers",
    ),
    Case(
        "gpt3",
        "language/gpt3.dl",
        "GPT3",
        {
            "layers": 2,
            "d": 32,
            "heads": 4,
            "vocab": 60,
            "context": 32,
            "window": 4,
            "scale": 1.0,
            "qkv_bias": False,
        },
        "gpt3-175b",
        TOKENS,
        LOGITS,
        weights="gpt_neo",
        full=[
            ("GPT3_SMALL", 125_226_240),
            ("GPT3_MEDIUM", 355_871_744),
            ("GPT3_LARGE", 760_300_032),
            ("GPT3_XL", 1_315_723_264),
            ("GPT3_2_7B", 2_651_553_280),
            ("GPT3_6_7B", 6_658_404_352),
            ("GPT3_13B", 12_853_386_240),
            ("GPT3_175B", 174_604_259_328),
        ],
        package="transformers",
    ),
    Case(
        "llama3",
        "language/llama3_8b.dl",
        "Llama",
        {**SMALL_LLAMA, "kv_heads": 2},
        "llama-3-8b",
        TOKENS,
        LOGITS,
        full=[("Llama3_8B", 8_030_261_248), ("Llama3_70B", 70_553_706_496), ("Llama31_8B", 8_030_261_248)],
        package="transformers",
    ),
    Case(
        "llama2",
        "language/llama3_8b.dl",
        "Llama",
        {**SMALL_LLAMA, "kv_heads": 4, "base": 10000.0},
        "llama-2-7b",
        TOKENS,
        LOGITS,
        full=[("Llama2_7B", 6_738_415_616), ("Llama2_13B", 13_015_864_320), ("Llama2_70B", 68_976_648_192)],
        package="transformers",
    ),
    Case(
        "llama31",
        "language/llama3_8b.dl",
        "Llama",
        {**SMALL_LLAMA, "d": 64, "kv_heads": 2, "context": 256, "factor": 8.0, "original": 32},
        "llama-3.1-8b",
        TOKENS,
        LOGITS,
        package="transformers",
    ),
    Case(
        "t5",
        "language/t5_small.dl",
        "T5",
        SMALL_T5,
        "t5-small",
        TRANSLATION,
        LOGITS,
        weights="huggingface",
        full=[
            ("T5_SMALL", 60_506_624),
            ("T5_BASE", 222_903_552),
            ("T5_LARGE", 737_668_096),
            ("T5_3B", 2_851_598_336),
        ],
        package="transformers",
    ),
    Case(
        "t5_padded",
        "language/t5_small.dl",
        "T5",
        SMALL_T5,
        "t5-small-padded",
        MASKED,
        LOGITS,
        weights="huggingface",
        package="transformers",
    ),
)

OTHERS = (
    Case(
        "swin",
        "swin.dl",
        "Swin",
        {"size": 64, "d": 12, "depths": [2, 2], "heads": [2, 4], "window": 4, "classes": 7},
        "swin-t",
        {"image": "x"},
        LOGITS,
        full=[("Swin_T", 28_288_354)],
        package="torchvision",
        backends=QUICK,
    ),
    Case(
        "shufflenet_v2",
        "shufflenet.dl",
        "ShuffleNetV2",
        {"widths": [24, 16, 32, 64, 128], "classes": 7},
        "shufflenet-v2",
        X,
        LOGITS,
        full=[("ShuffleNetV2", 2_278_604), ("ShuffleNetV2_x05", 1_366_792)],
        package="torchvision",
        backends=QUICK,
        training=True,
        training_tolerance=1e-4,
    ),
    Case(
        "gemma2",
        "gemma2.dl",
        "Gemma2",
        {"layers": 2, "d": 32, "heads": 4, "kv": 2, "e": 8, "hidden": 64, "vocab": 60, "window": 4}
        | {"query": 16.0, "attn_cap": 2.0, "final_cap": 1.5},
        "gemma-2",
        TOKENS,
        LOGITS,
        weights="huggingface",
        full=[("Gemma2", 2_614_341_888)],
        package="transformers",
    ),
    Case(
        "bloom",
        "bloom.dl",
        "Bloom",
        {"layers": 2, "d": 48, "heads": 6, "vocab": 60},
        "bloom",
        TOKENS,
        LOGITS,
        weights="huggingface",
        full=[("Bloom", 559_214_592)],
        package="transformers",
    ),
    Case(
        "clip",
        "clip.dl",
        "CLIP",
        {"size": 32, "patch": 8, "vision_d": 32, "vision_layers": 2, "vision_heads": 4, "vocab": 60}
        | {"context": 16, "text_d": 24, "text_layers": 2, "text_heads": 4, "d": 20},
        "clip",
        {"image": "pixel_values", "text": "input_ids"},
        {"per_image": "0", "per_text": "1"},
        full=[("CLIP", 151_277_313)],
        package="transformers",
        backends=QUICK,
    ),
)

SMALL_RECURRENT = {"layers": 2, "d": 24, "hidden": 32, "vocab": 60, "p": 0.0}
STATES = {"logits": "0", "h": "1"}

RECURRENT = (
    Case(
        "rnn_lm",
        "language/rnn_lm.dl",
        "RNN",
        SMALL_RECURRENT | {"nonlinearity": "relu"},
        "rnnlm-rnn",
        TOKENS,
        STATES,
        full=[("RNN", 13_505_278)],
        backends=QUICK,
    ),
    Case(
        "lstm_lm",
        "language/rnn_lm.dl",
        "LSTM",
        SMALL_RECURRENT,
        "rnnlm-lstm",
        TOKENS,
        STATES | {"c": "2"},
        full=[("LSTM", 13_987_678)],
        backends=QUICK,
    ),
    Case(
        "gru_lm",
        "language/rnn_lm.dl",
        "GRU",
        SMALL_RECURRENT,
        "rnnlm-gru",
        TOKENS,
        STATES,
        full=[("GRU", 13_826_878)],
        backends=QUICK,
    ),
    Case(
        "zaremba",
        "language/rnn_lm.dl",
        "Zaremba",
        {"layers": 2, "hidden": 32, "vocab": 60, "p": 0.0},
        "zaremba",
        TOKENS,
        LOGITS,
        full=[("Zaremba", 19_775_200), ("ZarembaLarge", 66_022_000)],
        backends=QUICK,
    ),
    Case(
        "seq2seq",
        "language/seq2seq.dl",
        "Seq2Seq",
        {"layers": 2, "d": 24, "hidden": 32, "source_vocab": 60, "target_vocab": 50},
        "seq2seq-sutskever",
        PAIRS,
        LOGITS,
        full=[("Seq2Seq", 384_144_000)],
        backends=QUICK,
    ),
    Case(
        "seq2seq_attention",
        "language/seq2seq.dl",
        "Attentive",
        {"d": 24, "hidden": 32, "source_vocab": 60, "target_vocab": 50, "p": 0.0},
        "seq2seq-bahdanau",
        PAIRS,
        {"logits": "0", "alignment": "1"},
        weights="tutorial",
        full=[("Attentive", 20_518_405)],
        backends=QUICK,
    ),
    Case(
        "mamba",
        "language/mamba.dl",
        "Mamba",
        {"layers": 2, "d": 32, "s": 8, "vocab": 60},
        "mamba",
        TOKENS,
        LOGITS,
        weights="huggingface",
        full=[("Mamba", 129_135_360)],
        package="transformers",
        backends=QUICK,
    ),
)

NODES = {"x": "x", "edges": "edges"}

GRAPHS = (
    Case(
        "gcn",
        "graph/gcn.dl",
        "GCN",
        {"words": 10, "hidden": 8, "classes": 3, "drop": 0.0},
        "gcn",
        NODES,
        LOGITS,
        full=[("GCN", 23_063)],
    ),
    Case(
        "gat",
        "graph/gat.dl",
        "GAT",
        {"words": 10, "hidden": 4, "heads": 2, "classes": 3, "drop": 0.0},
        "gat",
        NODES,
        LOGITS,
        full=[("GAT", 92_373)],
    ),
    Case(
        "graphsage",
        "graph/graphsage.dl",
        "GraphSAGE",
        {"features": 10, "hidden": 8, "classes": 3},
        "graphsage",
        NODES,
        LOGITS,
        full=[("GraphSAGE", 329_513)],
    ),
    Case(
        "gin",
        "graph/gin.dl",
        "GIN",
        {"features": 10, "d": 8, "layers": 3, "classes": 2},
        "gin",
        {**NODES, "sizes": "sizes"},
        LOGITS,
        full=[("GIN", 38_727)],
        training=True,
    ),
)

PROTEIN = ("kind", "target", "index", "mask", "msa", "msa_mask", "extra", "extra_mask")
TEMPLATES = ("template_angles", "template_pairs", "template_mask")
FOLDED = ("rotation", "shift", "angles", "msa_out", "pair", "single", "confidence", "distogram", "masked")

SCIENCE = (
    Case(
        "alphafold2",
        "science/alphafold2.dl",
        "AlphaFold2",
        {
            "cycles": 2,
            "blocks": 2,
            "cm": 16,
            "cz": 12,
            "cs": 20,
            "heads": 2,
            "e": 4,
            "outer": 4,
            "triangle": 6,
            "pair_heads": 2,
            "pair_e": 4,
            "widen": 2,
            "extra_blocks": 1,
            "ce": 10,
            "extra_e": 4,
            "template_blocks": 1,
            "ct": 12,
            "template_e": 4,
            "template_d": 6,
            "turns": 2,
            "ipa_heads": 3,
            "ipa_e": 4,
            "d": 8,
        },
        "alphafold2",
        {name: name for name in (*PROTEIN, *TEMPLATES)},
        {name: name for name in (*FOLDED, "resolved")},
        weights="openfold",
        full=[("AlphaFold2", 93_229_082), ("Evoformer", 87_936_384), ("StructureModule", 2_019_116)],
        backends=QUICK,
    ),
)

CASES = VISION + LANGUAGE + OTHERS + RECURRENT + GRAPHS + SCIENCE
