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
from model.inspection.calls import LIMIT, Inputs, capture, gradients, measure, price, said, sites, text_inputs
from model.inspection.edits import Edit, Instead, patched, steered, without, without_heads
from model.inspection.grid import PatchGrid
from model.inspection.named import NamedArray
from model.inspection.patching import attribution_patch, patch_grid
from model.inspection.seen import Seen
from train import reading
from train.reading import (
    Around,
    Reading,
    ReadingError,
    Text,
    TextMetric,
    listed,
    log_probability,
    logit_difference,
    read,
    words_of,
)

KEEP = ("*attention.weights", "*.residual", "*embeddings.output")  # enough for maps, scores and lenses
Shapes = Mapping[str, jax.ShapeDtypeStruct]
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
    _edits: tuple[Callable[[Shapes], list[Edit]], ...] = ()

    def sites(self, text: Text | None = None, *, target: Text | None = None) -> Sites:
        """Every site of the model by name with shape and bytes, for a text, or for 16 tokens; nothing is computed."""
        inputs = self._example() if text is None else self._read([text], listed(target)).inputs
        return Sites(sites(self.model, inputs))

    def inspect(
        self,
        text: Text | Sequence[Text],
        *,
        keep: Sequence[str] = KEEP,
        target: Text | Sequence[Text] | None = None,
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
        found = self._read(*self._continued(listed(text), listed(target), max_new_tokens))
        if dry:
            return Sites(sites(self.model, found.inputs, Plan(tuple(keep))))
        edits = self._made(found.inputs)
        plan = Plan(tuple(keep), tuple(edit.place for edit in edits))
        kept = capture(self.model, found.inputs, plan, [edit.change for edit in edits], limit=limit)
        output, activations = jax.device_get(kept)
        return self._seen(found, listed(text), activations, output, isinstance(text, str | tuple | np.ndarray))

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
        """While active, `inspect`, `measure` and `patch_grid`'s texts are run by a changed model.

        Args:
            edits: made by model/inspection/edits.py.
            ablate_heads: heads, (layer, head) each, whose output is replaced; ("encoder", layer, head) where there are two sides,
                whose decoder is meant otherwise.
            ablate_mlps: layers whose MLP's output is.
            ablate_sites: sites, by name or pattern, that are.
            steer: vectors that are added to sites.
            patch: sites that get the value that they had in a `Seen`.
            positions: only there (heads are replaced everywhere); negative ones count from the end.
            instead: what replaces: "zero", or "mean" or "resample" of `reference`.

        Raises:
            SiteError: a head, layer or site that the model lacks.
        """

        def make(there: Shapes, *, only_names: bool = False) -> list[Edit]:
            where = None if only_names else positions
            raw = None if reference is None else reference.raw
            made = list(edits)
            for side in dict.fromkeys(self._side(head) for head in ablate_heads):
                heads = [(head[-2], head[-1]) for head in ablate_heads if self._side(head) == side]
                made += without_heads(heads, there, instead=instead, reference=raw, side=side)
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

    def measure(self, text: Text, metric: TextMetric | Any, *, target: Text | None = None) -> float:
        """A metric of one text, under the edits that are active."""
        found = self._read([text], listed(target))
        return self._measure(found.inputs, self._resolve(metric, found))

    def gradients(
        self, text: Text, metric: TextMetric | Any, keep: Sequence[str], *, target: Text | None = None
    ) -> tuple[Seen, Seen]:
        """Activations at some sites, and the gradients of a metric by them; edits that set a site are heeded."""
        found = self._read([text], listed(target))
        changes = {edit.site: edit.change for edit in self._made(found.inputs) if edit.operation == "set"}
        values, here, slopes = gradients(self.model, found.inputs, self._resolve(metric, found), keep, changes)
        output = np.asarray(values)[:, None]
        here, slopes = jax.device_get((here, slopes))
        return self._seen(found, [text], here, output, True), self._seen(found, [text], slopes, output, True)

    def patch_grid(
        self,
        clean: Text,
        corrupted: Text,
        *,
        metric: TextMetric | Any,
        site: str = "residual",
        target: Text | None = None,
        by_gradient: bool = False,
        chunk: int = 64,
    ) -> PatchGrid:
        """The metric on `corrupted` when one layer and position at a time has the value that it had on `clean`.

        `site`: "residual", "attention.output" or "mlp.output" by position, "attention.mixed" by head. `by_gradient`
        estimates the grid from one gradient (attribution patching). The texts must have as many tokens.
        """
        there, here = (self._read([text], listed(target)) for text in (clean, corrupted))
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
        there = sites(self.model, inputs) if self._edits else {}
        return [edit for make in self._edits for edit in make(there)]

    def _measure(self, inputs: Inputs, metric: Any) -> float:
        edits = self._made(inputs)
        return float(
            measure(self.model, inputs, metric, [edit.place for edit in edits], [edit.change for edit in edits])[0]
        )

    def _side(self, head: Sequence[Any]) -> str:
        if len(head) == 3:
            return str(head[0])
        return "decoder" if isinstance(self.model, EncoderDecoder) else ""

    def _seen(self, found: Reading, texts: Sequence[Text], kept: Any, output: Any, single: bool) -> Seen:
        return Seen(
            self.model,
            kept,
            np.asarray(output),
            texts=[reading.said(text) for text in texts],
            tokens=found.rows,
            words=[words_of(self.tokenizer, row) for row in found.rows],
            source_words=[words_of(self.tokenizer, row) for row in found.sources],
            single=single,
            word=str if self.tokenizer is None else self.tokenizer.token,
        )

    def _resolve(self, metric: TextMetric | Any, found: Reading) -> Any:
        return metric.resolve(self.tokenizer, found.rows[0]) if isinstance(metric, TextMetric) else metric

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
