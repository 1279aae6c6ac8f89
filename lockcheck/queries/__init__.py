"""Answers that are kept while a program changes, as far as nothing that they rest on did.

A query is a function whose answers are remembered by their key. While one is worked out,
everything that it asks is written down: other queries, and inputs, which are read from the program
as it is. When the program becomes another one, inputs are read again. What rests on one that has
changed may be stale. It is looked at again before it is used, and worked out anew only if something
that it rests on has another answer now; most often that comes out as it was, and all that rests on
it stays.

That is self-adjusting computation (Acar, Blelloch, Harper, "Adaptive functional programming", POPL
2002) with the early cut-off of build systems (Mokhov, Mitchell, Peyton Jones, "Build systems à la
carte", ICFP 2018), as in salsa.

Functions that call each other need more: an answer about one is asked for while it is worked out,
and what comes of that hangs on where one begins. So they are settled together, always in the same
order, and count as one; see `Settling`.
"""

from lockcheck.queries.carried import Kept, Table
from lockcheck.queries.circles import FunctionQuery, Settling
from lockcheck.queries.inputs import Inputs
from lockcheck.queries.node import Node
from lockcheck.queries.query import Query
from lockcheck.queries.versions import Cycle, Queries

__all__ = [
    "Cycle",
    "FunctionQuery",
    "Inputs",
    "Kept",
    "Node",
    "Queries",
    "Query",
    "Settling",
    "Table",
]
