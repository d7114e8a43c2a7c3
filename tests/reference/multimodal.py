"""Public networks that see and read, and one that folds proteins from what it has read, at small sizes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.numpy import load_file
from torch import Tensor

from .builders import Arrays, Inputs, Reference, _draw, image, on_all, reference, words


class Saved(Reference):
    """A network whose published file has names of its own."""

    def weights(self) -> Arrays:
        """What transformers writes: it gives the names back that it knew a network by when it was published."""
        with tempfile.TemporaryDirectory() as folder:
            self.model.save_pretrained(folder)  # type: ignore[operator]
            return load_file(Path(folder) / "model.safetensors")


def with_image_tokens(token: int, **inputs: Tensor) -> Inputs:
    """Texts of ten tokens with four image tokens each, not at the same place in both."""
    tokens = words(token, input_ids=(2, 10))["input_ids"]
    tokens[0, 2:6] = tokens[1, 5:9] = token
    return {"input_ids": tokens, **inputs}


@reference("llava")
def llava() -> Reference:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    sizes = {"hidden_size": 32, "num_attention_heads": 4}
    vision: dict[str, Any] = {
        "intermediate_size": 128,
        "num_hidden_layers": 3,
        "image_size": 16,
        "patch_size": 8,
    }
    text = {"vocab_size": 60, "hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**sizes, **vision),
        text_config=LlamaConfig(**text, num_attention_heads=4, rms_norm_eps=1e-5),
        image_token_index=50,
        image_seq_length=4,
        attn_implementation="eager",
    )
    inputs = with_image_tokens(50, pixel_values=image(2, 3, 16, 16)["x"])
    return Saved(LlavaForConditionalGeneration(config), inputs, on_all)


def on_pictures(model: Any, inputs: Inputs) -> Tensor:
    """The first sixteen patches are a picture, the others a film."""
    logits: Tensor = model(
        input_ids=inputs["input_ids"],
        pixel_values=inputs["patches"][:16],
        image_grid_thw=GRIDS[:1],
        pixel_values_videos=inputs["patches"][16:],
        video_grid_thw=GRIDS[1:],
        mm_token_type_ids=kinds(inputs["input_ids"]),
        use_cache=False,
    ).logits
    return logits


# A picture of 4 by 4 patches, and a film of two times 4 by 2.
GRIDS = torch.tensor([[1, 4, 4], [2, 4, 2]])


def kinds(tokens: Tensor) -> Tensor:
    """0 for words, 1 for pictures, 2 for films."""
    return (tokens == 60).long() + 2 * (tokens == 61).long()


@reference("qwen2-vl")
def qwen2_vl() -> Reference:
    return qwen2_vl_of(tied=False)


@reference("qwen2-vl-tied")
def qwen2_vl_tied() -> Reference:
    return qwen2_vl_of(tied=True)


def qwen2_vl_of(*, tied: bool) -> Reference:
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration
    from transformers.vision_utils import get_vision_position_ids

    text = {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48}
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2]}
    special = {
        "image_token_id": 60,
        "video_token_id": 61,
        "vision_start_token_id": 62,
        "vision_end_token_id": 63,
    }
    config = Qwen2VLConfig(
        text_config={
            **text,
            "vocab_size": 70,
            "num_hidden_layers": 2,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "rms_norm_eps": 1e-6,
            "rope_parameters": rope,
        },
        vision_config={"depth": 2, "embed_dim": 32, "num_heads": 4, "hidden_size": 32, "patch_size": 4},
        attn_implementation="eager",
        tie_word_embeddings=tied,
        **special,
    )
    model = Qwen2VLForConditionalGeneration(config)
    tokens = words(60, input_ids=(2, 10))["input_ids"]
    tokens[0, 3:7], tokens[1, 2:6] = 60, 61
    positions, _ = model.model.get_rope_index(
        tokens, kinds(tokens), image_grid_thw=GRIDS[:1], video_grid_thw=GRIDS[1:]
    )
    inputs = {
        "input_ids": tokens,
        "positions": positions,
        "patches": image(32, 3 * 2 * 4 * 4)["x"],
        "places": get_vision_position_ids(GRIDS, 2),
        "picture": torch.tensor([0] * 16 + [1] * 8 + [2] * 8),
    }
    return Saved(model, inputs, on_pictures)


@reference("esmfold")
def esmfold() -> Reference:
    from transformers import EsmConfig, EsmForProteinFolding

    language = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    structure = {
        "sequence_dim": 24,
        "pairwise_dim": 12,
        "ipa_dim": 8,
        "resnet_dim": 16,
        "num_heads_ipa": 3,
        "num_blocks": 2,
    }
    trunk = {
        "num_blocks": 2,
        "sequence_state_dim": 32,
        "pairwise_state_dim": 16,
        "sequence_head_width": 8,
        "pairwise_head_width": 4,
        "position_bins": 4,
        "dropout": 0,
        "structure_module": structure,
    }
    config = EsmConfig(
        **language,
        vocab_size=33,
        mask_token_id=32,
        pad_token_id=1,
        max_position_embeddings=64,
        layer_norm_eps=1e-5,
        position_embedding_type="rotary",
        token_dropout=True,
        is_folding_model=True,
        esmfold_config={"fp16_esm": False, "lddt_head_hid_dim": 16, "trunk": trunk},
        attn_implementation="eager",
    )
    kinds = torch.randint(0, 20, (2, 7), generator=_draw())
    kinds[1, 3] = 20
    places = torch.tensor([[0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 9, 10, 11, 12]])
    return Reference(
        EsmForProteinFolding(config), {"kind": kinds, "index": places, "mask": torch.ones(2, 7)}, on_residues
    )


def on_residues(model: Any, inputs: Inputs) -> Any:
    """Two times through the trunk."""
    given = {"attention_mask": inputs["mask"].long(), "position_ids": inputs["index"]}
    found = model(inputs["kind"], **given, num_recycles=1)
    return (
        found.positions[-1][:, :, :3],
        found.angles[-1],
        found.plddt,
        found.distogram_logits,
        found.ptm_logits,
        found.lm_logits,
        found.s_s,
        found.s_z,
    )
