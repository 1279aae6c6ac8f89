"""Building the control-flow graph of one function: blocks, scopes, labels, cleanups."""

from __future__ import annotations

from lockcheck.facts.ir import UNKNOWN, Block, Event, Expr, Terminator, successors


class Scope:
    """A C scope. `cleanups` are the calls due when control leaves it, in order of declaration."""

    __slots__ = ("cleanups", "depth", "parent")

    def __init__(self, parent: Scope | None) -> None:
        self.parent = parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.cleanups: list[tuple[Expr, Expr, int]] = []  # function, argument, loc


class _Goto:
    __slots__ = ("block", "label", "pending")

    def __init__(self, block: int, label: int, scope: Scope) -> None:
        self.block = block
        self.label = label
        # A goto runs the cleanups that are due now, not those declared after it.
        self.pending = [(s, len(s.cleanups)) for s in _chain(scope)]


def _chain(scope: Scope | None) -> list[Scope]:
    chain = []
    while scope is not None:
        chain.append(scope)
        scope = scope.parent
    return chain


class CfgBuilder:
    """Collects blocks; `finish` resolves gotos and drops what cannot be reached."""

    def __init__(self) -> None:
        self._events: list[list[Event]] = [[]]
        self._ends: list[Terminator | None] = [None]
        self.current = 0
        self.scope = Scope(None)
        # Label → its block, and how many cleanups were due in each scope around it.
        self._labels: dict[int, tuple[int, dict[int, int]]] = {}
        self.address_taken: set[int] = set()
        self._gotos: list[_Goto] = []
        self._asm_blocks: list[tuple[int, int]] = []  # block that ends in asm, block that follows
        self._indirect: list[int] = []
        self.calls = 0

    def new_block(self) -> int:
        self._events.append([])
        self._ends.append(None)
        return len(self._ends) - 1

    def emit(self, event: Event) -> None:
        self._events[self.current].append(event)

    def end(self, terminator: Terminator) -> None:
        """Close the current block. What follows goes to a block that nothing reaches yet."""
        if self._ends[self.current] is None:
            self._ends[self.current] = terminator
        self.current = self.new_block()

    def jump(self, target: int) -> None:
        self.end(("jmp", target))

    def branch(self, value: Expr, if_true: int, if_false: int, loc: int) -> None:
        """A two-way branch; a constant condition is decided here."""
        if value[0] == "k":
            self.jump(if_true if value[1] else if_false)
        elif value[0] == "fn":
            self.jump(if_true)
        else:
            self.end(("br", value, if_true, if_false, loc))

    def start(self, block: int) -> None:
        """Go on in `block`, falling through to it from the current block."""
        if self._ends[self.current] is None:
            self._ends[self.current] = ("jmp", block)
        self.current = block

    def call(self, callee: Expr, args: tuple[Expr, ...], loc: int) -> Expr:
        self.calls += 1
        self.emit(("C", loc, self.calls, callee, args))
        return ("c", self.calls)

    def push_scope(self) -> Scope:
        self.scope = Scope(self.scope)
        return self.scope

    def pop_scope(self) -> None:
        """Leave the innermost scope normally: its cleanups run here."""
        self.run_cleanups(self.scope.parent)
        parent = self.scope.parent
        assert parent is not None
        self.scope = parent

    def run_cleanups(self, until: Scope | None) -> None:
        """Emit the cleanup calls of all scopes from the current one up to, not with, `until`."""
        for scope in _chain(self.scope):
            if scope is until:
                break
            for function, argument, loc in reversed(scope.cleanups):
                self.call(function, (argument,), loc)

    def label(self, label: int) -> None:
        block = self.new_block()
        self.start(block)
        self._labels[label] = (block, {id(s): len(s.cleanups) for s in _chain(self.scope)})

    def goto(self, label: int) -> None:
        self._gotos.append(_Goto(self.current, label, self.scope))
        self.current = self.new_block()

    def asm(self) -> None:
        """An asm statement: libclang does not show the labels of an `asm goto`."""
        following = self.new_block()
        self._asm_blocks.append((self.current, following))
        self.current = following

    def indirect_goto(self) -> None:
        self._indirect.append(self.current)
        self.current = self.new_block()

    def _resolve_gotos(self) -> set[int]:
        targeted: set[int] = set()
        for goto in self._gotos:
            target = self._labels.get(goto.label)
            if target is None:
                self._ends[goto.block] = ("end",)
                continue
            targeted.add(goto.label)
            block, due_at_label = target
            self.current = goto.block
            for left, count in goto.pending:
                kept = due_at_label.get(id(left), 0)
                for function, argument, loc in reversed(left.cleanups[kept:count]):
                    self.call(function, (argument,), loc)
                if id(left) in due_at_label:
                    break
            self._ends[goto.block] = ("jmp", block)
        return targeted

    def _resolve_asm(self, targeted: set[int]) -> None:
        """A label that no goto names is reached from an asm goto: from each asm, maybe.

        Except one whose address is taken (`&&label`): that explains the label.
        """
        known = targeted | self.address_taken
        hidden = [block for label, (block, _) in self._labels.items() if label not in known]
        for block, following in self._asm_blocks:
            self._branch_anywhere(block, [following, *hidden])
        everywhere = [block for block, _ in self._labels.values()]
        for block in self._indirect:
            self._branch_anywhere(block, everywhere)

    def _branch_anywhere(self, block: int, targets: list[int]) -> None:
        if not targets:
            self._ends[block] = ("end",)
            return
        while len(targets) > 1:
            rest = self.new_block() if len(targets) > 2 else targets[1]
            self._ends[block] = ("br", UNKNOWN, targets[0], rest, 0)
            block, targets = rest, targets[1:]
            if len(targets) == 1:
                return
        self._ends[block] = ("jmp", targets[0])

    def finish(self) -> tuple[tuple[Block, ...], tuple[int, ...]]:
        """The reachable blocks, renumbered from the entry, and the indices of loop heads."""
        if self._ends[self.current] is None:
            self._ends[self.current] = ("ret", None, 0)
        targeted = self._resolve_gotos()
        self._resolve_asm(targeted)
        self._thread_jumps()
        order, heads = self._order()
        number = {block: index for index, block in enumerate(order)}
        blocks = tuple(
            (tuple(self._events[block]), _renumber(self._ends[block] or ("end",), number))
            for block in order
        )
        return blocks, tuple(sorted(number[head] for head in heads))

    def _thread_jumps(self) -> None:
        """Let every terminator skip blocks that only jump on: macros leave many of them."""
        final: list[int] = []
        for block in range(len(self._ends)):
            target, seen = block, {block}
            while not self._events[target]:
                end = self._ends[target]
                if end is None or end[0] != "jmp" or end[1] in seen:
                    break
                target = end[1]
                seen.add(target)
            final.append(target)
        for block, end in enumerate(self._ends):
            if end is not None:
                self._ends[block] = _renumber(end, final)

    def _order(self) -> tuple[list[int], set[int]]:
        """Reverse postorder of the reachable blocks, and the targets of back edges."""
        postorder: list[int] = []
        heads: set[int] = set()
        state: dict[int, int] = {0: 1}
        stack = [(0, iter(self._successors(0)))]
        while stack:
            block, successors = stack[-1]
            for successor in successors:
                seen = state.get(successor)
                if seen is None:
                    state[successor] = 1
                    stack.append((successor, iter(self._successors(successor))))
                    break
                if seen == 1:
                    heads.add(successor)
            else:
                state[block] = 2
                postorder.append(block)
                stack.pop()
        postorder.reverse()
        return postorder, heads

    def _successors(self, block: int) -> tuple[int, ...]:
        return successors(self._ends[block] or ("end",))


def _renumber(terminator: Terminator, number: dict[int, int] | list[int]) -> Terminator:
    kind = terminator[0]
    if kind == "jmp":
        return ("jmp", number[terminator[1]])
    if kind == "br":
        _, value, if_true, if_false, loc = terminator
        return ("br", value, number[if_true], number[if_false], loc)
    if kind == "sw":
        _, value, cases, default, loc = terminator
        moved = tuple((low, high, number[target]) for low, high, target in cases)
        return ("sw", value, moved, number[default], loc)
    return terminator
