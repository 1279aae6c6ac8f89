"""Order edges: which locks are taken while which are held, over calls."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import analysis

from lockcheck.lockstate.ordering import Orders
from lockcheck.lockstate.runners import Runner, path_between

DECLARATIONS = """
void mutex_lock_nested(struct mutex *m, unsigned int subclass);
void synchronize_srcu(struct srcu_struct *s); void synchronize_rcu(void);
struct nest { struct { spinlock_t lock; } inner; struct mutex lock; struct mutex other; };
struct work_struct { void (*func)(struct work_struct *); };
int cancel_work_sync(struct work_struct *w);
struct job { struct mutex mutex; struct mutex second; struct work_struct work; };
struct thing *get(void);
static void take(struct thing *t) { mutex_lock(&t->mutex); mutex_unlock(&t->mutex); }
static void deep(struct thing *t) { take(t); }
static void begin(struct thing *t) { mutex_lock(&t->mutex); }
static void retake(struct thing *t) { spin_unlock(&t->spin); take(t); spin_lock(&t->spin); }
static void maybe(struct thing *t, int n) { if (n) take(t); }
static void run(struct work_struct *w)
{
	struct job *j = container_of(w, struct job, work);
	mutex_lock(&j->second); mutex_unlock(&j->second);
}
static void start(struct job *j) { j->work.func = run; }
"""


def orders(folder: Path, body: str, parameters: str = "struct thing *t") -> Orders:
    text = f"{DECLARATIONS}\nint f({parameters})\n{{ {body}\nreturn 0; }}\n"
    return Orders(analysis(folder, text)).take_in()


def pairs(folder: Path, body: str, parameters: str = "struct thing *t") -> set[tuple[str, str]]:
    """The classes that nest in a function, with the mode of the inner one if it is no write."""
    found: set[tuple[str, str]] = set()
    for (outer, inner), edges in orders(folder, body, parameters).edges.items():
        mode = edges[0].way.mode
        found.add((outer.text, inner.text if mode == "write" else f"{inner.text} {mode}"))
    return found


# -- what runs elsewhere -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "other", "runner"),
    [
        ("x.s", "x", Runner("f", ("x.s",), ())),
        ("x.s", "x.w", Runner("f", ("x.s",), ("x.w",))),
        ("x.s", "y", Runner("f", (), None)),
    ],
)
def test_what_a_function_is_given_is_found_from_the_place(
    place: str, other: str, runner: Runner
) -> None:
    def member(text: str) -> tuple[object, ...]:
        base: tuple[object, ...] = ("l", ("v", text[0]))
        return ("f", base, text) if "." in text else base

    way = path_between(member(place), member(other))

    assert Runner("f", *((), None) if way is None else way) == runner
    moved = runner.argument(("f", ("p", 3), place))
    expected = ("p", 3) if "." not in other else ("f", ("p", 3), other)
    assert moved == (() if runner.down is None else (expected,))


def test_a_place_that_is_another_one_tells_nothing() -> None:
    assert Runner("f", ("x.s",), ()).argument(("f", ("p", 0), "y.s")) == ()
    assert Runner("f", ("x.s",), ()).argument(("p", 0)) == ()


SPIN_MUTEX = {("thing.spin", "thing.mutex")}


@pytest.mark.parametrize("call", ["mutex_lock(&t->mutex);", "take(t);", "deep(t);", "maybe(t, 1);"])
def test_a_lock_that_is_taken_below(tmp_path: Path, call: str) -> None:
    assert pairs(tmp_path, f"spin_lock(&t->spin); {call}") == SPIN_MUTEX


@pytest.mark.parametrize("call", ["mutex_trylock(&t->mutex);", "maybe(t, 0);", "use(1);"])
def test_what_does_not_wait_makes_no_edge(tmp_path: Path, call: str) -> None:
    assert pairs(tmp_path, f"spin_lock(&t->spin); {call}") == set()


def test_a_lock_that_a_helper_took(tmp_path: Path) -> None:
    assert pairs(tmp_path, "begin(t); spin_lock(&t->spin);") == {("thing.mutex", "thing.spin")}


def test_a_lock_that_the_callee_drops_first_is_not_held(tmp_path: Path) -> None:
    found = orders(tmp_path, "spin_lock(&t->spin); retake(t);")

    assert not found.again
    assert {(o.text, i.text) for o, i in found.edges} == set()


def test_the_same_lock_again(tmp_path: Path) -> None:
    (edge,) = orders(tmp_path, "mutex_lock(&t->mutex); deep(t);").again

    assert edge.held == edge.way.lock == ("f", ("p", 0), "thing.mutex")
    assert edge.way.length == 3
    assert edge.way.maybes == 0


@pytest.mark.parametrize(
    "body",
    [
        "mutex_lock(&t->mutex); take(t->next);",
        "mutex_lock(&t->mutex); take(t->other->other);",
        "down_read(&t->sem); down_read(&t->sem);",
    ],
)
def test_what_is_not_surely_the_same_lock_again(tmp_path: Path, body: str) -> None:
    assert not orders(tmp_path, body).again


@pytest.mark.parametrize(
    ("body", "is_one"),
    [
        ("struct thing *o = get(); mutex_lock(&o->mutex); take(o);", True),
        ("while (unknown()) { t = get(); mutex_lock(&t->mutex); }", False),
        ("mutex_lock(&t->other->mutex); t->other = t->next; take(t->other);", False),
        ("while (unknown()) { t = t->next; mutex_lock(&t->mutex); }", False),
    ],
)
def test_one_name_for_several_objects(tmp_path: Path, body: str, is_one: bool) -> None:
    assert bool(orders(tmp_path, body).again) is is_one


def test_classes_of_nested_structs_and_subclasses(tmp_path: Path) -> None:
    body = """mutex_lock(&n->other); spin_lock(&n->inner.lock); spin_unlock(&n->inner.lock);
    mutex_lock_nested(&n->lock, 2);"""

    assert pairs(tmp_path, body, "struct nest *n") == {
        ("nest.other", "nest.inner.lock"),
        ("nest.other", "nest.lock/2"),
    }


def test_the_subclass_of_a_lock_that_is_held(tmp_path: Path) -> None:
    body = "mutex_lock_nested(&n->lock, 1); mutex_lock(&n->other);"

    assert pairs(tmp_path, body, "struct nest *n") == {("nest.lock/1", "nest.other")}


def test_waiting_for_readers(tmp_path: Path) -> None:
    body = "mutex_lock(&t->mutex); synchronize_srcu(&t->srcu); mutex_unlock(&t->mutex);"
    read = "int i = srcu_read_lock(&t->srcu); take(t); srcu_read_unlock(&t->srcu, i);"

    assert pairs(tmp_path, body + read) == {
        ("thing.mutex", "thing.srcu grace"),
        ("thing.srcu", "thing.mutex"),
    }


def test_waiting_for_a_work(tmp_path: Path) -> None:
    body = "mutex_lock(&j->mutex); cancel_work_sync(&j->work);"
    (edge,) = (e for es in orders(tmp_path, body, "struct job *j").edges.values() for e in es)

    assert (edge.outer.text, edge.inner.text) == ("job.mutex", "job.second")
    assert edge.way.lock == ("f", ("p", 0), "job.second")
    assert edge.way.waits


def test_a_work_that_takes_the_lock_of_the_waiter(tmp_path: Path) -> None:
    body = "mutex_lock(&j->second); cancel_work_sync(&j->work);"

    assert len(orders(tmp_path, body, "struct job *j").again) == 1


def test_what_is_held_beside_is_a_gate(tmp_path: Path) -> None:
    found = orders(tmp_path, "down_write(&t->sem); spin_lock(&t->spin); take(t);")
    by_pair = {(o.text, i.text): edges for (o, i), edges in found.edges.items()}

    assert by_pair["thing.spin", "thing.mutex"][0].gates == {"thing.sem"}
