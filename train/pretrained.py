"""Models with their tokenizers, whoever trained them: folders as published, and run folders of ours.

    from train.pretrained import load
    bert = load("bert-base-uncased")                    # a folder, or the name of one on the Hugging Face hub
    ids = bert.tokenizer.encode("A text.", special_tokens=True)
    bert.outputs(input_ids=ids[None])["last_hidden_state"]
"""

import functools
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from data.errors import DataError
from data.tokenizers import Tokenizer, load_tokenizer
from model.capture import captured
from model.config import TransformerConfig
from model.decoder import LanguageModel
from model.encoder import Encoder, MaskedLanguageModel
from model.encoder_decoder import EncoderDecoder
from model.hub import CONFIG, read_json
from model.positions import LearnedPositions
from model.published import Architecture, Family, HubError
from model.vision import VisionTransformer
from model.weights import open_published, read_model
from train.run import Run
from train.sharding import logical_axes, spec


@dataclass(frozen=True)
class Pretrained:
    """A published model, opened.

    Attributes:
        model: LanguageModel, EncoderDecoder, MaskedLanguageModel, Encoder or VisionTransformer, with its weights.
        tokenizer: its vocabulary; None where the folder has none.
        architecture: what the model is: class, config, options.
        family: how it is published.
        fields: its config.json.
        name: what to call it.
    """

    model: Any
    tokenizer: Tokenizer | None
    architecture: Architecture
    family: Family
    fields: dict[str, Any]
    name: str

    @property
    def config(self) -> TransformerConfig:
        """The shape of the model, in our words."""
        return self.architecture.config

    def outputs(
        self,
        *,
        input_ids: np.ndarray | None = None,
        attention_mask: np.ndarray | None = None,
        token_type_ids: np.ndarray | None = None,
        decoder_input_ids: np.ndarray | None = None,
        decoder_attention_mask: np.ndarray | None = None,
        pixel_values: np.ndarray | None = None,
        hidden_states: bool = False,
    ) -> dict[str, Any]:
        """What the published model answers, by its published names; float32 NumPy arrays.

        `last_hidden_state` [B T D]; `logits` where it has a head ([B T V], or [B C] for images), `nsp_logits` [B 2],
        `pooler_output` [B D], `encoder_last_hidden_state` [B S D]; with `hidden_states` also lists of what enters the first
        layer and leaves each one, the last after the final norm where the published list has it so. Values at padded places
        mean nothing. Each shape is compiled once.
        """
        arrays = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            "decoder_input_ids": decoder_input_ids,
            "decoder_attention_mask": decoder_attention_mask,
            "pixel_values": pixel_values,
        }
        arrays = {name: np.asarray(value) for name, value in arrays.items() if value is not None}
        graph, params = nnx.split(self.model)
        offset = self.config.positions.offset if self._counts_tokens else None
        found = _outputs(graph, params, self._checked(arrays), offset, hidden_states)
        return jax.tree.map(lambda value: np.asarray(value, np.float32), jax.device_get(found))

    @property
    def _counts_tokens(self) -> bool:
        return self.family.positions_count_tokens and isinstance(self.config.positions, LearnedPositions)

    def _checked(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays in the types that the model takes; ValueError for those that it cannot take."""
        kind = type(self.model)
        wanted = {"pixel_values"} if kind is VisionTransformer else {"input_ids"}
        wanted |= {"decoder_input_ids"} if kind is EncoderDecoder else set()
        if missing := sorted(wanted - set(arrays)):
            raise ValueError(f"{self.family.model_type} needs {' and '.join(missing)}; pass them as arrays")
        allowed = wanted | {name.replace("input_ids", "attention_mask") for name in wanted if "ids" in name}
        allowed |= {"token_type_ids"} if isinstance(self.model, Encoder) and self.config.num_token_types else set()
        for name in [name for name in arrays if name not in allowed]:
            if name != "token_type_ids" or arrays[name].any():
                raise ValueError(f"{self.family.model_type} takes no {name}; it takes {', '.join(sorted(allowed))}")
            del arrays[name]  # zeros say nothing
        if kind is VisionTransformer:
            return {"pixel_values": arrays["pixel_values"].astype(np.float32)}
        for name, array in arrays.items():
            if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer):
                raise ValueError(f"{name} must be integers [rows, tokens], not {array.dtype} {array.shape}")
            limit = self.config.vocab_size if name.endswith("input_ids") else max(2, self.config.num_token_types)
            if array.size and not (array.min() >= 0 and array.max() < limit):
                raise ValueError(f"{name} has values from {array.min()} to {array.max()}; they must lie in [0, {limit})")
        return {name: array.astype(np.int32) for name, array in arrays.items()}


def load(
    path: str | Path, *, mesh: Mesh | None = None, dtype: Any = "float32", ignore: Collection[str] = ()
) -> Pretrained:
    """Open a published folder, or one of the Hugging Face hub by its name, as "google-bert/bert-base-uncased".

    With a `mesh` each array goes to its devices as in training, otherwise all to the first. `dtype` is that of the weights,
    None as they are stored. `ignore` are patterns, * for anything, of tensors and config fields to be left aside.

    Raises:
        HubError: whatever is wrong with the folder, in one line with the remedy.
        DataError: its tokenizer cannot be read.
    """
    folder = find_folder(path)
    published = open_published(folder, ignore=ignore)

    def place(name: str, shape: tuple[int, ...]) -> NamedSharding:
        assert mesh is not None
        return NamedSharding(mesh, spec(logical_axes(name, len(shape)), shape, mesh))

    model = read_model(published, dtype=dtype, placing=None if mesh is None else place)
    return Pretrained(
        model=model,
        tokenizer=open_tokenizer(folder, published.architecture.config),
        architecture=published.architecture,
        family=published.family,
        fields=published.fields,
        name=Path(path).name,
    )


def find_folder(path: str | Path) -> Path:
    """The folder of that name, or the one that the hub has under it, downloaded where `huggingface_hub` is installed."""
    folder = Path(path).expanduser()
    if folder.exists() or str(path).startswith((".", "/", "~")) or str(path).count("/") > 1:
        return folder
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise HubError(
            f"there is no folder {path}; to download it from the Hugging Face hub, pip install huggingface_hub"
        ) from None
    try:
        return Path(snapshot_download(str(path), allow_patterns=["*.json", "*.safetensors", "*.model", "*.txt"]))
    except Exception as error:  # the library raises its own, requests' and OSError alike
        said = " ".join(str(error).split())[:200]
        raise HubError(
            f"there is no folder {path}, and the Hugging Face hub does not give it ({type(error).__name__}: {said}); "
            "check the name and the connection, or download the folder and name it"
        ) from error


def open_tokenizer(folder: Path, config: TransformerConfig) -> Tokenizer | None:
    """The tokenizer of a published folder, None where it has none; it must not have more tokens than the model."""
    names = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
    if not any((folder / name).is_file() for name in names):
        return None
    tokenizer = load_tokenizer(folder)
    if config.vocab_size and tokenizer.vocab_size > config.vocab_size:
        raise DataError(
            f"the tokenizer of {folder} has {tokenizer.vocab_size} tokens, its model only {config.vocab_size}; "
            "put the tokenizer's files there that the model was trained with"
        )
    return tokenizer


@dataclass(frozen=True)
class Opened:
    """A model to work with, wherever it came from.

    Attributes:
        model: LanguageModel, EncoderDecoder, MaskedLanguageModel, Encoder or VisionTransformer, with its weights.
        tokenizer: its vocabulary; None where a published folder has none.
        config: its shape.
        name: what to call it: the folder's name.
        pretrained: the published folder that it was, None for a run.
    """

    model: Any
    tokenizer: Tokenizer | None
    config: TransformerConfig
    name: str
    pretrained: Pretrained | None = None


def open_any(path: str | Path, *, step: int | None = None, mesh: str = "", ignore: Collection[str] = ()) -> Opened:
    """Open a run folder, at its newest checkpoint or at `step`, or a published folder, on the devices of this machine.

    Raises:
        RunError: it is neither, or has no checkpoint yet.
        HubError: it is a published folder that cannot be read.
    """
    if is_published(path):
        found = load(path, ignore=ignore)
        return Opened(found.model, found.tokenizer, found.config, found.name, found)
    run = Run.open(path, step=step, mesh=mesh)
    return Opened(run.model, run.tokenizer, run.experiment.model, Path(path).name)


def is_published(path: str | Path) -> bool:
    """Whether a path is a published folder, one whose config.json says its `model_type`, or the name of one on the hub."""
    folder = Path(path).expanduser()
    if not folder.exists():
        return str(path).count("/") == 1 and not str(path).startswith((".", "/", "~"))
    return (folder / CONFIG).is_file() and "model_type" in read_json(folder / CONFIG)


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def _outputs(graph, params, arrays: dict[str, jax.Array], offset: int | None, hidden_states: bool) -> dict[str, Any]:
    model = nnx.merge(graph, params)
    match model:
        case VisionTransformer():
            return _of_images(model, arrays, hidden_states)
        case EncoderDecoder():
            return _of_pairs(model, arrays, hidden_states)
        case LanguageModel():
            return _of_text(model, arrays, hidden_states)
        case Encoder():
            return _of_encoder(model, arrays, offset, hidden_states)
    raise TypeError(f"no outputs are known for a {type(model).__name__}")


def _of_encoder(model: Encoder, arrays, offset: int | None, hidden_states: bool) -> dict[str, Any]:
    tokens, positions, segments = _side(arrays, "")
    if offset is not None:
        real = (tokens != offset - 1).astype(jnp.int32)  # the padding token has the row before the first position
        positions = jnp.cumsum(real, axis=1) * real - 1
    types = arrays.get("token_type_ids")
    hidden, sites = _call(model, lambda model: model(tokens, positions, segments, types), hidden_states)
    found: dict[str, Any] = {"last_hidden_state": hidden}
    if isinstance(model, MaskedLanguageModel):
        found["logits"] = model.predict_tokens(hidden)
        if model.pair_head is not None:
            found["nsp_logits"] = model.predict_next_sentence(hidden[:, :1])[:, 0]
    if model.pooler is not None:
        found["pooler_output"] = model.pool(hidden)
    return found | ({"hidden_states": _layers(sites, "", model.num_layers)} if hidden_states else {})


def _of_text(model: LanguageModel, arrays, hidden_states: bool) -> dict[str, Any]:
    hidden, sites = _call(model, lambda model: model(*_side(arrays, "")), hidden_states)
    found: dict[str, Any] = {"last_hidden_state": hidden}
    if model.token_head is not None:
        found["logits"] = model.predict_tokens(hidden)
    return found | ({"hidden_states": [*_layers(sites, "", model.num_layers)[:-1], hidden]} if hidden_states else {})


def _of_pairs(model: EncoderDecoder, arrays, hidden_states: bool) -> dict[str, Any]:
    tokens, positions, segments = _side(arrays, "decoder_")
    source = _side(arrays, "")
    encoded, source_sites = _call(model, lambda model: model.encode(*source), hidden_states)

    def decode(model: EncoderDecoder) -> jax.Array:
        x = model.embeddings(tokens, positions)
        return model.decoder.run(x, positions, segments, source=encoded, source_segments=source[2])[0]

    hidden, sites = _call(model, decode, hidden_states)
    found = {"last_hidden_state": hidden, "encoder_last_hidden_state": encoded, "logits": model.predict_tokens(hidden)}
    if hidden_states:
        before = _layers(source_sites, "encoder.", model.encoder.num_layers)
        after = _layers(sites, "decoder.", model.decoder.num_layers)
        found["encoder_hidden_states"] = [*before[:-1], encoded]
        found["decoder_hidden_states"] = [*after[:-1], hidden]
    return found


def _of_images(model: VisionTransformer, arrays, hidden_states: bool) -> dict[str, Any]:
    hidden, sites = _call(model, lambda model: model(arrays["pixel_values"]), hidden_states)
    found: dict[str, Any] = {"last_hidden_state": hidden}
    if model.classifier is not None:
        found["logits"] = model.predict_class(hidden)
    if model.pooler is not None:
        found["pooler_output"] = model.pool(hidden)
    return found | ({"hidden_states": _layers(sites, "", model.num_layers)} if hidden_states else {})


def _call(model, call: Callable[[Any], jax.Array], hidden_states: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The result of a call, and what its sites saw where that is wanted."""
    return captured(model, call) if hidden_states else (call(model), {})


def _side(arrays, prefix: str) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Tokens, positions and segments: padding is segment 0, and takes positions like everything else."""
    tokens = arrays[f"{prefix}input_ids"]
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32)[None], tokens.shape)
    return tokens, positions, arrays.get(f"{prefix}attention_mask", jnp.ones_like(tokens))


def _layers(sites: dict[str, jax.Array], prefix: str, num_layers: int) -> list[jax.Array]:
    return [sites["embeddings.output"], *(sites[f"{prefix}layers.{n}.residual"] for n in range(num_layers))]
