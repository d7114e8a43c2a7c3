"""Small widths for the models of all specs at which they have all layers and branches of the published ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlc
from dlc.api import Model, Spec
from dlc.elaborate.base.trees import static_fields
from dlc.elaborate.base.units import Definition

SPECS = Path(__file__).parents[2] / "specs"

# fmt: off
# Those that are not here are small as they are.
SMALL: dict[str, dict[str, Any]] = {
    "biggan_128:Generator": {"width": 8, "noise": 60, "shared": 16, "classes": 10, "factors": [4, 4, 8, 4, 2, 1]},
    "biggan_128:Discriminator": {"width": 8, "smaller": 2, "size": 32, "classes": 10, "factors": [1, 2, 4, 8, 4, 4]},
    "dcgan:Generator": {"noise": 16, "width": 4},
    "dcgan:Discriminator": {"width": 4},
    "ddpm_unet:DDPM": {"groups": 8, "channels": [8, 16, 16, 16]},
    "dit_xl_2:DiT": {"size": 8, "d": 32, "heads": 4, "classes": 10},
    "sd3:SD3": {"size": 8, "channels": 4, "heads": 4, "e": 8, "words_d": 24, "summary_d": 20, "limit": 7},
    "stable_diffusion_15:TextEncoder": {"vocab": 60, "context": 16, "d": 32, "heads": 4},
    "stable_diffusion_15:UNet": {"heads": 4, "groups": 8, "text_d": 24, "channels": [8, 16, 32, 32]},
    "stable_diffusion_15:VAE": {"groups": 8, "channels": [8, 16, 32, 32]},
    "stylegan2:Generator": {"noise": 16, "d": 16, "widest": 32},
    "stylegan2:Discriminator": {"widest": 32},
    "unclip:Prior": {"heads": 2, "e": 8, "clip": 12, "context": 5},
    "unclip:Context": {"clip": 12, "time_d": 20, "d": 16, "extra": 3},
    "unclip:Decoder": {"e": 8, "groups": 8, "d": 24, "time_d": 64, "channels": [8, 16, 24, 32]},
    "unclip:Upsampler": {"groups": 8, "channels": [8, 16, 24, 32]},
    "bert:BERT": {"d": 32, "heads": 4, "ff": 64, "vocab": 60, "context": 32},
    "bert:BERTForPreTraining": {"d": 32, "heads": 4, "ff": 64, "vocab": 60, "context": 32},
    "deepseek_v2_lite:DeepSeekV2Lite": {"d": 32, "heads": 4, "kv_rank": 16, "nope": 8, "turn": 16, "v_dim": 8, "dense_hidden": 48, "hidden": 16, "experts": 8, "k": 3, "vocab": 60, "original": 64},
    "deepseek_v3:DeepSeekV3": {"d": 32, "heads": 4, "q_rank": 12, "kv_rank": 16, "nope": 8, "turn": 4, "v_dim": 8, "dense_hidden": 40, "hidden": 16, "experts": 8, "k": 3, "groups": 4, "kept": 2, "vocab": 60},
    "gemma3:Gemma3": {"d": 32, "heads": 4, "kv_heads": 2, "head": 16, "ff": 64, "vocab": 60, "context": 64, "window": 4, "scale": 0.25},
    "gpt:GPT": {"d": 32, "heads": 4, "vocab": 60, "context": 32},
    "gpt2:GPT2": {"d": 32, "heads": 4, "vocab": 60, "context": 32},
    "gpt3:GPT3": {"d": 32, "heads": 4, "vocab": 60, "context": 32, "window": 4},
    "llama2:Llama2": {"d": 32, "heads": 4, "kv_heads": 2, "ff": 64, "vocab": 60, "context": 64},
    "llama3_8b:Llama": {"d": 32, "heads": 4, "kv_heads": 2, "ff": 64, "vocab": 60, "context": 64},
    "llama4_maverick:Llama4Maverick": {"d": 32, "heads": 4, "kv_heads": 2, "head": 8, "hidden": 24, "experts": 8, "dense_hidden": 48, "vocab": 8, "stretch": 4, "steady": 4, "size": 16, "patch": 4, "vision_d": 32, "vision_heads": 2, "vision_out": 24, "image_token": 1},
    "llama4_scout:Llama4": {"d": 32, "heads": 4, "kv_heads": 2, "head": 8, "hidden": 24, "experts": 4, "dense_hidden": 48, "vocab": 8, "stretch": 4, "steady": 4, "size": 16, "patch": 4, "vision_d": 32, "vision_heads": 2, "vision_out": 24, "image_token": 1},
    "mamba:Mamba": {"d": 32, "s": 8, "vocab": 60},
    "mamba2:Mamba2": {"d": 32, "p": 8, "heads": 8, "groups": 2, "s": 16, "chunk": 4, "vocab": 60},
    "mixtral_8x7b:Mixtral": {"d": 32, "heads": 4, "kv_heads": 2, "hidden": 24, "experts": 4, "vocab": 60},
    "qwen3:Qwen3": {"d": 32, "heads": 4, "kv_heads": 2, "head": 16, "ff": 64, "vocab": 60, "context": 64},
    "reward_model:RewardModel": {"d": 32, "heads": 4, "vocab": 60, "context": 32, "padding": 59},
    "rnn_lm:RNN": {"d": 24, "hidden": 32, "vocab": 60},
    "rnn_lm:LSTM": {"d": 24, "hidden": 32, "vocab": 60},
    "rnn_lm:GRU": {"d": 24, "hidden": 32, "vocab": 60},
    "rnn_lm:Zaremba": {"hidden": 32, "vocab": 60},
    "seq2seq:Seq2Seq": {"d": 24, "hidden": 32, "source_vocab": 60, "target_vocab": 50},
    "seq2seq:Attentive": {"d": 24, "hidden": 32, "source_vocab": 60, "target_vocab": 50},
    "t5_small:T5": {"d": 32, "heads": 4, "head": 8, "ff": 64, "vocab": 60},
    "transformer:EncoderDecoder": {"d": 32, "heads": 4, "ff": 64},
    "transformer:Transformer": {"d": 32, "heads": 4, "ff": 64, "vocab": 60, "context": 64},
    "clip_vit_b32:CLIP": {"size": 32, "patch": 8, "vision_d": 32, "vision_heads": 4, "vocab": 60, "context": 16, "text_d": 24, "text_heads": 4, "d": 20},
    "llava_15_7b:Llava": {"size": 16, "patch": 8, "vision_d": 32, "vision_heads": 4, "d": 24, "heads": 4, "ff": 48, "vocab": 8, "context": 16, "image_token": 1},
    "qwen2_vl:Qwen2VL": {"d": 32, "heads": 4, "ff": 48, "vocab": 70, "sections": [1, 1, 2], "vision_d": 32, "vision_heads": 4, "patch": 4, "image_token": 60, "video_token": 61},
    "whisper_tiny:Whisper": {"d": 32, "heads": 4, "mels": 8, "positions": 10, "vocab": 60, "context": 16},
    "alphafold2:Evoformer": {"cm": 16, "cz": 12, "cs": 20, "heads": 2, "e": 4, "outer": 4, "triangle": 6, "pair_heads": 2, "pair_e": 4, "widen": 2},
    "alphafold2:StructureModule": {"turns": 2, "cs": 20, "cz": 12, "heads": 3, "e": 4, "d": 8},
    "alphafold2:AlphaFold2": {"cycles": 2, "cm": 16, "cz": 12, "cs": 20, "heads": 2, "e": 4, "outer": 4, "triangle": 6, "pair_heads": 2, "pair_e": 4, "widen": 2, "ce": 10, "extra_e": 4, "ct": 12, "template_e": 4, "template_d": 6, "turns": 2, "ipa_heads": 3, "ipa_e": 4, "d": 8},
    "esmfold:Trunk": {"cycles": 2, "cs": 32, "cz": 16, "s_head": 8, "z_head": 4, "away": 4, "turns": 2, "c": 24, "cp": 12, "heads": 3, "e": 8, "d": 16},
    "esmfold:ESMFold": {"cycles": 2, "lm_d": 32, "lm_heads": 4, "lm_ff": 48, "cs": 32, "cz": 16, "s_head": 8, "z_head": 4, "away": 4, "turns": 2, "c": 24, "cp": 12, "heads": 3, "e": 8, "d": 16, "hidden": 16},
    "alexnet:AlexNet": {"size": 96, "classes": 10, "hidden": 64},
    "alexnet:AlexNet2012": {"widths": [12, 32, 48, 48, 32], "hidden": 64, "classes": 10},
    "googlenet:GoogLeNet": {"size": 64, "classes": 10},
    "mae_vit_b:MAE": {"size": 32, "patch": 8, "d": 32, "heads": 4, "mlp": 64, "decoder_d": 16, "decoder_heads": 2, "decoder_mlp": 32},
    "mobilenet_v2:MobileNetV2": {"width": 0.5, "classes": 10},
    "moco_v2:MoCo": {"hidden": 16, "d": 12, "length": 24, "widths": [8, 8, 16, 16], "stem": 8},
    "resnet:ResNet": {"classes": 10, "widths": [8, 8, 16, 16], "stem": 8},
    "simclr:SimCLR": {"d": 12, "widths": [8, 8, 16, 16], "stem": 8},
    "unet:UNet": {"widths": [4, 4, 6, 6, 8]},
    "vgg:VGG": {"size": 64, "hidden": 64, "classes": 10, "stages": [[4, 4], [8, 8], [16, 16, 16], [32, 32, 32], [32, 32, 32]]},
    "vit:ViT": {"size": 32, "patch": 8, "d": 32, "heads": 4, "mlp": 64, "classes": 10},
}

# What is no argument of the class or no field of the `Config`: "T" in torch, "J" in jax, "TJ" in both.
FIXED: dict[str, dict[str, str]] = {
    "biggan_128:Generator": {"attend": "TJ"},
    "biggan_128:Discriminator": {"attend": "TJ"},
    "llama4_scout:Llama4": {"dense_hidden": "TJ", "every": "TJ"},
    "rnn_lm:RNN": {"layers": "J", "nonlinearity": "J"},
    "rnn_lm:LSTM": {"layers": "J"},
    "rnn_lm:GRU": {"layers": "J"},
    "seq2seq:Seq2Seq": {"layers": "J"},
    "moco_v2:MoCo": {"bottleneck": "TJ"},
    "moco_v2:Encoder": {"depths": "TJ"},
    "resnet:ResNet": {"fc": "TJ"},
    "simclr:SimCLR": {"bottleneck": "TJ"},
    "deepseek_v3:DeepSeekV3": {"dense": "J"},
    "llava_15_7b:Llava": {"vision_layers": "J"},
    "alexnet:AlexNet": {"size": "J"},
    "googlenet:GoogLeNet": {"size": "J", "aux": "J"},
    "vgg:VGG": {"size": "J"},
    "vit:ViT": {"p": "J"},
}
# fmt: on


def published() -> Iterator[tuple[str, Model]]:
    """Every model at the settings by which its file is known, under `FILE:NAME`."""
    for file in sorted(SPECS.glob("*/*.dl")):
        yield from ((f"{file.stem}:{model.name}", model) for model in by_default(dlc.load(file)))


def by_default(spec: Spec) -> Iterator[Model]:
    """The models of a file at their own settings; one that has none, at those of its first preset."""
    seen: set[str] = set()
    for name in spec.models:
        item = spec.unit.names[name]
        if isinstance(item, Definition) and any(each.default is None for each in static_fields(item.node)):
            continue
        model = spec[name]
        origin = model.point.definition.node.name
        if origin not in seen:
            seen.add(origin)
            yield model
