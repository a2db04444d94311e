"""The texts of a search's space: what they mean, and what is refused in a line."""

import random
import string

import pytest

from pyrovae.runs.space import Dimension, Space, parse_dimension


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model.latent_dim=int(2,50)", "model.latent_dim=int(2,50)"),
        (" --model.latent-dim = int( 2 , 50 , 4 ) ", "model.latent_dim=int(2,50,4)"),
        ("model.latent_dim=int(2,51,4)", "model.latent_dim=int(2,50,4)"),
        ("batch_size=logint(8,512)", "batch_size=logint(8,512)"),
        ("optimizer.lr=log(1e-4,1e-2)", "optimizer.lr=log(0.0001,0.01)"),
        ("objective.beta=float(-1,0.5)", "objective.beta=float(-1,0.5)"),
        ("model.encoder.hidden=choice([64],[128,64])", "model.encoder.hidden=choice([64],[128,64])"),
        ("model.prior=choice(StandardNormal,VampPrior)", "model.prior=choice(StandardNormal,VampPrior)"),
    ],
)
def test_what_a_text_means(text: str, expected: str) -> None:
    found = parse_dimension(text)
    assert str(found) == expected
    assert parse_dimension(str(found)) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "space must be OPTION=RANGE, where RANGE is int(2,50)"),
        ("a", "space must be OPTION=RANGE"),
        ("a=", "space must be OPTION=RANGE"),
        ("a=3", "space must be OPTION=RANGE"),
        ("a=int(1,2", "space must be OPTION=RANGE"),
        ("=int(1,2)", "space must be OPTION=RANGE"),
        ("a=itn(1,2)", "there is no range 'itn'; did you mean int?"),
        ("a=int()", "a has an empty value in ()"),
        ("a=int(1)", "int of a needs its least and its greatest value and perhaps a step, got 1 values"),
        ("a=int(1,2,3,4)", "got 4 values"),
        ("a=log(1,2,3)", "log of a needs its least and its greatest value, got 3 values"),
        ("a=int(1.5,3)", "int of a takes whole numbers, got '1.5'"),
        ("a=int(1e2,300)", "int of a takes whole numbers, got '1e2'"),
        ("a=int(1,123456789012345678901)", "int of a takes whole numbers"),
        ("a=float(x,2)", "float of a takes numbers, got 'x'"),
        ("a=float(0,nan)", "float of a takes numbers, got 'nan'"),
        ("a=float(0,inf)", "float of a takes numbers, got 'inf'"),
        ("a=float(0,1e400)", "float of a takes numbers, got '1e400'"),
        ("a=int(5,5)", "the range of a is empty: its ends must be in order, got 5 and 5"),
        ("a=float(2,1)", "the range of a is empty"),
        ("a=log(0,1)", "log of a must begin above 0, got 0: a logarithm has no other"),
        ("a=log(-1,1)", "log of a must begin above 0, got -1"),
        ("a=logint(0,9)", "logint of a must begin above 0, got 0"),
        ("a=int(1,5,0)", "the step of a must be from 1 to 4, got 0"),
        ("a=int(1,5,9)", "the step of a must be from 1 to 4, got 9"),
        ("a=choice(x)", "the choice of a needs at least two values, got x"),
        ("a=choice(x,)", "a has an empty value in (x,)"),
        ("a=choice(x,y,x)", "the choice of a has 'x' twice"),
        ("a=choice([1,[2],3)", "the brackets in ([1,[2],3) do not match"),
        ("data=choice(mnist,digits)", "must not hold data: bounds of other data or pixels cannot be compared"),
        ("pixels=choice(dynamic,none)", "must not hold pixels: bounds of other data"),
        ("runs-dir=choice(a,b)", "must not hold runs_dir: it is no setting of a model"),
        ("engine=choice(graph,pyro)", "must not hold engine: it is no setting"),
    ],
)
def test_what_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"^space") as caught:
        Space.parse([text])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_space_is_not_empty_and_has_each_option_once() -> None:
    with pytest.raises(ValueError, match="give at least one --space"):
        Space.parse([])
    with pytest.raises(ValueError, match=r"has the option optimizer\.lr twice"):
        Space.parse(["optimizer.lr=log(1,2)", "--optimizer.lr=float(0,1)"])


def dimension_or_line(text: str) -> Dimension | str:
    try:
        return parse_dimension(text)
    except ValueError as error:
        return str(error)


def test_any_text_is_a_dimension_or_a_line() -> None:
    """Good texts with letters changed, moved, doubled and left out."""
    rng, cases = random.Random(7), 4000
    good = [
        "model.latent_dim=int(2,50,4)",
        "optimizer.lr=log(1e-4,1e-2)",
        "model.prior=choice(A,[B,C])",
        "x=logint(1,9)",
    ]
    letters = string.printable + "äß日🙂٣"
    accepted = 0
    for _ in range(cases):
        text = list(rng.choice(good))
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(text) + 1)
            how = rng.choice(["change", "insert", "remove", "double"])
            if how == "insert" or not text:
                text.insert(place, rng.choice(letters))
            elif how == "change":
                text[place % len(text)] = rng.choice(letters)
            elif how == "remove":
                del text[place % len(text)]
            else:
                text[place:place] = text[: rng.randrange(len(text) + 1)]
        found = dimension_or_line("".join(text))
        if isinstance(found, str):
            assert found.startswith("space")
            continue
        accepted += 1
        assert parse_dimension(str(found)) == found
        assert found.kind == "choice" or found.low < found.high
    assert 50 < accepted < cases // 2


def test_an_option_that_a_class_does_not_take_is_left_out() -> None:
    space = Space.parse(["model.prior.components=int(2,9)", "model.prior=choice(StandardNormal,VampPrior)"])
    prior, components = space.dimensions
    assert (prior.name, components.name) == ("model.prior", "model.prior.components")
    assert not space.applies(components, {"model.prior": "StandardNormal"})
    assert space.applies(components, {"model.prior": "VampPrior"})
    assert space.applies(components, {"model.prior": "pyrovae.priors.VampPrior"})
    assert space.applies(components, {"model.prior": "my_module.Mine"})
    assert space.corners() == [
        {"model.prior": "StandardNormal"},
        {"model.prior": "VampPrior", "model.prior.components": 6},
        {"model.prior": "VampPrior", "model.prior.components": 9},
        {"model.prior": "VampPrior", "model.prior.components": 2},
    ]
    assert space.words({"model.prior": "VampPrior", "model.prior.components": 3}) == (
        "--model.prior",
        "VampPrior",
        "--model.prior.components",
        "3",
    )
    assert Space.parse(["model.prior=choice(StandardNormal,Flow)", "model.prior.nothing=int(1,2)"]).unused() == [
        "model.prior.nothing"
    ]


def test_numbers_are_written_as_they_are() -> None:
    rng = random.Random(3)
    space = Space.parse(["optimizer.lr=log(1e-9,1e9)"])
    for _ in range(1000):
        value = 10 ** rng.uniform(-9, 9)
        assert float(space.words({"optimizer.lr": value})[1]) == value
