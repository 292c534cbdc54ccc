"""Tiny random twins: models of the published implementation, and what they answer, stored for the parity tests.

    python tests/twins/make.py              every twin anew, and README.md
    python tests/twins/make.py bert t5      these only

The interpreter needs torch and transformers 5. Each twin is a folder of this one:

    config.json, model.safetensors     as `save_pretrained` of transformers writes them, float32
    expected.safetensors               inputs and what the model, read back from the folder, makes of them

**Why the noise.** A fresh model has biases of zero, norm scales of one and tables near zero: a loader may drop a bias, swap
two norms or shift the positions by two, and nothing shows. So every element of every parameter, and of the buffers that a
checkpoint stores, lies sign x uniform(0.05, 0.15) from where it would start. The noise is drawn with NumPy by the
parameter's name, so the twin does not change when another version of the library initialises in another order. For the same
reason the settings are not the published ones wherever a loader might trust a default: epsilons are large, the base of the
rotary angles is small, heads x head size differs from the width where the family allows it.

**Keys of expected.safetensors.** B batch, T time (decoder's if there are two), S source time, D width, V vocabulary, L layers.

    inputs.<argument>                       what the model was called with, by its published argument names
    hidden_states.0 ... L                   [B T D] embeddings, then after each layer; encoder-decoders have
                                            encoder_hidden_states.i [B S D] and decoder_hidden_states.i [B T D]
    last_hidden_state                       [B T D] what the head reads; encoder_last_hidden_state [B S D]
    logits                                  [B T V] or [B classes]; nsp_logits [B 2] of BERT
    attentions.i                            [B N T T] probabilities of bert, gpt2 and t5; t5's encoder's are [B N S S], and
                                            it has decoder_attentions.i [B N T T], cross_attentions.i [B N T S] too
    greedy_prompt or greedy_source          int64 [2 5], no padding
    greedy                                  int64, what `generate(do_sample=False)` returns for it: the prompt (in
                                            encoder-decoders decoder_start_token_id) and then NEW_TOKENS tokens

Two cautions. Where a final norm follows the layers (gpt2, llama, mistral, qwen, T5), the last of the hidden states is the one
*after* it and equals last_hidden_state, so the output of the last layer itself is not there; in vit it is the one before. And at
padded places every array is whatever fell out: compare real places only.

Greedy generation has no end-of-sequence token (`eos_token_id=None`, nothing forced), so its length is fixed. Of `PROMPTS`
random prompts those count whose best token leads by more than `GAP` at every step, and of these the two are kept whose texts
have most different tokens: a tiny model likes to say one thing over and over.
"""

import dataclasses
import json
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

HERE = Path(__file__).parent
TABLE_SPREAD = 0.1  # standard deviation of matrices and tables before the noise
NEW_TOKENS = 12
GAP = 1e-3
PROMPTS = 512


@dataclasses.dataclass(frozen=True)
class Family:
    """One twin: a published class and the settings of the tiny model.

    Attributes:
        model: name of the class in transformers; its `config_class` gives the config.
        note: what the twin is there to catch, for README.md.
        shape: sizes by the words of `SIZES`; what `make_model` can override.
        settings: all else that the config is given, by its own field names.
        names: the config's field for each word of `SIZES`, where it is not the usual one.
        attentions: whether attention probabilities are stored.
        seed: of the stored twin's noise, chosen so that greedy texts vary (marian) and the biases of two labels differ (bert).
    """

    model: str
    note: str
    shape: dict[str, int]
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    names: dict[str, str] = dataclasses.field(default_factory=dict)
    attentions: bool = False
    seed: int = 0


# Word for a size -> the config field, or fields, that hold it.
SIZES = {
    "vocabulary": "vocab_size",
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "key_value_heads": "num_key_value_heads",
    "head_size": "head_dim",
    "inner": "intermediate_size",
    "positions": "max_position_embeddings",
}
DISTILBERT = {"width": "dim", "layers": "n_layers", "heads": "n_heads", "inner": "hidden_dim"}
GPT2 = {"width": "n_embd", "layers": "n_layer", "heads": "n_head", "inner": "n_inner", "positions": "n_positions"}
T5 = {"width": "d_model", "layers": "num_layers", "decoder_layers": "num_decoder_layers"}
T5 |= {"heads": "num_heads", "head_size": "d_kv", "inner": "d_ff"}
MARIAN = {"width": "d_model", "layers": "encoder_layers", "decoder_layers": "decoder_layers"}
MARIAN |= {"heads": "encoder_attention_heads decoder_attention_heads", "inner": "encoder_ffn_dim decoder_ffn_dim"}

SMALL = {"width": 32, "layers": 2, "heads": 4, "inner": 48}
PLAIN = SMALL | {"positions": 20}
# Three groups of two heads, so that the order of grouped heads shows; a head size that is no power of two.
GROUPED = {"width": 36, "layers": 2, "heads": 6, "key_value_heads": 3, "inner": 56, "positions": 64}

ROBERTA_SETTINGS = {"type_vocab_size": 1, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
LLAMA3_SCALING = {  # of head size 8: wave lengths 6, 20, 63 and 199 against the bands' borders 8 and 32
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
T5_SETTINGS = {
    "relative_attention_num_buckets": 8,  # with the distance below, 12 places reach every kind of bucket
    "relative_attention_max_distance": 9,
    "layer_norm_epsilon": 1e-3,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}
MARIAN_SETTINGS = {"activation_function": "relu", "scale_embedding": True, "forced_eos_token_id": None}
MARIAN_SETTINGS |= {"pad_token_id": 80, "decoder_start_token_id": 80, "eos_token_id": 0}


def rotary(base: float, **settings: Any) -> dict[str, Any]:
    """Settings of a decoder with unscaled rotary positions."""
    return {"rms_norm_eps": 1e-3, "rope_parameters": {"rope_type": "default", "rope_theta": base}} | settings


FAMILIES: dict[str, Family] = {
    "bert": Family(
        "BertForPreTraining",
        "token types, pooler, both heads",
        PLAIN | {"vocabulary": 89},
        {"type_vocab_size": 2, "layer_norm_eps": 1e-3},
        attentions=True,
        seed=1,
    ),
    "roberta": Family(
        "RobertaForMaskedLM",
        "positions counted from pad_token_id + 1 over tokens that are not padding",
        PLAIN | {"vocabulary": 97, "positions": 22},
        ROBERTA_SETTINGS | {"layer_norm_eps": 1e-5},
    ),
    "xlm_roberta": Family(
        "XLMRobertaForMaskedLM",
        "as roberta, with other sizes and epsilon",
        PLAIN | {"vocabulary": 93, "width": 36, "heads": 6, "inner": 44, "positions": 21},
        ROBERTA_SETTINGS | {"layer_norm_eps": 1e-3},
    ),
    "distilbert": Family(
        "DistilBertForMaskedLM",
        "no token types, no pooler, its own names",
        PLAIN | {"vocabulary": 83},
        names=DISTILBERT,
    ),
    "gpt2": Family(
        "GPT2LMHeadModel",
        "fused q, k, v stored (in, out); tanh GELU; learned positions",
        PLAIN | {"vocabulary": 91},
        {"layer_norm_epsilon": 1e-3, "bos_token_id": 0, "eos_token_id": 0},
        names=GPT2,
        attentions=True,
    ),
    "llama2": Family(
        "LlamaForCausalLM",
        "as many key heads as query heads; untied",
        PLAIN | {"vocabulary": 71, "key_value_heads": 4, "positions": 64},
        rotary(300.0, tie_word_embeddings=False),
    ),
    "llama3": Family(
        "LlamaForCausalLM",
        "grouped heads; llama3 scaling with a frequency in each of its three bands; tied",
        GROUPED | {"vocabulary": 73, "width": 32, "heads": 4, "key_value_heads": 2, "positions": 256},
        {"rms_norm_eps": 1e-5, "tie_word_embeddings": True, "rope_parameters": LLAMA3_SCALING},
    ),
    "mistral": Family(
        "MistralForCausalLM",
        "grouped heads; heads x head size is not the width; a sliding window of 4",
        GROUPED | {"vocabulary": 67, "head_size": 8},
        rotary(500.0, sliding_window=4),
    ),
    "qwen2": Family(
        "Qwen2ForCausalLM",
        "biases of q, k and v; grouped heads; tied",
        GROUPED | {"vocabulary": 79},
        rotary(200.0, tie_word_embeddings=True),
    ),
    "qwen3": Family(
        "Qwen3ForCausalLM",
        "norms of queries and keys; heads x head size is not the width; untied",
        GROUPED | {"vocabulary": 61, "head_size": 10, "key_value_heads": 2},
        rotary(400.0, tie_word_embeddings=False),
    ),
    "t5": Family(
        "T5ForConditionalGeneration",
        "relative buckets; ReLU; tied, so hidden states are scaled before the head",
        SMALL | {"vocabulary": 77, "decoder_layers": 2, "head_size": 6},
        T5_SETTINGS | {"feed_forward_proj": "relu", "tie_word_embeddings": True},
        names=T5,
        attentions=True,
    ),
    "t5_v1_1": Family(
        "T5ForConditionalGeneration",
        "gated tanh GELU; untied, though the config as transformers 5.24 writes it says tied; 2 encoder, 3 decoder layers",
        SMALL | {"vocabulary": 69, "decoder_layers": 3, "head_size": 6, "inner": 44},
        T5_SETTINGS | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
        names=T5,
    ),
    "marian": Family(
        "MarianMTModel",
        "Vaswani et al. (2017): post-norm, ReLU, scaled tied embeddings, sinusoids (sines, then cosines); 2 and 3 layers",
        PLAIN | {"vocabulary": 81, "decoder_layers": 3, "positions": 24},
        MARIAN_SETTINGS,
        names=MARIAN,
        seed=8,
    ),
    "vit": Family(
        "ViTForImageClassification",
        "patches, class token, biases of q, k and v",
        SMALL,
        {"image_size": 24, "patch_size": 8, "num_labels": 3, "layer_norm_eps": 1e-3},
    ),
}


def make_model(name: str, seed: int | None = None, **shape: Any) -> torch.nn.Module:
    """A model of the family, every parameter perturbed: evaluation mode, float32, the plain ("eager") attention.

    Args:
        name: one of `FAMILIES`.
        seed: of the noise; None is the stored twin's.
        shape: other sizes, by the words of `SIZES` (and `decoder_layers`), or config fields by their own names:
            `make_model("llama3", width=24, heads=4, key_value_heads=1, rms_norm_eps=1e-6)`.
    """
    family = FAMILIES[name]
    names = SIZES | family.names
    fields = dict(family.settings)
    for word, value in (family.shape | shape).items():
        fields |= dict.fromkeys(names.get(word, word).split(), value)
    published = getattr(transformers, family.model)
    model = published(published.config_class(**fields, attn_implementation="eager")).float().eval()
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    if fields.get("tie_word_embeddings") is False and head.weight is table.weight:
        # transformers 5.24 ties every fresh T5, whatever the config says; it unties one when reading a file that has both.
        head.weight = torch.nn.Parameter(table.weight.detach().clone())
    perturb(model, family.seed if seed is None else seed)
    return model


@torch.no_grad()
def perturb(model: torch.nn.Module, seed: int) -> None:
    """Moves every element of what a checkpoint stores by sign x uniform(0.05, 0.15), in place.

    Vectors (biases, norm scales) and stored buffers are moved from their start, which is constant; matrices and tables from
    a normal draw. Marian's sinusoids are frozen, computed and never stored: they stay.
    """
    buffers = {key: value for key, value in model.named_buffers() if key in model.state_dict()}
    parameters = {key: value for key, value in model.named_parameters() if value.requires_grad}
    for key, value in (parameters | buffers).items():
        if not value.is_floating_point():
            continue
        random = np.random.default_rng([seed, zlib.crc32(key.encode())])
        noise = random.choice([-1.0, 1.0], value.shape) * random.uniform(0.05, 0.15, value.shape)
        if value.ndim == 1 or key in buffers:
            value += torch.tensor(noise, dtype=value.dtype)
        else:
            value.copy_(torch.tensor(noise + random.normal(0, TABLE_SPREAD, value.shape), dtype=value.dtype))


def draw_inputs(name: str, config: Any, seed: int = 0, batch: int = 3, length: int = 12) -> dict[str, np.ndarray]:
    """Random inputs by their published argument names: rows of falling lengths, padded on the right.

    `length` is the longest row's; a decoder beside an encoder reads two tokens fewer, so that the sides cannot be confused.
    """
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    if name == "vit":
        shape = (batch, config.num_channels, config.image_size, config.image_size)
        return {"pixel_values": random.uniform(-1, 1, shape).astype(np.float32)}

    def side(prefix: str, length: int, shrink: int) -> dict[str, np.ndarray]:
        lengths = np.maximum(length - shrink * np.arange(batch), 2)
        mask = np.arange(length) < lengths[:, None]
        ids = np.where(mask, draw_ids(random, config, (batch, length)), config.pad_token_id or 0)
        return {f"{prefix}input_ids": ids, f"{prefix}attention_mask": mask.astype(np.int64)}

    inputs = side("", length, 4)
    if config.is_encoder_decoder:
        inputs |= side("decoder_", length - 2, 3)
        inputs["decoder_input_ids"][:, 0] = config.decoder_start_token_id
    if getattr(config, "type_vocab_size", 1) > 1:
        inputs["token_type_ids"] = np.tile((np.arange(length) >= length // 3).astype(np.int64), (batch, 1))
    return inputs


def draw_ids(random: np.random.Generator, config: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Token ids that are no special ones: those lie at 0, 1 and 2, or last."""
    return random.integers(3, config.vocab_size - 1, shape)


@torch.no_grad()
def run(name: str, model: torch.nn.Module, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the model makes of the inputs, by the keys of expected.safetensors (see the top)."""
    tensors = {key: torch.from_numpy(value) for key, value in inputs.items()}
    attentions = FAMILIES[name].attentions
    outputs = model(**tensors, output_hidden_states=True, output_attentions=attentions)
    two_sided = model.config.is_encoder_decoder
    found = {"logits": outputs.prediction_logits if "prediction_logits" in outputs else outputs.logits}
    if "seq_relationship_logits" in outputs:
        found["nsp_logits"] = outputs.seq_relationship_logits
    if two_sided:
        found["last_hidden_state"] = outputs.decoder_hidden_states[-1]
        found["encoder_last_hidden_state"] = outputs.encoder_last_hidden_state
    else:
        found["last_hidden_state"] = model.base_model(**tensors).last_hidden_state
    layered = ["encoder_hidden_states", "decoder_hidden_states"] if two_sided else ["hidden_states"]
    if attentions:
        layered += ["encoder_attentions", "decoder_attentions", "cross_attentions"] if two_sided else ["attentions"]
    for key in layered:
        stored = "attentions" if key == "encoder_attentions" else key
        found |= {f"{stored}.{layer}": value for layer, value in enumerate(outputs[key])}
    return {key: np.ascontiguousarray(value.numpy()) for key, value in found.items()}


@torch.no_grad()
def run_greedy(name: str, model: torch.nn.Module, seed: int = 0) -> dict[str, np.ndarray]:
    """Two prompts of five tokens and their greedy continuation, clear of ties and varied (see the top)."""
    config = model.config
    model.generation_config = transformers.GenerationConfig(
        do_sample=False,
        max_new_tokens=NEW_TOKENS,
        pad_token_id=config.pad_token_id or 0,
        decoder_start_token_id=getattr(config, "decoder_start_token_id", None),
        use_cache=False,  # T5's cache (transformers 5.24) counts the encoder's layers and breaks where the decoder has more
        return_dict_in_generate=True,
        output_logits=True,
    )
    random = np.random.default_rng([seed, zlib.crc32(name.encode()), 1])
    prompts = draw_ids(random, config, (PROMPTS, 5))
    generated = model.generate(torch.from_numpy(prompts), attention_mask=torch.ones(prompts.shape, dtype=torch.int64))
    best = torch.stack(generated.logits).topk(2).values  # [steps prompts 2]
    clear = (best[..., 0] - best[..., 1]).amin(0).numpy() > GAP
    texts = generated.sequences.numpy()
    variety = np.array([len(np.unique(text[-NEW_TOKENS:])) for text in texts]) * clear
    chosen = np.argsort(-variety, kind="stable")[:2]
    if variety[chosen].min() < 3:
        raise RuntimeError(f"{name}: no two greedy texts are clear of ties and varied; try another seed")
    key = "greedy_source" if config.is_encoder_decoder else "greedy_prompt"
    return {key: prompts[chosen], "greedy": texts[chosen]}


def write(name: str, folder: Path) -> None:
    """Makes the twin in `folder`. What is expected comes from the model as read back, so the files agree by construction."""
    made = make_model(name)
    made.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    model, report = type(made).from_pretrained(folder, attn_implementation="eager", output_loading_info=True)
    if any(report.values()):
        raise RuntimeError(f"{name}: the published implementation does not read its own files back: {report}")
    model.eval()
    inputs = draw_inputs(name, model.config)
    found, before = run(name, model, inputs), run(name, made, inputs)
    if any(not np.array_equal(found[key], before[key]) for key in before):
        raise RuntimeError(f"{name}: the model read back is another than the one that was saved")
    expected = {f"inputs.{key}": value for key, value in inputs.items()} | found
    if model.can_generate():
        expected |= run_greedy(name, model)
    save_file(
        {key: np.ascontiguousarray(value) for key, value in sorted(expected.items())}, folder / "expected.safetensors"
    )


def write_readme() -> None:
    """README.md: a line for each twin, with its class and the version of transformers that made it."""
    lines = [
        "# Twins",
        "",
        "Tiny random models of the published implementation and what they answer, for the parity tests. Written by",
        "`python tests/twins/make.py`, whose first lines say what the files hold; `make_tokens.py` writes `minilm_*`.",
        "",
        "| Twin | Class | transformers | What it is there to catch |",
        "| --- | --- | --- | --- |",
    ]
    for name, family in FAMILIES.items():
        version = json.loads((HERE / name / "config.json").read_text())["transformers_version"]
        lines.append(f"| `{name}` | `{family.model}` | {version} | {family.note} |")
    (HERE / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    transformers.utils.logging.disable_progress_bar()
    for name in sys.argv[1:] or FAMILIES:
        write(name, HERE / name)
        size = sum(path.stat().st_size for path in (HERE / name).iterdir())
        print(f"{name}: {size / 1000:.0f} kB")
    write_readme()
