"""Rule kinds about the order of locks: self-deadlock, grace-period-in-reader, lock-inversion,
lock-order, irq-unsafe-lock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TypeVar

from lockcheck.findings.fingerprint import fingerprint
from lockcheck.findings.model import Finding, LedgerEntry, Outcome, Step
from lockcheck.lockstate.acquiring import GRACE
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.circles import Circle, Circles
from lockcheck.lockstate.contexts import ContextFinder
from lockcheck.lockstate.deadlocks import Again, Deadlocks, Inversion, Misplaced
from lockcheck.lockstate.interrupts import InterruptLocks
from lockcheck.lockstate.ordering import OrderEdge, Orders
from lockcheck.models.loader import READ
from lockcheck.rules.evidence import Evidencer, name_of
from lockcheck.rules.guarded import RuleResult
from lockcheck.rules.interrupts import check_interrupts
from lockcheck.rules.model import LockOrder, Rule
from lockcheck.rules.order_words import OrderWords

SELF_DEADLOCK, GRACE_PERIOD, INVERSION, DECLARED, IRQ_UNSAFE = (
    "self-deadlock",
    "grace-period-in-reader",
    "lock-inversion",
    "lock-order",
    "irq-unsafe-lock",
)


_Found = TypeVar("_Found", Again, Misplaced)


class OrderChecker:
    """Checks the rules of these kinds over one program; the order is worked out once."""

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis
        self._orders = Orders(analysis)
        self._interrupts = InterruptLocks(analysis, self._orders.ways)
        self._words = OrderWords(Evidencer(analysis.program), self._orders.ways)

    def begin(self) -> None:
        """Look at the program as it is now; before the first check, and when it has changed."""
        self._orders.take_in()
        self._deadlocks = Deadlocks(self._analysis, self._orders)
        self._again = self._deadlocks.again()
        self._circles = Circles(self._orders, self._deadlocks)

    def check(self, rule: Rule, check: LockOrder) -> RuleResult:
        """Findings and ledger of one rule."""
        if check.kind == INVERSION:
            return self._check_inversions(rule)
        if check.kind == DECLARED:
            return self._check_declared(rule, check)
        if check.kind == IRQ_UNSAFE:
            contexts = ContextFinder(self._analysis, trusting=False)
            unsafe = self._interrupts.find(contexts, self._orders.reclassed)
            return check_interrupts(rule, list(unsafe), self._words)
        grace = check.kind == GRACE_PERIOD
        wanted = [a for a in self._again if (a.edge.way.mode == GRACE) is grace]
        return self._result(rule, [(a, self._again_message(a)) for a in _best(wanted)])

    # -- one task ------------------------------------------------------------------------------

    def _again_message(self, again: Again) -> str:
        edge, words = again.edge, self._words
        name, lock = name_of(edge.function), words.held(edge)
        by = words.by_way(edge.way)
        where = words.place(edge.function, edge.held_loc)
        if edge.way.mode == GRACE:
            return (
                f"{name}() waits for all readers of {lock}{by}, and is one of them itself "
                f"(since {where})"
            )
        how = f" for {edge.mode}" if READ in (edge.mode, edge.way.mode) else ""
        taken = f" for {edge.way.mode}" if how else ""
        if edge.way.waited:
            return (
                f"{name}() waits for a function that takes {lock}{taken}{by}, "
                f"while it holds that lock{how} (taken at {where})"
            )
        return f"{name}() takes {lock}{taken}{by}, while it holds it{how} (taken at {where})"

    # -- two tasks -----------------------------------------------------------------------------

    def _check_inversions(self, rule: Rule) -> RuleResult:
        findings: list[Finding] = []
        ledger: list[LedgerEntry] = []
        ordinals: Counter[tuple[str, str]] = Counter()
        for inversion in self._deadlocks.inversions():
            inversion = self._with_rare_side_first(inversion)
            edge, other = inversion.edges
            requirement = f"{edge.outer.text} and {edge.inner.text} nest in one order"
            ledger.append(self._entry(rule, edge, requirement, inversion.why))
            one, two = inversion.first, inversion.second
            if one is None or two is None:
                continue
            message = (
                f"{self._words.nesting(edge)}, but {self._words.nesting(other)} "
                f"({self._words.place(other.function, other.way.loc)}): the two may wait for each "
                "other"
            )
            chain = (*self._words.chain(one), *self._words.chain(two))
            findings.append(self._finding(rule, edge, message, chain, ordinals))
        for circle in self._circles.find():
            ledger.append(self._entry(rule, circle.edges[0], self._one_order(circle), circle.why))
            if circle.sides:
                findings.append(self._circle_finding(rule, circle, ordinals))
        return RuleResult(findings, [], ledger)

    @staticmethod
    def _one_order(circle: Circle) -> str:
        *names, last = (edge.outer.text for edge in circle.edges)
        return f"{', '.join(names)} and {last} nest in one order"

    def _circle_finding(
        self, rule: Rule, circle: Circle, ordinals: Counter[tuple[str, str]]
    ) -> Finding:
        first, *others = circle.edges
        turns = ", ".join(
            f"{self._words.nesting(edge)} ({self._words.place(edge.function, edge.way.loc)})"
            for edge in others
        )
        message = f"{self._words.nesting(first)}, but {turns}: they may wait in a circle"
        chain = tuple(step for side in circle.sides for step in self._words.chain(side))
        classes = " ".join(edge.outer.text for edge in circle.edges)
        return self._finding(rule, first, message, chain, ordinals, classes)

    def _with_rare_side_first(self, inversion: Inversion) -> Inversion:
        """The side that fewer places share is more likely the one to mend."""
        edge, other = inversion.edges
        edges = self._orders.edges
        if len(edges[other.outer, other.inner]) >= len(edges[edge.outer, edge.inner]):
            return inversion
        return Inversion(inversion.second, inversion.first, (other, edge), inversion.why)

    # -- declared orders -----------------------------------------------------------------------

    def _check_declared(self, rule: Rule, check: LockOrder) -> RuleResult:
        found: list[tuple[Misplaced, str]] = []
        kept: list[LedgerEntry] = []
        for order in check.orders:
            misplaced = self._deadlocks.misplaced(order.outer, order.inner)
            found.extend((m, self._misplaced_message(m)) for m in _best(misplaced))
            right = [
                edge
                for (outer, inner), edges in self._orders.edges.items()
                if outer.name == order.outer and inner.name == order.inner
                for edge in edges
            ]
            if right and not misplaced:
                requirement = f"{order.outer} is taken outside of {order.inner}"
                kept.append(self._entry(rule, right[0], requirement, None))
        result = self._result(rule, found)
        return result._replace(ledger=[*result.ledger, *kept])

    def _misplaced_message(self, misplaced: Misplaced) -> str:
        edge = misplaced.edge
        return (
            f"{self._words.nesting(edge)}, but {edge.inner.text} is to be taken outside of "
            f"{edge.outer.text}"
        )

    # -- findings ------------------------------------------------------------------------------

    def _result(self, rule: Rule, found: Iterable[tuple[Again | Misplaced, str]]) -> RuleResult:
        findings: list[Finding] = []
        ledger: list[LedgerEntry] = []
        ordinals: Counter[tuple[str, str]] = Counter()
        for one, message in found:
            requirement = f"not: {message}"
            ledger.append(self._entry(rule, one.edge, requirement, one.why))
            if one.side is not None:
                chain = self._words.chain(one.side)
                findings.append(self._finding(rule, one.edge, message, chain, ordinals))
        return RuleResult(findings, [], ledger)

    def _finding(
        self,
        rule: Rule,
        edge: OrderEdge,
        message: str,
        chain: tuple[Step, ...],
        ordinals: Counter[tuple[str, str]],
        classes: str = "",
    ) -> Finding:
        name = name_of(edge.function)
        pair = classes or f"{edge.outer.text} {edge.inner.text}"
        ordinals[name, pair] += 1
        return Finding(
            rule_id=rule.info.rule_id,
            level=rule.info.level,
            message=message,
            location=self._words.location(edge.function, edge.way.loc),
            chain=chain,
            related=(),
            fingerprint=fingerprint(
                rule.info.rule_id, name, pair, edge.inner.text, ordinals[name, pair]
            ),
        )

    def _entry(self, rule: Rule, edge: OrderEdge, requirement: str, why: str | None) -> LedgerEntry:
        """An obligation. why: what is not decided; "" for a violation, None if it is proved."""
        outcome, reason = Outcome.VIOLATED, "see the finding"
        if why is None:
            outcome, reason = Outcome.PROVED, "nowhere in the units read the other way round"
        elif why:
            outcome, reason = Outcome.UNPROVED, why
        return LedgerEntry(
            outcome=outcome,
            origin=rule.info.rule_id,
            rule_id=rule.info.rule_id,
            location=self._words.location(edge.function, edge.way.loc),
            requirement=requirement,
            lock=tuple(dict.fromkeys((edge.outer.text, edge.inner.text))),
            reason=reason,
        )


def _best(found: list[_Found]) -> list[_Found]:
    """One for each call in a function and lock: a claim rather than an undecided one."""
    best: dict[tuple[str, int, str], _Found] = {}
    for one in found:
        key = (one.edge.function, one.edge.way.loc, one.edge.inner.name)
        if key not in best or (best[key].why and not one.why):
            best[key] = one
    return list(best.values())
