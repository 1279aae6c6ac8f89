"""Strongly connected components of a call graph.

Our own, since the graph library that has them takes as long to import as many a question takes to
answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence


def components(successors: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """The strongly connected components of a graph, each after those that it leads to.

    successors: every node, with the nodes that it leads to.
    R. Tarjan, "Depth-first search and linear graph algorithms", SIAM J. Comput. 1 (1972), without
    recursion.
    """
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    done: set[str] = set()
    stack: list[str] = []
    for start in successors:
        if start in number:
            continue
        number[start] = low[start] = len(number)
        stack.append(start)
        path = [(start, iter(successors[start]))]
        while path:
            node, rest = path[-1]
            for child in rest:
                if child not in number:
                    number[child] = low[child] = len(number)
                    stack.append(child)
                    path.append((child, iter(successors[child])))
                    break
                if child not in done:
                    low[node] = min(low[node], number[child])
            else:
                path.pop()
                if path:
                    above = path[-1][0]
                    low[above] = min(low[above], low[node])
                if low[node] == number[node]:
                    found = [stack.pop()]
                    while found[-1] != node:
                        found.append(stack.pop())
                    done.update(found)
                    yield found
