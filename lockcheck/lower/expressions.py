"""Lowering of expressions: values, addresses, conditions, calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from lockcheck.facts import folding
from lockcheck.facts.ir import INIT, ONCE, TEST, UNKNOWN, UPDATE, Expr
from lockcheck.lower.decls import FunctionDecl
from lockcheck.lower.initialisers import list_members
from lockcheck.lower.lvalues import AddressLowering, strip
from lockcheck.lower.nodes import Node
from lockcheck.parse import kinds as K

# Compound assignment operators share the numbering of libclang's binary operators: 23.. = *=, /= …
_COMPOUND = dict(
    zip(range(23, 33), ("*", "/", "%", "+", "-", "<<", ">>", "&", "^", "|"), strict=True)
)
# Compiler builtins whose result does not come from a body.
_SAME_AS_FIRST_ARGUMENT = frozenset({"__builtin_expect", "__builtin_assume_aligned"})
CLAIM = "__lockcheck_claim"  # what header shims call with a value that is claimed not to be zero
_INCREMENTS = {K.UO_POST_INC: "+", K.UO_PRE_INC: "+", K.UO_POST_DEC: "-", K.UO_PRE_DEC: "-"}


class ExpressionLowering(AddressLowering):
    """Lowers expressions into a CfgBuilder. Statements come from the subclass.

    claiming: within a claim, which reads nothing when it runs.
    """

    claiming = 0

    def statement(self, node: Node) -> None:
        raise NotImplementedError

    def statement_expression(self, node: Node, how: int) -> Expr:
        raise NotImplementedError

    # -- values --------------------------------------------------------------------------------

    def load(self, node: Node, how: int = 0) -> Expr:
        """The value of an lvalue: a load, or the address of an array or function."""
        address = self.address(node)
        if address[0] in ("fn", "k", "u"):
            return address
        if self.is_array(node):
            return address
        if self.is_volatile(node):
            how |= ONCE
        if not folding.is_local(address) and not self.claiming:
            self.cfg.emit(("R", self.where(node.cursor), address, how))
        return ("l", address)

    def effect(self, node: Node) -> None:
        """Evaluate for side effects; a value that is not used is not read."""
        inner = strip(node)
        if self.is_lvalue(inner):
            self.address(inner)
        elif inner.kind == K.UNARY_OPERATOR:
            op = self.lib.clang_getCursorUnaryOperatorKind(inner.cursor)
            if op in _INCREMENTS:
                self._increment(inner, op, want_old=False)
            else:
                self.value(inner)
        elif inner.kind == K.C_STYLE_CAST and inner.children:
            self.effect(inner.children[-1])
        else:
            self.value(inner)

    def value(self, node: Node, how: int = 0) -> Expr:
        """The value of an expression. `how` is TEST when only compared with zero."""
        handler = self._VALUES.get(node.kind)
        if handler is not None:
            return handler(self, node, how)
        if self.is_lvalue(node):
            return self.load(node, how)
        for child in node.children:
            if K.UNEXPOSED_EXPR <= child.kind < K.UNEXPOSED_STMT:
                self.value(child)
        return UNKNOWN

    def _paren(self, node: Node, how: int) -> Expr:
        return self.value(node.children[-1], how) if node.children else UNKNOWN

    def _decl_ref(self, node: Node, how: int) -> Expr:
        named = self.named(node)
        if named[0] in ("fn", "k", "u"):
            return named
        if named[0] == "g":
            constant = self.constant(node)
            if constant is not None:
                return ("k", constant)
        return self.load(node, how)

    def _lvalue(self, node: Node, how: int) -> Expr:
        return self.load(node, how)

    def _literal(self, node: Node, _how: int) -> Expr:
        number = self.decls.evaluate(node.cursor)
        return UNKNOWN if number is None else ("k", number)

    def _unexposed(self, node: Node, how: int) -> Expr:
        """Implicit casts (one child), and the forms that libclang has no kind for."""
        children = node.children
        if len(children) == 1 and children[0].kind != K.MEMBER_REF:
            return self.value(children[0], how)
        if any(child.kind == K.MEMBER_REF for child in children):
            path = [child for child in children if child.kind == K.MEMBER_REF]
            field = self.decls.field(self.lib.clang_getCursorReferenced(path[-1].cursor))
            return ("off", field.name)  # __builtin_offsetof
        expressions = [child for child in children if child.kind >= K.UNEXPOSED_EXPR]
        if len(expressions) == 3:  # __builtin_choose_expr(constant, a, b)
            chosen = self.decls.evaluate(expressions[0].cursor)
            return self.value(expressions[1 if chosen else 2], how)
        if len(expressions) == 4:  # a ?: b, shown as a, a, a, b
            return self._conditional_value(expressions[0], None, expressions[3], node)
        number = self.decls.evaluate(node.cursor)
        return UNKNOWN if number is None else ("k", number)

    def _constant(self, node: Node, _how: int) -> Expr:
        number = self.decls.evaluate(node.cursor)
        return UNKNOWN if number is None else ("k", number)

    def _cast(self, node: Node, how: int) -> Expr:
        inner = node.children[-1] if node.children else None
        if inner is None or inner.kind < K.UNEXPOSED_EXPR:
            return UNKNOWN
        value = self.value(inner, how)
        if value[0] == "k" and not -1 < value[1] < 128:  # the cast may cut or extend it
            number = self.decls.evaluate(node.cursor)
            return value if number is None else ("k", number)
        return value

    def _unary(self, node: Node, how: int) -> Expr:
        op = self.lib.clang_getCursorUnaryOperatorKind(node.cursor)
        child = node.children[0]
        if op == K.UO_ADDR_OF:
            return self.address(child)
        if op == K.UO_DEREF:
            if self.decls.type_kind(node.cursor) in K.FUNCTION_TYPES:
                return self.value(child)  # `*fn` is fn
            return self.load(node, how)
        if op in _INCREMENTS:
            return self._increment(node, op, want_old=op in (K.UO_POST_INC, K.UO_POST_DEC))
        if op == K.UO_LNOT:
            return folding.negate(self.value(child, TEST))
        if op == K.UO_MINUS:
            return self._folded(folding.unary("-", self.value(child)), node)
        if op == K.UO_NOT:
            return self._folded(folding.unary("~", self.value(child)), node)
        return self.value(child, how)

    def _increment(self, node: Node, op: int, want_old: bool) -> Expr:
        address = self.address(node.children[0])
        old: Expr = ("l", address)
        if want_old:
            old_place = self.temporary()
            self.store(old_place, old, INIT, node)
            old = ("l", old_place)
        step = _INCREMENTS[op]
        if self.decls.type_kind(node.cursor) == K.TYPE_POINTER:
            new = folding.element(old, ("k", 1 if step == "+" else -1))
        else:
            new = folding.binary(step, old, ("k", 1))
        self.store(address, new, UPDATE, node)
        return old if want_old else ("l", address)

    def _binary(self, node: Node, how: int) -> Expr:
        op = self.lib.clang_getCursorBinaryOperatorKind(node.cursor)
        left, right = node.children[0], node.children[-1]
        if op == K.BO_ASSIGN:
            return self._assign(left, right, node)
        if op == K.BO_COMMA:
            self.effect(left)
            return self.value(right, how)
        if op in (K.BO_LAND, K.BO_LOR):
            return self._logical_value(node)
        spelling = K.BINARY_SPELLING.get(op)
        if spelling is None:
            self.value(left)
            self.value(right)
            return UNKNOWN
        # A pointer that is only compared with NULL is tested, not followed.
        tests = op in (K.BO_EQ, K.BO_NE)
        a = self.value(left, TEST if tests and self._is_null(right) else 0)
        b = self.value(right, TEST if tests and self._is_null(left) else 0)
        return self._folded(folding.binary(spelling, a, b), node)

    def _folded(self, value: Expr, node: Node) -> Expr:
        """A constant as clang computes it, which knows the width of its type."""
        if value[0] == "k":
            number = self.decls.evaluate(node.cursor)
            return value if number is None else ("k", number)
        return value

    def _is_null(self, node: Node) -> bool:
        while node.kind in (K.UNEXPOSED_EXPR, K.PAREN_EXPR, K.C_STYLE_CAST) and node.children:
            node = node.children[-1]
        return node.kind == K.INTEGER_LITERAL and self.decls.evaluate(node.cursor) == 0

    def _assign(self, left: Node, right: Node, node: Node) -> Expr:
        value = self.value(right)
        address = self.address(left)
        self.store(address, value, ONCE if self.is_volatile(left) else 0, node)
        return ("l", address) if folding.is_local(address) else value

    def _compound_assign(self, node: Node, _how: int) -> Expr:
        value = self.value(node.children[-1])
        address = self.address(node.children[0])
        operation = self.lib.clang_getCursorBinaryOperatorKind(node.cursor)
        spelling = _COMPOUND.get(operation)
        new = folding.binary(spelling, ("l", address), value) if spelling else UNKNOWN
        self.store(address, new, UPDATE, node)
        return ("l", address)

    def _logical_value(self, node: Node) -> Expr:
        result = self.temporary()
        if_true, if_false, after = (self.cfg.new_block() for _ in range(3))
        self.condition(node, if_true, if_false)
        for block, number in ((if_true, 1), (if_false, 0)):
            self.cfg.current = block
            self.store(result, ("k", number), INIT, node)
            self.cfg.jump(after)
        self.cfg.current = after
        return ("l", result)

    def _conditional(self, node: Node, _how: int) -> Expr:
        condition, if_true, if_false = node.children
        return self._conditional_value(condition, if_true, if_false, node)

    def _conditional_value(
        self, condition: Node, if_true: Node | None, if_false: Node, node: Node
    ) -> Expr:
        """`condition ? if_true : if_false`; without `if_true` the condition's own value."""
        first, second, after = (self.cfg.new_block() for _ in range(3))
        result = self.temporary()
        if if_true is None:
            value = self.value(condition)
            self.store(result, value, INIT, node)
            self.cfg.branch(("l", result), after, second, self.where(condition.cursor))
        else:
            self.condition(condition, first, second)
            self.cfg.current = first
            self.store(result, self.value(if_true), INIT, node)
            self.cfg.jump(after)
        self.cfg.current = second
        self.store(result, self.value(if_false), INIT, node)
        self.cfg.jump(after)
        self.cfg.current = after
        return ("l", result)

    def _stmt_expr(self, node: Node, how: int) -> Expr:
        return self.statement_expression(node, how)

    def _label_address(self, node: Node, _how: int) -> Expr:
        for child in node.children:
            if child.kind == K.LABEL_REF:
                label = self.lib.clang_getCursorReferenced(child.cursor)
                self.cfg.address_taken.add(label.d1)
        return UNKNOWN

    def _generic(self, node: Node, how: int) -> Expr:
        """`_Generic`: libclang does not say what is selected, but the whole has its type.

        IMPRECISE: unknown when several alternatives have that type.
        """
        wanted = self.decls.type_text(node.cursor)
        fitting = [
            child
            for child in node.children[1:]
            if child.kind >= K.UNEXPOSED_EXPR and self.decls.type_text(child.cursor) == wanted
        ]
        return self.value(fitting[0], how) if len(fitting) == 1 else UNKNOWN

    def _unevaluated(self, node: Node, _how: int) -> Expr:
        return UNKNOWN

    def _init_list_value(self, node: Node, _how: int) -> Expr:
        return self.value(node.children[0]) if len(node.children) == 1 else UNKNOWN

    # -- calls ---------------------------------------------------------------------------------

    def _call(self, node: Node, how: int) -> Expr:
        children = node.children
        if not children:
            return UNKNOWN
        callee = children[0]
        while callee.kind in (K.UNEXPOSED_EXPR, K.PAREN_EXPR) and len(callee.children) == 1:
            callee = callee.children[0]
        decl: FunctionDecl | None = None
        if callee.kind == K.DECL_REF_EXPR:
            cursor = self.lib.clang_getCursorReferenced(callee.cursor)
            if cursor.kind == K.FUNCTION_DECL:
                decl = self.decls.function(cursor)
                if decl.name == CLAIM:
                    self.claiming += 1
                    self._claim(children[1], True)
                    self.claiming -= 1
                    return UNKNOWN
                if decl.name.startswith("__builtin_"):
                    known = self._builtin(decl.name, children, how)
                    if known is not None:
                        return known
        target = self.value(callee) if decl is None else self.function_value(cursor)
        args = tuple(self.value(child) for child in children[1:])
        result = self.cfg.call(target, args, self.where(node.cursor))
        if decl is not None and decl.noreturn:
            self.cfg.end(("end",))
        return result

    def _builtin(self, name: str, children: list[Node], how: int) -> Expr | None:
        if name in _SAME_AS_FIRST_ARGUMENT:
            return self.value(children[1], how)
        if name == "__builtin_constant_p":
            return ("k", 0)  # the code for run-time values is the general one
        if name in ("__builtin_unreachable", "__builtin_trap"):
            self.cfg.end(("end",))
            return UNKNOWN
        return None

    def _claim(self, node: Node, truth: bool) -> None:
        """What the source claims of a value, without a look at it: see shims/linux/build_bug.h."""
        inner = self._condition_core(node)
        op = -1
        if inner.kind == K.UNARY_OPERATOR:
            if self.lib.clang_getCursorUnaryOperatorKind(inner.cursor) == K.UO_LNOT:
                self._claim(inner.children[0], not truth)
                return
        elif inner.kind == K.BINARY_OPERATOR:
            op = self.lib.clang_getCursorBinaryOperatorKind(inner.cursor)
        if op == (K.BO_LAND if truth else K.BO_LOR):
            self._claim(inner.children[0], truth)
            self._claim(inner.children[1], truth)
        elif op in (K.BO_LAND, K.BO_LOR):
            so, otherwise = self.cfg.new_block(), self.cfg.new_block()
            self.condition(inner, *((so, otherwise) if truth else (otherwise, so)))
            self.cfg.current = otherwise
            self.cfg.end(("end",))
            self.cfg.current = so
        else:
            value = self.value(inner, TEST)
            if value[0] not in ("k", "u"):
                claim = value if truth else folding.negate(value)
                self.cfg.emit(("A", self.where(node.cursor), claim))

    # -- conditions ----------------------------------------------------------------------------

    def condition(self, node: Node, if_true: int, if_false: int) -> None:
        """Branch on an expression, short-circuit operators by control flow."""
        inner = self._condition_core(node)
        if inner.kind == K.UNARY_OPERATOR:
            op = self.lib.clang_getCursorUnaryOperatorKind(inner.cursor)
            if op == K.UO_LNOT:
                self.condition(inner.children[0], if_false, if_true)
                return
        if inner.kind == K.BINARY_OPERATOR:
            op = self.lib.clang_getCursorBinaryOperatorKind(inner.cursor)
            if op in (K.BO_LAND, K.BO_LOR):
                second = self.cfg.new_block()
                if op == K.BO_LAND:
                    self.condition(inner.children[0], second, if_false)
                else:
                    self.condition(inner.children[0], if_true, second)
                self.cfg.current = second
                self.condition(inner.children[1], if_true, if_false)
                return
        value = self.value(inner, TEST)
        self.cfg.branch(value, if_true, if_false, self.where(node.cursor))

    def _condition_core(self, node: Node) -> Node:
        """Through casts, parentheses and `__builtin_expect`, which do not change the truth."""
        while True:
            if node.kind == K.PAREN_EXPR and node.children:
                node = node.children[-1]
            elif node.kind == K.UNEXPOSED_EXPR and len(node.children) == 1:
                child = node.children[0]
                if child.kind < K.UNEXPOSED_EXPR or self.is_lvalue(child):
                    return node
                node = child
            elif node.kind == K.CALL_EXPR and len(node.children) == 3:
                callee = node.children[0]
                while callee.kind == K.UNEXPOSED_EXPR and callee.children:
                    callee = callee.children[0]
                if callee.kind != K.DECL_REF_EXPR:
                    return node
                cursor = self.lib.clang_getCursorReferenced(callee.cursor)
                if cursor.kind != K.FUNCTION_DECL:
                    return node
                if self.decls.function(cursor).name not in _SAME_AS_FIRST_ARGUMENT:
                    return node
                node = node.children[1]
            else:
                return node

    # -- initialisers --------------------------------------------------------------------------

    def initialise(self, place: Expr, node: Node, ctype: Any) -> None:
        """Store an initialiser into a fresh object, member by member where it is a list."""
        if node.kind != K.INIT_LIST:
            self.store(place, self.value(node), INIT, node)
            return
        self.store(place, ("k", 0), INIT, node)  # members without an initialiser are zero
        for address, value_node in list_members(self.decls, place, node, ctype):
            if value_node.kind == K.INIT_LIST and value_node.children:
                inner = self.lib.clang_getCursorType(value_node.cursor)
                self.initialise(address, value_node, inner)
            else:
                self.store(address, self.value(value_node), INIT, value_node)

    _VALUES: ClassVar[dict[int, Callable[[ExpressionLowering, Node, int], Expr]]] = {
        K.PAREN_EXPR: _paren,
        K.DECL_REF_EXPR: _decl_ref,
        K.MEMBER_REF_EXPR: _lvalue,
        K.ARRAY_SUBSCRIPT: _lvalue,
        K.COMPOUND_LITERAL: _lvalue,
        K.INTEGER_LITERAL: _literal,
        K.CHARACTER_LITERAL: _literal,
        K.UNEXPOSED_EXPR: _unexposed,
        K.SIZEOF_EXPR: _constant,
        K.C_STYLE_CAST: _cast,
        K.UNARY_OPERATOR: _unary,
        K.BINARY_OPERATOR: _binary,
        K.COMPOUND_ASSIGNMENT: _compound_assign,
        K.CONDITIONAL_OPERATOR: _conditional,
        K.STMT_EXPR: _stmt_expr,
        K.GENERIC_SELECTION: _generic,
        K.STRING_LITERAL: _unevaluated,
        K.ADDR_LABEL: _label_address,
        K.INIT_LIST: _init_list_value,
        K.CALL_EXPR: _call,
    }
