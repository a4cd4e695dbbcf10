"""Build the update rule that an experiment describes."""

from cifarzoo.experiment.optimizers import KerasParameters, MuonParameters, SGDParameters
from cifarzoo.experiment.train_parameters import TrainParameters
from cifarzoo.training.optimizers.keras_rule import KerasRule
from cifarzoo.training.optimizers.muon import Muon
from cifarzoo.training.optimizers.rule import Rule
from cifarzoo.training.optimizers.sgd import SGD


def build_rule(parameters: TrainParameters) -> Rule:
    """Build the rule of `train_parameters.optimizer`; without it, SGD.

    Raises:
        ExperimentError: there is no such class, or an argument does not fit.
    """
    section, clip_norm = parameters.optimizer, parameters.clip_norm
    if isinstance(section, MuonParameters):
        return Muon(
            rest=_simple(section.rest, 0.0),
            rest_factor=section.rest.learning_rate_factor,
            momentum=section.momentum,
            nesterov=section.nesterov,
            ns_steps=section.ns_steps,
            weight_decay=section.weight_decay,
            scale=section.scale,
            exclude=tuple(section.exclude),
            clip_norm=clip_norm,
        )
    return _simple(parameters if section is None else section, clip_norm)


def _simple(section: TrainParameters | SGDParameters | KerasParameters, clip_norm: float) -> Rule:
    """Build a rule for all variables alike from a section with the keys of SGD, or of a Keras optimizer."""
    if isinstance(section, KerasParameters):
        rule = KerasRule(section.name, section.arguments, section.decay_all, clip_norm)
        rule.check()
        return rule
    return SGD(
        momentum=section.momentum,
        nesterov=section.nesterov,
        weight_decay=section.weight_decay,
        decay_all=section.decay_all,
        clip_norm=clip_norm,
        weight_decay_mode=section.weight_decay_mode,
        momentum_convention=section.momentum_convention,
        bias_lr_factor=section.bias_lr_factor,
    )
