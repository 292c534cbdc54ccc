"""What was seen in one call: activations by site, as NumPy arrays with named axes, and what can be asked of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from model.capture import SiteError, matching, no_such_site
from model.inspection.attention_scores import head_scores
from model.inspection.flow import attention_rollout
from model.inspection.head_table import HeadScores
from model.inspection.lens import logit_lens
from model.inspection.lens_table import LensTable
from model.inspection.logit_attribution import LogitAttribution, direct_logit_attribution
from model.inspection.maps import AttentionMaps, Kind
from model.inspection.named import NamedArray
from model.inspection.view import AttentionView

AXES: dict[str, tuple[str, ...]] = {  # by the end of a site
    "attention.queries": ("example", "query", "head", "feature"),
    "attention.keys": ("example", "key", "kv_head", "feature"),
    "attention.values": ("example", "key", "kv_head", "feature"),
    "attention.scores": ("example", "head", "query", "key"),
    "attention.weights": ("example", "head", "query", "key"),
    "attention.mixed": ("example", "query", "head", "feature"),
    "attention.query.lora": ("example", "query", "head", "feature"),
    "attention.key.lora": ("example", "key", "kv_head", "feature"),
    "attention.value.lora": ("example", "key", "kv_head", "feature"),
    "mlp.up.lora": ("example", "position", "neuron"),
    "mlp.inner": ("example", "position", "neuron"),
    "token_head.output": ("example", "position", "token"),
}


def axes_of(site: str, ndim: int) -> tuple[str, ...]:
    """What the axes of a site mean.

    >>> axes_of("decoder.layers.0.cross_attention.weights", 4)
    ('example', 'head', 'query', 'key')
    >>> axes_of("layers.0.residual", 3)
    ('example', 'position', 'feature')
    """
    found = next((axes for end, axes in AXES.items() if site.endswith(end)), ("example", "position", "feature"))
    return found if len(found) == ndim else ("example", *(f"axis_{number}" for number in range(1, ndim)))


class Seen(Mapping[str, NamedArray]):
    """Activations of some texts: `seen["layers.3.attention.weights"]`, with named axes, examples first if there are several.

    Attributes:
        texts: what was read, one or several.
        words: the tokens of each text as words; of an encoder-decoder, what its decoder reads.
        source_words: the encoder's, or empty.
        tokens: their ids.
        output: what the model gave, [T V] scores where it has a head.
    """

    def __init__(
        self,
        model: Any,
        sites: Mapping[str, np.ndarray],
        output: np.ndarray,
        *,
        texts: Sequence[str],
        tokens: Sequence[np.ndarray],
        words: Sequence[Sequence[str]],
        source_words: Sequence[Sequence[str]] = (),
        single: bool = True,
        word: Callable[[int], str] = str,
    ):
        self.model, self._sites, self._output = model, dict(sites), output
        self.texts, self.tokens = tuple(texts), tuple(tokens)
        self.words = tuple(tuple(row) for row in words)
        self.source_words = tuple(tuple(row) for row in source_words)
        self.single, self.word = single, word

    def __getitem__(self, site: str) -> NamedArray:
        if site not in self._sites:
            raise no_such_site(site, list(self._sites))
        array = NamedArray(self._sites[site], axes_of(site, self._sites[site].ndim))
        return array.at(example=0) if self.single else array

    def __iter__(self) -> Iterator[str]:
        return iter(self._sites)

    def __len__(self) -> int:
        return len(self._sites)

    def __repr__(self) -> str:
        rows = [f"{site:40} {dict(zip(self[site].axes or (), self[site].shape, strict=True))}" for site in self]
        return "\n".join([f"Seen({', '.join(map(repr, self.texts))}), {len(self)} sites:", *rows])

    @property
    def output(self) -> NamedArray:
        """What the model gave."""
        array = NamedArray(self._output, axes_of("token_head.output", self._output.ndim))
        return array.at(example=0) if self.single else array

    @property
    def raw(self) -> dict[str, np.ndarray]:
        """Every site with its leading axis of examples, as edits and grids take another run."""
        return dict(self._sites)

    def of(self, example: int) -> "Seen":
        """One text of several, padding cut off."""
        length, sources = len(self.words[example]), [len(row) for row in self.source_words[example : example + 1]]

        def cut(site: str, array: np.ndarray) -> np.ndarray:
            array = array[example : example + 1]
            for axis, name in enumerate(axes_of(site, array.ndim)):
                from_source = site.startswith("encoder.") or ("cross_attention" in site and name == "key")
                size = sources[0] if sources and from_source else length
                if name in ("query", "key", "position"):
                    array = array.take(range(size), axis)
            return array

        return Seen(
            self.model,
            {site: cut(site, array) for site, array in self._sites.items()},
            self._output[example : example + 1, :length],
            texts=self.texts[example : example + 1],
            tokens=self.tokens[example : example + 1],
            words=self.words[example : example + 1],
            source_words=self.source_words[example : example + 1],
            word=self.word,
        )

    def maps(self, kind: Kind | None = None, *, example: int = 0, title: str = "") -> AttentionMaps:
        """The attention weights that were kept, of every layer and head, as measures and pictures take them.

        `kind` is needed where a model has several: "encoder", "decoder" or "cross". SiteError if none were kept.
        """
        found: dict[Kind, list[str]] = {}
        for site in self._sites:
            if site.endswith("attention.weights"):
                found.setdefault(self._kind(site), []).append(site)
        if not found or (kind is not None and kind not in found):
            there = f"; there are {', '.join(found)}" if found else ""
            raise SiteError(
                f"no {kind or 'attention'} maps were kept{there}; inspect with keep=['*attention.weights'] among others"
            )
        kind = kind or next(iter(found))
        one = self if self.single else self.of(example)
        sites = found[kind]
        weights = np.stack([np.asarray(one._sites[site][0], np.float32) for site in sites])
        queries = one.source_words[0] if kind == "encoder" and one.source_words else one.words[0]
        keys = one.source_words[0] if kind != "decoder" and one.source_words else one.words[0]
        layers = tuple(int(site.split(".layers.")[-1].removeprefix("layers.").split(".")[0]) for site in sites)
        return AttentionMaps(
            weights, queries, keys, layers, tuple(range(weights.shape[1])), kind, title or one.texts[0]
        )

    def attention(self, kind: Kind | None = None, *, title: str = "") -> AttentionView:
        """An interactive view of the maps for a notebook; `.save("maps.html")`, `.figure(layer, head)`."""
        texts = range(1 if self.single else len(self.texts))
        maps = [self.maps(kind, example=number, title=title) for number in texts]
        return AttentionView(*maps, title=title)

    def head_scores(self, kind: Kind | None = None) -> HeadScores:
        """Entropy, distance, sinks, previous-token, duplicate-token and induction scores of every head."""
        maps = self.maps(kind)
        return head_scores(maps, None if maps.kind == "cross" or self.source_words else self.tokens[0])

    def rollout(self, kind: Kind | None = None) -> NamedArray:
        """Attention rollout (arXiv:2005.00928): how much of each token is in each place after each layer, [L T T]."""
        return NamedArray(attention_rollout(self.maps(kind).weights), ("layer", "query", "key"))

    def logit_lens(self, places: Sequence[int] | None = None) -> LensTable:
        """What each layer would say, its stream read through the last norm, which is computed anew, and the head."""
        one = self if self.single else self.of(0)
        lens = logit_lens(self.model, one.raw, places)
        ids, probabilities = lens.top(1)
        guesses = tuple(tuple(self.word(int(index)) for index in row) for row in ids[:, 0, :, 0])
        words = one.words[0] if places is None else tuple(one.words[0][place] for place in places)
        return LensTable(lens, words, guesses, probabilities[:, 0, :, 0])

    def logit_attribution(self, token: int, against: int | None = None, *, heads: bool = False) -> LogitAttribution:
        """What each part writes towards a token's logit (less another's), by direct paths, the last norm being frozen.

        Needs `keep=attribution_sites(model)` of model/inspection/logit_attribution.py. `heads` parts attention by head.
        """
        one = self if self.single else self.of(0)
        shape = (1, len(one.tokens[0]))
        other = None if against is None else np.full(shape, against)
        return direct_logit_attribution(self.model, one.raw, np.full(shape, token), against=other, heads=heads)

    def _kind(self, site: str) -> Kind:
        if "cross_attention" in site:
            return "cross"
        if site.startswith(("encoder.", "decoder.")):
            return "encoder" if site.startswith("encoder.") else "decoder"
        return "decoder" if getattr(self.model, "causal", False) else "encoder"

    def residuals(self, side: str = "") -> list[NamedArray]:
        """The stream as it enters the first layer and leaves each one; SiteError if it was not kept."""
        prefix = f"{side}." if side else ""
        layers = matching(list(self._sites), f"{prefix}layers.*.residual")
        return [self[f"{prefix}embeddings.output"], *(self[site] for site in layers)]
