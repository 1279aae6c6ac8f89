"""Strongly connected components, against what they are by definition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lockcheck.callgraph.components import components

NODES = "abcdefg"
GRAPHS = st.fixed_dictionaries({n: st.lists(st.sampled_from(NODES), max_size=3) for n in NODES})


def reachable(graph: dict[str, list[str]], start: str) -> set[str]:
    seen = {start}
    work = [start]
    while work:
        for child in graph[work.pop()]:
            if child not in seen:
                seen.add(child)
                work.append(child)
    return seen


@given(GRAPHS)
def test_nodes_that_reach_each_other_are_one_component(graph: dict[str, list[str]]) -> None:
    reach = {node: reachable(graph, node) for node in graph}
    found = {node: frozenset(part) for part in components(graph) for node in part}

    assert found == {
        node: frozenset(other for other in reach[node] if node in reach[other]) for node in graph
    }


@given(GRAPHS)
def test_a_component_comes_after_those_that_it_leads_to(graph: dict[str, list[str]]) -> None:
    before: set[str] = set()
    for part in components(graph):
        assert all(child in before or child in part for node in part for child in graph[node])
        before.update(part)


def test_a_long_chain_is_no_recursion() -> None:
    graph = {str(n): [str(n + 1)] for n in range(5000)} | {"5000": ["0"]}

    assert [len(part) for part in components(graph)] == [5001]
