"""What a degradation is: a name and numbers; part of a model's identity.

`data.degrade` applies it. A card may name one that this program does not know (of a
later version, or of another program): that is refused where it is needed, not before.

References
----------
Gaussian approximations of fluorescence microscope point-spread function models (Zhang,
Zerubia and Olivo-Marin, 2007), Applied Optics 46(10), table 2: the Gaussian nearest to
the paraxial widefield PSF in the plane of focus has
``sigma = sqrt(2) / (2 pi) * wavelength / NA``, about 0.225 wavelengths by NA.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from napari_flowsr.errors import OptionError

__all__ = ["AREA", "BICUBIC", "DEGRADATIONS", "GAUSSIAN", "OWN_NETWORK", "PAIRED"]
__all__ += ["Degradation"]

BICUBIC = "matlab-bicubic"
AREA = "area"
GAUSSIAN = "gaussian"
PAIRED = "paired"
"""Name of the degradation of a model whose LR images were given: it is not known."""
OWN_NETWORK = "own network"
"""Name of the degradation of a model that makes its LR images itself (rescaling)."""

DEGRADATIONS = (BICUBIC, AREA, GAUSSIAN)
"""Those with an operator."""

_OPTICS = ("na", "wavelength_nm", "pixel_nm")
_NOISE = ("photons", "read_noise")
_PARAMETERS = {
    BICUBIC: _NOISE,
    AREA: _NOISE,
    GAUSSIAN: ("sigma", *_OPTICS, *_NOISE),
    PAIRED: (),
    OWN_NETWORK: (),
}
# Largest numerical aperture of immersion objectives, with some room.
_LARGEST_NA = 2.0
# Widths in HR pixels between which an LR image is one: what lies beyond is a slip of a
# unit, such as micrometres for nanometres. No blur at all is another degradation.
_WIDTHS = (0.02, 100.0)


@dataclass(frozen=True)
class Degradation:
    """How an LR image arises from the HR image; part of a model's identity.

    Parameters
    ----------
    name : str
        ``"matlab-bicubic"``: antialiased bicubic reduction, that of the papers.
        ``"area"``: mean over the LR pixel, as binning in a camera. ``"gaussian"``: the
        image as a Gaussian PSF blurs it, taken at the centres of LR pixels.
        ``"paired"``: LR images were given, and the operator is not known.
        ``"own network"``: the model makes its LR images itself.
    parameters : mapping
        Of ``"gaussian"``: ``sigma`` in HR pixels, or ``na`` (numerical aperture),
        ``wavelength_nm`` (emission) and ``pixel_nm`` (side of an HR pixel), from which
        it follows. Of all with an operator, noise of the LR image: ``photons``, counts
        of the brightest value 1 (Poisson noise), and ``read_noise``, its standard
        deviation in ``[0, 1]`` units (Gaussian noise).

    Examples
    --------
    >>> Degradation.parse("gaussian:sigma=1.5,photons=200").sigma
    1.5
    >>> str(Degradation("area", {"read_noise": 0.01}))
    'area:read_noise=0.01'
    """

    name: str = BICUBIC
    parameters: Mapping[str, float] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.name, *sorted(self.parameters.items())))

    def __str__(self) -> str:
        order = _PARAMETERS.get(self.name, ())
        known = [key for key in order if key in self.parameters]
        keys = [*known, *(key for key in self.parameters if key not in order)]
        numbers = ",".join(f"{k}={_short(self.parameters[k])}" for k in keys)
        return f"{self.name}:{numbers}" if numbers else self.name

    @classmethod
    def parse(cls, text: str) -> Degradation:
        """Read ``name`` or ``name:key=number,key=number``, as `str` writes it.

        Raises
        ------
        OptionError
            Another form, an unknown name, or parameters that it does not take.
        """
        name, _, rest = text.partition(":")
        if "=" in name:
            raise OptionError(
                f"Degradation '{text}' has no colon after its name; expected "
                "name:key=number,key=number, such as area:photons=200."
            )
        found: dict[str, float] = {}
        for pair in rest.split(",") if rest.strip() else ():
            key, _, number = (part.strip() for part in pair.partition("="))
            try:
                value = float(number)
            except ValueError:
                raise OptionError(
                    f"Degradation '{text}': '{pair}' is no parameter; expected "
                    "key=number, such as gaussian:sigma=1.5,photons=200."
                ) from None
            if key in found:
                raise OptionError(
                    f"Degradation '{text}' has {key} twice; give it once."
                )
            found[key] = value
        return cls(name.strip(), found).checked()

    def checked(self) -> Degradation:
        """Itself, if the name is known and the parameters fit it.

        Raises
        ------
        OptionError
            Saying what is expected.
        """
        if self.name not in _PARAMETERS:
            raise OptionError(
                f"Degradation '{self.name}' is unknown; known are "
                f"{', '.join(n for n in _PARAMETERS if n != OWN_NETWORK)}."
            )
        known = _PARAMETERS[self.name]
        if unknown := sorted(set(self.parameters) - set(known)):
            raise OptionError(
                f"Degradation '{self}' has {', '.join(unknown)}; '{self.name}' takes "
                f"{', '.join(known) or 'no parameters'}."
            )
        for key, value in self.parameters.items():
            if not 0 < value < math.inf:
                raise OptionError(
                    f"Degradation '{self}': {key} is {value!r}; expected a positive "
                    "number. Leave it out for none."
                )
        if self.name == GAUSSIAN:
            self._check_optics()
        return self

    def _check_optics(self) -> None:
        optics = [key for key in _OPTICS if key in self.parameters]
        if ("sigma" in self.parameters) == bool(optics) or len(optics) not in (0, 3):
            raise OptionError(
                f"Degradation '{self}' does not tell its width; expected either sigma "
                f"(HR pixels) or all of {', '.join(_OPTICS)}, such as "
                "gaussian:sigma=1.5 or "
                "gaussian:na=1.4,wavelength_nm=520,pixel_nm=65."
            )
        if self.parameters.get("na", 1.0) > _LARGEST_NA:
            raise OptionError(
                f"Degradation '{self}': na is {self.parameters['na']:g}; expected a "
                f"numerical aperture of at most {_LARGEST_NA:g}."
            )
        low, high = _WIDTHS
        if not low <= self._width() <= high:
            raise OptionError(
                f"Degradation '{self}' has a sigma of {self._width():.3g} HR pixels; "
                f"expected {low:g} to {high:g}. Check the units: sigma is in HR "
                "pixels, wavelength_nm and pixel_nm are in nanometres."
            )

    def _width(self) -> float:
        given = self.parameters
        if "sigma" in given:
            return float(given["sigma"])
        width = math.sqrt(2) / (2 * math.pi) * given["wavelength_nm"] / given["na"]
        return float(width / given["pixel_nm"])

    @property
    def sigma(self) -> float:
        """Standard deviation of the Gaussian PSF in HR pixels; 0 for the others."""
        if self.name != GAUSSIAN:
            return 0.0
        return self.checked()._width()

    @property
    def has_operator(self) -> bool:
        """Whether it can be applied: `data.degrade.downscale` knows how."""
        return self.name in DEGRADATIONS

    @property
    def is_noisy(self) -> bool:
        """Whether LR images have noise of their own."""
        return any(key in self.parameters for key in _NOISE)


def _short(value: float) -> str:
    """Shortest text that gives the same number, without a needless ``.0``."""
    text = repr(float(value))
    return text.removesuffix(".0")
