"""Surfaces, spectra and paths on paper."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from scipy import stats

from flatcausal.exceptions import DataError, ParameterError, ParameterTypeError
from flatcausal.plotting import LossPathDisplay, LossSurfaceDisplay, SpectrumDisplay


def surface(directions="filter", **changes):
    """Two bowls with their lowest points at (0.5, -0.5) and (0, 0)."""
    line = np.linspace(-1, 1, 9)
    a, b = np.meshgrid(line, line, indexing="ij")
    losses = np.stack([0.1 + (a - 0.5) ** 2 + 4 * (b + 0.5) ** 2, 2 + a**2 + b**2])
    fields = {
        "alphas": np.stack([line, 2 * line]),
        "betas": np.stack([line, line]),
        "losses": losses,
        "loss": losses[:, 4, 4],
        "directions": directions,
        "eigenvalues": None,
        "explained": None,
        "path": None,
        "bn": "frozen",
    }
    return SimpleNamespace(**{**fields, **changes})


def spectrum(**changes):
    """One eigenvalue at 5 and 99 at 0, spread by 0.1."""
    grid = np.linspace(-1, 6, 400)
    value = 0.99 * stats.norm.pdf(grid, 0, 0.1) + 0.01 * stats.norm.pdf(grid, 5, 0.1)
    fields = {
        "measure": "spectral_density",
        "value": np.stack([value, value]),
        "standard_error": np.full((2, 400), 1e-4),
        "details": {"grid": np.stack([grid, grid]), "sigma": np.array([0.1, 0.1])},
        "n_parameters": 100,
        "bn": "frozen",
    }
    return SimpleNamespace(**{**fields, **changes})


def path(kind="linear", bn="recalibrated"):
    t = np.linspace(0, 1, 5)
    losses = np.stack([np.sin(np.pi * t), 1 + t])
    return SimpleNamespace(kind=kind, bn=bn, t=t, losses=losses, barrier=np.array([1.0, 0.0]))


def drawn(display):
    """Draw it for real."""
    display.figure_.savefig(io.BytesIO(), format="png", dpi=40)
    return display


def markers(ax, marker):
    return [line for line in ax.lines if line.get_marker() == marker]


def test_contours_mark_the_model_and_the_lowest_point():
    display = drawn(LossSurfaceDisplay.from_surface(surface()).plot())
    ax = display.ax_
    (model,), (lowest,) = markers(ax, "+"), markers(ax, "o")
    np.testing.assert_allclose(model.get_xydata(), [[0, 0]])
    np.testing.assert_allclose(lowest.get_xydata(), [[0.5, -0.5]])
    assert ax.get_xlim() == (-1, 1)
    assert ax.get_title("left") == "filter-normalised random directions\nBatchNorm: frozen"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("random direction 1", "random direction 2")


def test_the_first_direction_runs_from_left_to_right():
    display = LossSurfaceDisplay.from_surface(surface()).plot(levels=[0, 0.05, 0.2, 20])
    inside = display.ax_.collections[0].get_paths()[1]  # losses from 0.05 to 0.2
    box = inside.get_extents()
    np.testing.assert_allclose([box.x0 + box.x1, box.y0 + box.y1], [1, -1], atol=1e-6)
    assert box.width > 1.5 * box.height


def test_a_member_has_its_own_axes():
    display = LossSurfaceDisplay.from_surface(surface(), member=1).plot()
    assert display.ax_.get_xlim() == (-2, 2)
    assert display.loss == 2
    with pytest.raises(ParameterError, match=r"member must be.*at most 1, got 2"):
        LossSurfaceDisplay.from_surface(surface(), member=2)


def scale(display):
    mesh = display.ax_.collections[0]
    return type(mesh.norm), mesh.norm.vmin, mesh.norm.vmax, mesh.levels.tolist()


def test_pictures_with_the_same_range_share_levels_and_colours():
    ax = Figure().subplots(1, 2)
    shared = {"vmin": 0.1, "vmax": 5.0, "colorbar": False}
    one, two = (LossSurfaceDisplay.from_surface(surface(), k).plot(ax[k], **shared) for k in (0, 1))
    assert scale(one) == scale(two)
    assert scale(one)[0] is LogNorm
    assert scale(one.plot())[2] == pytest.approx(surface().losses[0].max())
    levels = [0.5, 1.0, 2.0, 3.0]
    assert scale(LossSurfaceDisplay.from_surface(surface()).plot(levels=levels))[3] == levels
    assert len(scale(LossSurfaceDisplay.from_surface(surface()).plot(levels=5))[3]) == 5


def test_levels_are_logarithmic_where_losses_span_much():
    _, _, _, wide = scale(LossSurfaceDisplay.from_surface(surface()).plot())
    np.testing.assert_allclose(np.diff(np.log(wide)), np.log(wide[1] / wide[0]))
    _, _, _, narrow = scale(LossSurfaceDisplay.from_surface(surface(), 1).plot())
    np.testing.assert_allclose(np.diff(narrow), narrow[1] - narrow[0])


@pytest.mark.parametrize("kind", ["contour", "3d"])
def test_infinite_and_level_losses_are_drawn(kind):
    losses = surface().losses
    losses[0, 0, 0], losses[0, 8, 8], losses[1] = np.inf, np.nan, 3.0
    for member in (0, 1):
        display = LossSurfaceDisplay.from_surface(surface(losses=losses), member).plot(kind=kind)
        drawn(display)
    with pytest.raises(DataError, match="No loss of member 1 is finite"):
        LossSurfaceDisplay.from_surface(surface(losses=losses * [[[1]], [[np.nan]]]), 1)


def trajectory():
    points = np.array([[[0.9, 0.3], [0.4, 0.5], [0.1, 0.2]]] * 2)
    return surface("trajectory", path=points, explained=np.array([[0.8, 0.15]] * 2), bn="recalibrated")


def test_the_path_ends_at_the_model():
    display = drawn(LossSurfaceDisplay.from_surface(trajectory()).plot())
    line = display.ax_.lines[1]
    np.testing.assert_allclose(line.get_xydata(), [[0.9, 0.3], [0.4, 0.5], [0.1, 0.2], [0, 0]])
    assert display.ax_.get_xlabel() == "principal direction 1 (80% of the path)"
    assert "recalibrated at each point" in display.ax_.get_title("left")


def test_the_path_lies_on_the_relief():
    display = drawn(LossSurfaceDisplay.from_surface(trajectory(), 1).plot(kind="3d"))
    way, centre = display.ax_.lines
    x, y, z = way.get_data_3d()
    np.testing.assert_allclose(z, 2 + (x / 2) ** 2 + y**2, atol=0.05)
    assert centre.get_data_3d()[2] == pytest.approx([2])
    wide = LossSurfaceDisplay.from_surface(trajectory()).plot(kind="3d").ax_
    assert wide.lines[1].get_data_3d()[2] == pytest.approx([np.log10(0.1 + 0.25 + 1)])
    assert wide.zaxis.get_major_formatter()(-1) == "0.1"


def test_a_line_between_points_lies_on_a_relief_in_logarithms():
    places = np.array([[[0.125, 0.0], [0.0, 0.125]]] * 2)
    display = LossSurfaceDisplay.from_surface(surface(path=places)).plot(kind="3d")
    heights = np.log10(surface().losses[0])
    expected = [(heights[4, 4] + other) / 2 for other in (heights[5, 4], heights[4, 5])]
    np.testing.assert_allclose(display.ax_.lines[0].get_data_3d()[2][:2], expected)


@pytest.mark.parametrize(("azimuth", "lowest"), [(-90, 0.75), (0, 0.25)])
def test_the_relief_is_lowest_where_the_losses_are(azimuth, lowest):
    """From the front the first direction runs to the right, from the right side the second."""
    ax = LossSurfaceDisplay.from_surface(surface()).plot(kind="3d").ax_
    ax.set_proj_type("ortho")
    for elevation in (0, 90):
        ax.view_init(elevation, azimuth if elevation == 0 else -90)
        ax.figure.savefig(io.BytesIO(), format="png", dpi=40)
        faces = ax.collections[0]
        corners = np.array([path.vertices[:4] for path in faces.get_paths()])
        middles = corners.mean(1)
        if elevation == 0:  # by height
            best, axis = corners[:, :, 1].mean(1).argmin(), 0
        else:  # from above by colour, of which viridis' lowest has the least green
            best, axis = faces.get_facecolor()[:, 1].argmin(), int(azimuth == 0)
        span = corners[..., axis].min(), corners[..., axis].max()
        assert abs((middles[best, axis] - span[0]) / (span[1] - span[0]) - lowest) < 0.1


def test_what_is_no_surface_is_refused():
    with pytest.raises(ParameterTypeError, match="surface must be what loss_surface returns, got Simple"):
        LossSurfaceDisplay.from_surface(path())


def test_eigenvalues_are_on_the_axes():
    values = np.array([[70.46, 12.5], [3.0, 2.0]])
    ax = LossSurfaceDisplay.from_surface(surface("hessian", eigenvalues=values)).plot().ax_
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("eigenvector 1 (λ = 70.5)", "eigenvector 2 (λ = 12.5)")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"kind": "wire"}, "kind must be one of 'contour', '3d'"),
        ({"levels": [1.0]}, "levels must be"),
        ({"levels": [2.0, 1.0]}, "losses that rise"),
        ({"vmin": 3.0, "vmax": 1.0}, "vmin must be below vmax, got 3 and 1"),
        ({"vmax": 0.01}, "vmin must be below vmax"),
        ({"kind": "3d", "ax": "plane"}, "projection='3d'"),
    ],
)
def test_bad_arguments_of_a_surface(arguments, match):
    if arguments.get("ax") == "plane":
        arguments = {**arguments, "ax": Figure().subplots()}
    with pytest.raises(ParameterError, match=match):
        LossSurfaceDisplay.from_surface(surface()).plot(**arguments)


def test_a_spectrum_reaches_below_one_eigenvalue():
    display = drawn(SpectrumDisplay.from_density(spectrum()).plot())
    assert display.single == pytest.approx(0.01 * stats.norm.pdf(0, 0, 0.1))
    low, high = display.ax_.get_ylim()
    assert low < display.single < display.density.max() < high
    left, right = display.ax_.get_xlim()
    assert left < -0.2
    assert 5.1 < right < 6
    np.testing.assert_allclose(display.ax_.lines[0].get_xdata(), display.grid)
    assert "frozen" in display.ax_.get_title("left")


def test_spectra_share_axes():
    ax = SpectrumDisplay.from_density(spectrum()).plot(label="one").ax_
    other = SpectrumDisplay.from_density(spectrum(n_parameters=10), 1).plot(ax, label="two")
    curves = [line for line in ax.lines if line.get_gid() == "spectrum"]
    assert curves[0].get_color() != curves[1].get_color()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["one", "two"]
    assert ax.get_ylim()[0] < 0.5 * other.single / 10
    drawn(other)


def test_what_is_no_spectrum_is_refused():
    with pytest.raises(ParameterError, match="result must be what spectral_density returns"):
        SpectrumDisplay.from_density(spectrum(measure="hessian_trace"))
    with pytest.raises(ParameterError, match="member"):
        SpectrumDisplay.from_density(spectrum(), 2)
    with pytest.raises(DataError, match="member 0 is not finite"):
        SpectrumDisplay.from_density(spectrum(value=np.full((2, 400), np.nan)))


def test_ways_are_drawn_beside_each_other():
    display = drawn(LossPathDisplay.from_paths({"line": path(), "curve": path("bezier")}, 0).plot())
    assert [t.get_text() for t in display.ax_.get_legend().get_texts()] == [
        "line, barrier 1",
        "curve, barrier 1",
    ]
    way, chord = display.ax_.lines[:2]
    np.testing.assert_allclose(way.get_ydata(), path().losses[0])
    np.testing.assert_allclose(chord.get_ydata(), [0, 0], atol=1e-12)


def test_what_are_no_paths_is_refused():
    with pytest.raises(ParameterTypeError, match="paths must be a LossPath"):
        LossPathDisplay.from_paths([path()])
    with pytest.raises(ParameterTypeError, match=r"paths must be a LossPath.*got int"):
        LossPathDisplay.from_paths({"a": path(), "b": 3})
    with pytest.raises(DataError, match="same bn, got frozen, recalibrated"):
        LossPathDisplay.from_paths({"a": path(), "b": path(bn="frozen")})
    with pytest.raises(DataError, match=r"at least one.*none"):
        LossPathDisplay.from_paths({})
    with pytest.raises(ParameterError, match="member"):
        LossPathDisplay.from_paths(path(), 2)
