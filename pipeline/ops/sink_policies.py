"""A sink's two policies from one file: how it is delivered to, and what may leave for it."""

from __future__ import annotations

from connectors.sources import KEYS, Care, source
from connectors.system import Policy
from pipeline.core.sinks import SinkPolicy
from pipeline.settings import Settings, SettingsError
from pipeline.state.sinks_file import load_sinks, policy_of


def of(settings: Settings, sink: str) -> tuple[SinkPolicy, Policy]:
    """Both, from infra/config/sinks.yaml; SettingsError in one sentence where it is unusable."""
    policy = policy_of(load_sinks(settings.sinks_file), sink, settings)
    for name in sorted(policy.masked | policy.withheld):
        if name in KEYS:
            raise SettingsError(
                f"{settings.sinks_file}, sink {sink}: {name} cannot be masked or withheld, for by "
                "it an effect happens once and in order: take it out."
            )
        if not _known(name):
            cares = ", ".join(Care)
            raise SettingsError(
                f"{settings.sinks_file}, sink {sink}: there is no source {name!r} to mask or "
                f"withhold; name one that 'fieldline mapping show' lists, or {cares}."
            )
    return policy, Policy(masked=policy.masked, withheld=policy.withheld, regions=policy.regions)


def _known(name: str) -> bool:
    try:
        source(name)
    except KeyError:
        return name in set(Care)
    return True
