"""Lowering of statements: one function body into its control-flow graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from lockcheck.facts.folding import is_local
from lockcheck.facts.ir import ASM, INIT, UNKNOWN, UPDATE, Expr, Function, line_of
from lockcheck.lower.cfg import Scope
from lockcheck.lower.contracts import read_contracts
from lockcheck.lower.decls import CLEANUP_MARK, Declarations, FunctionDecl
from lockcheck.lower.expressions import ExpressionLowering
from lockcheck.lower.fixed import fixed_members
from lockcheck.lower.forloop import offset, semicolons
from lockcheck.lower.initialisers import list_members
from lockcheck.lower.lvalues import strip
from lockcheck.lower.nodes import Node
from lockcheck.parse import kinds as K
from lockcheck.parse.libclang import text_of

_ASSIGNMENTS = frozenset({K.BO_ASSIGN, K.BO_COMMA})


class FunctionLowering(ExpressionLowering):
    """Lowers one function definition."""

    def __init__(
        self,
        decls: Declarations,
        decl: FunctionDecl,
        reach: Callable[[FunctionDecl], None],
        find_function: Callable[[str], Expr | None],
        find_variable: Callable[[str], Expr | None],
    ) -> None:
        super().__init__(decls, decl.key, reach)
        self._decl = decl
        self._find_function = find_function
        self._find_variable = find_variable
        self._breaks: list[tuple[int, Scope]] = []
        self._continues: list[tuple[int, Scope]] = []
        self._cases: list[list[tuple[int, int, int]]] = []
        self._defaults: list[int | None] = []

    def lower(self, root: Node) -> Function:
        """The facts of the definition that `root` was read from."""
        params: list[str] = []
        types: dict[str, Any] = {}
        body: Node | None = None
        cursor = root.cursor
        self._begin = line_of(self.decls.location(cursor))
        for index in range(self.lib.clang_Cursor_getNumArguments(cursor)):
            argument = self.lib.clang_Cursor_getArgument(cursor, index)
            name = text_of(self.lib.clang_getCursorSpelling(argument)) or f"#{index}"
            params.append(self.declare_local(argument, name)[1])
            types[params[-1]] = self.lib.clang_getCursorType(argument)
            self.decls.note_record(types[params[-1]])
        for child in root.children:
            if child.kind == K.COMPOUND_STMT:
                body = child
        if body is not None:
            self.statement(body)
        blocks, loops = self.cfg.finish()
        annotations = self.decls.annotations(cursor)
        return Function(
            key=self._decl.key,
            name=self._decl.name,
            file=self.decls.file_of(cursor),
            loc=self._begin + self.where(cursor),
            params=tuple(params),
            blocks=blocks,
            external="@" not in self._decl.key,
            contracts=read_contracts(self.decls, annotations, types, self._find_variable),
            loops=loops,
        )

    # -- dispatch ------------------------------------------------------------------------------

    def statement(self, node: Node) -> None:
        handler = self._STATEMENTS.get(node.kind)
        if handler is not None:
            handler(self, node)
        elif K.UNEXPOSED_EXPR <= node.kind < K.UNEXPOSED_STMT:
            self.effect(node)

    def _compound(self, node: Node) -> None:
        self.cfg.push_scope()
        for child in node.children:
            self.statement(child)
        self.cfg.pop_scope()

    def statement_expression(self, node: Node, how: int) -> Expr:
        """`({ … })`: the value of its last expression, kept across the scope's cleanups."""
        body = node.children[0]
        scope = self.cfg.push_scope()
        value = UNKNOWN
        last = body.children[-1] if body.children else None
        for child in body.children:
            if child is last and K.UNEXPOSED_EXPR <= child.kind < K.UNEXPOSED_STMT:
                value = self.value(child, how)
            else:
                self.statement(child)
        if scope.cleanups and value != UNKNOWN:
            kept = self.temporary()
            self.store(kept, value, INIT, node)
            value = ("l", kept)
        self.cfg.pop_scope()
        return value

    def _passthrough(self, node: Node) -> None:
        for child in node.children:
            self.statement(child)

    # -- declarations --------------------------------------------------------------------------

    def _declaration(self, node: Node) -> None:
        for child in node.children:
            if child.kind == K.VAR_DECL:
                self._variable(child)

    def _variable(self, node: Node) -> None:
        cursor = node.cursor
        lib = self.lib
        storage = lib.clang_Cursor_getStorageClass(cursor)
        name = text_of(lib.clang_getCursorSpelling(cursor))
        initialiser = lib.clang_Cursor_getVarDeclInitializer(cursor)
        has_value = not lib.clang_Cursor_isNull(initialiser)
        value_node = node.children[-1] if has_value and node.children else None
        if storage == K.STORAGE_STATIC:
            address = self.decls.variable(cursor, self.key).address
            if value_node is not None:
                collect_static(self, address, value_node, lib.clang_getCursorType(cursor))
            return
        if storage == 2:  # extern declaration inside a function
            return
        address = self.declare_local(cursor, name)
        if value_node is not None:
            self.initialise(address, value_node, lib.clang_getCursorType(cursor))
        for child in node.children:
            if child.kind == K.ANNOTATE_ATTRIBUTE:
                self._cleanup(child, address)

    def _cleanup(self, attribute: Node, address: Expr) -> None:
        text = text_of(self.lib.clang_getCursorSpelling(attribute.cursor))
        if not text.startswith(CLEANUP_MARK):
            return
        function = self._find_function(text.removeprefix(CLEANUP_MARK).strip())
        if function is not None:
            loc = self.where(attribute.cursor)
            self.cfg.scope.cleanups.append((function, address, loc))

    # -- branches ------------------------------------------------------------------------------

    def _if(self, node: Node) -> None:
        children = node.children
        if_true, if_false = self.cfg.new_block(), self.cfg.new_block()
        after = self.cfg.new_block() if len(children) > 2 else if_false
        self.condition(children[0], if_true, if_false)
        self.cfg.current = if_true
        self.statement(children[1])
        self.cfg.jump(after)
        if len(children) > 2:
            self.cfg.current = if_false
            self.statement(children[2])
            self.cfg.jump(after)
        self.cfg.current = after

    def _loop_body(self, body: Node, on_break: int, on_continue: int) -> None:
        self._breaks.append((on_break, self.cfg.scope))
        self._continues.append((on_continue, self.cfg.scope))
        self.statement(body)
        self._breaks.pop()
        self._continues.pop()

    def _while(self, node: Node) -> None:
        head, body, after = (self.cfg.new_block() for _ in range(3))
        self.cfg.start(head)
        self.condition(node.children[0], body, after)
        self.cfg.current = body
        self._loop_body(node.children[-1], after, head)
        self.cfg.jump(head)
        self.cfg.current = after

    def _do(self, node: Node) -> None:
        body, test, after = (self.cfg.new_block() for _ in range(3))
        self.cfg.start(body)
        self._loop_body(node.children[0], after, test)
        self.cfg.start(test)
        self.condition(node.children[-1], body, after)
        self.cfg.current = after

    def _for(self, node: Node) -> None:
        init, test, step = self._for_parts(node)
        self.cfg.push_scope()
        if init is not None:
            self.statement(init)
        head, body, advance, after = (self.cfg.new_block() for _ in range(4))
        self.cfg.start(head)
        if test is not None:
            self.condition(test, body, after)
        else:
            self.cfg.jump(body)
        self.cfg.current = body
        self._loop_body(node.children[-1], after, advance)
        self.cfg.start(advance)
        if step is not None:
            self.statement(step)
        self.cfg.jump(head)
        self.cfg.current = after
        self.cfg.pop_scope()

    def _for_parts(self, node: Node) -> tuple[Node | None, Node | None, Node | None]:
        """Init, test and step: libclang leaves absent ones out, so look for the semicolons."""
        parts = node.children[:-1]
        if len(parts) == 3:
            return parts[0], parts[1], parts[2]
        between = semicolons(self.decls.handle, node.cursor, node.children[-1].cursor)
        if between is None:
            return self._guess_for_parts(parts)
        found: list[Node | None] = [None, None, None]
        for part in parts:
            at = offset(self.lib.clang_getCursorLocation(part.cursor))
            found[sum(at > semicolon for semicolon in between)] = part
        return found[0], found[1], found[2]

    def _guess_for_parts(self, parts: list[Node]) -> tuple[Node | None, Node | None, Node | None]:
        """A loop whose head a macro wrote: tell the parts by their form."""
        init: Node | None = None
        test: Node | None = None
        step: Node | None = None
        rest = list(parts)
        if rest and self._is_init(rest[0]):
            init = rest.pop(0)
        if rest and not self._is_step(rest[0]):
            test = rest.pop(0)
        if rest:
            step = rest.pop(0)
        return init, test, step

    def _is_init(self, node: Node) -> bool:
        if node.kind == K.DECL_STMT:
            return True
        return (
            node.kind == K.BINARY_OPERATOR
            and self.lib.clang_getCursorBinaryOperatorKind(node.cursor) in _ASSIGNMENTS
        )

    def _is_step(self, node: Node) -> bool:
        if node.kind == K.UNARY_OPERATOR:
            op = self.lib.clang_getCursorUnaryOperatorKind(node.cursor)
            return op in (K.UO_POST_INC, K.UO_POST_DEC, K.UO_PRE_INC, K.UO_PRE_DEC)
        if node.kind == K.STMT_EXPR:
            return not self._has_value(node)
        return node.kind == K.COMPOUND_ASSIGNMENT or self._is_init(node)

    def _has_value(self, node: Node) -> bool:
        body = node.children[0].children if node.children else []
        return bool(body) and K.UNEXPOSED_EXPR <= body[-1].kind < K.UNEXPOSED_STMT

    def _switch(self, node: Node) -> None:
        value = self.value(node.children[0])
        dispatch = self.cfg.current
        after = self.cfg.new_block()
        self.cfg.current = self.cfg.new_block()
        self._cases.append([])
        self._defaults.append(None)
        self._breaks.append((after, self.cfg.scope))
        self.statement(node.children[-1])
        self.cfg.jump(after)
        self._breaks.pop()
        cases, default = self._cases.pop(), self._defaults.pop()
        self.cfg.current = dispatch
        location = self.where(node.cursor)
        self.cfg.end(("sw", value, tuple(cases), after if default is None else default, location))
        self.cfg.current = after

    def _case(self, node: Node) -> None:
        block = self.cfg.new_block()
        self.cfg.start(block)
        low = self._case_value(node.children[0])
        high = self._case_value(node.children[1]) if len(node.children) == 3 else low
        if self._cases and low is not None and high is not None:
            self._cases[-1].append((low, high, block))
        self.statement(node.children[-1])

    def _case_value(self, node: Node) -> int | None:
        """A case label: a constant, which libclang shows in odd ways when it is computed."""
        number = self.decls.evaluate(node.cursor)
        if number is not None:
            return number
        value = self.value(node)
        return int(value[1]) if value[0] == "k" else None

    def _default(self, node: Node) -> None:
        block = self.cfg.new_block()
        self.cfg.start(block)
        if self._defaults:
            self._defaults[-1] = block
        self._passthrough(node)

    # -- jumps ---------------------------------------------------------------------------------

    def _break(self, _node: Node) -> None:
        if self._breaks:
            self._leave(*self._breaks[-1])

    def _continue(self, _node: Node) -> None:
        if self._continues:
            self._leave(*self._continues[-1])

    def _leave(self, target: int, scope: Scope) -> None:
        self.cfg.run_cleanups(scope)
        self.cfg.jump(target)

    def _return(self, node: Node) -> None:
        value: Expr | None = None
        if node.children:
            child = strip(node.children[0])
            value = self.value(child)
        if value is not None and any(s.cleanups for s in self._scopes()):
            kept = self.temporary()
            self.store(kept, value, INIT, node)
            value = ("l", kept)
        self.cfg.run_cleanups(None)
        self.cfg.end(("ret", value, self.where(node.cursor)))

    def _scopes(self) -> list[Scope]:
        scopes: list[Scope] = []
        scope: Scope | None = self.cfg.scope
        while scope is not None:
            scopes.append(scope)
            scope = scope.parent
        return scopes

    def _goto(self, node: Node) -> None:
        for child in node.children:
            if child.kind == K.LABEL_REF:
                self.cfg.goto(self.lib.clang_getCursorReferenced(child.cursor).d1)

    def _label(self, node: Node) -> None:
        self.cfg.label(node.cursor.d1)  # names may repeat: __label__
        self._passthrough(node)

    def _indirect_goto(self, node: Node) -> None:
        self._passthrough(node)
        self.cfg.indirect_goto()

    def _asm(self, node: Node) -> None:
        """Outputs get a value of their own: what it is is unknown, but it is one and the same."""
        for child in node.children:
            if self.is_lvalue(child):
                address = self.address(child)  # an output, or an "m" operand: may be written
                if is_local(address):
                    loc = self.where(child.cursor)
                    self.store(address, self.cfg.call(("fn", ASM), (), loc), UPDATE, child)
                elif address[0] not in ("fn", "k", "u"):
                    self.store(address, UNKNOWN, UPDATE, child)
            else:
                self.value(child)
        self.cfg.asm()

    def _nothing(self, _node: Node) -> None:
        return

    _STATEMENTS: ClassVar[dict[int, Callable[[FunctionLowering, Node], None]]] = {
        K.COMPOUND_STMT: _compound,
        K.DECL_STMT: _declaration,
        K.IF_STMT: _if,
        K.WHILE_STMT: _while,
        K.DO_STMT: _do,
        K.FOR_STMT: _for,
        K.SWITCH_STMT: _switch,
        K.CASE_STMT: _case,
        K.DEFAULT_STMT: _default,
        K.BREAK_STMT: _break,
        K.CONTINUE_STMT: _continue,
        K.RETURN_STMT: _return,
        K.GOTO_STMT: _goto,
        K.LABEL_STMT: _label,
        K.INDIRECT_GOTO: _indirect_goto,
        K.ASM_STMT: _asm,
        K.NULL_STMT: _nothing,
        K.UNEXPOSED_STMT: _passthrough,
    }


def collect_static(lowering: ExpressionLowering, address: Expr, node: Node, ctype: Any) -> None:
    """Static initialiser: keep the members that are functions or point to other objects.

    Of a constant object, keep all that its members hold.
    """
    if address[0] == "g" and lowering.lib.clang_isConstQualifiedType(ctype):
        lowering.fixed.extend(fixed_members(lowering, address, node, ctype))
    while node.kind in (K.PAREN_EXPR, K.UNEXPOSED_EXPR, K.C_STYLE_CAST) and node.children:
        node = node.children[-1]
    if node.kind == K.INIT_LIST:
        for member, value_node in list_members(lowering.decls, address, node, ctype):
            inner = lowering.lib.clang_getCursorType(value_node.cursor)
            collect_static(lowering, member, value_node, inner)
    elif node.kind == K.COMPOUND_LITERAL and node.children:
        inner = lowering.lib.clang_getCursorType(node.cursor)
        collect_static(lowering, address, node.children[-1], inner)
    elif node.kind == K.UNARY_OPERATOR and strip(node.children[0]).kind == K.COMPOUND_LITERAL:
        literal = strip(node.children[0])
        place = lowering.unnamed_object(literal)
        lowering.static_initialisers.append((address, place))
        collect_static(lowering, place, literal, lowering.lib.clang_getCursorType(literal.cursor))
    elif node.kind in (K.DECL_REF_EXPR, K.UNARY_OPERATOR, K.CONDITIONAL_OPERATOR):
        value = lowering.value(node)
        if value[0] in ("fn", "g", "f", "i"):
            lowering.static_initialisers.append((address, value))
