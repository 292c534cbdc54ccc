"""What a published model answers, by its published names: arrays in by theirs, arrays out by theirs."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Int

from model.capture import captured
from model.decoder import LanguageModel
from model.encoder import Encoder, MaskedLanguageModel
from model.encoder_decoder import EncoderDecoder
from model.positions import LearnedPositions
from model.task_models import EncoderForTask
from model.vision import VisionTransformer

Sites = dict[str, Array]
Side = tuple[Int[Array, "B T"], Int[Array, "B T"], Int[Array, "B T"]]


def outputs(
    model: nnx.Module, arrays: dict[str, np.ndarray], *, counts_tokens: bool = False, hidden_states: bool = False
) -> dict[str, Any]:
    """The answer of `answer` as float32 NumPy arrays; each shape of `arrays` is compiled once."""
    graph, params = nnx.split(model)
    found, _ = _compiled(graph, params, checked(model, arrays), counts_tokens, hidden_states, False)
    return jax.tree.map(lambda value: np.asarray(value, np.float32), jax.device_get(found))


def sites(model: nnx.Module, arrays: dict[str, np.ndarray], *, counts_tokens: bool = False) -> dict[str, np.ndarray]:
    """Every activation of that call by its site (model/capture.py), float32."""
    graph, params = nnx.split(model)
    _, seen = _compiled(graph, params, checked(model, arrays), counts_tokens, False, True)
    return {name: np.asarray(value, np.float32) for name, value in jax.device_get(seen).items()}


def checked(model: nnx.Module, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays in the types that the model takes; ValueError for those that it cannot take."""
    config: Any = getattr(model, "config", None)
    if isinstance(model, VisionTransformer):
        wanted, optional = ["pixel_values"], []
    elif isinstance(model, EncoderDecoder):
        wanted, optional = ["input_ids", "decoder_input_ids"], ["attention_mask", "decoder_attention_mask"]
    else:
        wanted, optional = ["input_ids"], ["attention_mask"]
    limits = {"input_ids": config.vocab_size, "decoder_input_ids": config.vocab_size}
    limits |= {"attention_mask": 2, "decoder_attention_mask": 2}
    if isinstance(model, Encoder) and config.num_token_types:
        optional, limits = [*optional, "token_type_ids"], limits | {"token_type_ids": config.num_token_types}
    if missing := [name for name in wanted if name not in arrays]:
        raise ValueError(f"this model needs {' and '.join(missing)}; pass them as arrays")
    taken = {}
    for name, array in arrays.items():
        if name == "token_type_ids" and name not in optional and not array.any():
            continue  # zeros say nothing
        if name not in wanted + optional:
            raise ValueError(f"this model takes no {name}; it takes {', '.join(wanted + optional)}")
        if name == "pixel_values":
            taken[name] = array.astype(np.float32)
            continue
        if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer):
            raise ValueError(f"{name} must be integers [rows, tokens], not {array.dtype} {array.shape}")
        if array.size and not (array.min() >= 0 and array.max() < limits[name]):
            raise ValueError(f"{name} has {array.min()} to {array.max()}; its values must lie in [0, {limits[name]})")
        like = "decoder_input_ids" if name.startswith("decoder_") else "input_ids"
        if array.shape != arrays[like].shape:
            raise ValueError(f"{name} has shape {array.shape}, but {like} has {arrays[like].shape}")
        taken[name] = array.astype(np.int32)
    return taken


def answer(
    model: nnx.Module, arrays: dict[str, Array], counts_tokens: bool = False, capture: bool = False
) -> tuple[dict[str, Array], Sites]:
    """The published outputs of one call, and the sites that it passed where `capture` is set.

    `counts_tokens`: padding takes no position (RoBERTa).
    """
    call: Any
    match model:
        case VisionTransformer():
            call = _of_images
        case EncoderDecoder():
            call = _of_pairs
        case LanguageModel():
            call = _of_text
        case Encoder():
            call = functools.partial(_of_encoder, counts_tokens=counts_tokens)
        case _:
            raise TypeError(f"no outputs are known of a {type(model).__name__}")
    return captured(model, lambda model: call(model, arrays)) if capture else (call(model, arrays), {})


@functools.partial(jax.jit, static_argnums=(0, 3, 4, 5))
def _compiled(graph, params, arrays, counts_tokens: bool, hidden_states: bool, all_sites: bool):
    model = nnx.merge(graph, params)
    found, seen = answer(model, arrays, counts_tokens, hidden_states or all_sites)
    if hidden_states:
        found |= _hidden_states(model, found, seen)
    return found, seen if all_sites else {}


def _of_encoder(model: Encoder, arrays: dict[str, Array], counts_tokens: bool) -> dict[str, Array]:
    tokens, positions, segments = _side(arrays, "")
    if counts_tokens and isinstance(model.config.positions, LearnedPositions):
        padding = model.config.positions.offset - 1  # the padding token has the row before the first position
        real = (tokens != padding).astype(jnp.int32)
        positions = jnp.cumsum(real, axis=1) * real - 1
    hidden = model(tokens, positions, segments, arrays.get("token_type_ids"))
    found = {"last_hidden_state": hidden}
    if isinstance(model, MaskedLanguageModel):
        found["logits"] = model.predict_tokens(hidden)
        if model.pair_head is not None:
            found["nsp_logits"] = model.predict_next_sentence(hidden[:, :1])[:, 0]
    if isinstance(model, EncoderForTask) and model.head is not None:
        scores = model.classify(model.summed_up(hidden, segments))
        if model.ends is not None:
            return found | {"start_logits": scores[..., 0], "end_logits": scores[..., 1]}
        found["logits"] = scores if model.pooling is None else scores[:, 0]
    if model.pooler is not None:
        found["pooler_output"] = model.pool(hidden)
    return found


def _of_text(model: LanguageModel, arrays: dict[str, Array]) -> dict[str, Array]:
    hidden = model(*_side(arrays, ""))
    return {"last_hidden_state": hidden, "logits": model.predict_tokens(hidden)}


def _of_pairs(model: EncoderDecoder, arrays: dict[str, Array]) -> dict[str, Array]:
    source, target = _side(arrays, ""), _side(arrays, "decoder_")
    encoded = model.encode(*source)
    x = model.embeddings(*target[:2])
    hidden = model.decoder.run(x, *target[1:], source=encoded, source_segments=source[2])[0]
    logits = model.predict_tokens(hidden)
    return {"last_hidden_state": hidden, "logits": logits, "encoder_last_hidden_state": encoded}


def _of_images(model: VisionTransformer, arrays: dict[str, Array]) -> dict[str, Array]:
    hidden = model(arrays["pixel_values"])
    found = {"last_hidden_state": hidden}
    if model.classifier is not None:
        found["logits"] = model.predict_class(hidden)
    if model.pooler is not None:
        found["pooler_output"] = model.pool(hidden)
    return found


def _hidden_states(model: nnx.Module, found: dict[str, Array], seen: Sites) -> dict[str, list[Array]]:
    """The published lists: what enters the first layer and leaves each one, the last after the final norm, if there is one."""

    def listed(side: str, last: Array) -> list[Array]:
        names = [name for name in seen if name.startswith(f"{side}layers.") and name.endswith(".residual")]
        layers = [seen[f"{side}layers.{number}.residual"] for number in range(len(names))]
        if isinstance(model, VisionTransformer):
            last = layers[-1]  # published without the norm in this list, and in this list only
        return [seen[f"{side}embeddings.output"], *layers[:-1], last]

    if not isinstance(model, EncoderDecoder):
        return {"hidden_states": listed("", found["last_hidden_state"])}
    return {
        "encoder_hidden_states": listed("encoder.", found["encoder_last_hidden_state"]),
        "decoder_hidden_states": listed("decoder.", found["last_hidden_state"]),
    }


def _side(arrays: dict[str, Array], prefix: str) -> Side:
    """Tokens, positions and segments: padding is segment 0, and takes positions like everything else."""
    tokens = arrays[f"{prefix}input_ids"]
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32)[None], tokens.shape)
    return tokens, positions, arrays.get(f"{prefix}attention_mask", jnp.ones_like(tokens))
