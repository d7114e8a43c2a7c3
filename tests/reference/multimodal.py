"""Public networks that see and read, at small sizes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file
from torch import Tensor

from .builders import Arrays, Inputs, Reference, image, on_all, reference, words


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
