"""Small public networks with generic weights and inputs: what the specs are compared with.

`build(name)` gives a `Reference`: its weights under their public names, its inputs, and what it makes of
them. Importing this module needs torch only; a builder that needs more imports it when it is called. Dropout
is off everywhere, so that training mode is deterministic too.
"""

from __future__ import annotations

import copy
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import shim, twins  # noqa: F401  (shim: before anything imports torchvision)
from .golden import Golden

Inputs = dict[str, Tensor]
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Reference:
    """A public network, what goes into it, and how it is called."""

    model: nn.Module
    inputs: Inputs
    call: Callable[[nn.Module, Inputs], Any]

    def weights(self) -> Arrays:
        """Its state dict. Tied tensors stand under all their names."""
        return _arrays(self.model.state_dict())

    def arrays(self) -> Arrays:
        """Its inputs."""
        return _arrays(self.inputs)

    def run(self, *, training: bool = False, dtype: torch.dtype = torch.float32) -> tuple[Arrays, Arrays]:
        """The outputs by name (`out`, or the position in a tuple), and the state dict after the call."""
        model = copy.deepcopy(self.model).train(training)
        if dtype != torch.float32:  # (complex buffers would lose their imaginary parts)
            model = model.to(dtype)
        inputs = {name: _as(each, dtype) for name, each in self.inputs.items()}
        with torch.no_grad():
            outputs = flat(self.call(model, inputs))
        return _arrays(outputs), _arrays(model.state_dict())


def _as(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _arrays(tensors: dict[str, Tensor]) -> Arrays:
    return {name: each.detach().cpu().numpy().copy() for name, each in tensors.items()}


def flat(output: Any) -> dict[str, Tensor]:
    """A tensor is `out`, the members of a tuple are `0`, `1`, …; what is None is left out."""
    if torch.is_tensor(output):
        return {"out": output}
    return {str(index): each for index, each in enumerate(output) if each is not None}


@torch.no_grad()
def reinit_(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter and running statistic a generic value that depends on its name and shape only.

    The libraries' own initial values hide faults: zero biases, unit scales, zero-initialised heads. Matrices
    keep the variance of what passes through them, scales spread around what they were, biases are small.
    """
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:  # a table, such as Marian's positions
            continue
        noise = _noise(name, parameter, seed)
        if parameter.ndim > 1:
            parameter.copy_(noise / math.sqrt(parameter[0].numel()))
        elif name.endswith("weight"):
            parameter.mul_(1 + 0.2 * noise)
        else:
            parameter.copy_(0.1 * noise)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(0.1 * _noise(name, buffer, seed))
        elif name.endswith("running_var"):
            buffer.copy_(0.5 + _noise(name, buffer, seed).abs())
    return model


def _noise(name: str, like: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}:{name}".encode()))
    return torch.randn(like.shape, generator=generator)


def _draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(1000 + seed)


def image(*shape: int) -> Inputs:
    return {"x": torch.randn(shape, generator=_draw())}


def words(vocab: int, **shapes: tuple[int, ...]) -> Inputs:
    """Token ids of the given shapes; 0 is left out, as it means padding in some networks."""
    draw = _draw()
    return {name: torch.randint(1, vocab, shape, generator=draw) for name, shape in shapes.items()}


def padding(*lengths: int) -> Tensor:
    """A mask of 1 at words and 0 behind them, one row per length."""
    return (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()


def on_x(model: nn.Module, inputs: Inputs) -> Any:
    return model(inputs["x"])


def on_all(model: nn.Module, inputs: Inputs) -> Any:
    return model(**inputs, use_cache=False).logits


def on_ids(model: nn.Module, inputs: Inputs) -> Any:
    return model(**inputs).logits


Builder = Callable[[], Reference | Golden]
REFERENCES: dict[str, Builder] = {}


def reference(name: str) -> Callable[[Builder], Builder]:
    """Enter a builder under the name that the cases use."""

    def enter(builder: Builder) -> Builder:
        REFERENCES[name] = builder
        return builder

    return enter


def build(name: str, seed: int = 0) -> Reference | Golden:
    """The reference of that name, with generic weights, in evaluation mode."""
    torch.manual_seed(seed)
    built = REFERENCES[name]()
    if isinstance(built, Golden):
        return built
    reinit_(built.model, seed).eval().requires_grad_(False)
    return built


# --- vision --------------------------------------------------------------------------------


@reference("mlp-784-512-512-10")
def mlp() -> Reference:
    layers = (nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
    return Reference(nn.Sequential(*layers), image(4, 784), on_x)


@reference("xor-mlp-2-2-1")
def xor() -> Reference:
    layers = (nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 1), nn.Sigmoid())
    corners = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    return Reference(nn.Sequential(*layers), {"x": corners}, on_x)


@reference("lenet5-61706")
def lenet5() -> Reference:
    return Reference(twins.LeNet5(), image(2, 1, 28, 28), on_x)


@reference("lenet5-original-1998")
def lenet5_1998() -> Reference:
    return Reference(twins.LeNet5Of1998(), image(2, 1, 32, 32), on_x)


@reference("alexnet-torchvision")
def alexnet() -> Reference:
    from torchvision.models import alexnet

    model = alexnet(num_classes=10, dropout=0.0)
    model.classifier[1], model.classifier[4] = nn.Linear(9216, 64), nn.Linear(64, 64)
    model.classifier[6] = nn.Linear(64, 10)
    return Reference(model, image(2, 3, 96, 96), on_x)


@reference("alexnet-2012")
def alexnet_2012() -> Reference:
    return Reference(twins.AlexNetOf2012((12, 32, 48, 48, 32), 512, 10), image(1, 3, 227, 227), on_x)


@reference("vgg16")
def vgg() -> Reference:
    from torchvision.models.vgg import VGG, make_layers

    stages = [8, "M", 16, 16, "M", 32, "M", 32, "M", 32, "M"]
    model = VGG(make_layers(stages), num_classes=10, init_weights=False, dropout=0.0)
    model.classifier[0], model.classifier[3] = nn.Linear(32 * 49, 64), nn.Linear(64, 64)
    model.classifier[6] = nn.Linear(64, 10)
    return Reference(model, image(2, 3, 64, 64), on_x)


@reference("googlenet-torchvision")
def googlenet() -> Reference:
    from torchvision.models import googlenet

    model = googlenet(num_classes=10, init_weights=False, transform_input=False, dropout=0.0, dropout_aux=0.0)

    def call(model: nn.Module, inputs: Inputs) -> Any:
        output = model(inputs["x"])
        return tuple(output) if isinstance(output, tuple) else (output,)

    return Reference(model, image(4, 3, 64, 64), call)


@reference("googlenet-2014")
def googlenet_2014() -> Reference:
    return Reference(twins.GoogLeNetOf2014(10), image(1, 3, 224, 224), on_x)


@reference("resnet18")
def resnet_basic() -> Reference:
    from torchvision.models.resnet import BasicBlock, ResNet

    return Reference(ResNet(BasicBlock, [1, 2, 1, 1], num_classes=10), image(4, 3, 64, 64), on_x)


@reference("resnet50")
def resnet_bottleneck() -> Reference:
    from torchvision.models.resnet import Bottleneck, ResNet

    return Reference(ResNet(Bottleneck, [1, 2, 1, 1], num_classes=10), image(4, 3, 64, 80), on_x)


@reference("mobilenet-v2")
def mobilenet_v2() -> Reference:
    from torchvision.models import mobilenet_v2

    return Reference(mobilenet_v2(num_classes=10, width_mult=0.25, dropout=0.0), image(4, 3, 96, 96), on_x)


@reference("vit-b-16")
def vit() -> Reference:
    from torchvision.models.vision_transformer import VisionTransformer

    model = VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=4, hidden_dim=32, mlp_dim=64, num_classes=10
    )
    return Reference(model, image(2, 3, 32, 32), on_x)


# --- language --------------------------------------------------------------------------------

NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}


def marian(inputs: Inputs) -> Reference:
    from transformers import MarianConfig, MarianMTModel

    sides = {
        f"{side}_{what}": value
        for side in ("encoder", "decoder")
        for what, value in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 64))
    }
    config = MarianConfig(
        vocab_size=60,
        decoder_vocab_size=60,
        d_model=32,
        **sides,
        activation_function="relu",
        scale_embedding=True,
        share_encoder_decoder_embeddings=True,
        tie_word_embeddings=True,
        max_position_embeddings=64,
        pad_token_id=0,
        decoder_start_token_id=0,
        eos_token_id=1,
        forced_eos_token_id=None,
        attn_implementation="eager",
        **NO_DROPOUT,
    )
    return Reference(MarianMTModel(config), inputs, on_all)


@reference("transformer-base")
def transformer() -> Reference:
    return marian(words(60, input_ids=(2, 9), decoder_input_ids=(2, 6)))


@reference("transformer-base-padded")
def transformer_padded() -> Reference:
    return marian({**words(60, input_ids=(2, 9), decoder_input_ids=(2, 6)), "attention_mask": padding(9, 6)})


@reference("transformer-big")
def torch_transformer() -> Reference:
    draw = _draw()
    inputs = {name: torch.randn(2, length, 32, generator=draw) for name, length in (("src", 9), ("tgt", 6))}

    def call(model: nn.Module, inputs: Inputs) -> Tensor:
        tgt = inputs["tgt"]
        mask = nn.Transformer.generate_square_subsequent_mask(tgt.shape[1], dtype=tgt.dtype)
        return model(**inputs, tgt_mask=mask, tgt_is_causal=True)

    return Reference(nn.Transformer(32, 4, 2, 2, 64, dropout=0.0, batch_first=True), inputs, call)


def bert_config() -> Any:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation="eager",
    )


def bert_inputs() -> Inputs:
    sentence = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1, 0, 0, 0]])
    return {**words(60, input_ids=(2, 9)), "token_type_ids": sentence, "attention_mask": padding(9, 6)}


def call_bert(model: nn.Module, inputs: Inputs) -> tuple[Tensor, ...]:
    return tuple(model(**inputs, return_dict=True).to_tuple())


@reference("bert-base-uncased")
def bert() -> Reference:
    from transformers import BertModel

    return Reference(BertModel(bert_config()), bert_inputs(), call_bert)


@reference("bert-base-uncased-plain")
def bert_plain() -> Reference:
    from transformers import BertModel

    return Reference(BertModel(bert_config()), words(60, input_ids=(2, 9)), call_bert)


@reference("bert-base-uncased-pretraining")
def bert_pretraining() -> Reference:
    from transformers import BertForPreTraining

    return Reference(BertForPreTraining(bert_config()), bert_inputs(), call_bert)


@reference("gpt2")
def gpt2() -> Reference:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": 60, "n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 4}
    dropouts = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    config = GPT2Config(**sizes, **dropouts, bos_token_id=1, eos_token_id=1, attn_implementation="eager")
    return Reference(GPT2LMHeadModel(config), words(60, input_ids=(2, 9)), on_all)


@reference("gpt-1")
def gpt() -> Reference:
    from transformers import OpenAIGPTConfig, OpenAIGPTLMHeadModel

    sizes = {"vocab_size": 60, "n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 4}
    dropouts = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    model = OpenAIGPTLMHeadModel(OpenAIGPTConfig(**sizes, **dropouts))
    return Reference(model, words(60, input_ids=(2, 9)), on_ids)


@reference("gpt3-175b")
def gpt_neo() -> Reference:
    from transformers import GPTNeoConfig, GPTNeoForCausalLM

    config = GPTNeoConfig(
        vocab_size=60,
        max_position_embeddings=32,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        attention_types=[[["global", "local"], 1]],
        window_size=4,
        intermediate_size=128,
        resid_dropout=0.0,
        embed_dropout=0.0,
        attention_dropout=0.0,
        bos_token_id=1,
        eos_token_id=1,
        attn_implementation="eager",
    )
    return Reference(GPTNeoForCausalLM(config), words(60, input_ids=(2, 9)), on_all)


def llama(length: int = 9, **settings: Any) -> Reference:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"vocab_size": 60, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    ids = {"bos_token_id": 1, "eos_token_id": 2}
    config = LlamaConfig(**sizes, **ids, **settings, rms_norm_eps=1e-5, attn_implementation="eager")
    return Reference(LlamaForCausalLM(config), words(60, input_ids=(2, length)), on_all)


@reference("llama-3-8b")
def llama3() -> Reference:
    rope = {"rope_type": "default", "rope_theta": 500000.0}
    return llama(hidden_size=32, num_key_value_heads=2, max_position_embeddings=64, rope_parameters=rope)


@reference("llama-2-7b")
def llama2() -> Reference:
    rope = {"rope_type": "default", "rope_theta": 10000.0}
    return llama(hidden_size=32, num_key_value_heads=4, max_position_embeddings=64, rope_parameters=rope)


@reference("llama-3.1-8b")
def llama31() -> Reference:
    stretch = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    rope = {"rope_type": "llama3", "rope_theta": 500000.0, "original_max_position_embeddings": 32, **stretch}
    return llama(40, hidden_size=64, num_key_value_heads=2, max_position_embeddings=256, rope_parameters=rope)


@reference("mixtral-8x7b")
def mixtral() -> Reference:
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        vocab_size=60,
        hidden_size=32,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        num_experts_per_tok=2,
        max_position_embeddings=64,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        rms_norm_eps=1e-5,
        attn_implementation="eager",
    )
    return Reference(MixtralForCausalLM(config), words(60, input_ids=(2, 9)), on_all)


@reference("deepseek-v3")
def deepseek_v3() -> Reference:
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

    config = DeepseekV3Config(
        vocab_size=60,
        hidden_size=32,
        intermediate_size=40,
        moe_intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        n_shared_experts=1,
        n_routed_experts=8,
        routed_scaling_factor=2.5,
        kv_lora_rank=16,
        q_lora_rank=12,
        qk_rope_head_dim=4,
        v_head_dim=8,
        qk_nope_head_dim=8,
        n_group=4,
        topk_group=2,
        num_experts_per_tok=3,
        first_k_dense_replace=1,
        norm_topk_prob=True,
        max_position_embeddings=64,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        rope_interleave=True,
        attn_implementation="eager",
    )
    return Reference(DeepseekV3ForCausalLM(config), words(60, input_ids=(2, 9)), on_all)


@reference("qwen3")
def qwen3() -> Reference:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        intermediate_size=64,
        max_position_embeddings=64,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=True,
        attn_implementation="eager",
    )
    return Reference(Qwen3ForCausalLM(config), words(60, input_ids=(2, 9)), on_all)


@reference("gemma-3")
def gemma3() -> Reference:
    """One layer with a window, one without and with slower rotations; the scale of the largest network."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    config = Gemma3TextConfig(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        intermediate_size=64,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention"],
        query_pre_attn_scalar=8,
        max_position_embeddings=64,
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
        },
        attn_implementation="eager",
    )
    return Reference(Gemma3ForCausalLM(config), words(60, input_ids=(2, 9)), on_all)


def t5(inputs: Inputs) -> Reference:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=60,
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=0,
        dropout_rate=0.0,
        tie_word_embeddings=True,
    )
    return Reference(T5ForConditionalGeneration(config), inputs, on_all)


@reference("t5-small")
def t5_small() -> Reference:
    return t5(words(60, input_ids=(2, 9), decoder_input_ids=(2, 6)))


@reference("t5-small-padded")
def t5_small_padded() -> Reference:
    """Long enough for the logarithmic buckets on both sides."""
    return t5({**words(60, input_ids=(2, 40), decoder_input_ids=(2, 30)), "attention_mask": padding(40, 23)})


# --- multimodal ----------------------------------------------------------------------------


@reference("clip")
def clip() -> Reference:
    from transformers import CLIPConfig, CLIPModel

    sizes = {"num_hidden_layers": 2, "num_attention_heads": 4}
    ids = {
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
    }  # 2: the end is where the largest id stands
    text = {"vocab_size": 60, "hidden_size": 24, "intermediate_size": 96, "max_position_embeddings": 16}
    vision = {"hidden_size": 32, "intermediate_size": 128, "image_size": 32, "patch_size": 8}
    config = CLIPConfig(
        text_config={**text, **sizes, **ids},
        vision_config={**vision, **sizes},
        projection_dim=20,
        attn_implementation="eager",
    )

    def call(model: nn.Module, inputs: Inputs) -> Any:
        output = model(**inputs)
        return output.logits_per_image, output.logits_per_text

    inputs = {**words(60, input_ids=(3, 9)), "pixel_values": image(2, 3, 32, 32)["x"]}
    return Reference(CLIPModel(config), inputs, call)


@reference("whisper-tiny")
def whisper() -> Reference:
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    sides = {
        f"{side}_{what}": value
        for side in ("encoder", "decoder")
        for what, value in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 128))
    }
    config = WhisperConfig(
        vocab_size=60,
        num_mel_bins=8,
        d_model=32,
        **sides,
        max_source_positions=10,
        max_target_positions=16,
        decoder_start_token_id=1,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        attn_implementation="eager",
        **NO_DROPOUT,
    )
    inputs = {"input_features": image(2, 8, 20)["x"], **words(60, decoder_input_ids=(2, 6))}
    return Reference(WhisperForConditionalGeneration(config), inputs, on_all)


# --- networks whose specs do not ship -------------------------------------------------------------------------


@reference("swin-t")
def swin() -> Reference:
    from torchvision.models.swin_transformer import SwinTransformer

    model = SwinTransformer([4, 4], 12, [2, 2], [2, 4], [4, 4], num_classes=7)
    return Reference(model, image(2, 3, 64, 64), on_x)


@reference("shufflenet-v2")
def shufflenet() -> Reference:
    from torchvision.models import ShuffleNetV2

    return Reference(ShuffleNetV2([4, 8, 4], [24, 16, 32, 64, 128], 7), image(4, 3, 64, 80), on_x)


@reference("gemma-2")
def gemma2() -> Reference:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=64,
        sliding_window=4,
        query_pre_attn_scalar=16,
        attn_logit_softcapping=2.0,
        final_logit_softcapping=1.5,
        max_position_embeddings=64,
        attn_implementation="eager",
    )
    return Reference(Gemma2ForCausalLM(config), words(60, input_ids=(2, 9)), on_all)


@reference("bloom")
def bloom() -> Reference:
    from transformers import BloomConfig, BloomForCausalLM

    config = BloomConfig(vocab_size=60, hidden_size=48, n_layer=2, n_head=6, attn_implementation="eager")
    return Reference(BloomForCausalLM(config), words(60, input_ids=(2, 9)), on_all)


# --- recurrent ------------------------------------------------------------------------------


def on_tokens(model: nn.Module, inputs: Inputs) -> Any:
    return model(inputs["input_ids"])


def on_pairs(model: nn.Module, inputs: Inputs) -> Any:
    return model(inputs["source"], inputs["target"])


def recurrent(kind: str, **options: str) -> Reference:
    return Reference(
        twins.RecurrentLM(kind, 60, 24, 32, 2, **options), words(60, input_ids=(2, 9)), on_tokens
    )


@reference("rnnlm-rnn")
def rnn_lm() -> Reference:
    return recurrent("RNN", nonlinearity="relu")


@reference("rnnlm-lstm")
def lstm_lm() -> Reference:
    return recurrent("LSTM")


@reference("rnnlm-gru")
def gru_lm() -> Reference:
    return recurrent("GRU")


@reference("zaremba")
def zaremba() -> Reference:
    return Reference(twins.Zaremba(60, 32, 2), words(60, input_ids=(2, 9)), on_tokens)


@reference("seq2seq-sutskever")
def sutskever() -> Reference:
    network = twins.SequenceToSequence(60, 50, 24, 32, 2)
    return Reference(network, words(50, source=(2, 7), target=(2, 9)), on_pairs)


@reference("seq2seq-bahdanau")
def bahdanau() -> Reference:
    return Reference(twins.Tutorial(60, 50, 24, 32), words(50, source=(2, 7), target=(2, 9)), on_pairs)


@reference("mamba")
def mamba() -> Reference:
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(vocab_size=60, hidden_size=32, num_hidden_layers=2, state_size=8, time_step_rank=2)
    return Reference(MambaForCausalLM(config), words(60, input_ids=(2, 9)), on_all)


@reference("alphafold2")
def alphafold2() -> Golden:
    """OpenFold's model 1 at a small size, in two cycles. What it makes of templates and extra sequences before its first layers is in the
    inputs, its quaternions are rotations here."""
    return Golden("alphafold2")


from . import graphs  # noqa: E402, F401  (they enter themselves)
