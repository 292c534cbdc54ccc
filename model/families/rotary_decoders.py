"""What Llama and its kin publish alike: RMS norm before, rotary positions, gated SiLU; their fields and names of tensors."""

from collections.abc import Mapping, Sequence
from typing import Any

from model.attention import MultiHead, Projection, Window
from model.config import MOST, TransformerConfig
from model.decoder import LanguageModel
from model.initializers import Normal
from model.mlp import GatedMLP
from model.norms import RMSNorm
from model.output import Output
from model.published import (
    ACTIVATION_WORDS,
    ACTIVATIONS,
    Architecture,
    CannotExpress,
    Fields,
    Row,
    Site,
    attention,
    class_name,
    dense,
    need,
    norm,
    table,
)
from model.rotary import LinearScaling, Llama3Scaling, Rotary, YaRN

MAX_LENGTH = 2_048  # positions that are written where nobody says how many: they change nothing that is computed


def decoder(
    *,
    vocab_size: int,
    hidden_size: int,
    num_layers: int,
    attention: MultiHead,
    intermediate_size: int,
    positions: Rotary,
    epsilon: float,
    tied: bool,
) -> TransformerConfig:
    """The shape that all of them have."""
    return TransformerConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        num_layers=num_layers,
        attention=attention,
        mlp=GatedMLP(intermediate_size),
        positions=positions,
        norm=RMSNorm(epsilon),
        norm_placement="pre",
        norm_embeddings=False,
        dropout_rate=0.0,
        initializer=Normal(0.02),
        output=Output(tied=tied),
    )


def read_decoder(
    fields: Fields,
    *,
    defaults: Mapping[str, Any],
    bias: bool | tuple[Projection, ...] = False,
    mlp_bias: bool = False,
    norm_query_key: bool = False,
    window: Window | None = None,
) -> Architecture:
    """The model that such a config.json describes; `defaults` are those of the family's published class."""

    def take(name: str, kind: type | None = None) -> Any:
        return fields.take(name, defaults.get(name), kind)

    width, heads = take("hidden_size"), take("num_attention_heads")
    head_size = fields.take("head_dim", defaults.get("head_dim"), int)
    config = TransformerConfig(
        vocab_size=take("vocab_size"),
        hidden_size=width,
        num_layers=take("num_hidden_layers"),
        attention=MultiHead(
            heads,
            num_kv_heads=take("num_key_value_heads", int) or heads,
            head_size=None if head_size is None or head_size * heads == width else head_size,
            bias=bias,
            dropout_rate=fields.take("attention_dropout", 0.0),
            norm_query_key=norm_query_key,
            window=window,
        ),
        mlp=GatedMLP(
            take("intermediate_size"), activation=fields.choose("hidden_act", "silu", ACTIVATIONS), bias=mlp_bias
        ),
        positions=read_rope(fields, fields.take("max_position_embeddings", defaults["max_position_embeddings"])),
        norm=RMSNorm(fields.take("rms_norm_eps", 1e-6)),
        norm_placement="pre",
        norm_embeddings=False,
        dropout_rate=0.0,
        initializer=Normal(fields.take("initializer_range", 0.02)),
        output=Output(tied=fields.take("tie_word_embeddings", defaults.get("tie_word_embeddings", False))),
    )
    return Architecture(LanguageModel, config)


def write_decoder(architecture: Architecture, family: str, name: str) -> dict[str, Any]:
    """The fields of config.json that all of them have."""
    config = architecture.config
    mlp = need(config.mlp, GatedMLP, "mlp", family)
    attention = config.attention
    return {
        "model_type": family,
        "architectures": [class_name(architecture, family, {LanguageModel: name})],
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": attention.num_heads,
        "num_key_value_heads": attention.num_kv_heads or attention.num_heads,
        "head_dim": attention.head_size_in(config.hidden_size),
        "intermediate_size": mlp.intermediate_size,
        "hidden_act": ACTIVATION_WORDS[mlp.activation],
        "attention_dropout": attention.dropout_rate,
        "max_position_embeddings": MAX_LENGTH,
        "rope_parameters": write_rope(need(config.positions, Rotary, "positions", family), family),
        "rms_norm_eps": config.norm.epsilon,
        "tie_word_embeddings": config.output.tied,
    }


def read_rope(fields: Fields, max_length: int) -> Rotary:
    """Rotary positions as transformers 5 writes them, `rope_parameters`, or as before, `rope_theta` and `rope_scaling`."""
    older, newer = fields.take("rope_scaling", None, dict), fields.take("rope_parameters", None, dict)
    rope = dict(newer if newer is not None else older or {})
    field = "rope_parameters" if newer is not None else "rope_scaling"
    fields.only(partial_rotary_factor=1.0)
    if strange := [name for name, value in rope.items() if value is not None and not _fits(name, value)]:
        fields.refuse(field, f"{', '.join(strange)} must be a word, true or false, or else a positive number")
        return Rotary()
    kind = rope.pop("rope_type", rope.pop("type", "default"))
    rope.pop("type", None)
    theta = float(rope.pop("rope_theta", None) or fields.take("rope_theta", 10_000.0, float))
    fields.skip("rope_theta")
    if rope.pop("partial_rotary_factor", 1.0) not in (None, 1.0):
        fields.refuse(field, "partial_rotary_factor must be 1")
    if kind in ("yarn", "llama3"):
        rope["original_max_position_embeddings"] = rope.get("original_max_position_embeddings") or max_length
    rope = {name: value for name, value in rope.items() if value is not None}
    known: dict[str, tuple[Any, dict[str, str]]] = {
        "default": (None, {}),
        "linear": (LinearScaling, {"factor": "factor"}),
        "yarn": (YaRN, YARN),
        "llama3": (Llama3Scaling, LLAMA3),
    }
    if kind not in known:
        fields.refuse(field, f"rope_type may be {', '.join(known)}")
        return Rotary(theta)
    make, words = known[kind]
    if rope.get("truncate") is True:
        del rope["truncate"]  # as the paper's code, and ours
    if kind == "default":
        rope = {name: value for name, value in rope.items() if name not in YARN | LLAMA3}  # left behind, not used
    if strange := sorted(set(rope) - set(words)):
        fields.refuse(field, f"{', '.join(strange)} of {kind} is not supported")
    if "factor" in words and "factor" not in rope:
        fields.refuse(field, "it needs a factor")
        return Rotary(theta)
    scaling = None if make is None else make(**{words[name]: rope[name] for name in rope if name in words})
    return Rotary(theta, scaling=scaling)


def write_rope(rotary: Rotary, family: str) -> dict[str, Any]:
    """Rotary positions as transformers 5 writes them."""
    said: dict[str, Any] = {"rope_theta": rotary.theta}
    match rotary.scaling:
        case None:
            return said | {"rope_type": "default"}
        case LinearScaling(factor):
            return said | {"rope_type": "linear", "factor": factor}
        case Llama3Scaling():
            words, kind = LLAMA3, "llama3"
        case YaRN():
            words, kind = YARN, "yarn"
        case _:
            raise CannotExpress(family, f"positions.scaling={rotary.scaling!r}", field="positions")
    values = {name: getattr(rotary.scaling, ours) for name, ours in words.items()}
    return said | {"rope_type": kind} | {name: value for name, value in values.items() if value is not None}


def _fits(name: str, value: Any) -> bool:
    """Whether an entry of rope_parameters is of the kind that its name asks for."""
    if name in ("rope_type", "type"):
        return isinstance(value, str)
    if name == "truncate" or isinstance(value, bool):
        return isinstance(value, bool) and name == "truncate"
    return isinstance(value, int | float) and 0 < value < MOST


YARN = {
    "factor": "factor",
    "original_max_position_embeddings": "original_length",
    "beta_fast": "beta_fast",
    "beta_slow": "beta_slow",
    "attention_factor": "attention_factor",
}
LLAMA3 = {
    "factor": "factor",
    "low_freq_factor": "low_frequency_factor",
    "high_freq_factor": "high_frequency_factor",
    "original_max_position_embeddings": "original_length",
}


def read_window(fields: Fields, num_layers: int) -> Window | None:
    """Which layers see how far: `layer_types` of transformers 5, or all from `max_window_layers` on as before."""
    used = fields.take("use_sliding_window", False)
    size = fields.take("sliding_window", 4_096 if used else None, int)
    first = fields.take("max_window_layers", 28)
    kinds = fields.take("layer_types", None, list)
    if kinds is None:
        kinds = ["sliding_attention" if used and layer >= first else "full_attention" for layer in range(num_layers)]
    words: dict[str, Any] = {"sliding_attention": "local", "full_attention": "global"}
    if len(kinds) != num_layers or not all(isinstance(kind, str) and kind in words for kind in kinds):
        fields.refuse("layer_types", f"it must be {num_layers} of {', '.join(words)}")
        return None
    pattern = tuple(words[kind] for kind in kinds)
    if "local" not in pattern or size is None:
        return None
    return Window(size, _shortest(pattern))


def write_window(window: Window | None, num_layers: int) -> dict[str, Any]:
    """The fields that `read_window` reads."""
    local = [False] * num_layers if window is None else window.is_local(num_layers)
    return {
        "use_sliding_window": any(local),
        "sliding_window": window.size if window is not None and any(local) else None,
        "max_window_layers": local.index(True) if any(local) else num_layers,
        "layer_types": ["sliding_attention" if one else "full_attention" for one in local],
    }


def _shortest(pattern: Sequence[Any]) -> tuple[Any, ...]:
    """The shortest beginning whose repetition is the pattern.

    >>> _shortest(["local", "global", "local"])
    ('local', 'global')
    """
    for size in range(1, len(pattern) + 1):
        if all(word == pattern[place % size] for place, word in enumerate(pattern)):
            return tuple(pattern[:size])
    return tuple(pattern)


TABLE: list[Row] = [
    *table("embeddings.tokens", "model.embed_tokens"),
    *norm("layers.attention_norm", "model.layers.{}.input_layernorm"),
    *attention("layers.attention", "model.layers.{}.self_attn.", "q_proj", "k_proj", "v_proj", "o_proj"),
    Row("layers.attention.query_norm.scale", "model.layers.{}.self_attn.q_norm.weight", "H -> H"),
    Row("layers.attention.key_norm.scale", "model.layers.{}.self_attn.k_norm.weight", "H -> H"),
    *norm("layers.mlp_norm", "model.layers.{}.post_attention_layernorm"),
    *dense("layers.mlp.gate", "model.layers.{}.mlp.gate_proj"),
    *dense("layers.mlp.up", "model.layers.{}.mlp.up_proj"),
    *dense("layers.mlp.down", "model.layers.{}.mlp.down_proj", "D F -> F D", "D -> D"),
    *norm("final_norm", "model.norm"),
    *table("token_head.table", "lm_head"),
]

SITES: list[Site] = [
    Site("embeddings.output", "model.embed_tokens"),
    Site("layers.{}.attention_norm.output", "model.layers.{}.input_layernorm"),
    Site("layers.{}.attention.query_norm.output", "model.layers.{}.self_attn.q_norm"),
    Site("layers.{}.attention.key_norm.output", "model.layers.{}.self_attn.k_norm"),
    Site("layers.{}.attention.values", "model.layers.{}.self_attn.v_proj"),
    Site("layers.{}.attention.mixed", "model.layers.{}.self_attn.o_proj", of="input"),
    Site("layers.{}.attention.output", "model.layers.{}.self_attn"),
    Site("layers.{}.mlp_norm.output", "model.layers.{}.post_attention_layernorm"),
    Site("layers.{}.mlp.inner", "model.layers.{}.mlp.down_proj", of="input"),
    Site("layers.{}.mlp.output", "model.layers.{}.mlp"),
    Site("layers.{}.residual", "model.layers.{}"),
    Site("final_norm.output", "model.norm"),
    Site("token_head.output", "lm_head"),
]

COPIES = {"lm_head.weight": "model.embed_tokens.weight"}
BUFFERS = ["model.layers.*.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"]
KEPT = ["max_position_embeddings"]
