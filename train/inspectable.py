"""Models that can be looked into with text: what `Run` and published models have in common.

from train.run import Run
run = Run.open("runs/bert_small")
seen = run.inspect("The cat [MASK] on the mat", keep=["*.attention.weights", "*.residual"])
with run.edits(ablate_heads=[(3, 1)]):
    run.inspect("The cat [MASK] on the mat")
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import jax
import numpy as np

from model.capture import Plan, SiteError, matching
from model.encoder import Encoder
from model.encoder_decoder import EncoderDecoder
from model.inspection.calls import (
    LIMIT,
    Inputs,
    capture,
    gradients,
    measure,
    output_axes,
    price,
    said,
    sites,
    text_inputs,
)
from model.inspection.edits import Edit, Instead, patched, steered, without, without_heads
from model.inspection.grid import PatchGrid
from model.inspection.kept import Kept
from model.inspection.named import NamedArray
from model.inspection.patching import attribution_patch, patch_grid
from model.inspection.per_text import PerText
from model.inspection.seen import Seen
from train import reading
from train.reading import (
    Around,
    Reading,
    ReadingError,
    Text,
    TextMetric,
    Texts,
    is_one,
    listed,
    log_probability,
    logit_difference,
    read,
    words_of,
)

KEEP = ("*attention.weights", "*.residual", "*embeddings.output")  # enough for maps, scores and lenses
Head = tuple[int, int] | tuple[str, int, int]


class Sites(dict[str, jax.ShapeDtypeStruct]):
    """Sites by name, with their shapes; prints as a table with bytes."""

    @property
    def bytes(self) -> int:
        """Bytes of all of them."""
        return price(self)

    def __repr__(self) -> str:
        rows = [f"{name:44} {shape.shape!s:24} {said(price({name: shape})):>10}" for name, shape in self.items()]
        return "\n".join([*rows, f"{len(self)} sites, {said(self.bytes)} in all"])


class Inspectable:
    """A model with a tokenizer, to be looked into. Nothing is folded, centred or prepended that was not asked for.

    Text is encoded as the model was trained to see it (an encoder's between its special tokens, a decoder's as `train.generate`
    begins one), and a special token that the text spells, as [MASK], is what it means. A pair of texts is a tuple; ids are an
    array, with nothing put around it.
    """

    model: Any
    tokenizer: Any
    _edits: tuple[Callable[[Kept], list[Edit]], ...] = ()

    def sites(self, text: Texts | None = None, *, target: Texts | None = None) -> Sites:
        """Every site of the model by name with shape and bytes, for a text or several, or for 16 tokens; nothing is computed."""
        inputs = self._example() if text is None else self._read(listed(text), listed(target)).inputs
        return Sites(sites(self.model, inputs))

    def inspect(
        self,
        text: Texts,
        *,
        keep: Sequence[str] = KEEP,
        target: Texts | None = None,
        max_new_tokens: int = 0,
        dry: bool = False,
        limit: int = LIMIT,
    ) -> Any:
        """Run the model on a text, or several, and keep the activations that patterns name.

        Args:
            text: what is read; an encoder-decoder's source.
            keep: sites by name or pattern, * for anything; `sites()` lists them.
            target: what an encoder-decoder's decoder reads.
            max_new_tokens: let the model write so much first, greedily and without the edits; what is seen is one clean run over
                the text and what was written.
            dry: only say what would be kept, and its bytes, as a `Sites`.
            limit: bytes that may be kept.

        Returns:
            A `Seen`: `seen["layers.3.attention.weights"]`, `seen.attention()`, ...

        Raises:
            SiteError: a pattern that meets no site (with the nearest), or more than `limit` bytes (with the price).
            ValueError: an empty text, or one longer than the model reads.
        """
        texts = listed(text)
        found = self._read(*self._continued(texts, listed(target), max_new_tokens))
        if dry:
            return Sites(sites(self.model, found.inputs, Plan(tuple(keep))))
        edits = self._made(found.inputs)
        plan = Plan(tuple(keep), tuple(edit.place for edit in edits))
        output, kept = capture(self.model, found.inputs, plan, [edit.change for edit in edits], limit=limit)
        output, activations = jax.device_get((output, dict(kept)))
        return self._seen(found, texts, activations, output, is_one(text))

    @contextlib.contextmanager
    def edits(
        self,
        *edits: Edit,
        ablate_heads: Sequence[Head] = (),
        ablate_mlps: Sequence[int] = (),
        ablate_sites: Sequence[str] = (),
        steer: Mapping[str, np.ndarray] | None = None,
        patch: Mapping[str, Seen] | None = None,
        positions: Sequence[int] | None = None,
        instead: Instead = "zero",
        reference: Seen | None = None,
    ) -> Iterator[None]:
        """While active, `inspect`, `measure` and `gradients` run their texts by a changed model; `patch_grid` refuses to.

        Args:
            edits: made by model/inspection/edits.py.
            ablate_heads: heads, (layer, head) each, whose output is replaced; ("encoder", layer, head) where there are two sides,
                whose decoder is meant otherwise.
            ablate_mlps: layers whose MLP's output is.
            ablate_sites: sites, by name or pattern, that are.
            steer: vectors that are added to sites.
            patch: sites that get the value that they had in a `Seen`, of one text or of as many as are run.
            positions: only there; negative ones count from the end of each text.
            instead: what replaces: "zero", or "mean" or "resample" of `reference`; the mean is over all its tokens.

        Raises:
            SiteError: a head, layer or site that the model lacks.
        """

        if reference is not None and instead == "zero":
            raise SiteError("a reference is for instead='mean' or instead='resample'; say which, or leave it out")

        def make(there: Kept, *, only_names: bool = False) -> list[Edit]:
            where = None if only_names else positions
            raw = None if reference is None else reference.raw
            if raw is not None and only_names:  # whose texts are compared with those that are run, when they are
                raw = Kept({site: np.zeros(there[site].shape, np.float32) for site in raw if site in there})
            made = list(edits)
            for side in dict.fromkeys(self._side(head) for head in ablate_heads):
                heads = [(head[-2], head[-1]) for head in ablate_heads if self._side(head) == side]
                made += without_heads(heads, there, positions=where, instead=instead, reference=raw, side=side)
            chosen = [".".join(filter(None, [self._side(()), f"layers.{layer}.mlp.output"])) for layer in ablate_mlps]
            chosen += [site for pattern in ablate_sites for site in matching(list(there), pattern)]
            made += [without(site, there, positions=where, instead=instead, reference=raw) for site in chosen]
            made += [steered(site, vector, there, positions=where) for site, vector in (steer or {}).items()]
            for site, seen in (patch or {}).items():
                matching(list(there), site)
                if not only_names:
                    made.append(patched(site, seen.raw, there, positions=where))
            return made

        make(sites(self.model, self._example()), only_names=True)  # a name that is wrong is told now
        before = self._edits
        object.__setattr__(self, "_edits", (*before, make))
        try:
            yield
        finally:
            object.__setattr__(self, "_edits", before)

    def measure(self, text: Texts, metric: TextMetric | Any, *, target: Texts | None = None) -> Any:
        """A metric of a text, under the edits that are active; of several texts an array of one number for each.

        `metric` is made by `logit_difference` or `log_probability`, or takes scores [B T V], without padding, to numbers [B].
        """
        found = self._read(listed(text), listed(target))
        edits = self._made(found.inputs)
        changes = [edit.change for edit in edits]
        values = measure(
            self.model, found.inputs, self._resolve(metric, found), [edit.place for edit in edits], changes
        )
        return float(values[0]) if is_one(text) else np.asarray(values, np.float32)

    def gradients(
        self, text: Texts, metric: TextMetric | Any, keep: Sequence[str], *, target: Texts | None = None
    ) -> tuple[Seen, Seen]:
        """Activations at some sites of a text or several, and the gradients of a metric by them, under the edits that are
        active; their `output` is the metric."""
        texts = listed(text)
        found = self._read(texts, listed(target))
        edits = self._made(found.inputs)
        places, changes = [edit.place for edit in edits], [edit.change for edit in edits]
        values, here, slopes = gradients(self.model, found.inputs, self._resolve(metric, found), keep, places, changes)
        output = np.asarray(values)[:, None]
        activations, derivatives = (
            self._seen(found, texts, jax.device_get(dict(kept)), output, is_one(text), ("example", "metric"))
            for kept in (here, slopes)
        )
        return activations, derivatives

    def patch_grid(
        self,
        clean: Texts,
        corrupted: Texts,
        *,
        metric: TextMetric | Any,
        site: str = "residual",
        target: Texts | None = None,
        by_gradient: bool = False,
        chunk: int = 64,
    ) -> Any:
        """The metric on `corrupted` when one layer and position at a time has the value that it had on `clean`.

        `site`: "residual", "attention.output" or "mlp.output" by position, "attention.mixed" by head. `by_gradient`
        estimates the grid from one gradient (attribution patching). The texts must have as many tokens. Gives a `PatchGrid`; of
        several pairs of texts a `PerText` of them, whose mean is `.mean(lambda grid: grid.restored)` where all have one shape.
        SiteError inside `edits`, which a grid does not heed.
        """
        if self._edits:
            raise SiteError("a grid is of the model as it is; call patch_grid outside of the edits")
        pairs, targets = (listed(clean), listed(corrupted)), listed(target)
        if len(pairs[0]) != len(pairs[1]) or len(targets) not in (0, len(pairs[0])):
            raise ReadingError(
                f"{len(pairs[0])} clean texts, {len(pairs[1])} corrupted ones and {len(targets)} targets; give as many of each"
            )
        grids = [
            self._grid(*pair, targets[number : number + 1], metric, site, by_gradient, chunk)
            for number, pair in enumerate(zip(*pairs, strict=True))
        ]
        if is_one(clean) and is_one(corrupted):
            return grids[0]
        return PerText(grids, [reading.said(text) for text in pairs[1]])

    def _grid(
        self, clean: Text, corrupted: Text, targets: list[Any], metric: Any, site: str, by_gradient: bool, chunk: int
    ) -> PatchGrid:
        there, here = (self._read([text], targets) for text in (clean, corrupted))
        if len(there.rows[0]) != len(here.rows[0]):
            raise ValueError(
                f"the clean text has {len(there.rows[0])} tokens and the corrupted one {len(here.rows[0])}; "
                "choose words of as many tokens"
            )
        resolved = self._resolve(metric, here)
        prefix = "decoder." if isinstance(self.model, EncoderDecoder) else ""
        _, source = capture(self.model, there.inputs, Plan((f"{prefix}layers.*.{site}",)))
        before, after = (float(measure(self.model, one.inputs, resolved)[0]) for one in (there, here))
        if by_gradient:
            estimate = attribution_patch(self.model, here.inputs, source, resolved, part=site)
            values = NamedArray(estimate + after, estimate.axes or ())
        else:
            values = patch_grid(self.model, here.inputs, source, resolved, part=site, chunk=chunk)
        words = None if site == "attention.mixed" else words_of(self.tokenizer, here.rows[0])
        return PatchGrid(values, before, after, words, site)

    def _made(self, inputs: Inputs) -> list[Edit]:
        """The edits that are active, for inputs of this length."""
        there = sites(self.model, inputs) if self._edits else Kept({})
        return [edit for make in self._edits for edit in make(there)]

    def _side(self, head: Sequence[Any]) -> str:
        if len(head) == 3:
            return str(head[0])
        return "decoder" if isinstance(self.model, EncoderDecoder) else ""

    def _seen(
        self, found: Reading, texts: Sequence[Text], kept: Any, output: Any, single: bool, axes: Any = None
    ) -> Seen:
        return Seen(
            self.model,
            kept,
            np.asarray(output),
            texts=[reading.said(text) for text in texts],
            tokens=found.rows,
            words=[words_of(self.tokenizer, row) for row in found.rows],
            source_words=[words_of(self.tokenizer, row) for row in found.sources],
            source_tokens=found.sources,
            output_axes=axes or output_axes(self.model),
            single=single,
            word=str if self.tokenizer is None else self.tokenizer.token,
        )

    def _resolve(self, metric: TextMetric | Any, found: Reading) -> Any:
        """The metric of one text, or a tuple of one for each."""
        each = tuple(
            metric.resolve(self.tokenizer, row) if isinstance(metric, TextMetric) else metric for row in found.rows
        )
        return each if len(found.rows) > 1 else next(iter(each))

    def _read(self, texts: Sequence[Text], targets: Sequence[Text]) -> Reading:
        return read(self.model, self.tokenizer, texts, targets, self._around)

    def _opened(self) -> Any:
        """This as what `train.generate` works with."""
        from train.pretrained import Opened, Pretrained  # which are inspectable themselves

        if isinstance(self, Opened):
            return self
        if isinstance(self, Pretrained):
            return Opened(self.model, self.tokenizer, self.config, self.name, self)
        run: Any = self
        return Opened(self.model, self.tokenizer, run.experiment.model, run.folder.path.name, run=run)

    @cached_property
    def _around(self) -> Around:
        from train.prompts import manner_of

        if self.tokenizer is None or isinstance(self.model, Encoder):
            return Around()
        manner = manner_of(self._opened())
        return Around(manner.opening, manner.closing, manner.start)

    def _continued(self, texts: list[Any], targets: list[Any], max_new_tokens: int) -> tuple[list[Any], list[Any]]:
        """Texts and targets after the model has written."""
        if not max_new_tokens:
            return texts, targets
        from train.writing import write

        if targets:
            raise ReadingError("the model is to write the target itself; leave target or max_new_tokens out")
        written = [row[0].tokens for row in write(self._opened(), texts, max_new_tokens=max_new_tokens)]
        if isinstance(self.model, EncoderDecoder):
            return texts, written
        prompts = read(self.model, self.tokenizer, texts, (), self._around).rows
        return [np.concatenate([ids, more]) for ids, more in zip(prompts, written, strict=True)], []

    def _example(self) -> Inputs:
        row = np.zeros(16, np.int32)
        return text_inputs([row], [row] if isinstance(self.model, EncoderDecoder) else ())


__all__ = ["Inspectable", "SiteError", "Sites", "TextMetric", "log_probability", "logit_difference"]
