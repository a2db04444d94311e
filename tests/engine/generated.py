"""Random programs: where state lives, who reads it, what it affects, how it changes; each from one seed.

`make(seed)` gives a case for the oracle of `test_never_silent.py`, with a short description as its name. As a script,
`python tests/engine/generated.py --seed 0 --cases 500 --engine graph` runs a campaign and prints the counts.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import contextvars
import dataclasses
import functools
import operator
import random
import types
from argparse import Namespace
from collections.abc import Callable

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from changes import CHANGE, Case, Hidden, Program, Slotted, data
from pyro import poutine
from pyro.infer import RenyiELBO, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoDiagonalNormal, AutoNormal
from pyro.nn import PyroModule, PyroParam, pyro_method
from torch import nn
from torch.distributions import constraints

LOW, HIGH, DEFAULT = 1.0, 4.0, 2.0
STATE = LOW


@dataclasses.dataclass
class Place:
    """Somewhere a number lives."""

    read: Callable[[], float]
    write: Callable[[float], object]
    delete: Callable[[], object] | None = None  # afterwards `read` gives DEFAULT


# ---- where the state lives: each makes a fresh place that holds LOW


def in_closure():
    value = LOW

    def write(new):
        nonlocal value
        value = new

    return Place(lambda: value, write)


def in_global():
    globals()["STATE"] = LOW
    return Place(
        lambda: globals().get("STATE", DEFAULT) if "STATE" not in globals() else STATE,
        lambda new: globals().update(STATE=new),
        lambda: globals().pop("STATE"),
    )


def in_item(container, key=0):
    return Place(lambda: container[key], lambda new: container.__setitem__(key, new))


def in_dict():
    config = {"beta": LOW}
    return Place(lambda: config.get("beta", DEFAULT), lambda new: config.update(beta=new), lambda: config.clear())


def in_nested():
    config = {"a": [Namespace(b={"c": LOW})]}
    inner = config["a"][0].b
    return Place(
        lambda: config["a"][0].b.get("c", DEFAULT), lambda new: inner.update(c=new), lambda: inner.pop("c", None)
    )


def in_rebound_dict():
    owner = Namespace(config={"beta": LOW})
    return Place(lambda: owner.config["beta"], lambda new: setattr(owner, "config", {"beta": new}))


def in_attribute(owner, name="beta"):
    with contextlib.suppress(AttributeError):
        setattr(owner, name, LOW)
    return Place(
        lambda: getattr(owner, name, DEFAULT),
        lambda new: setattr(owner, name, new),
        lambda: hasattr(owner, name) and delattr(owner, name),
    )


def in_function_attribute():
    def helper():
        return getattr(helper, "beta", DEFAULT)

    helper.beta = LOW
    return dataclasses.replace(in_attribute(helper), read=helper)


def in_default_argument():
    def helper(beta=LOW):
        return beta

    return Place(helper, lambda new: setattr(helper, "__defaults__", (new,)))


def in_partial():
    helper = functools.partial(lambda beta=DEFAULT: beta, beta=LOW)
    return Place(helper, lambda new: helper.keywords.update(beta=new), lambda: helper.keywords.clear())


def in_class():
    kind = type("Kind", (), {"beta": LOW})
    instance = kind()
    return Place(lambda: instance.beta, lambda new: setattr(kind, "beta", new))


def in_class_then_instance():
    instance = type("Kind", (nn.Module,), {"beta": DEFAULT})()
    instance.beta = LOW
    return Place(
        lambda: instance.beta, lambda new: setattr(instance, "beta", new), lambda: vars(instance).pop("beta", None)
    )


def in_hidden():
    hidden = Hidden()
    return Place(lambda: hidden.beta, hidden.put)


def in_context_variable():
    variable = contextvars.ContextVar("beta", default=DEFAULT)
    variable.set(LOW)
    return Place(variable.get, variable.set)


def in_tensor():
    beta = torch.tensor(LOW)
    return Place(lambda: beta, lambda new: beta.fill_(new))


def in_tensor_read():
    beta = torch.tensor(LOW)
    return Place(lambda: beta.item(), lambda new: beta.fill_(new))


def in_buffer_read():
    owner = nn.Module()
    owner.register_buffer("beta", torch.tensor(LOW))
    return Place(lambda: float(owner.beta), lambda new: owner.beta.fill_(new))


def in_buffer_rebound():
    owner = nn.Module()
    owner.register_buffer("beta", torch.tensor(LOW))
    return Place(lambda: owner.beta * 1.0, lambda new: setattr(owner, "beta", torch.tensor(float(new))))


def in_array():
    array = np.full(3, LOW)
    return Place(lambda: float(array[1]), lambda new: array.fill(new))


def in_lambda():
    shelf = [lambda: LOW]
    return Place(lambda: shelf[0](), lambda new: shelf.__setitem__(0, lambda: new))


def in_length():
    items = [None]
    return Place(lambda: float(len(items)), lambda new: items.__setitem__(slice(None), [None] * int(new)))


def in_set():
    items = {LOW}
    return Place(lambda: max(items, default=DEFAULT), lambda new: (items.clear(), items.add(new)), items.clear)


WHERE = {
    "a closure": in_closure,
    "a global": in_global,
    "a dict": in_dict,
    "nested containers": in_nested,
    "a dict that is rebound": in_rebound_dict,
    "a list": lambda: in_item([LOW]),
    "a deque": lambda: in_item(collections.deque([LOW])),
    "a namespace": lambda: in_attribute(Namespace()),
    "an object": lambda: in_attribute(type("Plain", (), {})()),
    "slots": lambda: in_attribute(Slotted()),
    "a module's attribute": lambda: in_attribute(nn.Module()),
    "a Python module": lambda: in_attribute(types.ModuleType("state")),
    "a function's attribute": in_function_attribute,
    "a default argument": in_default_argument,
    "a partial": in_partial,
    "a class": in_class,
    "an instance over its class": in_class_then_instance,
    "a hidden attribute": in_hidden,
    "a context variable": in_context_variable,
    "a tensor": in_tensor,
    "a tensor read as a number": in_tensor_read,
    "a buffer read as a number": in_buffer_read,
    "a buffer that is rebound": in_buffer_rebound,
    "an array": in_array,
    "a swapped function": in_lambda,
    "a length": in_length,
    "a set": in_set,
}


# ---- who reads it: each turns `read` into another function of nothing


class Reader(nn.Module):
    def __init__(self, read):
        super().__init__()
        self.read = read

    def forward(self):
        return self.read()


class WithProperty:
    def __init__(self, read):
        self._read = read

    @property
    def value(self):
        return self._read()

    def method(self):
        return self.value

    def __call__(self):
        return self._read()

    def __getitem__(self, _):
        return self._read()


def nested(read):
    def outer():
        def inner():
            return sum([read() for _ in range(1)])

        return inner()

    return outer


def recursive(read):
    def down(n=3):
        return read() if n == 0 else down(n - 1)

    return down


def decorated(read):
    def decorator(function):
        @functools.wraps(function)
        def wrapper(*args):
            return function(*args)

        return wrapper

    return decorator(read)


def yielding(read):
    def generator():
        yield read()

    return lambda: next(generator())


def recovering(read):
    def attempt():
        try:
            return read()
        finally:
            pass

    return attempt


READERS = {
    "itself": lambda read: read,
    "a helper": lambda read: lambda: read(),
    "a nested helper": nested,
    "a recursive helper": recursive,
    "a decorated helper": decorated,
    "a generator": yielding,
    "a helper in try": recovering,
    "a method": lambda read: WithProperty(read).method,
    "a property": lambda read: functools.partial(getattr, WithProperty(read), "value"),
    "a callable object": lambda read: WithProperty(read),
    "an item of an object": lambda read: functools.partial(WithProperty(read).__getitem__, 0),
    "a module's forward": lambda read: Reader(read),
    "a helper in a dict": lambda read: lambda table={"read": read}: table["read"](),
    "a partial": lambda read: functools.partial(lambda f: f(), read),
    "a mapped helper": lambda read: lambda: next(map(operator.call, [read])),
}


# ---- what it affects: a program's latent site, given the value that was read


def plain(value, x, loc, scale):
    pyro.sample("z", dist.Normal(loc, scale))


def by_scale(value, x, loc, scale):
    with poutine.scale(scale=value):
        pyro.sample("z", dist.Normal(loc, scale))


def by_loc(value, x, loc, scale):
    pyro.sample("z", dist.Normal(loc + 0.3 * value, scale))


def by_spread(value, x, loc, scale):
    pyro.sample("z", dist.Normal(loc, scale * (0.5 + 0.5 * value)))


def by_branch(value, x, loc, scale):
    pyro.sample("z", dist.Normal(loc, scale) if value < 1.5 else dist.Normal(loc - 1, 2 * scale))


def by_class(value, x, loc, scale):
    kind = {1: dist.Normal, 2: dist.Cauchy}.get(int(value), dist.Laplace)
    pyro.sample("z", kind(loc, scale))


def by_mask(value, x, loc, scale):
    with poutine.mask(mask=torch.arange(len(x)) >= value):
        pyro.sample("z", dist.Normal(loc, scale))


def by_static_mask(value, x, loc, scale):
    with poutine.mask(mask=bool(value < 1.5)):
        pyro.sample("z", dist.Normal(loc, scale))


def by_size(value, x, loc, scale):
    pyro.sample("z", dist.Normal(loc + x[: int(value) + 1].sum(), scale))


def by_repetition(value, x, loc, scale):
    for _ in range(int(value)):
        loc = torch.tanh(loc + 0.1)
    pyro.sample("z", dist.Normal(loc, scale))


def by_noise(value, x, loc, scale):
    noise = torch.randn(len(x)) if value > 1.5 else 0.0
    pyro.sample("z", dist.Normal(loc + 0.1 * noise, scale))


def by_parameter(value, x, loc, scale):
    shift = pyro.param(f"shift{int(value)}", lambda: torch.randn(()))
    pyro.sample("z", dist.Normal(loc + shift, scale))


def by_detaching(value, x, loc, scale):
    loc = torch.as_tensor(loc + 0.0)
    pyro.sample("z", dist.Normal(loc.detach() if value > 1.5 else loc, scale))


def by_dropout(value, x, loc, scale):
    kept = torch.nn.functional.dropout(x, 0.5, training=bool(value > 1.5))
    pyro.sample("z", dist.Normal(loc + 0.1 * kept, scale))


def by_format(value, x, loc, scale):
    pyro.sample("z", dist.Normal(loc + len(f"{value:.1f}" * int(value)), scale))


WHAT = {
    "poutine.scale": by_scale,
    "the mean": by_loc,
    "the spread": by_spread,
    "a branch": by_branch,
    "the class": by_class,
    "a mask": by_mask,
    "a static mask": by_static_mask,
    "a size": by_size,
    "a loop": by_repetition,
    "a further draw": by_noise,
    "which parameter": by_parameter,
    "a detach": by_detaching,
    "dropout": by_dropout,
    "a text": by_format,
}
OPTIMIZERS = {
    "Adam": lambda: pyro.optim.Adam({"lr": 0.05}),
    "AdamW": lambda: pyro.optim.AdamW({"lr": 0.05, "weight_decay": 0.1}),
    "ClippedAdam": lambda: pyro.optim.ClippedAdam({"lr": 0.05, "lrd": 0.99}),
    "momentum": lambda: pyro.optim.SGD({"lr": 0.01, "momentum": 0.9}),
    "Adagrad": lambda: pyro.optim.Adagrad({"lr": 0.05}),
    "clipped gradients": lambda: pyro.optim.Adam({"lr": 0.05}, {"clip_norm": 1.0}),
    "a schedule": lambda: pyro.optim.ExponentialLR(
        {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.05}, "gamma": 0.9}
    ),
}
LOSSES = {
    "Trace_ELBO": Trace_ELBO,
    "two particles": lambda: Trace_ELBO(num_particles=2),
    "vectorized": lambda: Trace_ELBO(num_particles=2, vectorize_particles=True),
    "TraceMeanField_ELBO": TraceMeanField_ELBO,
    "TraceGraph_ELBO": TraceGraph_ELBO,
    "RenyiELBO": lambda: RenyiELBO(alpha=0.5, num_particles=2),
}


# ---- what holds it: model and guide, whose latent sites call `prior(x, ...)` and `posterior(x, ...)`


def functions(prior, posterior):
    def model(x):
        with pyro.plate("data", len(x)):
            z = prior(x, torch.tensor(0.0), torch.tensor(1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        a = pyro.param("a", torch.tensor(0.5))
        c = pyro.param("c", torch.tensor(0.7), constraint=constraints.positive)
        with pyro.plate("data", len(x)):
            posterior(x, a * x, c)

    return model, guide


class Pair(nn.Module):
    def __init__(self, prior, posterior):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 2))
        self.prior, self.posterior = prior, posterior

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = self.prior(x, torch.tensor(0.0), torch.tensor(1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(self, x):
        pyro.module("pair", self)
        loc, scale = self.net(x[:, None]).unbind(-1)
        with pyro.plate("data", len(x)):
            self.posterior(x, loc, scale.exp())


class PyroPair(PyroModule):
    def __init__(self, prior, posterior):
        super().__init__()
        self.a = PyroParam(torch.tensor(0.5))
        self.c = PyroParam(torch.tensor(0.7), constraints.positive)
        self.w = PyroParam(torch.tensor(1.0), constraints.positive)
        self.prior, self.posterior = prior, posterior

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = self.prior(x, torch.tensor(0.0), self.w)
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    @pyro_method
    def guide(self, x):
        with pyro.plate("data", len(x)):
            self.posterior(x, self.a * x, self.c)


def pair(prior, posterior):
    torch.manual_seed(1)
    both = Pair(prior, posterior)
    return both.model, both.guide


def pyro_pair(prior, posterior):
    both = PyroPair(prior, posterior)
    return both, both.guide


def automatic(kind, prior, posterior):
    model, _ = functions(prior, posterior)
    return model, kind(model)


STYLES = {
    "functions": functions,
    "nn.Module": pair,
    "PyroModule": pyro_pair,
    "AutoNormal": functools.partial(automatic, AutoNormal),
    "AutoDiagonalNormal": functools.partial(automatic, AutoDiagonalNormal),
}


# ---- how it changes: what the caller does before step i, or the program in every call


def once(place, i):
    if i == CHANGE:
        place.write(HIGH)


def there_and_back(place, i):
    if i in (CHANGE, CHANGE + 3, CHANGE + 4):
        place.write(LOW if i == CHANGE + 3 else HIGH)


def every_step(place, i):
    if i >= CHANGE:
        place.write(1.0 + i % 4)


def by_turns(place, i):
    place.write((LOW, HIGH)[i % 2])


def deleted(place, i):
    if i == CHANGE:
        (place.delete or (lambda: place.write(DEFAULT)))()


def int_for_float(place, i):
    if i >= CHANGE:
        place.write(int(HIGH))


def never(place, i):
    pass


HOW = {
    "once": once,
    "there and back": there_and_back,
    "every step": every_step,
    "by turns": by_turns,
    "deleted": deleted,
    "to an int": int_for_float,
    "by the program": never,
    "by the program from the 9th call": never,
}


@dataclasses.dataclass(frozen=True)
class Choice:
    """One point of the product, readable."""

    where: str
    who: str
    reader: str
    what: str
    how: str
    optimizer: str
    style: str
    loss: str

    def __str__(self):
        return (
            f"{self.where}, read by {self.reader} in the {self.who}, affects {self.what}, changes {self.how}; "
            f"{self.style}, {self.optimizer}, {self.loss}"
        )


def choose(seed: int) -> Choice:
    """The choice of a seed; likelier are plain surroundings."""
    source = random.Random(seed)

    def pick(options, likely=0.0):
        names = list(options)
        return names[0] if source.random() < likely else source.choice(names)

    choice = Choice(
        where=pick(WHERE),
        who=pick(("model", "guide", "prepare")),
        reader=pick(READERS),
        what=pick(WHAT),
        how=pick(HOW, 0.3),
        optimizer=pick(OPTIMIZERS, 0.5),
        style=pick(STYLES, 0.4),
        loss=pick(LOSSES, 0.6),
    )
    if choice.style.startswith("Auto") and choice.who == "guide":
        choice = dataclasses.replace(choice, who="model")
    if choice.who == "prepare":
        choice = dataclasses.replace(choice, what="the data")
    if choice.what == "a detach" and choice.who == "model":
        choice = dataclasses.replace(choice, what="a branch")
    if choice.where == "slots" and choice.how == "deleted":
        choice = dataclasses.replace(choice, how="once")
    return choice


def build(choice: Choice) -> Program:
    place = WHERE[choice.where]()
    read = READERS[choice.reader](place.read)
    affected = WHAT.get(choice.what, plain)
    by_itself = choice.how.startswith("by the program")
    calls = [0]

    def value():
        found = read()
        if by_itself:
            calls[0] += 1
            if choice.how.endswith("program") or calls[0] > 8:
                place.write(1.0 + calls[0] % 4)
        return found

    def site(who, x, loc, scale):
        latent = {}
        reads = choice.who == who
        with _Keeping(latent):
            (affected if reads else plain)(value() if reads else LOW, x, loc, scale)
        return latent["z"]

    prior, posterior = functools.partial(site, "model"), functools.partial(site, "guide")
    model, guide = STYLES[choice.style](prior, posterior)
    prepare = (lambda x: x * value()) if choice.who == "prepare" else None
    return Program(
        model,
        guide,
        still=(lambda: (place.write(LOW), calls.__setitem__(0, 0))) if by_itself else None,
        each=lambda i: HOW[choice.how](place, i),
        optim=OPTIMIZERS[choice.optimizer],
        loss=LOSSES[choice.loss],
        prepare=prepare,
        args=lambda i: (data(),),
        state=lambda: [calls[0], *([dict(model.state_dict())] if isinstance(model, nn.Module) else [])],
    )


class _Keeping(poutine.messenger.Messenger):
    """Keeps the value of a site, so that what is affected need not return it."""

    def __init__(self, kept):
        super().__init__()
        self.kept = kept

    def _pyro_post_sample(self, message):
        self.kept[message["name"]] = message["value"]


def make(seed: int) -> Case:
    """The case of a seed."""
    choice = choose(seed)
    return Case(f"seed {seed}: {choice}", "generated", functools.partial(build, choice))


def main() -> None:
    """Run a campaign."""
    import test_never_silent as oracle

    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--engine", default="graph")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    for seed in range(options.seed, options.seed + options.cases):
        case = make(seed)
        pyros = oracle.run(case.build, oracle.ByPyro)
        if pyros.errors and min(pyros.errors) < CHANGE:
            counts["not a program"] += 1
            print(f"not a program  {case.name}: {next(iter(pyros.errors.values()))!r:.200}")
            continue
        verdict = oracle.judge(oracle.run(case.build, oracle.ours(options.engine)), pyros, options.engine)
        counts[verdict.kind] += 1
        if options.verbose or not verdict.good:
            print(f"{verdict.kind:8} {case.name}\n         {verdict.text}")
    print(", ".join(f"{kind}: {count}" for kind, count in sorted(counts.items())))


if __name__ == "__main__":
    main()
