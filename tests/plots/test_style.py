"""Styles of matplotlib that pictures are drawn with."""

from pathlib import Path

import matplotlib as mpl
import pytest

from pyrovae.plots import new_figure, save_figure, use_style


@pytest.fixture(autouse=True)
def _as_before():
    with mpl.rc_context():
        yield


def test_a_style_is_that_of_the_figures_that_follow(tmp_path: Path) -> None:
    file = tmp_path / "mine.mplstyle"
    file.write_text("axes.titlesize: 21\nfont.family: serif\n")
    use_style("ggplot")
    use_style(str(file))
    _, (ax,) = new_figure()
    ax.set_title("title")
    assert ax.title.get_fontsize() == 21
    assert ax.title.get_fontfamily() == ["serif"]
    assert ax.get_facecolor()[:3] == pytest.approx(mpl.colors.to_rgb("#E5E5E5"))


@pytest.mark.parametrize(
    "content", ["", "a file\n", "\x00", "axes.titlesize: [\n", "axes.titlesize: 21\nno: 1\n", "lines.linewidth: x"]
)
def test_a_file_that_is_no_style_is_refused(content: str, tmp_path: Path, capfd) -> None:
    file = tmp_path / "mine"
    file.write_text(content)
    before = dict(mpl.rcParams)
    with pytest.raises(ValueError, match=r"style must be a file of matplotlib's settings, got '.*mine': .") as refused:
        use_style(str(file))
    assert len(str(refused.value).splitlines()) == 1
    assert capfd.readouterr().err == ""
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("style", ["ggplott", "", "[]", "a\x00b", "x" * 5000])
def test_a_style_that_is_none_is_refused(style: str) -> None:
    with pytest.raises(ValueError, match="style must be a file of matplotlib's settings or one of"):
        use_style(style)


def test_a_style_with_bright_text_is_refused() -> None:
    with pytest.raises(ValueError, match="the style dark_background has bright text, and pictures are drawn on white"):
        use_style("dark_background")


def test_a_dollar_in_a_name_begins_no_formula(tmp_path: Path) -> None:
    figure, (ax, other) = new_figure(4, 2, columns=2)
    names = ["$\\frac$ in $", "$\\q{"]
    ax.set_title(names[0])
    ax.set_yticks([0, 1], names)
    other.set_yscale("log")
    save_figure(figure, tmp_path / "a.svg")
    assert not ax.title.get_parse_math()
    assert [label.get_text() for label in ax.get_yticklabels()] == names
    assert all(label.get_parse_math() for label in other.get_yticklabels())
