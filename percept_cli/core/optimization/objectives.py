"""Objectives of activation maximization: weighted sums of units, channels, layers and classes, parsed and measured."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from percept_cli.core.extractors import Architecture, FeatureExtractor
from percept_cli.core.extractors.geometry import activation_pairs
from percept_cli.core.losses.functional import at_least_float32
from percept_cli.errors import UsageError

PROBABILITIES = "prob"  # the layer of every classifier's classes
CENTER = "center"
FORMS = (
    "LAYER, LAYER:CHANNEL or LAYER:CHANNEL@X,Y (or @center), with weights and sums as in 0.2*relu3_1:5 + relu4_3:12, and "
    "several channels of one layer as 0-15 or 1,5,9"
)
MOST = 256  # images of one command
_CHANNELS = r"\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*"
_TERM = re.compile(
    r"\s*(?:(?P<weight>\d+\.?\d*|\.\d+)\s*\*\s*)?(?P<layer>[A-Za-z]\w*)"
    rf"(?::(?P<channels>{_CHANNELS}))?(?:@(?P<place>center|centre|\d+,\d+))?\s*"
)
_SIGN = re.compile(r"\s*([+-])")

Place = tuple[int, int] | str


@dataclass(frozen=True)
class ObjectiveTerm:
    """A layer, one of its channels, or one unit of a channel at `place`: (column, row) from 0, or `center`."""

    layer: str
    channel: int | None = None
    place: Place | None = None
    weight: float = 1.0

    @property
    def text(self) -> str:
        """Its text as `parse_objectives` reads it, without the weight."""
        channel = "" if self.channel is None else f":{self.channel}"
        place = self.place if isinstance(self.place, str) else ",".join(map(str, self.place or ()))
        return f"{self.layer}{channel}{'@' if place else ''}{place}"


@dataclass(frozen=True)
class Objective:
    """A weighted sum of terms, which is maximized."""

    terms: tuple[ObjectiveTerm, ...]

    @property
    def text(self) -> str:
        """Its text as `parse_objectives` reads it."""
        text = ""
        for number, term in enumerate(self.terms):
            sign = "-" if term.weight < 0 else "+" if number else ""
            weight = "" if abs(term.weight) == 1 else f"{abs(term.weight):g}*"
            text += (f" {sign} " if number else sign) + weight + term.text
        return text

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers of its terms, each once."""
        return tuple(dict.fromkeys(term.layer for term in self.terms))


def parse_objectives(text: str) -> list[Objective]:
    """The objectives of a text (see `FORMS`): one, or one for each of several channels.

    Raises UsageError, with the allowed forms, for a text that cannot be read.
    """
    terms: list[ObjectiveTerm] = []
    listed: list[int] = []
    varied = 0
    position, sign = 0, 1.0
    if leading := re.match(r"\s*-", text):
        position, sign = leading.end(), -1.0
    while True:
        found = _TERM.match(text, position)
        if found is None:
            raise _unreadable(text, position)
        channels = _numbers(found["channels"], text) if found["channels"] else []
        place: Place | None = None
        if found["place"]:
            if not channels:
                raise UsageError(
                    f"Objective '{text}': @ is a place in a channel: write {found['layer']}:CHANNEL@{found['place']}."
                )
            column, _, row = found["place"].partition(",")
            place = (int(column), int(row)) if row else CENTER
        if len(channels) > 1:
            if listed:
                raise UsageError(f"Objective '{text}': only one layer can have several channels.")
            listed, varied = channels, len(terms)
        weight = sign * float(found["weight"] or 1)
        terms.append(ObjectiveTerm(found["layer"], channels[0] if channels else None, place, weight))
        position = found.end()
        if position == len(text):
            break
        following = _SIGN.match(text, position)
        if following is None:
            raise _unreadable(text, position)
        position, sign = following.end(), 1.0 if following[1] == "+" else -1.0
    if not any(term.weight for term in terms):
        raise UsageError(f"Objective '{text}': with a weight of 0 there is nothing to excite.")
    if not listed:
        return [Objective(tuple(terms))]
    return [
        Objective((*terms[:varied], replace(terms[varied], channel=channel), *terms[varied + 1 :]))
        for channel in listed
    ]


def _unreadable(text: str, position: int) -> UsageError:
    rest = text[position:].strip()
    where = f"at '{rest}'" if rest else "at its end"
    return UsageError(f"Objective '{text}' cannot be read {where}. Allowed: {FORMS}.")


def _numbers(channels: str, text: str) -> list[int]:
    """The numbers of a list with ranges such as `0-3,7`, each once."""
    numbers: list[int] = []
    for part in channels.split(","):
        first, _, last = part.partition("-")
        if last and int(last) < int(first):
            raise UsageError(f"Objective '{text}': the channels {part} run backwards, write {last}-{first}.")
        if last and int(last) - int(first) >= MOST:
            raise UsageError(f"Objective '{text}': {part} are more than the {MOST} channels of one command.")
        numbers += range(int(first), int(last or first) + 1)
    numbers = list(dict.fromkeys(numbers))
    if len(numbers) > MOST:
        raise UsageError(f"Objective '{text}': {len(numbers)} are more than the {MOST} channels of one command.")
    return numbers


def resolve_layers(objectives: Sequence[Objective], architecture: Architecture) -> list[Objective]:
    """Objectives with the full names of their layers. Raises UsageError, with a suggestion, for an unknown layer."""
    return [
        Objective(tuple(replace(term, layer=architecture.resolve(term.layer)) for term in objective.terms))
        for objective in objectives
    ]


@torch.no_grad()
def check_ranges(objectives: Sequence[Objective], extractor: FeatureExtractor, side: int) -> None:
    """Raises UsageError, with the range, for a channel or a unit that a layer does not have.

    extractor: tapped at `tapped_layers`. side: of its input, in pixels.
    """
    architecture = extractor.architecture
    taps = {layer: tap for each in objectives for layer, tap in tapped_layers(each, architecture).items()}
    # Shapes from a blank image: torch takes seconds to load what it needs for shapes alone.
    features = extractor(torch.zeros(1, 3, side, side), tuple(dict.fromkeys(taps.values())))
    shapes = {layer: tuple(features[tap].shape[1:]) for layer, tap in taps.items()}
    for term in (term for objective in objectives for term in objective.terms):
        shape = shapes[term.layer]
        if term.channel is not None and term.channel >= shape[0]:
            what = "classes" if term.layer == PROBABILITIES else "channels"
            raise UsageError(
                f"{term.layer} of {architecture.name} has the {what} 0 to {shape[0] - 1}, not {term.channel}."
            )
        if term.layer == PROBABILITIES and term.channel is None:
            raise UsageError(f"{PROBABILITIES} always sums to 1: name a class of it, as in {PROBABILITIES}:281.")
        if term.place is None:
            continue
        if term.layer == PROBABILITIES or len(shape) == 1:
            raise UsageError(f"{term.layer} of {architecture.name} is a code of the whole image: leave '@' out.")
        height, width = shape[1:]
        if not isinstance(term.place, str) and (term.place[0] >= width or term.place[1] >= height):
            raise UsageError(
                f"{term.text}: the units of {term.layer} in {side}x{side} pixels are 0,0 to {width - 1},{height - 1}."
            )


def tapped_layers(objective: Objective, architecture: Architecture) -> dict[str, str]:
    """The layer to tap for each layer of an objective: the one before a ReLU or softmax, else itself."""
    before = {after: before for before, after in activation_pairs(architecture)}
    known = architecture.layer_names
    sources = {layer.name: layer.sources[0] for layer in architecture.layers}
    if PROBABILITIES in known:
        scores = sources[PROBABILITIES]
        while scores not in known:  # skips layers that only change the shape
            scores = sources[scores]
        before[PROBABILITIES] = scores
    return {layer: before.get(layer, layer) for layer in objective.layers}


def objective_parts(objective: Objective, features: Mapping[str, Tensor], taps: Mapping[str, str]) -> dict[str, Tensor]:
    """The weighted value (N,) of each term for N images; their sum is the objective.

    features: of the layers in `taps` (see `tapped_layers`), (N, C, h, w) or (N, C).
    """
    return {
        term.text: term.weight * term_value(term, features[taps[term.layer]], rectify=taps[term.layer] != term.layer)
        for term in objective.terms
    }


def term_value(term: ObjectiveTerm, features: Tensor, *, rectify: bool = False) -> Tensor:
    """The activation of a unit, the mean of a channel or the root mean square of a layer, without weight: (N,).

    features: (N, C, h, w) or (N, C). rectify: they are before the ReLU that the term is after. For a class the value is
    the log-odds of its probability, as probabilities near 0 or 1 have almost no gradient. Departs from Simonyan et al.
    2014, who maximize the score, which can rise together with the scores of all other classes. Departs from Olah et al.
    2017, who replace the gradient of every ReLU in the first 16 steps: here the gradient skips the ReLU only where all
    values of the term are 0 after it.
    """
    features = at_least_float32(features)
    if term.layer == PROBABILITIES:
        scores = features.flatten(1)
        others = torch.arange(scores.shape[1], device=scores.device) != term.channel
        return scores[:, ~others][:, 0] - scores[:, others].logsumexp(dim=1)
    if term.channel is None:
        values = F.relu(features) if rectify else features
        return values.flatten(1).square().mean(1).clamp_min(1e-12).sqrt()
    values = features[:, term.channel]
    if isinstance(term.place, str):
        values = values[:, values.shape[1] // 2, values.shape[2] // 2]
    elif term.place is not None:
        values = values[:, term.place[1], term.place[0]]
    values = values.reshape(len(values), -1)
    if rectify:
        inactive = (values <= 0).all(dim=1, keepdim=True)
        values = torch.where(inactive, values - values.detach(), F.relu(values))
    return values.mean(1)
