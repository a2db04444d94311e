"""Programs whose meaning changes behind a traced graph: what they read, and how it changes before step CHANGE.

`CASES` is the table. A case is a function that builds a fresh `Program`, and the class of change that it belongs to.
The oracle in `test_never_silent.py` runs each beside `pyro.infer.SVI`.
"""

from __future__ import annotations

import abc
import array
import builtins
import collections
import contextlib
import contextvars
import copy
import ctypes
import dataclasses
import decimal
import enum
import fractions
import functools
import importlib
import inspect
import io
import itertools
import json
import logging
import math
import operator
import os
import pickle
import queue
import random
import string
import sys
import tempfile
import threading
import types
import warnings
import weakref
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import (
    RenyiELBO,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    config_enumerate,
)
from pyro.infer import autoguide as auto
from pyro.nn import PyroModule, PyroParam, PyroSample
from torch import nn
from torch.distributions import constraints
from torch.optim.optimizer import register_optimizer_step_post_hook

STEPS, CHANGE = 20, 6


def nothing(*_):
    pass


@dataclasses.dataclass
class Program:
    """A model and a guide, and what happens to them; everything but the programs has a default.

    `change` runs once, before step CHANGE; `each(i)` before every step. `still` undoes before each step what the
    program itself writes: with it, and with the steps frozen before CHANGE, nothing changes.
    """

    model: Callable
    guide: Callable = None
    change: Callable = nothing
    each: Callable = nothing
    args: Callable = lambda i: ((data(),), {})
    around: Callable = lambda i: contextlib.nullcontext()
    optim: Callable = lambda: pyro.optim.Adam({"lr": 0.05})
    loss: Callable = Trace_ELBO
    prepare: Callable | None = None
    state: Callable = lambda: ()
    still: Callable | None = None
    undo: Callable = nothing
    optimizer: Any = None  # what `optim` made, for `change` and `each`
    settings: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        self.guide = self.guide or mean_field

    def args_for_step(self, i):
        """The arguments of one step: (args, kwargs)."""
        given = self.args(i)
        return given if len(given) == 2 and isinstance(given[1], dict) and isinstance(given[0], tuple) else (given, {})

    def before_step(self, i):
        """What the caller does before a step."""
        if i == CHANGE:
            self.change()
        self.each(i)


@dataclasses.dataclass(frozen=True)
class Case:
    """One program and its class. `beyond` guards: only the periodic check can find it. `static`: nothing changes."""

    name: str
    class_: str
    build: Callable[[], Program]
    beyond: bool = False
    static: bool = False


CASES: list[Case] = []


def case(class_, **flags):
    def add(build):
        CASES.append(Case(build.__name__, class_, build, **flags))
        return build

    return add


def table(class_, rows, build, **flags):
    """One case a row: the name, and what `build` makes a program of."""
    for name, row in rows.items():
        CASES.append(Case(name.replace(" ", "_"), class_, functools.partial(build, *row), **flags))


# ---- programs that the cases share


def data(n=6):
    return torch.linspace(-1.0, 2.0, n)


def weighted(weight, x, scale=1.0):
    """The template: a prior whose weight is read somewhere."""
    with pyro.plate("data", len(x)):
        with poutine.scale(scale=weight):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, scale), obs=x)


def mean_field(x, *_, **__):
    a = pyro.param("a", torch.tensor(0.5))
    b = pyro.param("b", torch.tensor(0.1))
    c = pyro.param("c", torch.tensor(0.7), constraint=constraints.positive)
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(a * x + b, c))


def reading(weight, change=nothing, **rest):
    """A program whose prior has the weight that `weight()` reads."""
    return Program(lambda x: weighted(weight(), x), change=change, **rest)


def holder(weight, base=nn.Module, **attributes):
    """An object with a method that reads its attributes."""
    held = type("Holder", (base,), {"model": lambda self, x: weighted(weight(self), x)})()
    for name, value in attributes.items():
        setattr(held, name, value)
    return held


def held(weight, attributes, change, base=nn.Module):
    owner = holder(weight, base, **attributes())
    return Program(owner.model, change=lambda: change(owner))


def setting(target, **values):
    """A function that sets attributes."""
    return lambda: [setattr(target, name, value) for name, value in values.items()]


def net_guide(net, name="net"):
    def guide(x, *_):
        pyro.module(name, net)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(net(x[:, None]).squeeze(-1), 0.5))

    return guide


def trained(net, change=nothing, **rest):
    """A guide with a network; its parameters and buffers are compared."""
    model = rest.pop("model", lambda x: weighted(1.0, x))
    rest.setdefault("state", lambda: dict(net.state_dict()))
    return Program(model, net_guide(net), change=change, **rest)


def small():
    return nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 1))


def param(name):
    """The unconstrained tensor of the parameter store."""
    return pyro.get_param_store()._params[name]


# ---- Python state: closures and globals

python_state = functools.partial(case, "python state")


@python_state()
def closure_number():
    beta = 1.0

    def change():
        nonlocal beta
        beta = 5.0

    return Program(lambda x: weighted(beta, x), change=change)


BETA, KIND, NET, HELPER, DATA = 1.0, "normal", None, None, None


@python_state()
def global_number():
    globals()["BETA"] = 1.0
    return Program(lambda x: weighted(BETA, x), change=lambda: globals().update(BETA=5.0))


@python_state()
def global_number_through_helpers():
    globals()["BETA"] = 1.0
    globals()["HELPER"] = lambda: BETA

    def outer():
        def inner():
            return HELPER() + BETA

        return inner()

    return Program(lambda x: weighted(outer(), x), change=lambda: globals().update(BETA=5.0))


@python_state()
def global_string():
    globals()["KIND"] = "normal"

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0) if KIND == "normal" else dist.StudentT(3.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    return Program(model, change=lambda: globals().update(KIND="student"))


@python_state()
def global_function():
    globals()["HELPER"] = lambda: 1.0
    return Program(lambda x: weighted(HELPER(), x), change=lambda: globals().update(HELPER=lambda: 5.0))


@python_state()
def global_name_added():
    globals().pop("ADDED", None)
    weight = lambda: globals().get("ADDED", 1.0)  # noqa: E731
    return reading(weight, lambda: globals().update(ADDED=5.0), undo=lambda: globals().pop("ADDED", None))


@python_state()
def builtin_shadowed_by_a_global():
    globals().pop("len_of", None)
    builtins.len_of = lambda: 1.0

    def undo():
        del builtins.len_of
        globals().pop("len_of", None)

    return Program(
        lambda x: weighted(len_of(), x),  # noqa: F821
        change=lambda: globals().update(len_of=lambda: 5.0),
        undo=undo,
    )


@python_state()
def global_module_rebound():
    globals()["NET"] = nn.Linear(1, 1)

    def model(x):
        weighted(NET(x[:1]).exp().squeeze().detach(), x)

    return Program(model, change=lambda: globals().update(NET=nn.Linear(1, 1)))


@python_state()
def closure_function_swapped():
    act = torch.tanh

    def guide(x):
        a = pyro.param("a", torch.tensor(0.5))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(act(a * x), 0.5))

    def change():
        nonlocal act
        act = torch.sin

    return Program(lambda x: weighted(1.0, x), guide, change=change)


def closed_over(make, weight, change):
    """A closure over one object that `make` makes, that `weight` reads and `change` changes."""
    thing = make()
    return Program(lambda x: weighted(weight(thing), x), change=lambda: change(thing))


def attribute_of_function(function=None):
    def helper():
        return helper.beta

    helper.beta = 1.0
    return helper


def function_with_defaults():
    def helper(beta=1.0, *, gamma=1.0):
        return beta * gamma

    return helper


def self_containing():
    ring = {"beta": 1.0}
    ring["self"] = [ring]
    return ring


class Same:
    """Equal to everything, and different."""

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0


class Slotted:
    __slots__ = ("beta",)

    def __init__(self):
        self.beta = 1.0


class Hidden:
    """A property over name-mangled state."""

    def __init__(self):
        self.__beta = 1.0

    @property
    def beta(self):
        return self.__beta

    def put(self, value):
        self.__beta = value


STORED = weakref.WeakKeyDictionary()


class Stored:
    """A descriptor that keeps its values elsewhere."""

    def __get__(self, owner, kind):
        return STORED.get(owner, 1.0)

    def __set__(self, owner, value):
        STORED[owner] = value


class Described:
    beta = Stored()


class Delegating:
    """Attributes that are found nowhere."""

    def __init__(self):
        self.inner = {"beta": 1.0}

    def __getattr__(self, name):
        return self.__dict__["inner"][name]


class Callable_:  # noqa: N801
    def __init__(self):
        self.beta = 1.0

    def __call__(self):
        return self.beta


class Mode(enum.Enum):
    LOW, HIGH = 1.0, 5.0


@dataclasses.dataclass
class Config:
    beta: float = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    beta: float = 1.0


class Point(NamedTuple):
    beta: float = 1.0


def module_object():
    module = types.ModuleType("helpers")
    module.beta = 1.0
    return module


def module_with_getattr():
    module = module_object()
    module.values = {"gamma": 1.0}
    module.__getattr__ = lambda name: module.values[name]
    return module


def context_variable():
    variable = contextvars.ContextVar("beta")
    variable.set(1.0)
    return variable


def thread_local():
    local = threading.local()
    local.beta = 1.0
    return local


def cached():
    source = {"beta": 1.0}

    @functools.lru_cache
    def helper():
        return source["beta"]

    helper.source = source
    return helper


def nested_closures():
    state = {"beta": 1.0}

    def one():
        def two():
            def three():
                return state["beta"]

            return three()

        return two()

    one.state = state
    return one


def recursion():
    step = {"by": 1.0}

    def fact(n):
        return step["by"] if n <= 1 else n * fact(n - 1) / n

    fact.step = step
    return fact


def mutual_recursion():
    leaf = [1.0]

    def even(n):
        return leaf[0] if n == 0 else odd(n - 1)

    def odd(n):
        return even(n - 1)

    even.leaf = leaf
    return even


table(
    "python state",
    {
        "dict item": (lambda: {"beta": 1.0}, lambda c: c["beta"], lambda c: c.update(beta=5.0)),
        "dict item added": (dict, lambda c: c.get("beta", 1.0), lambda c: c.update(beta=5.0)),
        "dict item deleted": (lambda: {"beta": 5.0}, lambda c: c.get("beta", 1.0), lambda c: c.pop("beta")),
        "dict order": (
            lambda: {"a": 1.0, "b": 5.0},
            lambda c: next(iter(c.values())),
            lambda c: c.update(a=c.pop("a")),
        ),
        "dict length": (lambda: {"a": 1}, len, lambda c: c.update(b=1, c=1)),
        "nested containers": (
            lambda: {"a": [(1.0, {"b": [1.0]})]},
            lambda c: c["a"][0][1]["b"][0],
            lambda c: c["a"][0][1]["b"].__setitem__(0, 5.0),
        ),
        "list item": (lambda: [1.0, 2.0], lambda c: c[0], lambda c: c.__setitem__(0, 5.0)),
        "list append": (lambda: [1.0], sum, lambda c: c.append(4.0)),
        "list last": (lambda: [1.0], lambda c: c[-1], lambda c: c.append(5.0)),
        "list sorted in place": (lambda: [5.0, 1.0], lambda c: c[0], lambda c: c.sort()),
        "long list": (lambda: [1.0] * 20_000, lambda c: c[-1], lambda c: c.__setitem__(-1, 5.0)),
        "long list middle": (lambda: [1.0] * 20_000, lambda c: c[9_999], lambda c: c.__setitem__(9_999, 5.0)),
        "set": (lambda: {1.0}, sum, lambda c: c.add(5.0)),
        "deque": (lambda: collections.deque([1.0], 1), lambda c: c[0], lambda c: c.append(5.0)),
        "ordered dict moved": (
            lambda: collections.OrderedDict(a=1.0, b=5.0),
            lambda c: next(iter(c.values())),
            lambda c: c.move_to_end("a"),
        ),
        "default dict": (
            lambda: collections.defaultdict(lambda: 1.0),
            lambda c: c["beta"],
            lambda c: c.update(beta=5.0),
        ),
        "chain map": (
            lambda: collections.ChainMap({}, {"beta": 1.0}),
            lambda c: c["beta"],
            lambda c: c.maps[0].update(beta=5.0),
        ),
        "mapping proxy": (
            lambda: {"beta": 1.0},
            lambda c: types.MappingProxyType(c)["beta"],
            lambda c: c.update(beta=5.0),
        ),
        "namespace": (lambda: Namespace(beta=1.0), lambda c: c.beta, lambda c: setattr(c, "beta", 5.0)),
        "namespace added": (Namespace, lambda c: getattr(c, "beta", 1.0), lambda c: setattr(c, "beta", 5.0)),
        "simple namespace": (
            lambda: types.SimpleNamespace(a=types.SimpleNamespace(beta=1.0)),
            lambda c: c.a.beta,
            lambda c: setattr(c.a, "beta", 5.0),
        ),
        "function attribute": (attribute_of_function, lambda f: f(), lambda f: setattr(f, "beta", 5.0)),
        "default arguments": (function_with_defaults, lambda f: f(), lambda f: setattr(f, "__defaults__", (5.0,))),
        "keyword defaults": (
            function_with_defaults,
            lambda f: f(),
            lambda f: f.__kwdefaults__.__setitem__("gamma", 5.0),
        ),
        "code of a function": (
            lambda: types.FunctionType((lambda: 1.0).__code__, globals()),
            lambda f: f(),
            lambda f: setattr(f, "__code__", (lambda: 5.0).__code__),
        ),
        "cyclic dict": (self_containing, lambda c: c["self"][0]["beta"], lambda c: c.update(beta=5.0)),
        "dataclass": (Config, lambda c: c.beta, lambda c: setattr(c, "beta", 5.0)),
        "frozen dataclass with slots": (Frozen, lambda c: c.beta, lambda c: object.__setattr__(c, "beta", 5.0)),
        "slots": (Slotted, lambda c: c.beta, lambda c: setattr(c, "beta", 5.0)),
        "slot deleted": (Slotted, lambda c: getattr(c, "beta", 5.0), lambda c: delattr(c, "beta")),
        "property": (Hidden, lambda c: c.beta, lambda c: c.put(5.0)),
        "descriptor": (Described, lambda c: c.beta, lambda c: setattr(c, "beta", 5.0)),
        "getattr": (Delegating, lambda c: c.beta, lambda c: c.inner.update(beta=5.0)),
        "callable object": (Callable_, lambda c: c(), lambda c: setattr(c, "beta", 5.0)),
        "bound method": (lambda: [Hidden()], lambda c: c[0].beta, lambda c: c[0].put(5.0)),
        "enum member": (lambda: [Mode.LOW], lambda c: c[0].value, lambda c: c.__setitem__(0, Mode.HIGH)),
        "named tuple in list": (lambda: [Point()], lambda c: c[0].beta, lambda c: c.__setitem__(0, Point(5.0))),
        "fraction": (lambda: [fractions.Fraction(1)], lambda c: float(c[0]), lambda c: c.__setitem__(0, c[0] * 5)),
        "equal to everything": (lambda: [Same(1.0)], lambda c: c[0].value, lambda c: c.__setitem__(0, Same(5.0))),
        "equal keys": (
            lambda: {Same(1.0): 1.0},
            lambda c: next(iter(c)).value,
            lambda c: setattr(next(iter(c)), "value", 5.0),
        ),
        "key of a dict": (
            lambda: {1.0: 0},
            lambda c: next(iter(c)),
            lambda c: (c.clear(), c.update({5.0: 0})),
        ),
        "one and true": (lambda: [1], lambda c: 5.0 if c[0] is True else 1.0, lambda c: c.__setitem__(0, True)),
        "one and one point zero": (
            lambda: [1],
            lambda c: 1.0 if isinstance(c[0], int) else 5.0,
            lambda c: c.__setitem__(0, 1.0),
        ),
        "minus zero": (lambda: [0.0], lambda c: 3.0 + math.copysign(2, c[0]), lambda c: c.__setitem__(0, -0.0)),
        "list and tuple": (
            lambda: {"a": [1]},
            lambda c: 1.0 if isinstance(c["a"], list) else 5.0,
            lambda c: c.update(a=(1,)),
        ),
        "numpy scalar": (lambda: {"b": np.float64(1)}, lambda c: c["b"], lambda c: c.update(b=np.float64(5))),
        "numpy array in place": (lambda: np.ones(3), lambda c: float(c[1]), lambda c: c.fill(5.0)),
        "numpy array of tensor": (lambda: np.ones(3), lambda c: torch.tensor(c)[0], lambda c: c.fill(5.0)),
        "numpy array sharing": (lambda: np.ones(3), lambda c: torch.from_numpy(c)[0], lambda c: c.fill(5.0)),
        "large numpy array": (lambda: np.ones(200_000), lambda c: float(c[1234]), lambda c: c.__setitem__(1234, 5.0)),
        "numpy array of objects": (
            lambda: np.array([{"b": 1.0}], object),
            lambda c: c[0]["b"],
            lambda c: c[0].update(b=5.0),
        ),
        "bytearray": (lambda: bytearray(b"\1"), lambda c: float(c[0]), lambda c: c.__setitem__(0, 5)),
        "memoryview": (lambda: memoryview(bytearray(b"\1")), lambda c: float(c[0]), lambda c: c.__setitem__(0, 5)),
        "string io": (lambda: io.StringIO("1"), lambda c: float(c.getvalue()), lambda c: (c.seek(0), c.write("5"))),
        "attribute of a module": (module_object, lambda m: m.beta, lambda m: setattr(m, "beta", 5.0)),
        "getattr of a module": (module_with_getattr, lambda m: m.gamma, lambda m: m.values.update(gamma=5.0)),
        "weak reference": (
            lambda: [Hidden(), None],
            lambda c: (c[1] or weakref.ref(c[0]))().beta,
            lambda c: c.__setitem__(1, weakref.ref(c[0])) or c[0].put(5.0),
        ),
        "context variable": (context_variable, lambda v: v.get(), lambda v: v.set(5.0)),
        "thread local": (thread_local, lambda v: v.beta, lambda v: setattr(v, "beta", 5.0)),
        "cache cleared": (cached, lambda f: f(), lambda f: (f.source.update(beta=5.0), f.cache_clear())),
        "nested closures": (nested_closures, lambda f: f(), lambda f: f.state.update(beta=5.0)),
        "recursion": (recursion, lambda f: f(4), lambda f: f.step.update(by=5.0)),
        "mutual recursion": (mutual_recursion, lambda f: f(4), lambda f: f.leaf.__setitem__(0, 5.0)),
        "partial": (
            lambda: functools.partial(lambda beta: beta, beta=1.0),
            lambda f: f(),
            lambda f: f.keywords.update(beta=5.0),
        ),
        "bound get of a dict": (
            lambda: [{"beta": 1.0}],
            lambda c: operator.methodcaller("get", "beta")(c[0]),
            lambda c: c[0].update(beta=5.0),
        ),
        "logger level": (
            lambda: logging.Logger("beta", 10),
            lambda c: 1.0 if c.level == 10 else 5.0,
            lambda c: c.setLevel(30),
        ),
        "default of a tensor scale": (
            lambda: [torch.ones(())],
            lambda c: c[0],
            lambda c: c.__setitem__(0, torch.tensor(5.0)),
        ),
        "tensor filled": (lambda: torch.ones(()), lambda t: t, lambda t: t.fill_(5.0)),
        "tensor data replaced": (
            lambda: torch.ones(()),
            lambda t: t * 1.0,
            lambda t: setattr(t, "data", torch.tensor(5.0)),
        ),
        "tensor data of another shape": (
            lambda: torch.ones(1),
            lambda t: t.sum(),
            lambda t: setattr(t, "data", torch.ones(5)),
        ),
        "tensor attribute": (
            lambda: setattr(t := torch.ones(()), "beta", 1.0) or t,
            lambda t: t.beta,
            lambda t: setattr(t, "beta", 5.0),
        ),
        "tensor list appended": (lambda: [torch.ones(())], sum, lambda c: c.append(torch.tensor(4.0))),
        "tensor resized": (lambda: torch.ones(1), lambda t: t.shape[0], lambda t: t.resize_(5)),
        "size of an array": (lambda: [np.ones(1)], lambda c: c[0].size, lambda c: c.__setitem__(0, np.ones(5))),
        "dtype of an array": (
            lambda: [np.ones(1, "f4")],
            lambda c: c[0].itemsize,
            lambda c: c.__setitem__(0, np.ones(1, "f8")),
        ),
    },
    closed_over,
)


@python_state()
def bound_method_of_a_container():
    config = {"beta": 1.0}
    get = config.get
    return Program(lambda x: weighted(get("beta"), x), change=lambda: config.update(beta=5.0))


@python_state()
def bound_method_of_an_array():
    array = np.ones(2)
    get = array.item
    return Program(lambda x: weighted(get(0), x), change=lambda: array.fill(5.0))


@python_state()
def default_argument_of_the_model():
    def model(x, beta=1.0):
        weighted(beta, x)

    return Program(model, change=lambda: setattr(model, "__defaults__", (5.0,)))


@python_state()
def attribute_of_the_model():
    def model(x):
        weighted(model.beta, x)

    model.beta = 1.0
    return Program(model, change=setting(model, beta=5.0))


@python_state()
def partial_of_the_model():
    model = functools.partial(lambda config, x: weighted(config["beta"], x), config := {"beta": 1.0})
    return Program(model, change=lambda: config.update(beta=5.0))


@python_state()
def decorated_with_state():
    weights = [1.0]

    def annealed(function):
        @functools.wraps(function)
        def wrapper(x):
            with poutine.scale(scale=weights[0]):
                return function(x)

        return wrapper

    @annealed
    def model(x):
        weighted(1.0, x)

    return Program(model, change=lambda: weights.__setitem__(0, 5.0))


@python_state()
def number_of_sites():
    layers = ["z1"]

    def model(x):
        for name in layers:
            pyro.sample(name, dist.Normal(0.0, 2.0))
        weighted(1.0, x)

    def guide(x):
        for name in layers:
            pyro.sample(name, dist.Normal(pyro.param(f"loc_{name}", torch.tensor(0.3)), 1.0))
        mean_field(x)

    return Program(model, guide, change=lambda: layers.append("z2"))


@python_state()
def name_of_a_site():
    suffix = [""]

    def model(x):
        pyro.sample("u" + suffix[0], dist.Normal(0.0, 2.0))
        weighted(1.0, x)

    def guide(x):
        a = pyro.param("loc" + suffix[0], torch.tensor(0.3))
        pyro.sample("u" + suffix[0], dist.Normal(a, 1.0))
        mean_field(x)

    return Program(model, guide, change=lambda: suffix.__setitem__(0, "_late"))


@python_state()
def distribution_class_in_a_registry():
    registry = {"prior": dist.Normal}

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", registry["prior"](0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    return Program(model, change=lambda: registry.update(prior=dist.Laplace))


@python_state()
def distribution_object_replaced():
    priors = [dist.Normal(0.0, 1.0)]

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", priors[0])
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    return Program(model, change=lambda: priors.__setitem__(0, dist.Normal(1.0, 3.0)))


@python_state()
def attribute_of_a_distribution_object():
    prior = dist.Normal(torch.zeros(()), torch.ones(()))

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior)
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    return Program(model, change=setting(prior, loc=torch.tensor(1.0), scale=torch.tensor(3.0)))


def iterating(make, state=lambda weights: ()):
    """`make` makes an iterator, and every step of Pyro takes its next value."""
    weights = make()

    def still():
        nonlocal weights
        weights = make()

    return Program(lambda x: weighted(next(weights), x), still=still, state=lambda: state(weights))


def schedule():
    for i in itertools.count():
        yield 1.0 + i


table(
    "iterators",
    {
        "count in a closure": (lambda: itertools.count(1), str),
        "list iterator in a closure": (lambda: iter([1.0, 2.0, 3.0] * 20), operator.length_hint),
        "cycle in a closure": (lambda: itertools.cycle([1.0, 2.0, 3.0]),),
        "chain in a closure": (lambda: itertools.chain([1.0, 2.0], itertools.repeat(5.0)),),
        "generator in a closure": (schedule, lambda g: g.gi_frame.f_locals["i"] if g.gi_frame else None),
        "enumerate in a closure": (lambda: (1.0 + i for i, _ in enumerate(range(99))),),
        "map in a closure": (lambda: map(float, range(1, 99)),),
        "reversed in a closure": (lambda: reversed(range(1, 99)), operator.length_hint),
        "dict iterator in a closure": (lambda: iter({1.0 + i: i for i in range(99)}), operator.length_hint),
        "file lines in a closure": (lambda: io.StringIO("".join(f"{i}\n" for i in range(1, 99))), None),
    },
    lambda make, state=lambda weights: (): iterating(
        *((lambda: map(float, make()), lambda weights: ()) if state is None else (make, state))
    ),
)


@python_state()
def environment_variable():
    os.environ["BETA"] = "1"
    return reading(
        lambda: float(os.environ["BETA"]), lambda: os.environ.update(BETA="5"), undo=lambda: os.environ.pop("BETA")
    )


@python_state()
def attribute_of_a_library_module():
    def undo():
        if hasattr(math, "beta"):
            del math.beta

    return reading(lambda: getattr(math, "beta", 1.0), setting(math, beta=5.0), undo=undo)


@python_state()
def function_of_a_library_module_replaced():
    original = math.sqrt
    return reading(lambda: math.sqrt(4.0), setting(math, sqrt=lambda x: 5.0), undo=setting(math, sqrt=original))


@python_state()
def torch_function_replaced():
    original = torch.tanh

    def guide(x):
        a = pyro.param("a", torch.tensor(0.5))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.tanh(a * x), 0.5))

    return Program(
        lambda x: weighted(1.0, x), guide, change=setting(torch, tanh=torch.sin), undo=setting(torch, tanh=original)
    )


# ---- Python state: attributes of modules and classes

CLASSES = (nn.Module, object, PyroModule)
table(
    "module attributes",
    {
        "module dict": (lambda m: m.c["b"], lambda: {"c": {"b": 1.0}}, lambda m: m.c.update(b=5.0)),
        "module list": (lambda m: m.c[0], lambda: {"c": [1.0]}, lambda m: m.c.__setitem__(0, 5.0)),
        "module number on a plain class": (lambda m: m.c, lambda: {"c": 1.0}, lambda m: setattr(m, "c", 5.0), object),
        "module dict on a plain class": (
            lambda m: m.c["b"],
            lambda: {"c": {"b": 1.0}},
            lambda m: m.c.update(b=5.0),
            object,
        ),
        "pyro module number": (lambda m: m.c, lambda: {"c": 1.0}, lambda m: setattr(m, "c", 5.0), PyroModule),
        "module numpy scalar": (lambda m: m.c, lambda: {"c": np.float32(1)}, lambda m: setattr(m, "c", np.float32(5))),
        "module numpy array": (lambda m: float(m.c[0]), lambda: {"c": np.ones(2)}, lambda m: m.c.fill(5.0)),
        "module numpy array rebound": (
            lambda m: float(m.c[0]),
            lambda: {"c": np.ones(2)},
            lambda m: setattr(m, "c", np.full(2, 5.0)),
        ),
        "module list of tensors": (
            lambda m: m.c[0],
            lambda: {"c": [torch.ones(())]},
            lambda m: m.c.__setitem__(0, torch.tensor(5.0)),
        ),
        "module list of tensors appended": (
            lambda m: sum(m.c),
            lambda: {"c": [torch.ones(())]},
            lambda m: m.c.append(torch.tensor(4.0)),
        ),
        "module tensor rebound": (
            lambda m: m.c,
            lambda: {"c": torch.ones(())},
            lambda m: setattr(m, "c", torch.tensor(5.0)),
        ),
        "module attribute added": (lambda m: getattr(m, "c", 1.0), dict, lambda m: setattr(m, "c", 5.0)),
        "module attribute deleted": (lambda m: getattr(m, "c", 1.0), lambda: {"c": 5.0}, lambda m: delattr(m, "c")),
        "module class attribute": (
            lambda m: m.c.beta,
            lambda: {"c": type("A", (), {"beta": 1.0})},
            lambda m: setattr(m, "c", type("B", (), {"beta": 5.0})),
        ),
        "module attribute of a held class": (
            lambda m: m.c.beta,
            lambda: {"c": type("A", (), {"beta": 1.0})},
            lambda m: setattr(m.c, "beta", 5.0),
        ),
        "module namespace": (lambda m: m.c.b, lambda: {"c": Namespace(b=1.0)}, lambda m: setattr(m.c, "b", 5.0)),
        "module string": (
            lambda m: 5.0 if m.c == "high" else 1.0,
            lambda: {"c": "low"},
            lambda m: setattr(m, "c", "high"),
        ),
        "module none": (lambda m: 1.0 if m.c is None else m.c, lambda: {"c": None}, lambda m: setattr(m, "c", 5.0)),
        "module private attribute": (lambda m: m._c, lambda: {"_c": 1.0}, lambda m: setattr(m, "_c", 5.0)),
        "module private dict": (lambda m: m._c["b"], lambda: {"_c": {"b": 1.0}}, lambda m: m._c.update(b=5.0)),
        "module tuple of config": (
            lambda m: m.c[0].b,
            lambda: {"c": (Namespace(b=1.0),)},
            lambda m: setattr(m.c[0], "b", 5.0),
        ),
        "module callable": (lambda m: m.c(), lambda: {"c": lambda: 1.0}, lambda m: setattr(m, "c", lambda: 5.0)),
        "module dict through vars": (lambda m: vars(m)["c"], lambda: {"c": 1.0}, lambda m: vars(m).update(c=5.0)),
    },
    held,
)


def by_class(make, weight, change):
    """`make` makes a class; its instance's method reads, and `change` gets class and instance."""
    kind = make()
    kind.model = lambda self, x: weighted(weight(self), x)
    instance = kind()
    return Program(instance.model, change=lambda: change(kind, instance))


def subclass(**attributes):
    return type("Child", (type("Parent", (type("Grandparent", (nn.Module,), attributes),), {}),), {})


def with_metaclass():
    return type("Meta", (type,), {"beta": 1.0})("A", (nn.Module,), {})


def with_property():
    return type("A", (nn.Module,), {"beta": property(lambda self: 1.0)})


def with_method():
    return type("A", (nn.Module,), {"beta": lambda self: 1.0})


def with_static_methods():
    return type("A", (), {"beta": staticmethod(lambda: 1.0), "gamma": classmethod(lambda cls: 1.0)})


table(
    "class attributes",
    {
        "class attribute": (
            lambda: type("A", (nn.Module,), {"beta": 1.0}),
            lambda self: self.beta,
            lambda kind, _: setattr(kind, "beta", 5.0),
        ),
        "class default overridden": (
            lambda: type("A", (nn.Module,), {"beta": 1.0}),
            lambda self: self.beta,
            lambda _, instance: setattr(instance, "beta", 5.0),
        ),
        "class default overridden on a plain class": (
            lambda: type("A", (), {"beta": 1.0}),
            lambda self: self.beta,
            lambda _, instance: setattr(instance, "beta", 5.0),
        ),
        "attribute of a grandparent": (
            lambda: subclass(beta=1.0),
            lambda self: self.beta,
            lambda kind, _: setattr(kind.__mro__[2], "beta", 5.0),
        ),
        "attribute shadowed in the middle": (
            lambda: subclass(beta=1.0),
            lambda self: self.beta,
            lambda kind, _: setattr(kind.__mro__[1], "beta", 5.0),
        ),
        "class dict": (
            lambda: type("A", (nn.Module,), {"beta": {"b": 1.0}}),
            lambda self: self.beta["b"],
            lambda kind, _: kind.beta.update(b=5.0),
        ),
        "attribute by type": (
            lambda: type("A", (), {"beta": 1.0}),
            lambda self: type(self).beta,
            lambda kind, _: setattr(kind, "beta", 5.0),
        ),
        "metaclass attribute": (
            with_metaclass,
            lambda self: type(self).beta,
            lambda kind, _: setattr(type(kind), "beta", 5.0),
        ),
        "property replaced": (
            with_property,
            lambda self: self.beta,
            lambda kind, _: setattr(kind, "beta", property(lambda self: 5.0)),
        ),
        "method replaced on the class": (
            with_method,
            lambda self: self.beta(),
            lambda kind, _: setattr(kind, "beta", lambda self: 5.0),
        ),
        "method replaced on the instance": (
            with_method,
            lambda self: self.beta(),
            lambda _, instance: object.__setattr__(instance, "beta", lambda: 5.0),
        ),
        "static method replaced": (
            with_static_methods,
            lambda self: self.beta(),
            lambda kind, _: setattr(kind, "beta", staticmethod(lambda: 5.0)),
        ),
        "class method replaced": (
            with_static_methods,
            lambda self: self.gamma(),
            lambda kind, _: setattr(kind, "gamma", classmethod(lambda cls: 5.0)),
        ),
        "class of the instance": (
            lambda: type("A", (), {"beta": 1.0}),
            lambda self: self.beta,
            lambda kind, instance: setattr(instance, "__class__", type("B", (kind,), {"beta": 5.0})),
        ),
        "bases of the class": (
            lambda: type("A", (type("P", (), {"beta": 1.0}),), {}),
            lambda self: self.beta,
            lambda kind, _: setattr(kind, "__bases__", (type("Q", (), {"beta": 5.0}),)),
        ),
    },
    by_class,
)


@case("class attributes")
def model_method_replaced_on_the_class():
    kind = type("A", (), {"model": lambda self, x: self.inner(x), "inner": lambda self, x: weighted(1.0, x)})
    return Program(kind().model, change=setting(kind, inner=lambda self, x: weighted(5.0, x)))


@case("class attributes")
def call_of_a_callable_model_replaced():
    kind = type("A", (), {"__call__": lambda self, x: weighted(1.0, x)})
    return Program(kind(), change=setting(kind, __call__=lambda self, x: weighted(5.0, x)))


@case("class attributes")
def super_method_replaced():
    class Parent:
        def weight(self):
            return 1.0

    class Child(Parent):
        def weight(self):
            return super().weight()

        def model(self, x):
            weighted(self.weight(), x)

    return Program(Child().model, change=setting(Parent, weight=lambda self: 5.0))


# ---- what programs write to Python objects

written = functools.partial(case, "state that programs write")


@written()
def counter_in_a_function_attribute():
    def model(x):
        model.calls += 1
        weighted(1.0 + 0.1 * model.calls, x)

    model.calls = 0
    return Program(model, state=lambda: model.calls, still=setting(model, calls=0))


@written()
def counter_in_a_closure():
    calls = 0

    def model(x):
        nonlocal calls
        calls += 1
        weighted(1.0 + 0.1 * calls, x)

    def still():
        nonlocal calls
        calls = 0

    return Program(model, state=lambda: calls, still=still)


@written()
def counter_in_a_global():
    globals()["BETA"] = 0

    def model(x):
        global BETA
        BETA += 1
        weighted(1.0 + 0.1 * BETA, x)

    return Program(model, state=lambda: BETA, still=lambda: globals().update(BETA=0))


@written()
def counter_that_matters_from_a_threshold():
    calls = [0]

    def model(x):
        calls[0] += 1
        weighted(1.0 if calls[0] <= 8 else 5.0, x)

    return Program(model, state=lambda: calls, still=lambda: calls.__setitem__(0, 0))


@written()
def counter_in_the_guide_of_a_module():
    class Pair(nn.Module):
        calls = 0

        def guide(self, x):
            self.calls += 1
            mean_field(x * (1 + 0.1 * self.calls))

    pair = Pair()
    return Program(lambda x: weighted(1.0, x), pair.guide, state=lambda: pair.calls, still=setting(pair, calls=0))


@written()
def counter_on_the_class():
    class Counting:
        calls = 0

        def model(self, x):
            type(self).calls += 1
            weighted(1.0 + 0.1 * self.calls, x)

    return Program(Counting().model, state=lambda: Counting.calls, still=setting(Counting, calls=0))


@written()
def counter_by_length_of_a_list():
    seen = []

    def model(x):
        seen.append(None)
        weighted(1.0 + 0.1 * len(seen), x)

    return Program(model, state=lambda: seen, still=seen.clear)


@written()
def counter_in_an_array():
    calls = np.zeros(1)

    def model(x):
        calls[0] += 1
        weighted(1.0 + 0.1 * float(calls[0]), x)

    return Program(model, state=lambda: calls, still=lambda: calls.fill(0))


@written()
def counter_in_a_mutable_default():
    def model(x, calls=[0]):  # noqa: B006
        calls[0] += 1
        weighted(1.0 + 0.1 * calls[0], x)

    model.__defaults__ = ([0],)
    return Program(model, state=lambda: model.__defaults__, still=lambda: setattr(model, "__defaults__", ([0],)))


@written()
def counter_that_only_counts():
    calls = collections.Counter()

    def model(x):
        calls["model"] += 1
        weighted(1.0, x)

    def guide(x):
        calls["guide"] += 1
        mean_field(x)

    return Program(model, guide, state=lambda: dict(calls), still=calls.clear)


@written()
def counter_in_a_property():
    class Counting:
        calls = 0

        @property
        def beta(self):
            self.calls += 1
            return 1.0 + 0.1 * self.calls

    counting = Counting()
    return reading(lambda: counting.beta, state=lambda: counting.calls, still=setting(counting, calls=0))


@written()
def counter_in_slots():
    counting = Slotted()

    def model(x):
        counting.beta += 0.1
        weighted(counting.beta, x)

    return Program(model, state=lambda: counting.beta, still=setting(counting, beta=1.0))


@written()
def counter_in_a_tensor():
    calls = torch.zeros(())

    def model(x):
        calls.add_(0.1)
        weighted(1.0 + calls, x)

    return Program(model, state=lambda: calls, still=calls.zero_)


@written()
def counter_in_a_tensor_read_as_a_number():
    calls = torch.zeros((), dtype=torch.int64)

    def model(x):
        calls.add_(1)
        weighted(1.0 + 0.1 * int(calls), x)

    return Program(model, state=lambda: calls, still=calls.zero_)


@written()
def buffer_reassigned():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("ema", torch.zeros(()))

        def model(self, x):
            self.ema = 0.9 * self.ema + 0.1 * x.sum()
            weighted(1.0 + self.ema.abs(), x)

    pair = Pair()
    return Program(pair.model, state=lambda: pair.ema, still=lambda: setattr(pair, "ema", torch.zeros(())))


@written()
def buffer_reassigned_with_draws():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("ema", torch.zeros(()))

        def guide(self, x):
            a = pyro.param("a", torch.tensor(0.5))
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(a * x + self.ema, 0.5))
            self.ema = 0.9 * self.ema + 0.1 * z.mean().detach()

    pair = Pair()
    return Program(
        lambda x: weighted(1.0, x),
        pair.guide,
        state=lambda: pair.ema,
        still=lambda: setattr(pair, "ema", torch.zeros(())),
    )


@written()
def hidden_state_carried():
    hidden = torch.zeros(6)

    def guide(x):
        nonlocal hidden
        a = pyro.param("a", torch.tensor(0.5))
        hidden = torch.tanh(hidden + a * x).detach()
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(a * x + hidden, 0.5))

    def still():
        nonlocal hidden
        hidden = torch.zeros(6)

    return Program(lambda x: weighted(1.0, x), guide, state=lambda: hidden, still=still)


@written()
def hidden_state_in_a_dict():
    memory = {}

    def guide(x):
        a = pyro.param("a", torch.tensor(0.5))
        loc = a * x + memory.get("last", 0.0)
        memory["last"] = loc.detach() * 0.5
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, 0.5))

    return Program(lambda x: weighted(1.0, x), guide, state=lambda: memory, still=memory.clear)


@written()
def drawn_once_and_kept():
    kept = {}

    def model(x):
        if "noise" not in kept:
            kept["noise"] = torch.randn(len(x))
        weighted(1.0, x + kept["noise"])

    return Program(model, state=lambda: kept, still=kept.clear)


@written()
def drawn_anew_after_clearing():
    kept = {}

    def model(x):
        if "noise" not in kept:
            kept["noise"] = torch.randn(len(x))
        weighted(1.0, x + kept["noise"])

    return Program(model, state=lambda: kept, change=kept.clear)


@written()
def replay_buffer():
    last = collections.deque([torch.zeros(6)], maxlen=3)

    def guide(x):
        a = pyro.param("a", torch.tensor(0.5))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(a * x + sum(last) / 10, 0.5))
        last.append(z.detach())

    def still():
        last.clear()
        last.append(torch.zeros(6))

    return Program(lambda x: weighted(1.0, x), guide, state=lambda: list(last), still=still)


@written(static=True)
def written_in_guide_and_read_in_model():
    shared = Namespace()

    def guide(x):
        a = pyro.param("a", torch.tensor(0.5))
        shared.loc = a * x
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(shared.loc, 0.5))

    def model(x):
        weighted(1.0 + shared.loc.detach().abs().mean(), x)

    return Program(model, guide, state=lambda: shared.loc.detach().clone())


@written(static=True)
def written_in_model_and_read_by_the_caller():
    seen = {}

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            seen["z"] = z.detach()
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    return Program(model, state=lambda: {k: v.clone() for k, v in seen.items()})


@written()
def written_in_model_and_fed_back_by_the_caller():
    seen = {"z": torch.zeros(6)}

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            seen["z"] = z.detach()
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    return Program(model, args=lambda i: (data() + 0.1 * seen["z"],), still=lambda: seen.update(z=torch.zeros(6)))


@written()
def values_logged_to_a_list():
    log = []

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            log.append(float(z.mean()))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    return Program(model, state=lambda: log, still=log.clear)


@written()
def tensors_logged_to_a_list():
    log = []

    def guide(x):
        a = pyro.param("a", torch.tensor(0.5))
        log.append(a.detach().clone())
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(a * x, 0.5))

    return Program(lambda x: weighted(1.0, x), guide, state=lambda: log, still=log.clear)


@written()
def printed():
    out = io.StringIO()

    def model(x):
        print("step", file=out)
        weighted(1.0, x)

    return Program(model, state=out.getvalue, still=lambda: (out.seek(0), out.truncate()))


@written()
def printed_values():
    out = io.StringIO()

    def guide(x):
        a = pyro.param("a", torch.tensor(0.5))
        print(f"a={a:.3f}", file=out)
        mean_field(x)

    return Program(lambda x: weighted(1.0, x), guide, state=out.getvalue, still=lambda: (out.seek(0), out.truncate()))


@written()
def logged_by_a_logger():
    out = io.StringIO()
    logger = logging.Logger("inner", logging.INFO)
    logger.addHandler(logging.StreamHandler(out))

    def model(x):
        logger.info("called")
        weighted(1.0, x)

    return Program(model, state=out.getvalue, still=lambda: (out.seek(0), out.truncate()))


@written()
def warned():
    caught = []
    original = warnings.showwarning

    def model(x):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = lambda message, *_: caught.append(str(message))
            warnings.warn("look", stacklevel=1)
        weighted(1.0, x)

    return Program(model, state=lambda: caught, still=caught.clear, undo=setting(warnings, showwarning=original))


@written(beyond=True)
def appended_to_a_file():
    path = Path(tempfile.mkstemp()[1])

    def model(x):
        with path.open("a") as file:
            file.write("step\n")
        weighted(1.0, x)

    return Program(model, state=path.read_text, still=lambda: path.write_text(""))


@written()
def decaying_baseline():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.4))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        a = pyro.param("a", torch.tensor(0.3), constraint=constraints.unit_interval)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(a), infer={"baseline": {"use_decaying_avg_baseline": True}})

    def still():
        store = pyro.get_param_store()
        for name in [name for name in store if "baseline" in name]:
            del store[name]

    return Program(model, guide, loss=TraceGraph_ELBO, still=still)


@written()
def neural_baseline():
    torch.manual_seed(0)
    net = nn.Linear(6, 6)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.4))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        pyro.module("baseline", net)
        a = pyro.param("a", torch.tensor(0.3), constraint=constraints.unit_interval)
        with pyro.plate("data", len(x)):
            infer = {"baseline": {"nn_baseline": net, "nn_baseline_input": x}}
            pyro.sample("z", dist.Bernoulli(a), infer=infer)

    freeze = lambda: [p.data.zero_() for p in net.parameters()]  # noqa: E731
    return Program(model, guide, loss=TraceGraph_ELBO, state=lambda: dict(net.state_dict()), still=freeze)


@written()
def running_statistics():
    net = nn.Sequential(nn.Linear(1, 2, bias=False), nn.BatchNorm1d(2), nn.Linear(2, 1))
    still = lambda: [net[1].running_mean.zero_(), net[1].num_batches_tracked.zero_()]  # noqa: E731
    return trained(net, still=still)


@written()
def argument_changed_in_place_inside():
    extra = torch.ones(())

    def model(x, extra):
        extra.mul_(1.1)
        weighted(extra.clone(), x)

    return Program(model, args=lambda i: (data(), extra), state=lambda: extra, still=lambda: extra.fill_(1.0))


@written()
def list_argument_appended():
    notes = []

    def model(x, notes):
        notes.append(1.0)
        weighted(float(len(notes)), x)

    return Program(model, args=lambda i: (data(), notes), state=lambda: notes, still=notes.clear)


@written()
def attribute_of_an_argument_written():
    notes = Namespace(calls=0)

    def model(x, notes):
        notes.calls += 1
        weighted(1.0 + 0.1 * notes.calls, x)

    return Program(model, args=lambda i: (data(), notes), state=lambda: notes.calls, still=setting(notes, calls=0))


@written()
def parameter_store_written_inside():
    def model(x):
        store = pyro.get_param_store()
        if "a" in store:
            store["a"] = store["a"].detach() * 0.9
        weighted(1.0, x)

    return Program(model, still=lambda: pyro.get_param_store().clear())


@written()
def parameter_decayed_inside():
    def model(x):
        with torch.no_grad():
            param("a").mul_(0.9)
        weighted(1.0, x)

    return Program(model, still=lambda: pyro.get_param_store().clear())


@written()
def moving_average_of_a_parameter():
    average = torch.zeros(())

    def guide(x):
        a = pyro.param("a", torch.tensor(0.5))
        average.lerp_(a.detach(), 0.1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(a * x + average, 0.5))

    return Program(lambda x: weighted(1.0, x), guide, state=lambda: average, still=average.zero_)


@written()
def gradient_hook_registered_inside():
    seen = []

    def guide(x):
        a = pyro.param("a", torch.tensor(0.5))
        shifted = a * 1.0
        shifted.register_hook(lambda gradient: seen.append(float(gradient)))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(shifted * x, 0.5))

    return Program(lambda x: weighted(1.0, x), guide, state=lambda: seen, still=seen.clear)


@written()
def annealed_by_its_own_deletion():
    schedule = [5.0] + [1.0 + i for i in range(40)]

    def model(x):
        weighted(schedule.pop(), x)

    def still():
        schedule[:] = [1.0] * 10

    return Program(model, state=lambda: schedule, still=still)


# ---- randomness beside torch's generator

randomness = functools.partial(case, "other randomness")


def unseeded():
    random.seed(1)
    np.random.seed(1)


@randomness()
def python_random():
    return reading(lambda: 1.0 + random.random(), still=unseeded)


@randomness()
def numpy_random():
    return reading(lambda: 1.0 + np.random.rand(), still=unseeded)


@randomness()
def python_random_object():
    source = random.Random(1)
    return reading(lambda: 1.0 + source.random(), state=source.getstate, still=lambda: source.seed(1))


@randomness()
def numpy_generator():
    source = np.random.default_rng(1)
    start = copy.deepcopy(source.bit_generator.state)
    return reading(
        lambda: 1.0 + source.random(),
        state=lambda: source.bit_generator.state["state"]["state"],
        still=lambda: setattr(source.bit_generator, "state", start),
    )


@randomness()
def numpy_random_state():
    source = np.random.RandomState(1)
    return reading(lambda: 1.0 + source.rand(), state=lambda: source.get_state()[1:3], still=lambda: source.seed(1))


@randomness()
def random_choice_of_a_branch():
    def model(x):
        prior = random.choice([dist.Normal, dist.Laplace])
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    return Program(model, still=unseeded)


@randomness()
def numpy_permutation_of_the_data():
    def model(x):
        weighted(1.0, x[np.random.permutation(6)[:3].tolist()])

    return Program(model, lambda x: mean_field(x[:3]), still=unseeded)


@randomness()
def own_torch_generator():
    source = torch.Generator().manual_seed(1)
    return reading(
        lambda: 1.0 + torch.rand((), generator=source), state=source.get_state, still=lambda: source.manual_seed(1)
    )


@randomness()
def own_torch_generator_permutation():
    source = torch.Generator().manual_seed(1)

    def model(x):
        weighted(1.0, x[torch.randperm(6, generator=source)])

    return Program(model, state=source.get_state, still=lambda: source.manual_seed(1))


@randomness()
def own_torch_generator_reseeded():
    source = torch.Generator().manual_seed(1)
    return reading(
        lambda: 1.0 + torch.rand((), generator=source), lambda: source.manual_seed(7), state=source.get_state
    )


@randomness()
def manual_seed_inside():
    seeds = [3]

    def model(x):
        torch.manual_seed(seeds[0])
        weighted(1.0 + torch.rand(()), x)

    return Program(model, change=lambda: seeds.__setitem__(0, 4))


@randomness()
def manual_seed_inside_the_guide():
    seeds = [3]

    def guide(x):
        torch.manual_seed(seeds[0])
        mean_field(x)

    return Program(lambda x: weighted(1.0, x), guide, change=lambda: seeds.__setitem__(0, 4))


@randomness()
def pyro_seed_inside():
    seeds = [3]

    def model(x):
        pyro.set_rng_seed(seeds[0])
        weighted(1.0 + torch.rand(()), x)

    return Program(model, change=lambda: seeds.__setitem__(0, 4))


@randomness()
def forked_generator_inside():
    seeds = [3]

    def model(x):
        with torch.random.fork_rng():
            torch.manual_seed(seeds[0])
            noise = torch.rand(())
        weighted(1.0 + noise, x)

    return Program(model, change=lambda: seeds.__setitem__(0, 4))


@randomness()
def generator_state_put_back_inside():
    def model(x):
        before = torch.get_rng_state()
        noise = torch.rand(())
        torch.set_rng_state(before)
        weighted(1.0 + noise, x)

    return Program(model, still=lambda: torch.manual_seed(5))


@randomness()
def reseeded_by_the_caller():
    return Program(lambda x: weighted(1.0, x), change=lambda: torch.manual_seed(99))


@randomness()
def dropout_and_noise():
    net = nn.Sequential(nn.Linear(1, 4), nn.Dropout(0.5), nn.Linear(4, 1))
    return trained(net, change=lambda: torch.manual_seed(99))


@randomness()
def multinomial_permutation_and_bernoulli():
    def model(x):
        index = torch.multinomial(torch.ones(6), 3)
        keep = torch.bernoulli(torch.full((3,), 0.7))
        weighted(1.0, (x[torch.randperm(6)][index] * keep).repeat(2))

    return Program(model, change=lambda: torch.manual_seed(99))


@randomness()
def subsampled_plate():
    def both(x):
        return pyro.plate("data", len(x), subsample_size=3)

    def model(x):
        with both(x) as index:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[index])

    def guide(x):
        a = pyro.param("a", torch.tensor(0.5))
        with both(x) as index:
            pyro.sample("z", dist.Normal(a * x[index], 0.5))

    return Program(model, guide, change=lambda: torch.manual_seed(99))


@randomness()
def rejection_sampled_sites():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Gamma(2.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        a = pyro.param("a", torch.full((6,), 2.0), constraint=constraints.positive)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Gamma(a, 1.0))

    return Program(model, guide, change=lambda: torch.manual_seed(99))


# ---- values read from tensors

READS = {
    "item": lambda t: t.item(),
    "float": float,
    "int": int,
    "bool": lambda t: 1.0 if t > 2 else 2.0,
    "bool_method": lambda t: 1.0 if bool(t.gt(2)) else 2.0,
    "tolist": lambda t: t.tolist(),
    "numpy": lambda t: float(t.numpy()),
    "numpy_array": lambda t: float(np.asarray(t)),
    "numpy_function": lambda t: float(np.exp(t)),
    "numpy_view_kept": lambda t: float(t.detach().cpu().numpy().reshape(1)[0]),
    "f_string": lambda t: float(f"{t:.1f}"),
    "f_string_of_item": lambda t: float(f"{t.item()}"),
    "percent_format": lambda t: float("%f" % t),  # noqa: UP031
    "string": lambda t: float(str(t).removeprefix("tensor(").rstrip(")").split(",")[0]),
    "math": lambda t: math.sqrt(t),
    "index": lambda t: [0.0, 1.0, 2.0, 3.0, 4.0, 5.0][t.long()],
    "range": lambda t: sum(1.0 for _ in range(int(t))),
    "repeat": lambda t: torch.ones(int(t)).sum(),
    "comparison_chain": lambda t: 2.0 if 0 < t < 3 else 5.0,
    "tensor_of_item": lambda t: torch.tensor(t.item()),
    "tensor_of_list": lambda t: torch.tensor([t, t])[0],
    "tensor_of_tensor": lambda t: torch.tensor(t),
    "as_tensor_of_numpy": lambda t: torch.as_tensor(t.numpy() * 1.0),
    "new_tensor": lambda t: t.new_tensor([float(t)]).sum(),
    "full": lambda t: torch.full((), float(t)),
    "equal": lambda t: 1.0 if torch.equal(t, torch.tensor(5.0)) else 2.0,
    "allclose": lambda t: 1.0 if torch.allclose(t, torch.tensor(5.0)) else 2.0,
    "is_nonzero": lambda t: 1.0 if torch.is_nonzero(t - 5) else 2.0,
    "contains": lambda t: 1.0 if 5.0 in t.reshape(1) else 2.0,
    "maximum": lambda t: max(t, torch.tensor(2.0)) * 1.0,
    "sorted": lambda t: sorted([t, torch.tensor(2.0)])[1] * 1.0,
    "set_of_values": lambda t: float(len({t.item(), 1.0})) + 1,
    "deepcopy": lambda t: copy.deepcopy(t) * 1.0,
    "pickled": lambda t: float(torch.frombuffer(bytearray(t.numpy().tobytes()), dtype=torch.float64)),
    "unpacked": lambda t: next(iter(t.reshape(1).unbind())).item(),
    "storage": lambda t: float(t.untyped_storage().tolist()[6]) / 10 + 1,
    "version": lambda t: 1.0 + t._version,
    "python_round": lambda t: float(round(float(t))),
    "power_of_int": lambda t: 1.0 + 2 ** int(t),
}


def read_from(read, where):
    """A tensor in a closure, a buffer or a global that is annealed with `fill_`, and read as a number."""
    if where == "buffer":
        module = holder(lambda self: read(self.beta))
        module.register_buffer("beta", torch.tensor(1.0))
        return Program(module.model, change=lambda: module.beta.fill_(5.0))
    beta = torch.tensor(1.0)
    if where == "guide":
        return Program(lambda x: weighted(1.0, x), lambda x: mean_field(x * read(beta)), change=lambda: beta.fill_(5.0))
    return reading(lambda: read(beta), lambda: beta.fill_(5.0))


table("values baked in", {f"read by {k}": (read, "closure") for k, read in READS.items()}, read_from)
table(
    "values baked in",
    {f"read by {k} of a buffer": (READS[k], "buffer") for k in ("item", "float", "numpy", "f_string", "bool")},
    read_from,
)
table(
    "values baked in",
    {f"read by {k} in the guide": (READS[k], "guide") for k in ("item", "tolist", "int")},
    read_from,
)

values = functools.partial(case, "values baked in")


@values()
def read_of_a_parameter():
    def guide(x):
        a = pyro.param("a", torch.tensor(0.5))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(a * x, 1.0 + abs(float(a))))

    return Program(lambda x: weighted(1.0, x), guide, still=lambda: pyro.get_param_store().clear())


@values()
def branch_on_a_parameter():
    def guide(x):
        a = pyro.param("a", torch.tensor(1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(a * x, 0.5 if a > 0.7 else 2.0))

    return Program(lambda x: weighted(1.0, x), guide, still=lambda: pyro.get_param_store().clear())


@values()
def branch_on_a_sample():
    def model(x):
        u = pyro.sample("u", dist.Normal(0.0, 1.0))
        weighted(1.0 if u > 0 else 5.0, x)

    def guide(x):
        pyro.sample("u", dist.Normal(pyro.param("u_loc", torch.tensor(0.0)), 1.0))
        mean_field(x)

    return Program(model, guide, still=lambda: torch.manual_seed(3))


@values()
def read_of_an_argument():
    def model(x, beta):
        weighted(beta.item(), x)

    return Program(model, args=lambda i: (data(), torch.tensor(1.0 if i < CHANGE else 5.0)))


@values()
def branch_on_an_argument():
    def model(x, flag):
        weighted(1.0 if flag else 5.0, x)

    return Program(model, args=lambda i: (data(), torch.tensor(i < CHANGE)))


@values()
def read_while_the_guard_holds():
    """Read in one branch only, which is first taken after the change."""
    state, beta = [False], torch.tensor(1.0)

    def each(i):
        state[0] = i >= CHANGE
        beta.fill_(1.0 + i)

    return reading(lambda: beta.item() if state[0] else 1.0, each=each)


@values()
def view_of_numpy_memory():
    array = np.ones(2)
    tensor = torch.from_numpy(array)
    return reading(lambda: tensor[0], lambda: array.fill(5.0))


@values()
def numpy_view_of_a_tensor():
    tensor = torch.ones(2)
    array = tensor.numpy()
    return reading(lambda: float(array[0]), lambda: tensor.fill_(5.0))


@values()
def constant_tensor_made_inside():
    weights = [1.0, 2.0]
    return reading(lambda: torch.tensor(weights)[0], lambda: weights.__setitem__(0, 5.0))


@values()
def gradient_read_inside():
    def model(x):
        gradient = param("a").grad if "a" in pyro.get_param_store() else None
        weighted(1.0 if gradient is None else 2.0, x)

    return Program(model, change=lambda: setattr(param("a"), "grad", None))


@values()
def identity_read_inside():
    first = torch.ones(())
    table_ = {id(first): 1.0}
    where = [first]
    return reading(lambda: table_.get(id(where[0]), 5.0), lambda: where.__setitem__(0, torch.ones(())))


# ---- branches that depend on tensors: the graph holds for one, and other steps are Pyro's

branches = functools.partial(case, "branches")


def branching(weight, change_of_data=lambda x: -x, **rest):
    """A prior whose weight is chosen by the data; the data is another at step 2, and from CHANGE on."""

    def args(i):
        return (change_of_data(data()) if i >= CHANGE or i == 2 else data(),)

    return Program(lambda x: weighted(weight(x), x), args=args, **rest)


def halvings(x):
    count = 0
    while x.abs().max() > 0.3:
        x, count = x / 2, count + 1
    return 1.0 + count


def asserted(x):
    assert (x < 10).all()
    return 1.0


table(
    "branches",
    {
        "if of an argument": (lambda x: 1.0 if x.sum() > 0 else 5.0,),
        "conditional expression of a float": (lambda x: 1.0 if (x.sum() + x.sum().abs()) else 5.0,),
        "while of an argument": (halvings, lambda x: 3 * x),
        "and of two": (lambda x: 1.0 if x.sum() > 0 and x[0] < 0 else 5.0,),
        "not": (lambda x: 1.0 if not (x.sum() > 0) else 5.0,),
        "item of a boolean": (lambda x: 1.0 + (x.sum() > 0).item(),),
        "equal": (lambda x: 5.0 if torch.equal(x, data()) else 1.0,),
        "equal of other shapes": (lambda x: 5.0 if torch.equal(x[1:], x) else 1.0, lambda x: 2 * x),
        "allclose": (lambda x: 5.0 if torch.allclose(x, data()) else 1.0,),
        "assertion that holds": (asserted,),
        "choice of a tensor": (lambda x: max(x.mean(), x.std()),),
        "sorted by Python": (lambda x: 1.0 + sorted([x[0] ** 2, x[1] ** 2, x[-1] ** 2])[1],),
        "in a tuple": (lambda x: 5.0 if x[0] in (x[1], x[2]) else 1.0, torch.zeros_like),
    },
    branching,
)


@branches()
def assertion_that_fails_later():
    return Program(lambda x: weighted(asserted(x), x), args=lambda i: (data() * (1 if i < CHANGE else 20),))


@branches()
def branch_with_running_mean():
    torch.manual_seed(0)
    net = batch_norm()

    def guide(x):
        pyro.module("net", net)
        loc = net(x[:, None]).squeeze(-1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, 0.5 if x.sum() > 0 else 1.5))

    program = branching(lambda x: 1.0, state=lambda: dict(net.state_dict()))
    program.guide = guide
    return program


@branches()
def branch_on_a_draw_of_the_guide():
    def guide(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(pyro.param("a", torch.tensor(0.5)) * x, 1.0))
        pyro.sample("u", dist.Normal(pyro.param("u_loc", torch.tensor(0.0)), 1.0 if z.mean() > -0.5 else 2.0))

    def model(x):
        weighted(1.0, x)
        pyro.sample("u", dist.Normal(0.0, 1.0))

    program = branching(lambda x: 1.0)
    program.model, program.guide = model, guide
    return program


@branches()
def rejection_sampling():
    def model(x):
        weighted(1.0, x)
        u = torch.rand(())
        while u > 0.5:
            u = torch.rand(())
        pyro.factor("f", u.log())

    program = branching(lambda x: 1.0)
    program.model = model
    return program


# ---- sizes made from data

sizes = functools.partial(case, "sizes from data")


def shifting(i):
    return (data() + (0.9 if i >= CHANGE else 0.0),)


def selecting(select):
    def model(x):
        chosen = select(x)
        pyro.sample("count", dist.Normal(0.0, 1.0), obs=torch.tensor(float(len(chosen))))
        weighted(1.0, x)
        with pyro.plate("chosen", len(chosen)):
            pyro.sample("y", dist.Normal(0.0, 1.0), obs=chosen)

    return Program(model, args=shifting)


table(
    "sizes from data",
    {
        "size of a mask": (lambda x: x[x > 0.5],),
        "size of nonzero": (lambda x: (x > 0.5).nonzero().squeeze(-1) * 1.0,),
        "size of unique": (lambda x: x.clamp(0.2, 1.0).unique(),),
        "size of masked select": (lambda x: torch.masked_select(x, x > 0.5),),
        "size of argwhere": (lambda x: torch.argwhere(x > 0.5).squeeze(-1) * 1.0,),
        "size of where": (lambda x: x[torch.where(x > 0.5)],),
        "size of a sum": (lambda x: torch.ones(int((x > 0.5).sum())),),
        "size of repeat interleave": (lambda x: torch.repeat_interleave(torch.ones(6), (x > 0.5).long()),),
        "size of bincount": (lambda x: torch.bincount((x + 1).long()) * 1.0,),
        "size of a slice": (lambda x: x[: int(x.sum())],),
        "list of a mask": (lambda x: torch.stack([v for v in x if v > 0.5]),),
        "size of tolist": (lambda x: torch.tensor([v for v in x.tolist() if v > 0.5]),),
        "size of split": (lambda x: x.split([2 if x[0] > -0.5 else 4, 4 if x[0] > -0.5 else 2])[0],),
    },
    selecting,
)


@sizes()
def length_of_ragged_sequences():
    lengths = torch.tensor([1, 2, 3, 1, 2, 3])

    def model(x):
        for t in range(int(lengths.max())):
            with pyro.plate(f"data_{t}", len(x)), poutine.mask(mask=lengths > t):
                pyro.sample(f"x_{t}", dist.Normal(float(t), 1.0), obs=x)
        weighted(1.0, x)

    return Program(model, change=lambda: lengths.add_(1))


@sizes()
def mask_of_the_same_size():
    """The same count before and after, other places."""
    return Program(
        lambda x: weighted(1.0, x[x > 0.5]),
        lambda x: mean_field(x[x > 0.5]),
        args=lambda i: (data() if i < CHANGE else data().flip(0) * 1.1,),
    )


# ---- data rebound

rebound = functools.partial(case, "data rebound")


def unsupervised_guide():
    a = pyro.param("a", torch.tensor(0.5))
    with pyro.plate("data", 6):
        pyro.sample("z", dist.Normal(a, 0.5))


@rebound()
def data_in_a_closure():
    x = data()

    def change():
        nonlocal x
        x = data() * 2

    return Program(lambda: weighted(1.0, x), unsupervised_guide, change=change, args=lambda i: ())


@rebound()
def data_in_a_global():
    globals()["DATA"] = data()
    model = lambda: weighted(1.0, DATA)  # noqa: E731
    return Program(model, unsupervised_guide, change=lambda: globals().update(DATA=data() * 2), args=lambda i: ())


@rebound()
def data_in_a_closure_every_step():
    x = data()

    def each(i):
        nonlocal x
        x = data() + 0.1 * i

    return Program(lambda: weighted(1.0, x), unsupervised_guide, each=each, args=lambda i: ())


@rebound()
def data_in_a_closure_of_another_size():
    x = data()

    def change():
        nonlocal x
        x = data(4)

    return Program(lambda: weighted(1.0, x), lambda: mean_field(x), change=change, args=lambda i: ())


@rebound()
def data_in_an_argument_object():
    batch = Namespace(x=data())
    return Program(
        lambda b: weighted(1.0, b.x),
        lambda b: mean_field(b.x),
        change=setting(batch, x=data() * 2),
        args=lambda i: (batch,),
    )


@rebound()
def data_in_an_argument_object_every_step():
    batch = Namespace(x=data())
    return Program(
        lambda b: weighted(1.0, b.x),
        lambda b: mean_field(b.x),
        each=lambda i: setattr(batch, "x", data() + 0.1 * i),
        args=lambda i: (batch,),
    )


@rebound()
def data_in_a_dict_argument():
    return Program(
        lambda b: weighted(b["beta"], b["x"]),
        lambda b: mean_field(b["x"]),
        args=lambda i: ({"x": data() * (1 if i < CHANGE else 2), "beta": 1.0 if i < CHANGE else 5.0},),
    )


@rebound()
def data_in_a_dataset_object():
    class Dataset:
        def __init__(self):
            self.rows = [data(), data() * 2]
            self.index = 0

        def __getitem__(self, i):
            return self.rows[self.index]

        def __len__(self):
            return len(self.rows)

    dataset = Dataset()
    return Program(
        lambda d: weighted(1.0, d[0]),
        lambda d: mean_field(d[0]),
        change=setting(dataset, index=1),
        args=lambda i: (dataset,),
    )


@rebound()
def data_in_a_tensor_dataset():
    dataset = torch.utils.data.TensorDataset(data())
    return Program(
        lambda: weighted(1.0, dataset.tensors[0]),
        unsupervised_guide,
        change=setting(dataset, tensors=(data() * 2,)),
        args=lambda i: (),
    )


@rebound()
def data_of_a_module():
    owner = holder(None, x=data())
    return Program(
        lambda: weighted(1.0, owner.x), unsupervised_guide, change=setting(owner, x=data() * 2), args=lambda i: ()
    )


@rebound()
def data_from_a_loader_inside():
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(data()), batch_size=6, shuffle=True)

    def model():
        for (x,) in loader:
            weighted(1.0, x)

    return Program(model, unsupervised_guide, args=lambda i: (), change=lambda: torch.manual_seed(99))


@rebound()
def data_from_an_iterator_of_batches():
    batches = None

    def still():
        nonlocal batches
        batches = iter([data() + 0.1 * i for i in range(40)])

    still()
    return Program(lambda: weighted(1.0, next(batches)), unsupervised_guide, args=lambda i: (), still=still)


@rebound()
def data_conditioned_and_replaced():
    observed = {"x": data()}

    def free():
        with pyro.plate("data", 6):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0))

    model = pyro.condition(free, data=observed)
    return Program(model, unsupervised_guide, change=lambda: observed.update(x=data() * 2), args=lambda i: ())


@rebound()
def data_conditioned_and_removed():
    observed = {"x": data()}

    def free():
        with pyro.plate("data", 6):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=data() * 3)

    model = pyro.condition(free, data=observed)
    return Program(model, unsupervised_guide, change=observed.clear, args=lambda i: ())


@rebound()
def data_view_of_a_growing_buffer():
    store, n = torch.zeros(40), [6]
    store[:6] = data()

    def each(i):
        store[:6] = data() + 0.1 * i

    return Program(lambda: weighted(1.0, store[: n[0]]), unsupervised_guide, each=each, args=lambda i: ())


@rebound()
def slice_of_a_closure_by_an_index():
    everything, where = torch.linspace(-1, 3, 40), [0]
    model = lambda: weighted(1.0, everything[where[0] : where[0] + 6])  # noqa: E731
    return Program(model, unsupervised_guide, change=lambda: where.__setitem__(0, 20), args=lambda i: ())


# ---- aliased arguments

aliased = functools.partial(case, "aliased arguments")


def sum_model(x, y):
    weighted(1.0, x + y)


@aliased()
def same_tensor_twice():
    x, y = data(), data() * 2
    return Program(sum_model, args=lambda i: (x, x if i < CHANGE else y))


@aliased()
def same_tensor_twice_then_swapped_back():
    x, y = data(), data() * 2
    return Program(sum_model, args=lambda i: (x, x if i < CHANGE else y) if i % 2 else (y, y if i < CHANGE else x))


@aliased()
def same_tensor_twice_by_keyword():
    x, y = data(), data() * 2
    return Program(sum_model, args=lambda i: ((x,), {"y": x if i < CHANGE else y}))


@aliased()
def same_tensor_in_a_list():
    x, y = data(), data() * 2
    return Program(
        lambda xs: weighted(1.0, sum(xs)),
        lambda xs: mean_field(xs[0]),
        args=lambda i: ([x, x, x if i < CHANGE else y],),
    )


@aliased()
def argument_also_closed_over():
    x, y = data(), data() * 2
    return Program(lambda given: weighted(1.0, given + x), args=lambda i: (x if i < CHANGE else y,))


@aliased()
def argument_also_a_buffer():
    owner, y = holder(None), data() * 2
    owner.register_buffer("x", data())
    return Program(lambda given: weighted(1.0, given + owner.x), args=lambda i: (owner.x if i < CHANGE else y,))


@aliased()
def argument_also_a_parameter():
    w = nn.Parameter(torch.full((6,), 0.5))

    def guide(given):
        pyro.param("w", w)
        with pyro.plate("data", 6):
            pyro.sample("z", dist.Normal(w + given.detach(), 0.5))

    return Program(lambda given: weighted(1.0, data()), guide, args=lambda i: (w if i < CHANGE else w.detach() + 1,))


@aliased()
def different_tensors_then_the_same():
    x, y = data(), data() * 2
    return Program(sum_model, args=lambda i: (x, y if i < CHANGE else x))


@aliased()
def views_of_one_memory():
    base = torch.linspace(-1, 3, 12)

    def model(x, y):
        y.add_(0.1)
        weighted(1.0, x)

    args = lambda i: (base[:6], base[:6] if i < CHANGE else base[6:])  # noqa: E731
    return Program(model, lambda x, y: unsupervised_guide(), args=args, state=lambda: base)


@aliased()
def argument_seen_by_identity():
    x, y = data(), data() * 2
    return Program(lambda a, b: weighted(1.0 if a is b else 5.0, a), args=lambda i: (x, x if i < CHANGE else y))


@aliased()
def object_with_the_same_tensor():
    x, y = data(), data() * 2
    pair = Namespace(a=x, b=x)
    return Program(
        lambda p: weighted(1.0, p.a + p.b), lambda p: mean_field(p.a), change=setting(pair, b=y), args=lambda i: (pair,)
    )


# ---- arguments of all kinds

arguments = functools.partial(case, "arguments")


def given(make, weight=None):
    """`make(i)` makes the second argument; `weight` reads it."""
    return Program(
        lambda x, second: weighted(weight(second) if weight else second, x), args=lambda i: (data(), make(i))
    )


def late(before, after):
    return lambda i: before if i < CHANGE else after


table(
    "arguments",
    {
        "argument float": (late(1.0, 5.0),),
        "argument float every step": (lambda i: 1.0 + i,),
        "argument int and bool": (late(1, True), lambda v: 5.0 if v is True else 1.0),
        "argument none": (late(None, 5.0), lambda v: 1.0 if v is None else v),
        "argument string": (late("low", "high"), lambda v: {"low": 1.0, "high": 5.0}[v]),
        "argument tuple": (late((1.0, 2.0), (5.0, 2.0)), lambda v: v[0]),
        "argument list": (late([1.0], [5.0]), lambda v: v[0]),
        "argument list longer": (late([1.0], [1.0, 4.0]), sum),
        "argument dict": (late({"b": 1.0}, {"b": 5.0}), lambda v: v["b"]),
        "argument dict order": (late({"a": 1.0, "b": 5.0}, {"b": 5.0, "a": 1.0}), lambda v: next(iter(v.values()))),
        "argument set": (late({1.0}, {5.0}), sum),
        "argument dataclass": (late(Config(), Config(5.0)), lambda v: v.beta),
        "argument frozen dataclass": (late(Frozen(), Frozen(5.0)), lambda v: v.beta),
        "argument named tuple": (late(Point(), Point(5.0)), lambda v: v.beta),
        "argument namespace": (late(Namespace(b=1.0), Namespace(b=5.0)), lambda v: v.b),
        "argument numpy array": (late(np.ones(2), np.full(2, 5.0)), lambda v: float(v[0])),
        "argument numpy array every step": (lambda i: np.full(2, 1.0 + i), lambda v: torch.tensor(v)[0]),
        "argument numpy scalar": (late(np.float64(1), np.float64(5)),),
        "argument function": (late(lambda: 1.0, lambda: 5.0), lambda v: v()),
        "argument class": (late(dist.Normal, dist.Laplace), lambda v: 1.0 if v is dist.Normal else 5.0),
        "argument enum": (late(Mode.LOW, Mode.HIGH), lambda v: v.value),
        "argument equal to everything": (late(Same(1.0), Same(5.0)), lambda v: v.value),
        "argument iterator": (lambda i: iter([1.0 + i]), next),
        "argument range": (late(range(1), range(5)), len),
        "argument slice": (late(slice(0, 1), slice(0, 5)), lambda v: torch.ones(6)[v].sum()),
        "argument bytes": (late(b"\1", b"\5"), lambda v: float(v[0])),
        "argument device": (late(torch.device("cpu"), "cpu"), lambda v: 5.0 if isinstance(v, str) else 1.0),
        "argument dtype": (late(torch.float64, torch.float32), lambda v: 1.0 if v is torch.float64 else 5.0),
        "argument nan": (late(math.nan, 5.0), lambda v: 1.0 if v != v else v),
        "argument minus zero": (late(0.0, -0.0), lambda v: 3.0 + math.copysign(2, v)),
        "argument distribution": (
            late(dist.Normal(1.0, 1.0), dist.Normal(5.0, 1.0)),
            lambda v: v.loc,
        ),
        "argument module": (late(nn.Identity(), nn.Softplus()), lambda v: v(torch.ones(()))),
        "argument tensor dict every step": (lambda i: {"b": torch.tensor(1.0 + i)}, lambda v: v["b"]),
        "argument nested": (lambda i: [{"a": (torch.tensor(1.0 + i), 2.0)}], lambda v: v[0]["a"][0]),
        "argument sparse": (
            lambda i: torch.eye(2).to_sparse() * (1.0 + i),
            lambda v: v.to_dense().sum(),
        ),
        "argument integer tensor": (late(torch.tensor(1), torch.tensor(5)), lambda v: v * 1.0),
        "argument of another dtype": (
            late(torch.tensor(1.5).double(), torch.tensor(1.5).float()),
            lambda v: (v / 3).double() * (5.0 if v.dtype == torch.float32 else 1.0),
        ),
        "argument of another shape": (late(torch.ones(1), torch.ones(5)), lambda v: v.sum()),
        "argument requires grad": (
            late(torch.ones(()), torch.ones((), requires_grad=True)),
            lambda v: 5.0 if v.requires_grad else 1.0,
        ),
        "argument expanded": (
            late(torch.ones(5), torch.ones(1).expand(5)),
            lambda v: v.sum() * (1.0 if v.is_contiguous() else 2.0),
        ),
        "argument transposed": (
            late(torch.arange(1.0, 7.0).reshape(2, 3), torch.arange(1.0, 7.0).reshape(3, 2).T),
            lambda v: v[0, 1],
        ),
        "argument parameter": (
            late(torch.ones(()), nn.Parameter(torch.ones(()))),
            lambda v: 5.0 if isinstance(v, nn.Parameter) else 1.0,
        ),
        "argument attribute of a tensor": (
            lambda i: setattr(t := torch.ones(()), "late", i >= CHANGE) or t,
            lambda v: 5.0 if v.late else 1.0,
        ),
        "argument changed in place": (
            lambda i, t=torch.ones(()): t.fill_(1.0 + i),  # noqa: B008
            None,
        ),
        "argument conjugated": (
            late(torch.tensor(1 + 2j), torch.tensor(1 + 2j).conj()),
            lambda v: 3.5 + v.imag,
        ),
    },
    given,
)


@arguments()
def batch_of_another_size():
    return Program(lambda x: weighted(1.0, x), args=lambda i: (data(6 if i < CHANGE else 4),))


@arguments()
def batches_of_many_sizes():
    return Program(lambda x: weighted(1.0, x), args=lambda i: (data(3 + i),))


@arguments()
def batch_empty():
    return Program(lambda x: weighted(1.0, x), args=lambda i: (data(6 if i < CHANGE else 0),))


@arguments()
def batch_strided():
    wide = torch.linspace(-1, 4, 12)
    return Program(lambda x: weighted(1.0, x), args=lambda i: (wide[:6] if i < CHANGE else wide[::2],))


@arguments()
def batch_of_float32():
    return Program(lambda x: weighted(1.0, x), args=lambda i: (data() if i < CHANGE else data().float(),))


@arguments()
def keyword_added():
    def model(x, beta=1.0):
        weighted(beta, x)

    return Program(model, args=lambda i: ((data(),), {} if i < CHANGE else {"beta": 5.0}))


@arguments()
def keyword_instead_of_position():
    def model(x, *rest, beta=2.0):
        weighted(rest[0] if rest else beta, x)

    return Program(model, args=lambda i: ((data(), 1.0), {}) if i < CHANGE else ((data(),), {"beta": 5.0}))


@arguments()
def more_arguments():
    return Program(
        lambda *xs: weighted(1.0, sum(xs)), args=lambda i: tuple(data() for _ in range(1 if i < CHANGE else 3))
    )


@arguments()
def string_that_is_none_for_some_batches():
    def model(x, labels=None):
        weighted(1.0, x)
        if labels is not None:
            with pyro.plate("labelled", len(x)):
                pyro.sample("y", dist.Normal(0.0, 1.0), obs=labels)

    return Program(model, args=lambda i: (data(), None if i < CHANGE else data()))


@arguments()
def data_loader_batches():
    return Program(
        lambda batch: weighted(1.0, batch[0]), lambda batch: mean_field(batch[0]), args=lambda i: ([data() + 0.1 * i],)
    )


# ---- parameters

parameters = functools.partial(case, "parameters")


@parameters()
def frozen_in_mid_run():
    net = small()
    return trained(net, lambda: net[0].requires_grad_(False))


@parameters()
def one_weight_frozen():
    net = small()
    return trained(net, lambda: net[2].bias.requires_grad_(False))


@parameters()
def thawed_in_mid_run():
    net = small()
    net[0].requires_grad_(False)
    return trained(net, lambda: net.requires_grad_(True))


@parameters()
def store_parameter_frozen():
    return Program(lambda x: weighted(1.0, x), change=lambda: param("a").requires_grad_(False))


@parameters()
def store_parameter_set():
    return Program(
        lambda x: weighted(1.0, x), change=lambda: pyro.get_param_store().__setitem__("a", torch.tensor(2.0))
    )


@parameters()
def store_parameter_deleted():
    return Program(lambda x: weighted(1.0, x), change=lambda: pyro.get_param_store().__delitem__("a"))


@parameters()
def store_cleared():
    return Program(lambda x: weighted(1.0, x), change=pyro.clear_param_store)


@parameters()
def store_state_set():
    saved = {}

    def each(i):
        if i == 2:
            saved.update(copy.deepcopy(pyro.get_param_store().get_state()))
        if i == CHANGE:
            pyro.get_param_store().set_state(saved)

    return Program(lambda x: weighted(1.0, x), each=each)


@parameters()
def store_scope():
    store = pyro.get_param_store()
    inner = {}

    def around(i):
        return contextlib.nullcontext() if i < CHANGE else store.scope(inner.get("state"))

    return Program(lambda x: weighted(1.0, x), around=around)


@parameters()
def store_parameter_of_another_shape():
    def guide(x):
        a = pyro.param("a", torch.tensor(0.5))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(a * x, 0.5))

    change = lambda: pyro.get_param_store().__setitem__("a", torch.full((6,), 2.0))  # noqa: E731
    return Program(lambda x: weighted(1.0, x), guide, change=change)


@parameters()
def parameter_data_filled():
    return Program(lambda x: weighted(1.0, x), change=lambda: param("a").data.fill_(2.0))


@parameters()
def parameter_data_replaced():
    return Program(lambda x: weighted(1.0, x), change=lambda: setattr(param("a"), "data", torch.tensor(2.0)))


@parameters()
def parameter_copied_into():
    def change():
        with torch.no_grad():
            param("a").copy_(torch.tensor(2.0))

    return Program(lambda x: weighted(1.0, x), change=change)


def late_parameter(when, init=lambda: torch.tensor(0.3)):
    steps = [0]

    def guide(x):
        a = pyro.param("a", torch.tensor(0.5))
        b = pyro.param("late", init) if steps[0] >= when else 0.0
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(a * x + b, 0.5))

    return Program(lambda x: weighted(1.0, x), guide, each=lambda i: steps.__setitem__(0, i), still=nothing)


table(
    "parameters",
    {
        "parameter first met at 7": (7,),
        "parameter first met at 7 drawn": (7, lambda: torch.randn(())),
    },
    late_parameter,
)


@parameters()
def parameter_first_met_at_3():
    steps = [0]

    def guide(x):
        a = pyro.param("a", torch.tensor(0.5))
        b = pyro.param("late", lambda: torch.randn(())) if steps[0] >= 3 else 0.0
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(a * x + b, 0.5))

    def still():
        steps[0] = 0

    return Program(lambda x: weighted(1.0, x), guide, each=lambda i: steps.__setitem__(0, i), still=still)


@parameters()
def parameter_no_longer_met():
    use = [True]

    def guide(x):
        a = pyro.param("a", torch.tensor(0.5))
        b = pyro.param("b", torch.tensor(0.2)) if use[0] else 0.0
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(a * x + b, 0.5))

    return Program(lambda x: weighted(1.0, x), guide, change=lambda: use.__setitem__(0, False))


@parameters()
def parameter_met_but_unused():
    use = [True]

    def guide(x):
        a = pyro.param("a", torch.tensor(0.5))
        b = pyro.param("b", torch.tensor(0.2))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(a * x + (b if use[0] else 0.0), 0.5))

    return Program(lambda x: weighted(1.0, x), guide, change=lambda: use.__setitem__(0, False))


def semi_supervised(labelled, optim=lambda: pyro.optim.Adam({"lr": 0.05}), together=True):
    """Labelled and unlabelled steps by turns: the classifier has a zero gradient, or is not met, in every other."""

    def classifier(x):
        w = pyro.param("w", torch.tensor(0.4))
        return w * x

    def model(x, y=None):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Normal(0.0, 1.0), obs=y)
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + y, 1.0), obs=x)

    def guide(x, y=None):
        if together:
            classifier(x)
        if y is None:
            with pyro.plate("labels", len(x)):
                pyro.sample("y", dist.Normal(classifier(x), 0.5))
        mean_field(x)

    return Program(model, guide, args=lambda i: (data(), data() * 2 if labelled(i) else None), optim=optim)


def adagrad():
    return pyro.optim.Adagrad({"lr": 0.05})


def clipped():
    return pyro.optim.ClippedAdam({"lr": 0.05, "lrd": 0.99, "clip_norm": 1.0})


def momentum():
    return pyro.optim.SGD({"lr": 0.01, "momentum": 0.9})


def decayed():
    return pyro.optim.AdamW({"lr": 0.05, "weight_decay": 0.1})


table(
    "zero gradients",
    {
        "alternating met": (lambda i: i % 2 == 1,),
        "alternating not met": (lambda i: i % 2 == 1, lambda: pyro.optim.Adam({"lr": 0.05}), False),
        "alternating from 6": (lambda i: i >= CHANGE and i % 2 == 1,),
        "alternating momentum": (lambda i: i % 2 == 1, momentum),
        "alternating momentum not met": (lambda i: i % 2 == 1, momentum, False),
        "alternating weight decay": (lambda i: i % 2 == 1, decayed),
        "alternating weight decay not met": (lambda i: i % 2 == 1, decayed, False),
        "alternating clipped": (lambda i: i % 2 == 1, clipped),
        "alternating adagrad": (lambda i: i % 2 == 1, adagrad),
        "first labelled": (lambda i: i < CHANGE,),
        "first labelled not met": (lambda i: i < CHANGE, decayed, False),
    },
    semi_supervised,
)


@case("zero gradients")
def module_part_unused_by_turns():
    torch.manual_seed(0)
    nets = nn.ModuleDict({"a": nn.Linear(1, 1), "b": nn.Linear(1, 1)})

    def guide(x, which):
        pyro.module("nets", nets)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(nets[which](x[:, None]).squeeze(-1), 0.5))

    return Program(lambda x, which: weighted(1.0, x), guide, args=lambda i: (data(), "ab"[i // 2 % 2]))


@case("zero gradients")
def masked_out_by_turns():
    def guide(x, mask):
        a = pyro.param("a", torch.tensor(0.5))
        b = pyro.param("b", torch.tensor(0.2))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(a * x + b * mask, 0.5))

    return Program(lambda x, mask: weighted(1.0, x), guide, args=lambda i: (data(), torch.tensor(float(i % 2))))


# ---- gradients and optimizers

optimizers = functools.partial(case, "optimizers")


@optimizers()
def own_gradient_set():
    return Program(lambda x: weighted(1.0, x), change=lambda: setattr(param("a"), "grad", torch.tensor(3.0)))


@optimizers()
def own_gradient_accumulated_every_step():
    def each(i):
        if i >= CHANGE:
            (param("a") ** 2 * 3).backward()

    return Program(lambda x: weighted(1.0, x), each=each)


@optimizers()
def own_gradient_of_none():
    return Program(
        lambda x: weighted(1.0, x),
        optim=lambda: pyro.optim.Adam({"lr": 0.05, "weight_decay": 0.1}),
        change=lambda: [setattr(p, "grad", torch.ones_like(p)) for p in pyro.get_param_store()._params.values()],
    )


@optimizers()
def gradient_hook_on_a_parameter():
    return Program(lambda x: weighted(1.0, x), change=lambda: param("a").register_hook(lambda g: g * 0.1))


def forget(p):
    p.grad.mul_(0.0)


@optimizers()
def gradient_hook_after_accumulation():
    return Program(
        lambda x: weighted(1.0, x),
        change=lambda: param("a").register_post_accumulate_grad_hook(forget),
    )


def optimizer_of(make, change, each=nothing):
    """`change(optim)` acts on the Pyro optimizer that SVI was given."""
    program = Program(lambda x: weighted(1.0, x), optim=lambda: setattr(program, "optimizer", o := make()) or o)
    program.change = lambda: change(program.optimizer)
    if each is not nothing:
        program.each = lambda i: each(program.optimizer, i)
    return program


def adam():
    return pyro.optim.Adam({"lr": 0.05})


def every_group(optim, **values):
    for inner in optim.optim_objs.values():
        for group in inner.param_groups:
            group.update(values)


def every_state(optim):
    return [state for inner in optim.optim_objs.values() for state in inner.state.values()]


def nudged(optimizer, *_):
    optimizer.param_groups[0]["params"][0].data.add_(0.1)


def stepping(optim, i):
    if i >= CHANGE:
        optim.step()


table(
    "optimizers",
    {
        "learning rate": (adam, lambda o: every_group(o, lr=0.5)),
        "betas": (adam, lambda o: every_group(o, betas=(0.1, 0.5))),
        "weight decay": (adam, lambda o: every_group(o, weight_decay=1.0)),
        "maximize": (adam, lambda o: every_group(o, maximize=True)),
        "amsgrad": (lambda: pyro.optim.Adam({"lr": 0.05, "amsgrad": True}), lambda o: every_group(o, lr=0.5)),
        "optimizer state cleared": (adam, lambda o: [inner.state.clear() for inner in o.optim_objs.values()]),
        "optimizer objects cleared": (adam, lambda o: o.optim_objs.clear()),
        "optimizer momentum zeroed": (
            adam,
            lambda o: [state["exp_avg"].zero_() for state in every_state(o)],
        ),
        "optimizer momentum replaced": (
            adam,
            lambda o: [state.update(exp_avg=state["exp_avg"] * 0 + 3) for state in every_state(o)],
        ),
        "optimizer class for new parameters": (
            adam,
            lambda o: (setattr(o, "pt_optim_constructor", torch.optim.SGD), o.optim_objs.clear()),
        ),
        "optimizer arguments": (adam, lambda o: (o.pt_optim_args.update(lr=0.5), o.optim_objs.clear())),
        "gradient clipping": (adam, lambda o: o.grad_clip.update({p: lambda p: p.grad.mul_(0.0) for p in o.grad_clip})),
        "step hook": (
            adam,
            lambda o: [inner.register_step_post_hook(nudged) for inner in o.optim_objs.values()],
        ),
        "clip norm": (
            lambda: pyro.optim.Adam({"lr": 0.05}, {"clip_norm": 0.5}),
            lambda o: every_group(o, lr=0.5),
        ),
        "clip value": (
            lambda: pyro.optim.SGD({"lr": 0.05}, {"clip_value": 0.5}),
            lambda o: every_group(o, lr=0.5),
        ),
        "clipped adam": (clipped, lambda o: every_group(o, lr=0.5)),
        "clipped adam norm": (clipped, lambda o: every_group(o, clip_norm=1e-3)),
        "rate by name": (
            lambda: pyro.optim.Adam(lambda name: {"lr": 0.05 if name == "a" else 0.01}),
            lambda o: every_group(o, lr=0.5),
        ),
        "exponential schedule": (
            lambda: pyro.optim.ExponentialLR({"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.05}, "gamma": 0.5}),
            nothing,
            stepping,
        ),
        "one cycle schedule": (
            lambda: pyro.optim.OneCycleLR(
                {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.05}, "max_lr": 0.2, "total_steps": 40}
            ),
            nothing,
            stepping,
        ),
        "adagrad rmsprop": (lambda: pyro.optim.AdagradRMSProp({}), lambda o: every_group(o, eta=3.0)),
        "dct adam": (
            lambda: pyro.optim.DCTAdam({"lr": 0.05}),
            lambda o: every_group(o, lr=0.5),
        ),
        "rmsprop": (lambda: pyro.optim.RMSprop({"lr": 0.05}), lambda o: every_group(o, lr=0.5)),
        "sgd to nesterov": (
            lambda: pyro.optim.SGD({"lr": 0.01, "momentum": 0.9}),
            lambda o: every_group(o, nesterov=True),
        ),
        "adadelta": (lambda: pyro.optim.Adadelta({}), lambda o: every_group(o, lr=5.0)),
        "state waiting": (
            adam,
            lambda o: (every_group(o, lr=0.5), o.set_state(copy.deepcopy(o.get_state())), o.optim_objs.clear()),
        ),
    },
    optimizer_of,
)


def torch_optimizer(make, change):
    """A torch optimizer over a module."""
    torch.manual_seed(0)
    net = small()
    program = trained(net, optim=lambda: setattr(program, "optimizer", o := make(net)) or o)
    program.change = lambda: change(program.optimizer, net)
    return program


table(
    "optimizers",
    {
        "torch learning rate": (
            lambda n: torch.optim.Adam(n.parameters(), lr=0.05),
            lambda o, n: o.param_groups[0].update(lr=0.5),
        ),
        "torch add param group": (
            lambda n: torch.optim.Adam(n[2].parameters(), lr=0.05),
            lambda o, n: o.add_param_group({"params": list(n[0].parameters()), "lr": 0.2}),
        ),
        "torch own gradient": (
            lambda n: torch.optim.Adam(n.parameters(), lr=0.05),
            lambda o, n: setattr(n[2].bias, "grad", torch.full((1,), 3.0)),
        ),
        "torch frozen": (
            lambda n: torch.optim.Adam(n.parameters(), lr=0.05),
            lambda o, n: n[0].weight.requires_grad_(False),
        ),
        "torch state loaded": (
            lambda n: torch.optim.Adam(n.parameters(), lr=0.05),
            lambda o, n: o.load_state_dict(torch.optim.Adam(n.parameters(), lr=0.2).state_dict()),
        ),
        "torch parameter removed": (
            lambda n: torch.optim.Adam(n.parameters(), lr=0.05),
            lambda o, n: o.param_groups[0]["params"].pop(),
        ),
        "torch step replaced": (
            lambda n: torch.optim.Adam(n.parameters(), lr=0.05),
            lambda o, n: setattr(o, "step", lambda *_: None),
        ),
        "torch data replaced": (
            lambda n: torch.optim.Adam(n.parameters(), lr=0.05),
            lambda o, n: setattr(n[2].bias, "data", torch.full((1,), 3.0)),
        ),
        "torch weights loaded": (
            lambda n: torch.optim.SGD(n.parameters(), lr=0.01, momentum=0.9),
            lambda o, n: n.load_state_dict({k: v * 2 for k, v in n.state_dict().items()}),
        ),
    },
    torch_optimizer,
)


# ---- modules

modules = functools.partial(case, "modules")


def changed_net(make, change):
    torch.manual_seed(0)
    net = make()
    return trained(net, lambda: change(net))


class Stack(nn.Module):
    """A list of layers, walked in `forward`."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(1, 1)])
        self.extra = nn.ParameterDict({"w": nn.Parameter(torch.tensor(0.3))})
        self.weights = nn.ParameterList([nn.Parameter(torch.tensor(0.2))])
        self.factor = 1.0

    def forward(self, x):
        for layer in self.layers:
            x = torch.tanh(layer(x)) * self.factor
        return x * sum(self.extra.values()) + sum(self.weights)


class Recording(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(1, 1)
        self.last = None

    def forward(self, x):
        skip = 0.0 if self.last is None else 0.1 * self.last
        self.last = self.net(x).detach()
        return self.net(x) + skip


def doubled(module, inputs, output):
    return output * 2


def tied():
    net = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    net[1].weight = net[0].weight
    return net


def batch_norm():
    return nn.Sequential(nn.Linear(1, 2, bias=False), nn.BatchNorm1d(2), nn.Linear(2, 1))


def dropout():
    return nn.Sequential(nn.Linear(1, 4), nn.Dropout(0.5), nn.Linear(4, 1))


def weight_norm():
    return nn.Sequential(nn.Linear(1, 2), nn.utils.parametrizations.weight_norm(nn.Linear(2, 3)), nn.Linear(3, 1))


def spectral_norm():
    return nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(1, 3)), nn.Linear(3, 1))


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x


table(
    "modules",
    {
        "layer appended": (Stack, lambda n: n.layers.append(nn.Linear(1, 1))),
        "layer removed": (Stack, lambda n: n.layers.__delitem__(0)),
        "layer replaced": (small, lambda n: n.__setitem__(0, nn.Linear(1, 3))),
        "layer replaced without parameters": (small, lambda n: n.__setitem__(1, nn.ReLU())),
        "layer of another width": (
            small,
            lambda n: (n.__setitem__(0, nn.Linear(1, 5)), n.__setitem__(2, nn.Linear(5, 1))),
        ),
        "parameter dict": (Stack, lambda n: n.extra.update({"v": nn.Parameter(torch.tensor(0.5))})),
        "parameter list": (Stack, lambda n: n.weights.append(nn.Parameter(torch.tensor(0.5)))),
        "module attribute in forward": (Stack, lambda n: setattr(n, "factor", 3.0)),
        "forward replaced": (small, lambda n: setattr(n, "forward", lambda x: nn.Sequential.forward(n, x) * 2)),
        "forward of a layer replaced": (small, lambda n: setattr(n[1], "forward", torch.sin)),
        "call replaced on the class": (
            lambda: nn.Sequential(nn.Linear(1, 1), type("Act", (nn.Module,), {"forward": lambda self, x: x})()),
            lambda n: setattr(type(n[1]), "forward", lambda self, x: 2 * x),
        ),
        "forward hook": (small, lambda n: n[0].register_forward_hook(doubled)),
        "forward hook removed": (
            lambda: setattr(n := small(), "handle", n[0].register_forward_hook(doubled)) or n,
            lambda n: n.handle.remove(),
        ),
        "forward pre hook": (small, lambda n: n[0].register_forward_pre_hook(lambda m, args: (args[0] * 2,))),
        "backward hook": (
            small,
            lambda n: n[2].register_full_backward_hook(lambda m, gi, go: tuple(g if g is None else g * 2 for g in gi)),
        ),
        "closure of a hook": (
            lambda: (
                setattr(n := small(), "by", [1.0]) or (n[0].register_forward_hook(lambda m, i, o: o * n.by[0]) and n)
            ),
            lambda n: n.by.__setitem__(0, 3.0),
        ),
        "parametrization registered": (
            small,
            lambda n: nn.utils.parametrize.register_parametrization(n[0], "weight", Doubled()),
        ),
        "weight replaced": (small, lambda n: setattr(n[0], "weight", nn.Parameter(torch.ones(3, 1)))),
        "weight data replaced": (small, lambda n: setattr(n[0].weight, "data", torch.ones(3, 1))),
        "bias removed": (small, lambda n: setattr(n[2], "bias", None)),
        "weights tied": (tied, lambda n: n[0].weight.data.fill_(1.5)),
        "weights untied": (tied, lambda n: setattr(n[1], "weight", nn.Parameter(n[0].weight.detach() * 2))),
        "weights tied later": (
            lambda: nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)),
            lambda n: setattr(n[1], "weight", n[0].weight),
        ),
        "eval": (dropout, lambda n: n.eval()),
        "train flag of a layer": (dropout, lambda n: n[1].eval()),
        "dropout rate": (dropout, lambda n: setattr(n[1], "p", 0.1)),
        "batch norm eval": (batch_norm, lambda n: n.eval()),
        "batch norm momentum": (batch_norm, lambda n: (setattr(n[1], "momentum", 0.9), n.eval())),
        "batch norm eps": (batch_norm, lambda n: setattr(n[1], "eps", 1.0)),
        "batch norm statistics": (batch_norm, lambda n: (n.eval(), n[1].running_mean.fill_(3.0))),
        "batch norm statistics dropped": (
            lambda: batch_norm().eval(),
            lambda n: (setattr(n[1], "running_mean", None), setattr(n[1], "running_var", None)),
        ),
        "weight norm": (weight_norm, lambda n: n[1].parametrizations.weight.original0.data.fill_(3.0)),
        "weight norm removed": (weight_norm, lambda n: nn.utils.parametrize.remove_parametrizations(n[1], "weight")),
        "spectral norm": (spectral_norm, lambda n: n.eval()),
        "hidden state in forward": (Recording, lambda n: setattr(n, "last", None)),
        "loaded state": (small, lambda n: n.load_state_dict({k: v + 1 for k, v in n.state_dict().items()})),
        "loaded by assignment": (
            small,
            lambda n: n.load_state_dict({k: v.detach() + 1 for k, v in n.state_dict().items()}, assign=True),
        ),
        "layers reordered": (
            lambda: nn.Sequential(nn.Linear(1, 1), nn.Tanh(), nn.Linear(1, 1)),
            lambda n: (first := n[0], n.__setitem__(0, n[2]), n.__setitem__(2, first)),
        ),
        "linear in features": (
            lambda: nn.Sequential(nn.Linear(1, 2), nn.LeakyReLU(0.1), nn.Linear(2, 1)),
            lambda n: setattr(n[1], "negative_slope", 0.9),
        ),
    },
    changed_net,
)


@modules()
def global_forward_hook():
    torch.manual_seed(0)
    handles = []

    def change():
        handles.append(nn.modules.module.register_module_forward_hook(lambda m, i, o: o * 1.5))

    return trained(small(), change, undo=lambda: [handle.remove() for handle in handles])


@modules()
def lazy_module():
    torch.manual_seed(0)
    net = nn.Sequential(nn.LazyLinear(3), nn.Tanh(), nn.LazyLinear(1))

    def guide(x):
        loc = net(x[:, None]).squeeze(-1)
        pyro.module("net", net)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, 0.5))

    return Program(lambda x: weighted(1.0, x), guide, change=lambda: net[2].bias.data.fill_(2.0))


@modules()
def update_module_params():
    torch.manual_seed(0)
    net, update = small(), [False]

    def guide(x):
        pyro.module("net", net, update_module_params=update[0])
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(net(x[:, None]).squeeze(-1), 0.5))

    def change():
        update[0] = True
        pyro.get_param_store()["net$$$2.bias"] = torch.full((1,), 2.0)

    return Program(lambda x: weighted(1.0, x), guide, change=change)


@modules()
def random_module_prior():
    torch.manual_seed(0)
    net = PyroModule[nn.Linear](1, 1)
    net.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 1]).to_event(2))

    def model(x):
        loc = net(x[:, None]).squeeze(-1)
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0), obs=x)

    change = lambda: setattr(net, "weight", PyroSample(dist.Normal(3.0, 0.5).expand([1, 1]).to_event(2)))  # noqa: E731
    return Program(model, auto.AutoNormal(model), change=change)


def other_forward(self, x):
    loc = self.u - self.v
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(loc, self.w), obs=x)


def pyro_module(change):
    class Pair(PyroModule):
        def __init__(self):
            super().__init__()
            self.w = PyroParam(torch.tensor(1.0), constraints.positive)
            self.u = PyroSample(dist.Normal(0.0, 1.0))
            self.v = PyroSample(lambda self: dist.Normal(self.u, self.spread))
            self.spread = 1.0

        def forward(self, x):
            loc = self.u + self.v
            with pyro.plate("data", len(x)):
                pyro.sample("x", dist.Normal(loc, self.w), obs=x)

    pair = Pair()
    return Program(pair, auto.AutoNormal(pair), change=lambda: change(pair), state=lambda: dict(pair.state_dict()))


table(
    "modules",
    {
        "prior replaced": (lambda m: setattr(m, "u", PyroSample(dist.Normal(2.0, 0.3))),),
        "prior function reads an attribute": (lambda m: setattr(m, "spread", 3.0),),
        "prior fixed": (lambda m: (delattr(m, "v"), setattr(m, "v", torch.tensor(0.3))),),
        "pyro parameter set": (lambda m: setattr(m, "w", torch.tensor(3.0)),),
        "pyro parameter replaced": (lambda m: setattr(m, "w", PyroParam(torch.tensor(3.0))),),
        "pyro parameter data": (lambda m: m.w_unconstrained.data.fill_(1.0),),
        "pyro module forward replaced": (lambda m: setattr(type(m), "forward", other_forward),),
    },
    pyro_module,
)


# ---- handlers, losses and switches around and beside

around = functools.partial(case, "around and beside")


def surrounded(context):
    """A network and constants that are no binary fractions; `context()` is around each step from CHANGE on."""
    torch.manual_seed(0)
    net = small()

    def guide(x):
        pyro.module("net", net)
        a = pyro.param("a", torch.tensor(0.5))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(net(x[:, None]).squeeze(-1) * a + 0.1, (0.3 * a).exp()))

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.1, 1.1))
            pyro.sample("x", dist.Normal(z, 0.7), obs=x)

    return Program(model, guide, around=lambda i: context() if i >= CHANGE else contextlib.nullcontext())


class Louder(poutine.messenger.Messenger):
    def _pyro_sample(self, message):
        message["scale"] = message["scale"] * 5.0


@contextlib.contextmanager
def default_dtype():
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float64)


class Halved(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        return result * 0.5 if func is torch.Tensor.exp or func is torch.exp else result


class Doubling(torch.utils._python_dispatch.TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        return result * 1.5 if func is torch.ops.aten.exp.default else result


table(
    "around and beside",
    {
        "scale around": (lambda: poutine.scale(scale=5.0),),
        "mask around": (lambda: poutine.mask(mask=torch.arange(6) > 2),),
        "condition around": (lambda: poutine.condition(data={"z": torch.zeros(6)}),),
        "substitute around": (lambda: poutine.substitute(data={"a": torch.tensor(2.0)}),),
        "seed around": (lambda: poutine.seed(rng_seed=7),),
        "custom handler around": (Louder,),
        "do around": (lambda: poutine.do(data={"z": torch.zeros(6)}),),
        "trace around": (lambda: poutine.trace(),),
        "lift around": (lambda: poutine.lift(prior=lambda *a, **k: dist.Normal(0.0, 1.0)),),
        "no grad around": (torch.no_grad,),
        "default dtype": (default_dtype,),
        "function mode around": (Halved,),
        "dispatch mode around": (Doubling,),
        "default device meta": (lambda: torch.device("meta"),),
    },
    surrounded,
)


table(
    "around and beside",
    {
        "block around": (lambda: poutine.block(),),
        "block a parameter around": (lambda: poutine.block(hide=["a"]),),
        "infer config around": (lambda: poutine.infer_config(config_fn=lambda site: {"a": 1}),),
        "grad enabled around": (torch.enable_grad,),
    },
    surrounded,
    static=True,
)


def autocast(i):
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=i >= CHANGE)


@around()
def autocast_around():
    torch.manual_seed(0)
    net = small().float()
    program = Program(lambda x: weighted(1.0, x), net_guide(net), around=autocast, settings={"rtol": 1e-4})
    program.args = lambda i: (data().float(),)
    return program


@around()
def autocast_inside_switched_on():
    torch.manual_seed(0)
    net, on = small().float(), [False]
    inner = net_guide(net)

    def guide(x):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=on[0]):
            inner(x)

    program = Program(lambda x: weighted(1.0, x), guide, change=lambda: on.__setitem__(0, True))
    program.args, program.settings = lambda i: (data().float(),), {"rtol": 1e-4}
    return program


@around()
def scale_around_from_the_start():
    scale = [1.0]
    return Program(
        lambda x: weighted(1.0, x),
        around=lambda i: poutine.scale(scale=scale[0]),
        change=lambda: scale.__setitem__(0, 5.0),
    )


@around()
def scale_around_removed():
    return Program(
        lambda x: weighted(1.0, x),
        around=lambda i: poutine.scale(scale=5.0) if i < CHANGE else contextlib.nullcontext(),
    )


@around()
def handler_object_changed():
    handler = poutine.scale(scale=1.0)
    return Program(lambda x: weighted(1.0, x), around=lambda i: handler, change=setting(handler, scale=5.0))


@around()
def handler_around_the_model_changed():
    handler = poutine.scale_messenger.ScaleMessenger(1.0)
    return Program(handler(lambda x: weighted(1.0, x)), change=setting(handler, scale=5.0))


@around()
def condition_around_with_other_data():
    values = {"x": data()}

    def model():
        with pyro.plate("data", 6):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0))

    return Program(
        model,
        unsupervised_guide,
        args=lambda i: (),
        around=lambda i: poutine.condition(data=values),
        change=lambda: values.update(x=data() * 2),
    )


def loss_changed(make, change, discrete=False):
    loss = make()

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.4))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        a = pyro.param("a", torch.tensor(0.3), constraint=constraints.unit_interval)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(a))

    programs = (config_enumerate(model), guide) if discrete else (lambda x: weighted(1.0, x), mean_field)
    return Program(*programs, loss=lambda: loss, change=lambda: change(loss))


class Tempered(Trace_ELBO):
    beta = 1.0

    def _get_trace(self, model, guide, args, kwargs):
        return super()._get_trace(poutine.scale(model, scale=self.beta), guide, args, kwargs)


class Weighted(Trace_ELBO):
    beta = 1.0

    def loss_and_grads(self, model, guide, *args, **kwargs):
        with poutine.scale(scale=self.beta):
            return super().loss_and_grads(model, guide, *args, **kwargs)


class Tempered2(Tempered):
    beta = 5.0


def tempered_trace(loss, model, guide, args, kwargs):
    return type(loss)._get_trace(loss, poutine.scale(model, scale=5.0), guide, args, kwargs)


table(
    "around and beside",
    {
        "number of particles": (Trace_ELBO, lambda loss: setattr(loss, "num_particles", 4)),
        "number of particles vectorized": (
            lambda: Trace_ELBO(num_particles=2, vectorize_particles=True, max_plate_nesting=1),
            lambda loss: setattr(loss, "num_particles", 4),
        ),
        "vectorized switched on": (
            lambda: Trace_ELBO(num_particles=3, max_plate_nesting=1),
            lambda loss: setattr(loss, "vectorize_particles", True),
        ),
        "alpha": (lambda: RenyiELBO(alpha=0.5, num_particles=2), lambda loss: setattr(loss, "alpha", 0.1)),
        "alpha class": (lambda: RenyiELBO(alpha=0.5, num_particles=2), lambda loss: setattr(loss, "num_particles", 5)),
        "attribute of an own loss": (Tempered, lambda loss: setattr(loss, "beta", 5.0)),
        "class attribute of an own loss": (
            lambda: type("T", (Tempered,), {"beta": 1.0})(),
            lambda loss: setattr(type(loss), "beta", 5.0),
        ),
        "own loss and gradients": (Weighted, lambda loss: setattr(loss, "beta", 5.0)),
        "class of the loss": (TraceMeanField_ELBO, lambda loss: setattr(loss, "__class__", Tempered2)),
        "method of the loss": (
            Trace_ELBO,
            lambda loss: setattr(loss, "_get_trace", functools.partial(tempered_trace, loss)),
        ),
        "mean field particles": (TraceMeanField_ELBO, lambda loss: setattr(loss, "num_particles", 3)),
        "graph particles": (TraceGraph_ELBO, lambda loss: setattr(loss, "num_particles", 3)),
    },
    loss_changed,
)


@around()
def validation_finds_an_observation():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Bernoulli(logits=z), obs=x)

    good = (data() > 0).double()
    return Program(model, args=lambda i: (good if i < CHANGE else good * 2,))


@around()
def validation_finds_a_parameter():
    scale = torch.ones(())
    return Program(lambda x: weighted(1.0, x, scale), change=lambda: scale.fill_(-1.0))


@around()
def validation_finds_a_scale():
    beta = torch.ones(())
    return reading(lambda: beta, lambda: beta.fill_(-1.0))


@around()
def validation_finds_a_value_of_the_model():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Gamma(2.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        a = pyro.param("a", torch.tensor(9.0))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(a, 0.1))

    return Program(model, guide, change=lambda: param("a").data.fill_(-3.0))


@around()
def validation_switched_off():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Exponential((z * 0.1).exp()), obs=x)

    return Program(
        model,
        around=lambda i: pyro.validation_enabled(i < CHANGE),
        args=lambda i: (data() + 2.0 if i < CHANGE else data() - 0.5,),
    )


@around()
def validation_switched_on():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Exponential((z * 0.1).exp()), obs=x)

    return Program(model, around=lambda i: pyro.validation_enabled(i >= CHANGE), args=lambda i: (data() - 0.5,))


@around()
def own_assertion():
    limit = torch.tensor(10.0)

    def model(x):
        assert (x < limit).all(), "too large"
        weighted(1.0, x)

    return Program(model, change=lambda: limit.fill_(0.0))


@around()
def own_exception_from_step_6():
    allowed = [True]

    def model(x):
        if not allowed[0]:
            raise KeyError("not allowed")
        weighted(1.0, x)

    return Program(model, change=lambda: allowed.__setitem__(0, False))


@around()
def exception_once_and_on():
    """The program raises in one step, and the caller goes on."""
    state = [0]

    def model(x):
        weighted(1.0, x)
        if state[0] == CHANGE:
            raise KeyError("once")

    return Program(model, each=lambda i: state.__setitem__(0, i), settings={"go_on": True})


@around()
def validation_once_and_on():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Bernoulli(logits=z), obs=x)

    good = (data() > 0).double()
    return Program(model, args=lambda i: (good * 2 if i == CHANGE else good,), settings={"go_on": True})


# ---- the same draws from the very first step

draws = functools.partial(case, "same draws", static=True)


def automatic(kind, **options):
    def model(x):
        loc = pyro.sample("loc", dist.Normal(0.0, 3.0))
        scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, scale), obs=x)

    loss = options.pop("loss", Trace_ELBO)
    return Program(model, kind(model, **options), loss=loss)


def in_first_step(kind, loss=Trace_ELBO, **options):
    return lambda: automatic(kind, loss=loss, **options)


for name_, build_ in {
    "auto_normal": in_first_step(auto.AutoNormal),
    "auto_diagonal": in_first_step(auto.AutoDiagonalNormal),
    "auto_multivariate": in_first_step(auto.AutoMultivariateNormal),
    "auto_low_rank": in_first_step(auto.AutoLowRankMultivariateNormal),
    "auto_delta": in_first_step(auto.AutoDelta),
    "auto_iaf": in_first_step(auto.AutoIAFNormal, hidden_dim=[4]),
    "auto_structured": in_first_step(auto.AutoStructured),
    "auto_normal_messenger": in_first_step(auto.AutoNormalMessenger),
    "auto_hierarchical_messenger": in_first_step(auto.AutoHierarchicalNormalMessenger),
    "auto_regressive_messenger": in_first_step(auto.AutoRegressiveMessenger),
    "auto_init_to_sample": in_first_step(auto.AutoNormal, init_loc_fn=auto.init_to_sample),
    "auto_init_to_median": in_first_step(auto.AutoDiagonalNormal, init_loc_fn=auto.init_to_median),
    "auto_with_particles": in_first_step(auto.AutoNormal, lambda: Trace_ELBO(num_particles=3)),
    "auto_vectorized_guessed": in_first_step(
        auto.AutoNormal, lambda: Trace_ELBO(num_particles=3, vectorize_particles=True)
    ),
    "auto_mean_field_vectorized": in_first_step(
        auto.AutoNormal, lambda: TraceMeanField_ELBO(num_particles=3, vectorize_particles=True)
    ),
    "auto_graph": in_first_step(auto.AutoNormal, TraceGraph_ELBO),
    "auto_renyi": in_first_step(
        auto.AutoNormal, lambda: RenyiELBO(alpha=0.5, num_particles=3, vectorize_particles=True)
    ),
}.items():
    CASES.append(Case(name_, "same draws", build_, static=True))


@draws()
def parameter_drawn_in_the_first_step():
    def guide(x):
        w = pyro.param("w", lambda: torch.randn(6))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(w, 0.5))

    return Program(lambda x: weighted(1.0, x), guide)


@draws()
def parameter_drawn_in_the_model():
    def model(x):
        w = pyro.param("w", lambda: torch.rand(()) + 0.5, constraint=constraints.positive)
        weighted(1.0, x, w)

    return Program(model)


@draws()
def nesting_guessed_by_enumeration():
    @config_enumerate
    def model(x):
        p = pyro.param("p", lambda: torch.rand(()), constraint=constraints.unit_interval)
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Bernoulli(p))
            pyro.sample("x", dist.Normal(k * 2.0, 1.0), obs=x)

    return Program(model, lambda x: None, loss=TraceEnum_ELBO)


@draws()
def nesting_guessed_with_particles():
    return Program(lambda x: weighted(1.0, x), loss=lambda: Trace_ELBO(num_particles=3, vectorize_particles=True))


@draws()
def network_drawn_in_the_first_step():
    nets = {}

    def guide(x):
        if not nets:
            nets["net"] = small()
        net_guide(nets["net"])(x)

    return Program(lambda x: weighted(1.0, x), guide)


@draws()
def scores_of_a_discrete_site():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.4))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        a = pyro.param("a", lambda: torch.rand(6), constraint=constraints.unit_interval)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(a))

    return Program(model, guide)


@draws()
def evaluation_never_disturbs():
    return Program(lambda x: weighted(1.0, x), settings={"evaluate": True})


# ---- libraries of the user

libraries = functools.partial(case, "user classes")


class Tilted(dist.Normal):
    tilt = 1.0

    def log_prob(self, value):
        return super().log_prob(value) * self.tilt


def prior_of(make):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", make())
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    return model


@libraries()
def attribute_of_a_distribution_class():
    Tilted.tilt = 1.0
    return Program(prior_of(lambda: Tilted(0.0, 1.0)), change=setting(Tilted, tilt=5.0), undo=setting(Tilted, tilt=1.0))


@libraries()
def method_of_a_distribution_class():
    kind = type("Own", (dist.Normal,), {"log_prob": lambda self, value: dist.Normal.log_prob(self, value)})
    change = setting(kind, log_prob=lambda self, value: 5.0 * dist.Normal.log_prob(self, value))
    return Program(prior_of(lambda: kind(0.0, 1.0)), change=change)


@libraries()
def distribution_reads_a_closure():
    tilt = [1.0]
    log_prob = lambda self, value: tilt[0] * dist.Normal.log_prob(self, value)  # noqa: E731
    kind = type("Own", (dist.Normal,), {"log_prob": log_prob})
    return Program(prior_of(lambda: kind(0.0, 1.0)), change=lambda: tilt.__setitem__(0, 5.0))


@libraries(beyond=True)
def library_distribution_patched():
    original = dist.Normal.log_prob

    def undo():
        dist.Normal.log_prob = original

    change = setting(dist.Normal, log_prob=lambda self, value: 2.0 * original(self, value))
    return Program(lambda x: weighted(1.0, x), change=change, undo=undo)


def custom_function(state):
    class Own(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * state["forward"]

        @staticmethod
        def backward(ctx, gradient):
            return gradient * state["backward"]

    return Own


@libraries()
def autograd_function_forward():
    state = {"forward": 1.0, "backward": 1.0}
    own = custom_function(state)
    return Program(
        lambda x: weighted(1.0, x), lambda x: mean_field(own.apply(x)), change=lambda: state.update(forward=2.0)
    )


@libraries()
def autograd_function_backward():
    state = {"forward": 1.0, "backward": 1.0}
    own = custom_function(state)

    def guide(x):
        a = own.apply(pyro.param("a", torch.tensor(0.5)))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(a * x, 0.5))

    return Program(lambda x: weighted(1.0, x), guide, change=lambda: state.update(backward=2.0))


@libraries()
def transform_with_state():
    class Scaled(dist.transforms.ExpTransform):
        factor = 1.0

        def log_abs_det_jacobian(self, x, y):
            return x * self.factor

    transform = Scaled()
    prior = lambda: dist.TransformedDistribution(dist.Normal(0.0, 1.0), [transform])  # noqa: E731

    def guide(x):
        a = pyro.param("a", torch.tensor(0.5))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.LogNormal(a * x, 0.5))

    return Program(prior_of(prior), guide, change=setting(transform, factor=3.0))


@libraries()
def own_handler_with_state():
    class Scaling(poutine.messenger.Messenger):
        factor = 1.0

        def _pyro_sample(self, message):
            message["scale"] = message["scale"] * self.factor

    handler = Scaling()

    def model(x):
        with handler:
            weighted(1.0, x)

    return Program(model, change=setting(handler, factor=5.0))


@libraries()
def block_by_a_function():
    hidden = set()

    def model(x):
        with poutine.block(hide_fn=lambda site: site["name"] in hidden):
            pyro.sample("u", dist.Normal(0.0, 1.0), obs=torch.tensor(2.0))
        weighted(1.0, x)

    return Program(model, change=lambda: hidden.add("u"))


@libraries()
def own_constraint():
    bound = [0.0]

    def guide(x):
        c = pyro.param("c", torch.tensor(7.0), constraint=constraints.greater_than(bound[0]))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.0, c - bound[0]))

    return Program(lambda x: weighted(1.0, x), guide, change=lambda: bound.__setitem__(0, -1.0))


@libraries()
def constraint_of_the_store():
    def guide(x):
        c = pyro.param("c", torch.tensor(0.7), constraint=constraints.positive)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.0, c))

    change = lambda: pyro.get_param_store()._constraints.update(c=constraints.interval(0.1, 9.0))  # noqa: E731
    return Program(lambda x: weighted(1.0, x), guide, change=change)


@libraries()
def tensor_subclass():
    class Loud(torch.Tensor):
        factor = 1.0

        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            if func is torch.Tensor.mul:
                args = (args[0], args[1] * cls.factor)
            return super().__torch_function__(func, types, args, kwargs or {})

    beta = torch.ones(()).as_subclass(Loud)
    return reading(lambda: (beta * 1.0).as_subclass(torch.Tensor), setting(Loud, factor=5.0))


@libraries()
def scripted_function():
    @torch.jit.script
    def double(x):
        return x * 2.0

    functions = [double]
    weight = lambda: functions[0](torch.ones(()))  # noqa: E731
    return reading(weight, lambda: functions.__setitem__(0, lambda x: x * 5.0))


@libraries()
def prepare_reads_state():
    beta = [1.0]
    return Program(
        lambda x: weighted(1.0, x),
        prepare=lambda i: (data() * beta[0],),
        args=lambda i: (0,),
        change=lambda: beta.__setitem__(0, 3.0),
    )


@libraries()
def prepare_looks_up_rebound_data():
    table_ = {"x": torch.linspace(-1, 3, 12)}
    return Program(
        lambda x: weighted(1.0, x),
        prepare=lambda index: table_["x"][index],
        args=lambda i: (torch.arange(6),),
        change=lambda: table_.update(x=table_["x"] * 2),
    )


# ---- outside Python

outside = functools.partial(case, "outside Python", beyond=True)


@outside()
def file_contents():
    path = Path(tempfile.mkstemp()[1])
    path.write_text("1")
    return reading(lambda: float(path.read_text()), lambda: path.write_text("5"), undo=lambda: path.unlink())


@outside()
def file_existence():
    path = Path(tempfile.mkdtemp()) / "flag"
    return reading(lambda: 5.0 if path.exists() else 1.0, path.touch)


@outside()
def file_descriptor_position():
    file = tempfile.TemporaryFile("w+")  # noqa: SIM115
    file.write("15")
    file.flush()
    return reading(lambda: float(os.pread(file.fileno(), 1, file.tell() - 2)), lambda: (file.write("0"), file.flush()))


@outside()
def working_directory():
    before = Path.cwd()
    return reading(
        lambda: 5.0 if Path.cwd() == Path("/") else 1.0, lambda: os.chdir("/"), undo=lambda: os.chdir(before)
    )


@outside()
def variables_of_the_caller():
    def model(x):
        frame = sys._getframe()
        while frame and "annealed_here" not in frame.f_locals:
            frame = frame.f_back
        weighted(frame.f_locals["annealed_here"] if frame else 1.0, x)

    @contextlib.contextmanager
    def context(i):
        yield

    return Program(model, around=context, settings={"frame": True})


@outside()
def memory_by_address():
    cell = ctypes.c_double(1.0)
    address = ctypes.addressof(cell)
    weight = lambda: ctypes.c_double.from_address(address).value  # noqa: E731
    return reading(weight, lambda: setattr(cell, "value", 5.0), undo=lambda: cell)


@outside()
def number_of_threads():
    before = torch.get_num_threads()
    return reading(
        lambda: float(torch.get_num_threads()),
        lambda: torch.set_num_threads(before + 4),
        undo=lambda: torch.set_num_threads(before),
    )


# ---- reads that no name in the code shows


class Magic:
    """A number that is read by every operator but never by its name."""

    def __init__(self, beta=1.0):
        self.beta = beta

    def __len__(self):
        return int(self.beta)

    def __bool__(self):
        return self.beta > 2

    def __float__(self):
        return self.beta

    def __index__(self):
        return int(self.beta)

    def __add__(self, other):
        return self.beta + other

    __radd__ = __add__

    def __lt__(self, other):
        return self.beta < other

    def __getitem__(self, key):
        return self.beta

    def __contains__(self, key):
        return key == self.beta

    def __iter__(self):
        return iter([self.beta])

    def __enter__(self):
        return self.beta

    def __exit__(self, *_):
        return None

    def __format__(self, spec):
        return str(self.beta)

    def __repr__(self):
        return str(self.beta)

    def __call__(self, *_):
        return self.beta

    def __eq__(self, other):
        return other == self.beta

    def __hash__(self):
        return int(self.beta)

    def __abs__(self):
        return abs(self.beta)

    def __round__(self, digits=None):
        return round(self.beta, digits)

    def __neg__(self):
        return -self.beta

    def __matmul__(self, other):
        return self.beta * other

    def __getattr__(self, name):
        if name == "dynamic":
            return self.beta
        raise AttributeError(name)

    def __dir__(self):
        return ["x"] * int(self.beta)

    def keys(self):
        return ["beta"]

    def __reduce__(self):
        return Magic, (self.beta,)

    def __copy__(self):
        return Magic(self.beta)

    def __instancecheck__(self, other):
        return self.beta > 2

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return torch.tensor(self.beta)


def entered(thing):
    with thing as value:
        return value


def matched(thing):
    match thing:
        case object(beta=value) if value > 2:
            return 5.0
    return 1.0


def summed(beta=1.0, **rest):
    return beta + sum(rest.values())


def late_import():
    import helpers_of_the_tests as helpers

    return helpers.beta


MAGIC = {
    "len": lambda m: len(m) * 1.0,
    "bool": lambda m: 5.0 if m else 1.0,
    "not": lambda m: 1.0 if not m else 5.0,
    "float": float,
    "index": lambda m: [0.0, 1.0, 2.0, 3.0, 4.0, 5.0][m],
    "range": lambda m: float(sum(1 for _ in range(m))),
    "add": lambda m: m + 0.5,
    "sum": lambda m: sum([m, 1.0]),
    "less": lambda m: 1.0 if m < 2 else 5.0,
    "max": lambda m: 1.0 if min([3.0, m]) is m else 5.0,
    "item": lambda m: m["x"],
    "contains": lambda m: 5.0 if 5.0 in m else 1.0,
    "iteration": lambda m: next(v for v in m),
    "star": lambda m: max(*m, 0.5),
    "unpacking": lambda m: (lambda v: v)(*m),
    "double star": lambda m: summed(**m),
    "with": entered,
    "format": lambda m: float(f"{m}"),
    "repr": lambda m: float(repr(m)),
    "str": lambda m: float(str(m)),
    "call": lambda m: m(1, 2),
    "equality": lambda m: 5.0 if m == 5.0 else 1.0,
    "inequality": lambda m: 1.0 if m != 5.0 else 5.0,
    "hash": lambda m: float(hash(m)),
    "in a list": lambda m: 5.0 if 5.0 in [m] else 1.0,
    "in a dict": lambda m: {1.0: 1.0, 5.0: 5.0}[m],
    "abs": abs,
    "round": lambda m: round(m) * 1.0,
    "negative": lambda m: abs(operator.neg(m)),
    "matmul": lambda m: m @ 1.0,
    "getattr": lambda m: m.dynamic,
    "hasattr": lambda m: 5.0 if hasattr(m, "dynamic") and m.dynamic > 2 else 1.0,
    "dynamic name": lambda m: getattr(m, "be" + "ta"),
    "vars": lambda m: sum(vars(m).values()),
    "dict": lambda m: m.__dict__["beta"],
    "dir": lambda m: len(dir(m)) * 1.0,
    "attrgetter": operator.attrgetter("beta"),
    "methodcaller": operator.methodcaller("__float__"),
    "copy": lambda m: float(copy.copy(m)),
    "deepcopy": lambda m: float(copy.deepcopy(m)),
    "pickle": lambda m: float(pickle.loads(pickle.dumps(m))),
    "sorted": lambda m: float(sorted([m, Magic(3.0)], key=float)[0]),
    "map": lambda m: next(map(float, [m])),
    "reduce": lambda m: functools.reduce(operator.add, [m, 0.5]),
    "filter": lambda m: 1.0 + 4.0 * len(list(filter(None, [m]))),
    "any": lambda m: 5.0 if any([m]) else 1.0,
    "numpy": lambda m: float(np.array(m, dtype=float).sum()),
    "tensor": lambda m: torch.tensor(float(m)),
    "torch function": lambda m: torch.add(torch.zeros(()), m),
    "match": matched,
    "json": lambda m: json.loads(json.dumps(vars(m)))["beta"],
    "eval": lambda m: eval("m.beta", {"m": m}),
    "exec": lambda m: exec("m.out = m.beta", {"m": (box := Namespace(beta=m.beta))}) or box.out,
    "comprehension": lambda m: sum([v.beta for v in [m]]),
    "walrus": lambda m: w if (w := m.beta) else 1.0,
    "zip": lambda m: next(a for a, _ in zip(m, [0], strict=True)),
    "slice": lambda m: float(len([0.0] * 9)) if m.beta > 9 else sum([1.0] * 9, -9.0) + len(([0] * 9)[:m]),
    "string key": lambda m: {"1.0": 1.0, "5.0": 5.0}[str(m)],
    "hashable key": lambda m: {(1.0, 2): 1.0, (5.0, 2): 5.0}[(m.beta, 2)],
    "try": lambda m: [1.0][len(m) - 1] if len(m) < 2 else 5.0,
    "singledispatch": lambda m: dispatched(m.beta if m.beta < 2 else "high"),
}


@functools.singledispatch
def dispatched(value):
    return 1.0


dispatched.register(str, lambda value: 5.0)


def implicit(read):
    magic = Magic()
    return reading(lambda: read(magic), setting(magic, beta=5.0))


table("implicit reads", {f"magic {name}": (read,) for name, read in MAGIC.items()}, implicit)


def named(name):
    """The name of the attribute is data."""

    def make(owner, read):
        holder_ = owner()
        return reading(lambda: read(holder_, name), lambda: setattr(holder_, name, 5.0))

    return make


def owner_with(kind):
    def make():
        owner = kind()
        owner.beta = 1.0
        return owner

    return make


table(
    "implicit reads",
    {
        f"{how} of {what}": (owner_with(kind), read)
        for how, read in {
            "dynamic name": lambda o, name: getattr(o, name),
            "dynamic name with default": lambda o, name: getattr(o, name, 2.0),
            "vars": lambda o, name: vars(o)[name],
            "getattribute": lambda o, name: object.__getattribute__(o, name),
        }.items()
        for what, kind in {
            "a namespace": Namespace,
            "a plain object": type("Plain", (), {}),
            "a module": nn.Module,
            "a pyro module": PyroModule,
            "a python module": lambda: types.ModuleType("state"),
            "a function": lambda: lambda: None,
        }.items()
    },
    named("beta"),
)

table(
    "python state",
    {
        "deep nesting": (
            lambda: functools.reduce(lambda inner, _: {"in": inner}, range(60), {"b": 1.0}),
            lambda c: functools.reduce(lambda d, _: d["in"], range(60), c)["b"],
            lambda c: functools.reduce(lambda d, _: d["in"], range(60), c).update(b=5.0),
        ),
        "long chain of objects": (
            lambda: functools.reduce(lambda inner, _: Namespace(inner=inner), range(60), Namespace(b=1.0)),
            lambda c: functools.reduce(lambda d, _: d.inner, range(60), c).b,
            lambda c: setattr(functools.reduce(lambda d, _: d.inner, range(60), c), "b", 5.0),
        ),
        "wide dict": (
            lambda: dict.fromkeys(range(3_000), 1.0),
            lambda c: c[2_345],
            lambda c: c.update({2_345: 5.0}),
        ),
        "many objects": (
            lambda: [Namespace(b=1.0) for _ in range(500)],
            lambda c: c[321].b,
            lambda c: setattr(c[321], "b", 5.0),
        ),
        "many tensors": (
            lambda: [torch.ones(()) for _ in range(300)],
            lambda c: c[200],
            lambda c: c.__setitem__(200, torch.tensor(5.0)),
        ),
        "many submodules": (
            lambda: nn.ModuleList([nn.Dropout(0.1) for _ in range(200)]),
            lambda c: 10 * c[150].p,
            lambda c: setattr(c[150], "p", 0.5),
        ),
        "long string": (
            lambda: ["a" * 100_000 + "1"],
            lambda c: float(c[0][-1]),
            lambda c: c.__setitem__(0, "a" * 100_000 + "5"),
        ),
        "large set": (lambda: set(range(5_000)), lambda c: 1.0 + (9_999 in c), lambda c: c.add(9_999)),
        "typed array": (lambda: array.array("d", [1.0]), lambda c: c[0], lambda c: c.__setitem__(0, 5.0)),
        "user dict": (lambda: collections.UserDict(b=1.0), lambda c: c["b"], lambda c: c.update(b=5.0)),
        "user list": (lambda: collections.UserList([1.0]), lambda c: c[0], lambda c: c.__setitem__(0, 5.0)),
        "queue": (queue.SimpleQueue, lambda c: 1.0 + c.qsize(), lambda c: c.put(1)),
        "structure in C": (lambda: ctypes.c_double(1.0), lambda c: c.value, lambda c: setattr(c, "value", 5.0)),
        "weak set": (
            lambda: (weakref.WeakSet(), Config_()),
            lambda c: 1.0 + len(c[0]),
            lambda c: c[0].add(c[1]),
        ),
        "weak reference whose object goes": (
            lambda: (lambda n: [n, weakref.ref(n)])(Config_()),
            lambda c: 1.0 if c[1]() is not None else 3.0,
            lambda c: c.__setitem__(0, None),
        ),
        "weak reference alone": (
            lambda: (lambda n: types.SimpleNamespace(keep=[n].__iter__, get=weakref.ref(n)))(Config_()),
            lambda c: 1.0 if c.get() is not None else 3.0,
            lambda c: setattr(c, "keep", None),
        ),
        "weak proxy": (
            lambda: (lambda n: (n, weakref.proxy(n)))(Config_()),
            lambda c: c[1].beta,
            lambda c: setattr(c[0], "beta", 5.0),
        ),
        "cached property": (
            lambda: WithCache(),
            lambda c: c.beta,
            lambda c: (setattr(c, "source", 5.0), vars(c).pop("beta")),
        ),
        "event": (threading.Event, lambda c: 5.0 if c.is_set() else 1.0, lambda c: c.set()),
        "lock": (threading.Lock, lambda c: 5.0 if c.locked() else 1.0, lambda c: c.acquire()),
        "abstract registration": (
            lambda: abc.ABCMeta("Loud", (), {}),
            lambda c: 5.0 if isinstance(Config_(), c) else 1.0,
            lambda c: c.register(Config_),
        ),
        "enum value": (
            lambda: enum.Enum("Level", {"A": 1.0}),
            lambda c: c.A.value,
            lambda c: setattr(c.A, "_value_", 5.0),
        ),
        "field that does not compare": (
            lambda: [Uncompared(1.0)],
            lambda c: c[0].beta,
            lambda c: c.__setitem__(0, Uncompared(5.0)),
        ),
        "subclass of float": (
            lambda: [Marked(1.0)],
            lambda c: c[0].mark,
            lambda c: setattr(c[0], "mark", 5.0),
        ),
        "subclass of dict": (
            lambda: Marked_dict(b=1.0),
            lambda c: c["b"] * c.factor,
            lambda c: setattr(c, "factor", 5.0),
        ),
        "subclass of list": (
            lambda: Marked_list([1.0]),
            lambda c: c[0] * c.factor,
            lambda c: setattr(c, "factor", 5.0),
        ),
        "tuple and named tuple": (
            lambda: [(1.0,)],
            lambda c: 5.0 if hasattr(c[0], "beta") else 1.0,
            lambda c: c.__setitem__(0, Point(1.0)),
        ),
        "dict and ordered dict": (
            lambda: [{"a": 1.0}],
            lambda c: 5.0 if isinstance(c[0], collections.OrderedDict) else 1.0,
            lambda c: c.__setitem__(0, collections.OrderedDict(a=1.0)),
        ),
        "random object replaced": (
            lambda: [dist.Normal(torch.zeros(()), torch.ones(()))],
            lambda c: 1.0 + c[0].scale,
            lambda c: c.__setitem__(0, dist.Normal(0.0, 4.0)),
        ),
        "tensor transposed in place": (
            lambda: torch.tensor([[1.0, 5.0], [1.0, 5.0]]),
            lambda t: t[1, 0] * 1.0,
            lambda t: t.t_(),
        ),
        "tensor set": (lambda: torch.ones(2), lambda t: t.sum(), lambda t: t.set_(torch.full((3,), 5.0))),
        "tensor squeezed in place": (
            lambda: torch.ones(1, 5),
            lambda t: t.sum(0)[0] if t.dim() == 2 else t.sum(0),
            lambda t: t.squeeze_(0),
        ),
        "tensor that comes to require a gradient": (
            lambda: torch.ones(()),
            lambda t: 5.0 if t.requires_grad else 1.0,
            lambda t: t.requires_grad_(True),
        ),
        "generator state read": (
            lambda: torch.Generator().manual_seed(1),
            lambda g: 1.0 + g.initial_seed(),
            lambda g: g.manual_seed(4),
        ),
        "decimal": (
            lambda: [decimal.Decimal(1)],
            lambda c: float(c[0]),
            lambda c: c.__setitem__(0, decimal.Decimal(5)),
        ),
        "size object": (lambda: [torch.Size([1])], lambda c: c[0].numel(), lambda c: c.__setitem__(0, torch.Size([5]))),
        "method of a dict": (
            lambda: {"beta": 1.0},
            lambda c: types.MethodType(dict.get, c)("beta"),
            lambda c: c.update(beta=5.0),
        ),
        "items of a dict": (
            lambda: {"beta": 1.0},
            lambda c: sum(v for _, v in c.items()),
            lambda c: c.update(beta=5.0),
        ),
        "default factory": (
            lambda: collections.defaultdict(lambda: 1.0),
            lambda c: c.default_factory(),
            lambda c: setattr(c, "default_factory", lambda: 5.0),
        ),
    },
    closed_over,
)


class Config_:  # noqa: N801
    beta = 1.0


class WithCache:
    source = 1.0

    @functools.cached_property
    def beta(self):
        return self.source


@dataclasses.dataclass
class Uncompared:
    beta: float = dataclasses.field(default=1.0, compare=False)


class Marked(float):
    mark = 1.0


class Marked_dict(dict):  # noqa: N801
    factor = 1.0


class Marked_list(list):  # noqa: N801
    factor = 1.0


CONFIG = None


@python_state()
def attribute_of_a_global_module():
    globals()["CONFIG"] = module_object()
    return reading(lambda: CONFIG.beta, lambda: setattr(CONFIG, "beta", 5.0))


@python_state()
def function_of_a_global_module():
    module = types.ModuleType("helpers")
    exec("beta = 1.0\ndef weight():\n    return beta", vars(module))
    globals()["CONFIG"] = module
    return reading(lambda: CONFIG.weight(), setting(module, beta=5.0))


@python_state()
def module_imported_inside():
    sys.modules["helpers_of_the_tests"] = module = module_object()
    return reading(late_import, setting(module, beta=5.0), undo=lambda: sys.modules.pop("helpers_of_the_tests"))


@python_state()
def module_replaced_in_the_table_of_modules():
    sys.modules["helpers_of_the_tests"] = module_object()

    def change():
        sys.modules["helpers_of_the_tests"] = module = module_object()
        module.beta = 5.0

    return reading(late_import, change, undo=lambda: sys.modules.pop("helpers_of_the_tests"))


@python_state()
def global_by_name():
    globals()["BETA"] = 1.0
    return reading(lambda: globals()["BETA"], lambda: globals().update(BETA=5.0))


@python_state()
def global_by_eval():
    globals()["BETA"] = 1.0
    return reading(lambda: eval("BETA"), lambda: globals().update(BETA=5.0))


@python_state()
def global_object_by_helpers():
    globals()["CONFIG"] = Namespace(inner=Namespace(beta=1.0))

    def weight():
        return (lambda config: config.inner.beta)(CONFIG)

    return reading(weight, lambda: setattr(CONFIG.inner, "beta", 5.0))


@python_state()
def class_inside_a_function():
    level = [1.0]

    def weight():
        class Local:
            beta = level[0]

        return Local().beta

    return reading(weight, lambda: level.__setitem__(0, 5.0))


@python_state()
def context_manager_of_a_generator():
    level = [1.0]

    @contextlib.contextmanager
    def louder():
        with poutine.scale(scale=level[0]):
            yield

    def model(x):
        with louder():
            weighted(1.0, x)

    return Program(model, change=lambda: level.__setitem__(0, 5.0))


@python_state()
def decimal_context():
    before = decimal.getcontext().prec

    def weight():
        return float(decimal.Decimal(1) / decimal.Decimal(7)) * 7 + (4 if decimal.getcontext().prec < 5 else 0)

    return reading(
        weight, setting(decimal.getcontext(), prec=3), undo=lambda: setattr(decimal.getcontext(), "prec", before)
    )


@python_state()
def step_from_another_thread():
    """What is local to a thread or a context has other values there."""
    local = threading.local()
    local.beta = 1.0
    return reading(lambda: getattr(local, "beta", 5.0), settings={"thread": True})


@python_state()
def context_variable_in_another_thread():
    variable = contextvars.ContextVar("beta", default=5.0)
    variable.set(1.0)
    return reading(variable.get, settings={"thread": True})


@python_state()
def pandas_frame():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"beta": [1.0, 2.0]})
    return reading(lambda: float(frame["beta"].iloc[0]), lambda: frame.__setitem__("beta", [5.0, 2.0]))


@python_state()
def pandas_frame_in_place():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"beta": [1.0, 2.0]})
    return reading(
        lambda: torch.tensor(frame["beta"].to_numpy().copy())[0], lambda: frame.__setitem__("beta", frame["beta"] + 4)
    )


@python_state()
def sparse_matrix_of_scipy():
    from scipy import sparse

    matrix = sparse.csr_matrix(np.eye(2))
    return reading(lambda: float(matrix[0, 0]), lambda: matrix.data.fill(5.0))


@python_state()
def structured_array():
    table_ = np.zeros(2, dtype=[("beta", "f8")])
    table_["beta"] = 1.0
    return reading(lambda: float(table_["beta"][0]), lambda: table_["beta"].fill(5.0))


@python_state()
def view_of_an_array():
    base = np.ones(4)
    view = base[1:]
    return reading(lambda: float(view[0]), lambda: base.fill(5.0))


# ---- switches of the libraries that programs read


JITTER = pyro.settings.get("cholesky_relative_jitter")


def switched(read, change, undo):
    return reading(read, change, undo=undo)


table(
    "switches",
    {
        "default dtype read": (
            lambda: 1.0 if torch.get_default_dtype() is torch.float64 else 5.0,
            lambda: torch.set_default_dtype(torch.float32),
            lambda: torch.set_default_dtype(torch.float64),
        ),
        "deterministic algorithms read": (
            lambda: 5.0 if torch.are_deterministic_algorithms_enabled() else 1.0,
            lambda: torch.use_deterministic_algorithms(True),
            lambda: torch.use_deterministic_algorithms(False),
        ),
        "matmul precision read": (
            lambda: 5.0 if torch.get_float32_matmul_precision() == "high" else 1.0,
            lambda: torch.set_float32_matmul_precision("high"),
            lambda: torch.set_float32_matmul_precision("highest"),
        ),
        "validation read": (
            lambda: 1.0 if pyro.infer.util.is_validation_enabled() else 5.0,
            lambda: pyro.enable_validation(False),
            lambda: pyro.enable_validation(True),
        ),
        "settings of pyro read": (
            lambda: 1.0 + pyro.settings.get("cholesky_relative_jitter"),
            lambda: pyro.settings.set(cholesky_relative_jitter=JITTER + 4),
            lambda: pyro.settings.set(cholesky_relative_jitter=JITTER),
        ),
        "length of the store": (
            lambda: 1.0 + len(pyro.get_param_store()),
            lambda: pyro.param("more", torch.zeros(())),
            nothing,
        ),
        "name in the store": (
            lambda: 5.0 if "more" in pyro.get_param_store() else 1.0,
            lambda: pyro.param("more", torch.zeros(())),
            nothing,
        ),
        "seed read": (
            lambda: 1.0 + torch.initial_seed() % 5,
            lambda: torch.manual_seed(4),
            nothing,
        ),
        "recursion limit read": (
            lambda: 1.0 if sys.getrecursionlimit() < 5_000 else 5.0,
            lambda: sys.setrecursionlimit(5_001),
            lambda: sys.setrecursionlimit(1_000),
        ),
        "error state of numpy read": (
            lambda: 5.0 if np.geterr()["over"] == "raise" else 1.0,
            lambda: np.seterr(over="raise"),
            lambda: np.seterr(over="warn"),
        ),
        "root logger read": (
            lambda: 5.0 if logging.getLogger("helpers").level == 50 else 1.0,
            lambda: logging.getLogger("helpers").setLevel(50),
            lambda: logging.getLogger("helpers").setLevel(0),
        ),
    },
    switched,
)


# ---- more that happens between the steps


between = functools.partial(case, "between the steps")


@between()
def another_svi_with_the_same_optimizer():
    def other(x):
        weighted(3.0, x * 2)

    optim = pyro.optim.Adam({"lr": 0.05})
    beside = pyro.infer.SVI(other, mean_field, optim, Trace_ELBO())
    each = lambda i: i >= CHANGE and beside.step(data())  # noqa: E731
    return Program(lambda x: weighted(1.0, x), each=each, optim=lambda: optim)


@between()
def another_svi_with_its_own_optimizer():
    beside = pyro.infer.SVI(lambda x: weighted(3.0, x * 2), mean_field, pyro.optim.SGD({"lr": 0.01}), Trace_ELBO())
    return Program(lambda x: weighted(1.0, x), each=lambda i: i >= CHANGE and beside.step(data()))


@between()
def guide_called_by_the_user():
    return Program(lambda x: weighted(1.0, x), each=lambda i: i >= CHANGE and mean_field(data()))


@between()
def model_called_by_the_user():
    model = lambda x: weighted(1.0, x)  # noqa: E731
    return Program(model, each=lambda i: i >= CHANGE and poutine.trace(model).get_trace(data()).compute_log_prob())


@between()
def predictive_called():
    program = Program(lambda x: weighted(1.0, x))
    predictive = pyro.infer.Predictive(program.model, guide=mean_field, num_samples=3)
    program.each = lambda i: i >= CHANGE and predictive(data())
    return program


@between()
def torch_draws_by_the_caller():
    return Program(lambda x: weighted(1.0, x), each=lambda i: i >= CHANGE and torch.randn(3))


@between()
def module_cast_to_float():
    torch.manual_seed(0)
    net = small()

    def guide(x):
        pyro.module("net", net)
        loc = net(x[:, None].to(net[0].weight.dtype)).squeeze(-1).double()
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, 0.5))

    return Program(lambda x: weighted(1.0, x), guide, change=net.float, settings={"rtol": 1e-4})


@between()
def module_deep_copied_in():
    torch.manual_seed(0)
    box = [small()]

    def guide(x):
        net_guide(box[0])(x)

    return Program(lambda x: weighted(1.0, x), guide, change=lambda: box.__setitem__(0, copy.deepcopy(box[0]).double()))


@between()
def weights_averaged_by_the_caller():
    torch.manual_seed(0)
    net = small()
    average = copy.deepcopy(net)

    @torch.no_grad()
    def each(i):
        for a, p in zip(average.parameters(), net.parameters(), strict=True):
            a.lerp_(p, 0.5)
            if i == CHANGE + 4:
                p.copy_(a)

    return trained(net, each=each)


@between()
def inner_optimization_in_the_guide():
    """The guide takes a gradient step of its own on a tensor that it keeps."""
    w = torch.zeros((), requires_grad=True)

    def guide(x):
        a = pyro.param("a", torch.tensor(0.5))
        (gradient,) = torch.autograd.grad(((w - x) ** 2).mean(), w)
        with torch.no_grad():
            w.sub_(0.1 * gradient)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(a * x + w.detach(), 0.5))

    return Program(lambda x: weighted(1.0, x), guide, state=lambda: w, still=lambda: w.data.zero_())


@between()
def backward_in_the_guide():
    """The guide adds to `.grad` by a backward pass of its own."""
    strength = [0.0]

    def guide(x):
        a = pyro.param("a", torch.tensor(0.5))
        if strength[0]:
            (strength[0] * a**2).backward()
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(a * x, 0.5))

    return Program(lambda x: weighted(1.0, x), guide, change=lambda: strength.__setitem__(0, 3.0))


@between()
def nested_trace_in_the_model():
    scale = [1.0]

    def inner():
        pyro.sample("u", dist.Normal(0.0, scale[0]), obs=torch.tensor(0.7))

    def model(x):
        with poutine.block():
            trace = poutine.trace(inner).get_trace()
        pyro.factor("inner", trace.log_prob_sum())
        weighted(1.0, x)

    return Program(model, change=lambda: scale.__setitem__(0, 5.0))


@between()
def auto_guide_list_appended():
    def model(x):
        u = pyro.sample("u", dist.Normal(0.0, 1.0))
        v = pyro.sample("v", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(u + v, 1.0), obs=x)

    guide = auto.AutoGuideList(model)
    guide.append(auto.AutoNormal(poutine.block(model, expose=["u"])))
    guide.append(auto.AutoNormal(poutine.block(model, expose=["v"])))
    return Program(model, guide, change=lambda: param("AutoGuideList.0.locs.u").data.fill_(2.0))


@between()
def auto_guide_location_set():
    def model(x):
        u = pyro.sample("u", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(u, 1.0), obs=x)

    guide = auto.AutoNormal(model)
    return Program(model, guide, change=lambda: setattr(guide.locs, "u", torch.tensor(2.0)))


@between()
def auto_guide_frozen():
    def model(x):
        u = pyro.sample("u", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(u, 1.0), obs=x)

    guide = auto.AutoNormal(model)
    return Program(model, guide, change=lambda: [p.requires_grad_(False) for p in guide.locs.parameters()])


@between()
def pyro_module_outside_a_call():
    """Without `pyro_method`, Pyro does not meet the parameters of the guide, and does not train them."""

    class Pair(PyroModule):
        def __init__(self):
            super().__init__()
            self.a = PyroParam(torch.tensor(0.5))
            self.w = PyroParam(torch.tensor(1.0), constraints.positive)

        def forward(self, x):
            weighted(1.0, x, self.w)

        def guide(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(self.a * x, 0.5))

    pair = Pair()
    return Program(
        pair, pair.guide, change=lambda: pair.a_unconstrained.data.fill_(2.0), state=lambda: dict(pair.state_dict())
    )


def changed_argument(make, weight, change):
    """One argument object, the same in every step, that the caller changes."""
    thing = make()
    return Program(
        lambda x, thing: weighted(weight(thing), x), args=lambda i: (data(), thing), change=lambda: change(thing)
    )


table(
    "arguments",
    {
        f"same {name} changed": (make, weight, change)
        for name, (make, weight, change) in {
            "dict": (lambda: {"b": 1.0}, lambda v: v["b"], lambda v: v.update(b=5.0)),
            "list": (lambda: [1.0], lambda v: v[0], lambda v: v.__setitem__(0, 5.0)),
            "array": (lambda: np.ones(2), lambda v: float(v[0]), lambda v: v.fill(5.0)),
            "tensor": (lambda: torch.ones(()), lambda v: v * 1.0, lambda v: v.fill_(5.0)),
            "namespace": (lambda: Namespace(b=1.0), lambda v: v.b, lambda v: setattr(v, "b", 5.0)),
            "object of operators": (Magic, float, lambda v: setattr(v, "beta", 5.0)),
            "module": (lambda: nn.Dropout(0.1), lambda v: 1 + v.p, lambda v: setattr(v, "p", 0.9)),
            "function": (attribute_of_function, lambda v: v(), lambda v: setattr(v, "beta", 5.0)),
            "list of tensors": (
                lambda: [torch.ones(())],
                lambda v: v[0],
                lambda v: v.__setitem__(0, torch.tensor(5.0)),
            ),
            "nested dict": (
                lambda: {"a": {"x": torch.ones(()), "n": 1.0}},
                lambda v: v["a"]["n"] * v["a"]["x"],
                lambda v: v["a"].update(n=5.0),
            ),
            "set": (lambda: {1.0}, sum, lambda v: v.add(4.0)),
            "dataclass": (Config, lambda v: v.beta, lambda v: setattr(v, "beta", 5.0)),
        }.items()
    },
    changed_argument,
)

# ---- what looks like it was: order, kinds of equal values, what stands behind functions of libraries


def reordered(items, *keys):
    """Take these out and put them in again, behind all others."""
    for key in keys:
        items[key] = items.pop(key)


def first(items):
    return 1.0 * next(iter(items))


def with_attribute(kind, *args, **attributes):
    """An object of a subclass of one of Python's classes, with attributes of its class."""
    return type("Mine", (kind,), attributes)(*args)


class Registers(nn.Module):
    def __init__(self):
        super().__init__()
        for name, value in {"a": 1.0, "b": 5.0, "c": 2.0}.items():
            self.register_buffer(name, torch.tensor(value))


class Private:
    __slots__ = ("__beta", "other")

    def __init__(self):
        self.__beta, self.other = 1.0, lambda: None

    def value(self):
        return self.__beta

    def put(self, value):
        self.__beta = value


class Numbered:
    def __init__(self):
        self.beta_1 = 1.0


class Structure(ctypes.Structure):
    _fields_ = (("beta", ctypes.c_double),)


def by_place(thing):
    match thing:
        case Config(value):
            return value


def five(owner, name):
    return lambda *_: setattr(owner, name, 5.0)


OF_PYTHON = {
    "dict": (dict,),
    "list": (list, [1]),
    "tuple": (tuple, (1,)),
    "set": (set, (1,)),
    "bytearray": (bytearray, b"1"),
    "array": (np.ndarray, (1,)),
    "tensor": (torch.Tensor,),
    "python module": (types.ModuleType, "state"),
    "deque": (collections.deque,),
}

table(
    "python state",
    {
        "order of a set": (lambda: {0, 8}, lambda c: 1.0 + first(c), lambda c: (c.clear(), c.add(8), c.add(0))),
        "kind of a number in a set": (
            lambda: {1},
            lambda c: 5.0 if isinstance(max(c), float) else 1.0,
            lambda c: (c.clear(), c.add(1.0)),
        ),
        "range that counts the same": (
            lambda: [range(0, 3, 2)],
            lambda c: c[0].stop * 1.0,
            lambda c: c.__setitem__(0, range(0, 4, 2)),
        ),
        "digits of a decimal": (
            lambda: [decimal.Decimal("1.0")],
            lambda c: len(str(c[0])) * 1.0,
            lambda c: c.__setitem__(0, decimal.Decimal("1.000")),
        ),
        "record of an array": (
            lambda: np.array([(1.0,)], dtype=[("beta", float)])[0],
            lambda c: float(c["beta"]),
            lambda c: c.__setitem__("beta", 5.0),
        ),
        "attribute of an array": (
            lambda: with_attribute(np.ndarray, (1,)),
            lambda c: getattr(c, "beta", 1.0),
            lambda c: setattr(c, "beta", 5.0),
        ),
        "attribute of a set": (
            lambda: with_attribute(set),
            lambda c: getattr(c, "beta", 1.0),
            lambda c: setattr(c, "beta", 5.0),
        ),
        "list that shows nothing": (
            lambda: with_attribute(list, [1.0], __iter__=lambda c: iter(()), __len__=lambda c: 0),
            lambda c: c[0],
            lambda c: c.__setitem__(0, 5.0),
        ),
        "dictionary that shows nothing": (
            lambda: with_attribute(dict, {"a": 1.0}, __iter__=lambda c: iter(()), items=dict, values=list, keys=list),
            lambda c: c["a"],
            lambda c: c.update(a=5.0),
        ),
        "tuple that shows nothing": (
            lambda: with_attribute(tuple, [[1.0]], __iter__=lambda c: iter(()), __len__=lambda c: 0),
            lambda c: c[0][0],
            lambda c: c[0].__setitem__(0, 5.0),
        ),
        "queue that shows nothing": (
            lambda: with_attribute(collections.deque, [1.0], __iter__=lambda c: iter(())),
            lambda c: c[0],
            lambda c: c.__setitem__(0, 5.0),
        ),
        "set that shows nothing": (
            lambda: with_attribute(set, [1.0], __iter__=lambda c: iter(())),
            lambda c: 1.0 if 1.0 in c else 5.0,
            lambda c: c.clear(),
        ),
        "ordered dictionary that shows nothing": (
            lambda: with_attribute(
                collections.OrderedDict,
                {"a": 1.0, "b": 5.0},
                __iter__=lambda c: iter(()),
                first=lambda c: next(iter(c.values())),
            ),
            lambda c: c.first(),
            lambda c: c.move_to_end("a"),
        ),
        "bound of a constraint": (
            lambda: constraints.interval(0.0, 1.0),
            lambda c: c.upper_bound,
            lambda c: setattr(c, "upper_bound", 5.0),
        ),
        "subclass of an array of Python": (
            lambda: with_attribute(array.array, "d", [1.0]),
            lambda c: c[0],
            lambda c: c.__setitem__(0, 5.0),
        ),
        "subclass of a structure in C": (lambda: Structure(1.0), lambda c: c.beta, lambda c: setattr(c, "beta", 5.0)),
        "arguments of an exception": (
            lambda: ValueError(1.0),
            lambda c: c.args[0],
            lambda c: setattr(c, "args", (5.0,)),
        ),
        "private slot": (Private, Private.value, lambda c: c.put(5.0)),
        "slot that is filled": (
            lambda: Private.__new__(Private),
            lambda c: getattr(c, "other", 1.0),
            lambda c: setattr(c, "other", 5.0),
        ),
        "attribute for another one": (
            lambda: type("Mine", (Namespace,), {"beta": 1.0})(unused=0),
            lambda c: c.beta,
            lambda c: (vars(c).pop("unused"), setattr(c, "beta", 5.0)),
        ),
        "order of buffers": (
            Registers,
            lambda c: next(c.buffers()) * 1.0,
            lambda c: reordered(c._buffers, "a", "c"),
        ),
        "order of modules": (
            lambda: nn.ModuleDict({"a": nn.Tanh(), "b": nn.Softplus()}),
            lambda c: functools.reduce(lambda value, layer: layer(value), c.values(), torch.ones(())),
            lambda c: reordered(c, "a"),
        ),
        "kind of a tensor behind the same address": (
            lambda: torch.ones(2),
            lambda c: c.double().sum() % 7 + 1,
            lambda c: setattr(c, "data", c.data.view(torch.int64)),
        ),
        **{
            f"class attribute of a subclass of {name}": (
                functools.partial(with_attribute, *args, beta=1.0),
                lambda c: c.beta,
                lambda c: setattr(type(c), "beta", 5.0),
            )
            for name, args in OF_PYTHON.items()
        },
        **{
            f"class of a subclass of {name}": (
                functools.partial(with_attribute, *args, beta=1.0),
                lambda c: c.beta,
                lambda c: setattr(c, "__class__", type("Other", type(c).__bases__, {"beta": 5.0})),
            )
            for name, args in OF_PYTHON.items()
            if name != "tuple"
        },
    },
    closed_over,
)
table(
    "implicit reads",
    {
        "name made by an f-string": (Numbered, lambda c, i=1: getattr(c, f"beta_{i}"), five, "beta_1"),
        "name made by a sum": (Numbered, lambda c, i="1": getattr(c, "beta_" + i, 2.0), five, "beta_1"),
        "name made by a method": (Config, lambda c: getattr(c, "BETA".lower()), five, "beta"),
        "name made by a condition": (Numbered, lambda c, i=1: getattr(c, i and "beta_1"), five, "beta_1"),
        "getter made inside": (Numbered, lambda c, i=1: operator.attrgetter(f"beta_{i}")(c), five, "beta_1"),
        "attribute by its place": (Config, by_place, five, "beta"),
        "fields as a tuple": (Config, lambda c: dataclasses.astuple(c)[0], five, "beta"),
        "fields as a dict": (Config, lambda c: sum(dataclasses.asdict(c).values()), five, "beta"),
        "attribute in a format": (Config, lambda c: float(f"{c.beta}"), five, "beta"),
        "name of a function": (
            lambda: lambda: None,
            lambda c: {"<lambda>": 1.0}.get(c.__name__, 5.0),
            lambda c, name: lambda: setattr(c, name, "other"),
            "__name__",
        ),
        "doc of a function": (
            attribute_of_function,
            lambda c: 5.0 if c.__doc__ else 1.0,
            lambda c, name: lambda: setattr(c, name, "loud"),
            "__doc__",
        ),
        "name of a class": (
            lambda: type("Quiet", (), {}),
            lambda c: {"Quiet": 1.0}.get(c.__name__, 5.0),
            lambda c, name: lambda: setattr(c, name, "Loud"),
            "__name__",
        ),
    },
    lambda make, read, change, name: (lambda c: reading(lambda: read(c), change(c, name)))(make()),
)

NAMES, FORMATS = ["beta"], ["{0.beta}"]
another_getattr, another_globals = getattr, globals


def by_default(owner, get=getattr):
    return get(owner, NAMES[0])


def descriptor_of_a_slot():
    private = Private()
    return private, vars(Private)["_Private__beta"].__get__


def absent_module():
    sys.modules.pop("module_of_changes", None)


def imported():
    try:
        import module_of_changes
    except ImportError:
        return 1.0
    return module_of_changes.beta


def made_anew(make, read, change):
    """A program that leaves its surroundings as `make` makes them."""
    return dataclasses.replace(closed_over(make, read, change), undo=make)


table(
    "implicit reads",
    {
        "getattr by another name": (Config, lambda c: another_getattr(c, NAMES[0])),
        "getattr as a default": (Config, by_default),
        "getattr of builtins": (Config, lambda c: builtins.getattr(c, NAMES[0])),
        "getattr that is mapped": (Config, lambda c: next(map(another_getattr, [c], NAMES))),
        "getattr that is folded": (Config, lambda c: functools.reduce(another_getattr, NAMES, c)),
        "getattr in a partial": (
            lambda: (c := Config(), functools.partial(getattr, c)),
            lambda c: c[1](NAMES[0]),
            lambda c: setattr(c[0], "beta", 5.0),
        ),
        "globals by another name": (
            lambda: globals().update(BETA=1.0),
            lambda _: another_globals()["BETA"],
            lambda _: globals().update(BETA=5.0),
        ),
        "globals of a function": (
            lambda: globals().update(BETA=1.0),
            lambda _: by_default.__globals__["BETA"],
            lambda _: globals().update(BETA=5.0),
        ),
        "format that is data": (Config, lambda c: float(FORMATS[0].format(c))),
        "format by a formatter": (Config, lambda c: float(string.Formatter().format(FORMATS[0], c))),
        "text of a namespace of options": (lambda: Namespace(beta=1.0), lambda c: float(repr(c)[15:-1])),
        "text of a namespace": (lambda: types.SimpleNamespace(beta=1.0), lambda c: float(repr(c)[15:-1])),
        "equal namespaces": (
            lambda: types.SimpleNamespace(beta=1.0),
            lambda c: 1.0 if c == types.SimpleNamespace(**dict.fromkeys(NAMES, 1.0)) else 5.0,
        ),
        "attributes that there are": (Config, lambda c: 1.0 + ("loud" in dir(c)), lambda c: setattr(c, "loud", True)),
        "descriptor of a slot": (descriptor_of_a_slot, lambda c: c[1](c[0]), lambda c: c[0].put(5.0)),
        "default of a function that does not run": (
            lambda: lambda beta=1.0: beta,
            lambda c: inspect.signature(c).parameters["beta"].default,
            lambda c: setattr(c, "__defaults__", (5.0,)),
        ),
        "view of a dict": (
            lambda: (d := {"a": 1.0}, d.values()),
            lambda c: sum(c[1]),
            lambda c: c[0].update(a=5.0),
        ),
        "variable of the environment": (
            lambda: os.environ.update(LEVEL_OF_CHANGES="1.0"),
            lambda _: float(os.getenv("LEVEL_OF_CHANGES")),
            lambda _: os.environ.update(LEVEL_OF_CHANGES="5.0"),
        ),
        "name of the thread": (
            lambda: setattr(threading.current_thread(), "name", "MainThread"),
            lambda _: len(threading.current_thread().name) / 10,
            lambda _: setattr(threading.current_thread(), "name", "5 times MainThread"),
        ),
        "module that could not be imported": (
            absent_module,
            lambda _: imported(),
            lambda _: sys.modules.update(module_of_changes=types.SimpleNamespace(beta=5.0)),
        ),
        "search for anomalies": (
            lambda: torch.autograd.set_detect_anomaly(False),
            lambda _: 5.0 if torch.is_anomaly_enabled() else 1.0,
            lambda _: torch.autograd.set_detect_anomaly(True, check_nan=False),
        ),
    },
    lambda make, read, change=lambda c: setattr(c, "beta", 5.0): made_anew(make, read, change),
)

FOLDER = tempfile.TemporaryDirectory()


def on_disk(write):
    """A file by `write` of 1, and how `write` puts 5 there."""
    path = Path(FOLDER.name) / "value.npy"
    return lambda: (write(path, np.ones(1)), path)[1], lambda path: write(path, np.full(1, 5.0))


table(
    "outside Python",
    {
        f"file read by {name}": (make, read, change)
        for name, read, (make, change) in (
            ("NumPy", lambda path: float(np.load(path)[0]), on_disk(np.save)),
            ("NumPy as text", lambda path: float(np.loadtxt(path)), on_disk(np.savetxt)),
            ("NumPy in C", lambda path: float(np.fromfile(path)[0]), on_disk(lambda path, a: a.tofile(path))),
            ("torch", lambda path: float(torch.load(path)), on_disk(lambda path, a: torch.save(float(a[0]), path))),
            (
                "torch in C",
                lambda path: torch.from_file(str(path), size=1, dtype=torch.float64)[0],
                on_disk(lambda path, a: a.tofile(path)),
            ),
        )
    }
    | {
        "subclasses": (
            lambda: [type("Kind", (), {})],
            lambda c: 1.0 + len(c[0].__subclasses__()),
            lambda c: c.append(type("More", (c[0],), {})),
        ),
    },
    made_anew,
)


@case("implicit reads")
def method_by_a_caller_replaced():
    """No code of the programs shows the name of the method."""
    kind = type("Kind", (), {"weigh": lambda self, box: box[0]})
    thing, box = kind(), [1.0]
    call = operator.methodcaller("weigh", box)
    return reading(lambda: call(thing), lambda: (box.__setitem__(0, 2.0), setattr(kind, "weigh", lambda *_: 5.0)))


@case("implicit reads")
def module_by_its_name():
    helpers = types.ModuleType("more_helpers_of_the_tests")
    helpers.beta = 1.0
    sys.modules[helpers.__name__] = helpers
    return reading(lambda: importlib.import_module("more_helpers_of_the_tests").beta, setting(helpers, beta=5.0))


def cached_by(decorator):
    """A function with a cache, whose result the caller changes in place."""

    @decorator
    def settings():
        return {"beta": 1.0}

    return reading(lambda: settings()["beta"], lambda: settings().update(beta=5.0))


table(
    "python state",
    {"result in a cache": (functools.lru_cache,), "result in an endless cache": (functools.cache,)},
    cached_by,
)


def behind(decorator, call):
    """A default that only the wrapper of a library leads to."""

    def helper(*_, box=(1.0,)):
        return torch.tensor(box[0])

    wrapper = decorator(helper)
    return reading(lambda: call(wrapper), lambda: setattr(helper, "__kwdefaults__", {"box": (5.0,)}))


table(
    "python state",
    {
        "default behind no_grad": (torch.no_grad(), operator.call),
        "default behind vmap": (torch.func.vmap, lambda f: f(torch.ones(2)).sum() / 2),
    },
    behind,
)


@python_state()
def default_of_a_context_manager():
    @contextlib.contextmanager
    def louder(*, scale=1.0):
        with poutine.scale(scale=scale):
            yield

    def model(x):
        with louder():
            weighted(1.0, x)

    return Program(model, change=lambda: louder.__wrapped__.__kwdefaults__.update(scale=5.0))


@python_state()
def function_of_python_replaced():
    return reading(
        lambda: abs(1.0),
        lambda: setattr(builtins, "abs", lambda _: 5.0),
        undo=lambda: setattr(builtins, "abs", operator.abs),
    )


@modules()
def global_forward_hook_replaced():
    register = torch.nn.modules.module.register_module_forward_hook
    torch.manual_seed(0)
    handles = [register(lambda module, inputs, output: output * 1.1)]

    def change():
        handles.pop().remove()
        handles.append(register(lambda module, inputs, output: output * 2.0))

    return trained(small(), change, undo=lambda: handles.pop().remove())


@libraries()
def divergence_registered():
    """Between the distribution of the guide and Normal; before, the one of its base class served."""
    kind = type("Mine", (dist.Normal,), {})

    def guide(x):
        a = pyro.param("a", torch.tensor(0.5))
        with pyro.plate("data", len(x)):
            pyro.sample("z", kind(a * x, 0.5))

    register = torch.distributions.kl.register_kl(kind, torch.distributions.Normal)
    change = lambda: register(lambda p, q: 3 * (p.loc - q.loc) ** 2)  # noqa: E731
    return Program(lambda x: weighted(1.0, x), guide, change, loss=TraceMeanField_ELBO)


@libraries()
def transform_registered():
    kind = type("Positive", (type(constraints.positive),), {})
    mine = kind(0.0)
    register = functools.partial(torch.distributions.transform_to.register, kind)
    register(lambda _: dist.transforms.ExpTransform())

    def guide(x):
        c = pyro.param("c", torch.tensor(0.7), constraint=mine)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.0, c))

    change = lambda: register(lambda _: dist.transforms.SoftplusTransform())  # noqa: E731
    return Program(lambda x: weighted(1.0, x), guide, change)


def marked(kind, number):
    """An argument that equals a number, and has an attribute."""

    def args(i):
        argument = kind(number)
        argument.mark = 1.0 if i < CHANGE else 5.0
        return data(), argument

    return Program(lambda x, beta: weighted(beta.mark, x), args=args)


table("arguments", {f"{k.__name__} with a mark": (k, 1) for k in (Marked, type("Whole", (int,), {}))}, marked)


@arguments()
def number_of_numpy():
    args = lambda i: (data(), np.float64(1.0) if i >= CHANGE else 1.0)  # noqa: E731
    return Program(lambda x, beta: weighted(5.0 if hasattr(beta, "dtype") else beta, x), args=args)


@arguments()
def scales_of_enumeration_that_differ():
    """Pyro takes equal scales alone, and says so."""

    def model(x, one, other):
        with poutine.scale(scale=one):
            d = pyro.sample("d", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})
        with poutine.scale(scale=other):
            pyro.sample("x", dist.Normal(d + pyro.param("m", torch.tensor(0.1)), 1.0), obs=x[0])

    return Program(
        model,
        nothing,
        loss=lambda: TraceEnum_ELBO(max_plate_nesting=0),
        args=lambda i: (data(), torch.tensor(2.0 + i), torch.tensor(2.0 + i + (i >= CHANGE))),
    )


class Decaying(pyro.optim.PyroOptim):
    def __call__(self, params, *args, **kwargs):
        super().__call__(params, *args, **kwargs)
        for p in params:
            p.data.mul_(0.9)


@optimizers(static=True)
def optimizer_with_its_own_call():
    return Program(lambda x: weighted(1.0, x), optim=lambda: Decaying(torch.optim.Adam, {"lr": 0.05}))


@optimizers()
def hook_of_all_optimizers():
    handles = []

    def hook(optimizer, *_):
        for p in optimizer.param_groups[0]["params"]:
            p.data.mul_(0.9)

    return Program(
        lambda x: weighted(1.0, x),
        change=lambda: handles.append(register_optimizer_step_post_hook(hook)),
        undo=lambda: [handle.remove() for handle in handles],
    )


@randomness()
def subclass_of_random():
    source = type("Mine", (random.Random,), {})(0)
    return reading(lambda: 1.0 + source.random(), still=lambda: source.seed(0))


def remade(assign):
    """The model gives a tensor that it keeps other memory."""
    factor = torch.ones(())

    def model(x):
        assign(factor, factor.detach() * 1.1)
        weighted(factor * 1.0, x)

    return Program(model, state=lambda: factor, still=lambda: factor.data.fill_(1.0))


table(
    "state that programs write",
    {
        "data assigned inside": (lambda tensor, value: setattr(tensor, "data", value),),
        "tensor set inside": (lambda tensor, value: tensor.set_(value),),
    },
    remade,
)


@written(static=True)
def gradient_assigned_inside():
    def guide(x):
        a = pyro.param("a", torch.tensor(0.5))
        a.unconstrained().grad = torch.ones(())
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(a * x, 0.5))

    return Program(lambda x: weighted(1.0, x), guide)
