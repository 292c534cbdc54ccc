"""Attention maps made small: square roots in a byte, deflated, a stream for each head, so that a page decodes what it shows.

A map [T S] becomes a byte for each weight and three numbers for each row. With l = code - 1 and the row's own step,

    code 0      the weight is exactly 0, as behind a mask
    code 1      it is under half a step: the mean of such weights in the row, `floor`
    2 .. 254    step^2 (l + shift)^2
    255         the largest of the row, `top`, as it was

Square roots spend the codes where weights of attention lie; with equal distances a uniform head over 512 words would be all
zeros. `shift`, most often between -1/2 and 1/2, is chosen so that a row keeps its sum: weights stay in their steps, no mass is
lost, and a row whose weights are equal is exact. The step is top / 254, or a coarser one where a large set of maps must fit
into a page: down to 63 levels between 0 and 1, six bits, or fewer where even so no weight is far from what it was. The lower
triangle of a causal map is not packed by itself: runs of zeros take no room.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8, UInt16

LEVELS = 254
STEPS = (0.0, 1 / 254, 1 / 180, 1 / 127, 1 / 104, 1 / 90, 1 / 76, 1 / 63)  # of square roots
COARSER = (1 / 54, 1 / 46)  # good enough for flat maps only, where no weight is large
TOLERANCE = 0.02
SAMPLED_ROWS = 64
FINE = 65_535  # the row's numbers take 16 bits


@dataclass(frozen=True)
class Packed:
    """One map or several, quantised.

    Attributes:
        codes: [... T S], see above.
        rows: [3 ... T]: the roots of top and floor as parts of `peak`, and (shift + 1) / 2, in units of 1 / 65535.
        peak: [...], the root of each map's largest weight.
        step: the coarsest that a row's step may be, of square roots.
    """

    codes: UInt8[np.ndarray, "*maps T S"]
    rows: UInt16[np.ndarray, "3 *maps T"]
    peak: Float32[np.ndarray, "*maps"]
    step: float

    def steps(self) -> Float32[np.ndarray, "*maps T"]:
        """The step of each row."""
        return np.maximum(_root(self.rows[0], self.peak) / np.float32(LEVELS), np.float32(self.step))


def quantise(weights: Float32[np.ndarray, "*maps T S"], step: float = 0.0) -> Packed:
    """Weights, none negative, by square roots in steps of top / 254, or of `step` where that is more.

    >>> np.round(restore(quantise(np.array([[0.64, 0.36, 0.0]], np.float32))), 2).tolist()
    [[0.6399999856948853, 0.36000001430511475, 0.0]]
    """
    roots = np.sqrt(weights)
    top = roots.max(-1, initial=0.0)
    peak = np.asarray(top.max(-1, initial=0.0))
    tops = _fine(top, peak)
    packed = Packed(np.zeros(weights.shape, np.uint8), np.stack([tops, tops, tops]), peak, step)
    steps = np.maximum(packed.steps(), np.float32(1e-12))
    codes = np.minimum(np.rint(roots / steps[..., None]), LEVELS - 1) + (weights > 0)
    codes[(roots == top[..., None]) & (weights > 0)] = LEVELS + 1
    small, middle = codes == 1, (codes > 1) & (codes <= LEVELS)
    floor = np.sqrt(weights.sum(-1, where=small) / np.maximum(small.sum(-1), 1))
    # The shift that keeps the sum:  mean (l + shift)^2 = target,  l having this mean and this variance.
    number = np.maximum(middle.sum(-1), 1)
    mean = (codes - 1).sum(-1, where=middle) / number
    variance = np.square(codes - 1 - mean[..., None]).sum(-1, where=middle) / number
    target = weights.sum(-1, where=middle) / number / np.square(steps)
    shift = np.clip(np.sqrt(np.maximum(target - variance, 0.0)) - mean, -1.0, 1.0)
    floors = np.maximum(_fine(floor, peak), small.any(-1))  # what is there is never nothing
    rows = np.stack([tops, floors, np.rint((shift + 1.0) / 2 * FINE)]).astype(np.uint16)
    return Packed(codes.astype(np.uint8), rows, peak, step)


def restore(packed: Packed) -> Float32[np.ndarray, "*maps T S"]:
    """The weights that were kept; `decode` in viewer.js does the same."""
    top, floor = (_root(numbers, packed.peak)[..., None] for numbers in packed.rows[:2])
    shift = packed.rows[2].astype(np.float32)[..., None] * (2 / FINE) - np.float32(1)
    roots = packed.steps()[..., None] * (packed.codes - np.float32(1) + shift)
    kept = np.choose(np.minimum(packed.codes, 2), [np.float32(0), floor, roots])
    return np.square(np.where(packed.codes > LEVELS, top, kept)).astype(np.float32)


def streams(packed: Packed) -> list[bytes]:
    """Each map as a zlib stream: peak and step as float32, rows as uint16, codes; little-endian.

    Run lengths and Huffman codes only: on these bytes longer matches gain little and cost ten times the time.
    """
    made = []
    for place in np.ndindex(packed.peak.shape):
        head = np.array([packed.peak[place], packed.step], "<f4").tobytes()
        squeeze = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
        rows = packed.rows[(slice(None), *place)].astype("<u2").tobytes()
        made.append(squeeze.compress(head + rows + packed.codes[place].tobytes()) + squeeze.flush())
    return made


def from_stream(stream: bytes, rows: int) -> Packed:
    """One map of `rows` rows out of its stream."""
    flat = zlib.decompress(stream)
    peak, step = np.frombuffer(flat, "<f4", 2)
    numbers = np.frombuffer(flat, "<u2", 3 * rows, 8).reshape(3, rows)
    codes = np.frombuffer(flat, np.uint8, offset=8 + 6 * rows).reshape(rows, -1)
    return Packed(codes, numbers, np.asarray(peak), float(step))


def choose_step(sets: Sequence[Float32[np.ndarray, "L N _ _"]], most_bytes: int) -> float:
    """The finest step with which all maps take at most `most_bytes`, judged by some of their rows; else the coarsest.

    One of COARSER is chosen only if it keeps those rows well within TOLERANCE.
    """
    chosen = STEPS[0]
    for step in (*STEPS, *COARSER):
        if step in COARSER and max(_error(_sample(maps), step) for maps in sets) > 0.75 * TOLERANCE:
            break
        chosen = step
        if sum(_estimate(maps, step) for maps in sets) <= most_bytes:
            break
    return chosen


def _sample(maps: Float32[np.ndarray, "L N T S"]) -> Float32[np.ndarray, "L N _ S"]:
    return maps[:, :, :: -(-maps.shape[2] // SAMPLED_ROWS)]


def _estimate(maps: Float32[np.ndarray, "L N T S"], step: float) -> float:
    """The bytes that maps would take, from those that every n-th row takes."""
    sample = _sample(maps)
    return sum(map(len, streams(quantise(sample, step)))) * maps.shape[2] / sample.shape[2]


def _error(maps: Float32[np.ndarray, "L N T S"], step: float) -> float:
    return float(np.abs(restore(quantise(maps, step)) - maps).max())


def _fine(roots: np.ndarray, peak: np.ndarray) -> np.ndarray:
    """Roots as parts of the map's largest, in 16 bits."""
    return np.rint(roots / np.maximum(peak, 1e-30)[..., None] * FINE).astype(np.uint16)


def _root(numbers: np.ndarray, peak: np.ndarray) -> np.ndarray:
    return numbers.astype(np.float32) * (np.asarray(peak, np.float32)[..., None] / np.float32(FINE))
