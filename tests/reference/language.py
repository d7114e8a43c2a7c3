"""Public language models at small sizes, where a spec has more than the common parts of one."""

from __future__ import annotations

from typing import Any

from torch import nn

from .builders import Inputs, Reference, image, on_all, reference, words


@reference("mamba-2")
def mamba2() -> Reference:
    """Two groups, and a text of three chunks of which the last is not full."""
    from transformers import Mamba2Config, Mamba2ForCausalLM

    config = Mamba2Config(
        vocab_size=60,
        hidden_size=32,
        num_heads=8,
        head_dim=8,
        state_size=16,
        num_hidden_layers=2,
        n_groups=2,
        chunk_size=4,
        tie_word_embeddings=True,
    )
    return Reference(Mamba2ForCausalLM(config), words(60, input_ids=(2, 9)), on_all)


@reference("deepseek-v2-lite")
def deepseek_v2_lite() -> Reference:
    """A text longer than those that its rotations are made for: of eight pairs some are slowed, some partly, some not."""
    from transformers import DeepseekV2Config, DeepseekV2ForCausalLM

    config = DeepseekV2Config(
        vocab_size=60,
        hidden_size=32,
        intermediate_size=48,
        moe_intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        n_shared_experts=2,
        n_routed_experts=8,
        num_experts_per_tok=3,
        kv_lora_rank=16,
        q_lora_rank=None,
        qk_rope_head_dim=16,
        v_head_dim=8,
        qk_nope_head_dim=8,
        first_k_dense_replace=1,
        max_position_embeddings=640,
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": 10000.0,
            "factor": 40.0,
            "original_max_position_embeddings": 64,
            "beta_fast": 32,
            "beta_slow": 1,
            "mscale": 0.707,
            "mscale_all_dim": 0.707,
        },
        attn_implementation="eager",
        experts_implementation="eager",
    )
    return Reference(DeepseekV2ForCausalLM(config), words(60, input_ids=(2, 80)), on_all)


def llama4(experts: int, every: int, *, normalised: bool) -> Reference:
    """A text of three stretches with a picture in it."""
    from transformers import Llama4Config, Llama4ForConditionalGeneration

    text = {
        "vocab_size": 60,
        "hidden_size": 32,
        "intermediate_size": 24,
        "intermediate_size_mlp": 48,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "num_local_experts": experts,
        "interleave_moe_layer_step": every,
        "use_qk_norm": normalised,
        "attention_chunk_size": 4,
        "floor_scale": 4,
        "pad_token_id": 0,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
    }
    vision = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 128,
        "image_size": 16,
        "patch_size": 4,
        "vision_output_dim": 24,
        "projector_input_dim": 24,
        "projector_output_dim": 24,
    }
    config = Llama4Config(
        text_config=text, vision_config=vision, image_token_index=59, attn_implementation="eager"
    )
    tokens = words(59, input_ids=(2, 9))["input_ids"]
    tokens[1, 2:6] = 59
    inputs = {"input_ids": tokens, "pixel_values": image(1, 3, 16, 16)["x"]}
    return Reference(Llama4ForConditionalGeneration(config), inputs, on_all)


@reference("llama-4-scout")
def llama4_scout() -> Reference:
    return llama4(4, 1, normalised=True)


@reference("llama-4-maverick")
def llama4_maverick() -> Reference:
    return llama4(8, 2, normalised=False)


def on_preferences(model: nn.Module, inputs: Inputs) -> Any:
    better, worse = (model(input_ids=inputs[each]).logits[:, 0] for each in ("better", "worse"))
    return better, worse, -nn.functional.logsigmoid(better - worse).mean()


@reference("reward-model-gpt2")
def reward_model() -> Reference:
    """Pairs of texts, some of which end early."""
    from transformers import GPT2Config, GPT2ForSequenceClassification

    config = GPT2Config(
        vocab_size=60,
        n_positions=32,
        n_embd=32,
        n_layer=2,
        n_head=4,
        num_labels=1,
        pad_token_id=59,
        bos_token_id=1,
        eos_token_id=2,
        attn_implementation="eager",
    )
    inputs = words(59, better=(2, 9), worse=(2, 7))
    inputs["better"][1, 5:] = 59
    inputs["worse"][0, 3:] = 59
    return Reference(GPT2ForSequenceClassification(config), inputs, on_preferences)
