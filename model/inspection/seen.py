"""What was seen in one call: activations by site, as NumPy arrays with named axes, and what can be asked of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from model.capture import SiteError, matching, no_such_site
from model.inspection.attention_scores import head_scores
from model.inspection.flow import attention_rollout
from model.inspection.head_table import HeadScores
from model.inspection.kept import PLACES, Kept, axes_of, on_source
from model.inspection.lens import logit_lens
from model.inspection.lens_table import LensTable
from model.inspection.logit_attribution import LogitAttribution, direct_logit_attribution
from model.inspection.maps import AttentionMaps, Kind
from model.inspection.named import NamedArray
from model.inspection.per_text import PerText, numbered
from model.inspection.view import AttentionView


class Seen(Mapping[str, NamedArray]):
    """Activations of some texts: `seen["layers.3.attention.weights"]`, with named axes, examples first if there are several.

    Several texts share arrays, the shorter ones padded behind their end: `seen.real` says where a text is. What is asked of them
    is answered for each, as if it were alone: head scores as a mean with a spread, all else as a `PerText` of results.
    `seen.of(1)` is the second text by itself, without padding.

    Attributes:
        texts: what was read, one or several.
        words: the tokens of each text as words; of an encoder-decoder, what its decoder reads.
        source_words: the encoder's, or empty.
        tokens: their ids.
        source_tokens: ids of those.
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
        source_tokens: Sequence[np.ndarray] = (),
        output_axes: tuple[str, ...] = ("example", "position", "token"),
        single: bool = True,
        word: Callable[[int], str] = str,
    ):
        self.model, self._sites, self._output = model, dict(sites), output
        self._output_axes = output_axes
        self.texts, self.tokens, self.source_tokens = tuple(texts), tuple(tokens), tuple(source_tokens)
        self.words = tuple(tuple(row) for row in words)
        self.source_words = tuple(tuple(row) for row in source_words)
        self.single, self.word = single, word

    def __getitem__(self, site: str) -> NamedArray:
        if site not in self._sites:
            raise no_such_site(site, list(self._sites))
        array = NamedArray(self._sites[site], self._axes(site, self._sites[site].ndim))
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
        array = NamedArray(self._output, self._output_axes)
        return array.at(example=0) if self.single else array

    @property
    def real(self) -> NamedArray:
        """Where a text is and no padding: bool [example position], of one text [position]; as `cka_matrix` takes it as `keep`."""
        array = NamedArray(_segments(self.words) > 0, ("example", "position"))
        return array.at(example=0) if self.single else array

    @property
    def raw(self) -> Kept:
        """Every site with its leading axis of examples, as edits and grids take another run."""
        return Kept(self._sites, _segments(self.words), _segments(self.source_words) if self.source_words else None)

    def of(self, example: int) -> "Seen":
        """One text of several, padding cut off; ValueError where there is none of this number."""
        one = numbered(example, len(self.texts))
        row = slice(one, one + 1)
        length, source = len(self.words[one]), len(self.source_words[one]) if self.source_words else None

        def cut(site: str, array: np.ndarray, axes: tuple[str, ...]) -> np.ndarray:
            array = array[row]
            for axis, name in enumerate(axes):
                if name in PLACES:
                    size = source if source is not None and on_source(site, name) else length
                    array = array.take(range(size), axis)
            return array

        return Seen(
            self.model,
            {site: cut(site, array, self._axes(site, array.ndim)) for site, array in self._sites.items()},
            cut("", self._output, self._output_axes),
            texts=self.texts[row],
            tokens=self.tokens[row],
            words=self.words[row],
            source_words=self.source_words[row],
            source_tokens=self.source_tokens[row],
            output_axes=self._output_axes,
            word=self.word,
        )

    def maps(self, kind: Kind | None = None, *, example: int | None = None, title: str = "") -> AttentionMaps:
        """The attention weights that were kept, of every layer and head of one text, as measures and pictures take them.

        Of several texts `example` says which. `kind` is needed where a model has several: "encoder", "decoder" or "cross".

        Raises:
            SiteError: none were kept, or they are of several kinds or texts and it was not said which.
        """
        kind, sites = self._of_kind(kind)
        if example is None and len(self.texts) > 1:
            raise SiteError(
                f"maps are of one text, and these are {len(self.texts)}; take .of(i).maps(), or maps(example=i)"
            )
        one = self.of(example or 0)
        weights = np.stack([np.asarray(one._sites[site][0], np.float32) for site in sites])
        queries = one.source_words[0] if kind == "encoder" and one.source_words else one.words[0]
        keys = one.source_words[0] if kind != "decoder" and one.source_words else one.words[0]
        layers = tuple(int(site.split(".layers.")[-1].removeprefix("layers.").split(".")[0]) for site in sites)
        return AttentionMaps(
            weights, queries, keys, layers, tuple(range(weights.shape[1])), kind, title or one.texts[0]
        )

    def attention(self, kind: Kind | None = None, *, title: str = "") -> AttentionView:
        """An interactive view of the maps for a notebook; `.save("maps.html")`, `.figure(layer, head)`. Several texts are
        compared in it, each called by its text."""
        several = len(self.texts) > 1
        maps = [self.maps(kind, example=number, title="" if several else title) for number in range(len(self.texts))]
        return AttentionView(*maps, title=title)

    def head_scores(self, kind: Kind | None = None) -> HeadScores:
        """Entropy, distance, sinks, previous-token, duplicate-token and induction scores of every head.

        Of several texts their mean, each text counting alike, with `.spread(name)` over them and `.of(i)` for one.
        """
        kind, _ = self._of_kind(kind)
        ids = {"cross": (), "encoder": self.source_tokens or self.tokens, "decoder": self.tokens}[kind]
        tables = [
            head_scores(self.maps(kind, example=number), ids[number] if len(ids) else None)
            for number in range(len(self.texts))
        ]
        return tables[0] if self.single else HeadScores.of_texts(tables)

    def rollout(self, kind: Kind | None = None) -> Any:
        """Attention rollout (arXiv:2005.00928): how much of each token is in each place after each layer, [L T T].

        Of several texts a `PerText` of them. ValueError for cross attention.
        """

        def one(number: int) -> NamedArray:
            weights = self.maps(kind, example=number).weights
            return NamedArray(attention_rollout(weights), ("layer", "query", "key"))

        kind, _ = self._of_kind(kind)
        if kind == "cross":
            raise ValueError("rollout follows self attention; ask for kind='encoder' or kind='decoder'")
        return self._each(one)

    def logit_lens(self, places: Sequence[int] | None = None) -> Any:
        """What each layer would say, its stream read through the last norm, which is computed anew, and the head.

        A `LensTable`; of several texts a `PerText` of them. `places` are some of each text's; ValueError for one that is none.
        """

        def one(number: int) -> LensTable:
            seen = self.of(number)
            words = seen.words[0]
            if places is not None and not len(places):
                raise ValueError("places names none; give some, such as [0, -1], or leave it out for all")
            if wrong := [
                place for place in (() if places is None else places) if not -len(words) <= place < len(words)
            ]:
                raise ValueError(f"there is no place {wrong[0]} in text {number}; it has {len(words)} tokens")
            lens = logit_lens(self.model, seen.raw, places)
            ids, probabilities = lens.top(1)
            guesses = tuple(tuple(self.word(int(index)) for index in row) for row in ids[:, 0, :, 0])
            shown = words if places is None else tuple(words[place] for place in places)
            return LensTable(lens, shown, guesses, probabilities[:, 0, :, 0])

        return self._each(one)

    def logit_attribution(self, token: int, against: int | None = None, *, heads: bool = False) -> Any:
        """What each part writes towards a token's logit (less another's), by direct paths, the last norm being frozen.

        Needs `keep=attribution_sites(model)` of model/inspection/logit_attribution.py. `heads` parts attention by head. Gives a
        `LogitAttribution`; of several texts a `PerText` of them.
        """

        def one(number: int) -> LogitAttribution:
            seen = self.of(number)
            shape = (1, len(seen.tokens[0]))
            other = None if against is None else np.full(shape, against)
            return direct_logit_attribution(self.model, seen.raw, np.full(shape, token), against=other, heads=heads)

        return self._each(one)

    def _each(self, one: Callable[[int], Any]) -> Any:
        """A result of one text, or one for each."""
        return one(0) if self.single else PerText([one(number) for number in range(len(self.texts))], self.texts)

    def _axes(self, site: str, ndim: int) -> tuple[str, ...]:
        if site == "scores" and ndim == 3:  # of a head for a task
            pooled = getattr(self.model, "pooling", None) is not None
            return ("example", "segment" if pooled else "position", "label")
        return axes_of(site, ndim)

    def _of_kind(self, kind: Kind | None) -> tuple[Kind, list[str]]:
        """The sites of the attention weights of one kind, which must be said where there are several."""
        found: dict[Kind, list[str]] = {}
        for site in self._sites:
            if site.endswith("attention.weights"):
                found.setdefault(self._kind(site), []).append(site)
        if not found or (kind is not None and kind not in found):
            there = f"; there are {', '.join(found)}" if found else ""
            raise SiteError(
                f"no {kind or 'attention'} maps were kept{there}; inspect with keep=['*attention.weights'] among others"
            )
        if kind is None and len(found) > 1:
            names = ", ".join(one for one in ("encoder", "decoder", "cross") if one in found)
            raise SiteError(f"there are maps of several kinds, {names}; say which, as kind='decoder' or --kind decoder")
        kind = kind or next(iter(found))
        return kind, found[kind]

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


def _segments(words: Sequence[Sequence[str]]) -> np.ndarray:
    """1 where a text is and 0 behind its end, [example position]."""
    lengths = np.array([len(row) for row in words])
    return (np.arange(lengths.max()) < lengths[:, None]).astype(np.int32)
