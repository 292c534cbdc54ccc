"""Rollout and flow: graphs small enough to be worked out by hand, and what holds for all of them."""

import numpy as np
import pytest
from scipy.optimize import linprog

from model.inspection.flow import attention_flow, attention_rollout, with_residual


def drawn(layers, heads, length, seed=0):
    weights = np.random.default_rng(seed).gamma(0.5, size=(layers, heads, length, length)) + 1e-3
    return weights / weights.sum(-1, keepdims=True)


def test_two_layers_by_hand():
    """Both places look at place 0 in layer 1; they look at each other in layer 2."""
    first, second = np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 0.0]])
    weights = np.stack([first, second])[:, None]
    # A'_1 = [[1, 0], [.5, .5]], A'_2 = [[.5, .5], [.5, .5]]
    np.testing.assert_allclose(attention_rollout(weights)[1], [[0.75, 0.25], [0.75, 0.25]])
    # From either place half of the flow goes to each middle node. All of it can reach place 0; only the half that went
    # through middle node 1 can reach place 1, by an edge of exactly that width.
    np.testing.assert_allclose(attention_flow(weights), [[1.0, 0.5], [1.0, 0.5]], atol=1e-6)


def test_flow_is_what_the_narrowest_cut_lets_through():
    """Three places; place 2 reads place 1 with 0.8 in both layers, without a residual."""
    layer = np.array([[1.0, 0.0, 0.0], [0.3, 0.7, 0.0], [0.2, 0.8, 0.0]])
    flow = attention_flow(np.stack([layer, layer])[:, None], residual=0.0, queries=[2])
    # to place 1: only through middle 1: min(0.8, 0.7). to place 0: 0.2 through middle 0, min(0.8, 0.3) through middle 1.
    np.testing.assert_allclose(flow, [[0.5, 0.7, 0.0]], atol=1e-6)


def test_flow_is_the_optimum_of_its_linear_program():
    """Written as one: as much as can leave the place at the top, what comes into a node going out of it."""
    depth, length = 3, 4
    weights = drawn(depth, 2, length)
    layers = with_residual(weights)
    edges = [(below, t, s) for below in range(depth) for t in range(length) for s in range(length)]
    found = attention_flow(weights, queries=[1, 3])
    for row, place in enumerate((1, 3)):
        for token in range(length):
            balance = np.zeros(((depth + 1) * length, len(edges)))
            for number, (below, t, s) in enumerate(edges):
                balance[(below + 1) * length + t, number] += 1
                balance[below * length + s, number] -= 1
            leaves = balance[depth * length + place]
            inner = [n for n in range(len(balance)) if n not in (depth * length + place, token)]
            limits = [(0, layers[edge]) for edge in edges]
            best = linprog(-leaves, A_eq=balance[inner], b_eq=np.zeros(len(inner)), bounds=limits)
            assert found[row, token] == pytest.approx(-best.fun, abs=1e-5)


def test_rollout_is_the_product_and_its_rows_are_shares():
    weights = drawn(3, 2, 5)
    layers = with_residual(weights)
    found = attention_rollout(weights)
    np.testing.assert_allclose(found[2], layers[2] @ layers[1] @ layers[0])
    np.testing.assert_allclose(found.sum(-1), 1.0)


def test_heads_that_look_at_themselves_move_nothing():
    weights = np.broadcast_to(np.eye(4), (3, 2, 4, 4))
    np.testing.assert_allclose(attention_rollout(weights)[-1], np.eye(4))
    np.testing.assert_allclose(attention_flow(weights), np.eye(4))


def test_what_nobody_may_see_reaches_nobody():
    weights = np.tril(drawn(2, 2, 5))
    weights = weights / weights.sum(-1, keepdims=True)
    above = np.triu(np.ones((5, 5), bool), 1)
    assert not attention_rollout(weights)[-1][above].any() and not attention_flow(weights)[above].any()


def test_flow_is_rollout_in_one_layer_and_no_less_in_more():
    one, more = drawn(1, 2, 5), drawn(3, 2, 5)
    np.testing.assert_allclose(attention_flow(one), attention_rollout(one)[-1], atol=1e-6)
    flow = attention_flow(more)
    assert (flow > attention_rollout(more)[-1] - 1e-5).all() and (flow < 1 + 1e-6).all()


def test_padding_keeps_to_itself():
    weights = np.zeros((2, 1, 5, 5))
    weights[..., :3, :3] = drawn(2, 1, 3)
    alone, beside = attention_rollout(weights[..., :3, :3])[-1], attention_rollout(weights)[-1]
    np.testing.assert_allclose(beside[:3, :3], alone)
    np.testing.assert_allclose(beside[3:, 3:], np.eye(2))


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"residual=1.0 must lie in"):
        attention_rollout(drawn(1, 1, 2), 1.0)
    with pytest.raises(ValueError, match="no place 7 in a text of 2 tokens"):
        attention_flow(drawn(1, 1, 2), queries=[7])
