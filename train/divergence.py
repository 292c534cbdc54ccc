"""Our activations against the published ones, site by site in the order in which they arise: where do they part?"""

import dataclasses
import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.text_pairs import start_of_target
from model.encoder_decoder import EncoderDecoder
from model.published import LAYER, Site
from model.vision import VisionTransformer
from train.outputs import sites
from train.peer import published_activations
from train.pretrained import Pretrained, longest

LONGEST = 64  # tokens that are compared
TEXT = (
    "The first transformer was trained to translate, eight heads to a layer; its successors write, count and code. "
    "Zürich, naïve café, 2 + 2 = 4, def f(x): return x ** 2, 語言 and 🙂 are here to reach rare tokens."
)


@dataclass(frozen=True)
class Difference:
    """Where one of our activations stands to the published one.

    Attributes:
        site: the pair of names.
        largest: the largest value there.
        difference: the largest absolute difference; infinite where the shapes are not the same.
    """

    site: Site
    largest: float
    difference: float

    def beyond(self, tolerance: float) -> bool:
        """Whether it is more than `tolerance` of the largest value, or of 1 where that is less. NaN is."""
        return not self.difference <= tolerance * max(1.0, self.largest)


def divergence(pretrained: Pretrained, arrays: dict[str, np.ndarray]) -> list[Difference]:
    """The difference at every site that both models pass, in order.

    Args:
        pretrained: ours, perhaps changed since it was loaded; the published one is read from its folder.
        arrays: inputs by their published names, without padding.
    """
    family = pretrained.family
    ours = sites(pretrained.model, arrays, counts_tokens=family.positions_count_tokens)
    (kind,) = family.write(pretrained.architecture)["architectures"]
    pairs = in_order(family.sites, ours)
    if kind == family.base:
        pairs = [dataclasses.replace(site, theirs=site.theirs.removeprefix(family.prefix)) for site in pairs]
    theirs = published_activations(pretrained.folder, kind, arrays, pairs)
    return [_difference(site, ours[site.ours], theirs[site]) for site in pairs if site in theirs]


def in_order(named: Sequence[Site], seen: Collection[str]) -> list[Site]:
    """The sites of a family that a model passes, layer after layer.

    >>> names = [Site("embeddings.output", "wte"), Site("layers.{}.mlp.output", "h.{}.mlp"), Site("layers.{}.residual", "h.{}")]
    >>> seen = ["embeddings.output", "layers.0.mlp.output", "layers.0.residual", "layers.1.mlp.output", "layers.1.residual"]
    >>> [site.theirs for site in in_order(names, seen)]
    ['wte', 'h.0.mlp', 'h.0', 'h.1.mlp', 'h.1']
    """
    found = []
    for layered, group in itertools.groupby(named, lambda site: LAYER in site.ours):
        run = list(group)
        if not layered:
            found += [site for site in run if site.ours in seen]
            continue
        for number in itertools.count():
            layer = [site.at(number) for site in run]
            if not any(site.ours in seen for site in layer):
                break
            found += [site for site in layer if site.ours in seen]
    return found


def example(pretrained: Pretrained, text: str | None = None) -> dict[str, np.ndarray]:
    """One row to compare on, by published names: the tokens of a text, or pixels at random.

    Token types change in the middle of the row. ValueError where a text is asked for and there is no tokenizer; without one,
    the tokens are random.
    """
    model, config = pretrained.model, pretrained.config
    random = np.random.default_rng(0)
    if isinstance(model, VisionTransformer):
        assert config.patches is not None
        size = config.patches.image_size
        return {"pixel_values": random.uniform(-1, 1, (1, config.patches.num_channels, size, size)).astype(np.float32)}
    tokenizer = pretrained.tokenizer
    most = min(LONGEST, longest(config, pretrained.fields))
    if tokenizer is None:
        if text is not None:
            raise ValueError(
                f"{pretrained.folder} has no tokenizer for --text; put its files there, or leave --text out"
            )
        first = min(3, config.vocab_size - 1)  # past the ids that special tokens have
        ids = random.integers(first, config.vocab_size, most)
    else:
        ids = tokenizer.encode(TEXT if text is None else text, special_tokens=True)[:most].astype(np.int64)
    if not ids.size:
        raise ValueError("--text '' has no tokens; give some")
    arrays: dict[str, Any] = {"input_ids": ids[None]}
    if config.num_token_types > 1:
        arrays["token_type_ids"] = (np.arange(len(ids)) >= len(ids) // 2).astype(np.int64)[None]
    if isinstance(model, EncoderDecoder):
        start = pretrained.fields.get("decoder_start_token_id")
        if start is None:
            start = 0 if tokenizer is None else start_of_target(tokenizer.special)
        arrays["decoder_input_ids"] = np.concatenate([[start], ids[: most // 2]])[None].astype(np.int64)
    return arrays


def _difference(site: Site, ours: np.ndarray, theirs: np.ndarray) -> Difference:
    if ours.size != theirs.size:
        return Difference(site, float(np.abs(theirs).max()), float("inf"))
    theirs = theirs.reshape(ours.shape)  # heads are an axis of ours, a part of one there
    return Difference(site, float(np.abs(theirs).max()), float(np.abs(ours - theirs).max()))
