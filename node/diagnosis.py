"""What `osteon doctor` looks at: one check per part a study depends on, each a sentence with the way out.

Reads only: nothing is created in the data folder, no object is sent to a destination.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from node.errors import OsteonError
from node.settings import AnyDestination, Configuration

Outcome = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Check:
    """One thing looked at. `failed` means that studies cannot flow, `warning` that a person should know."""

    subject: str
    outcome: Outcome
    sentence: str


def diagnose(configuration: Configuration, only_destination: str | None = None) -> Iterator[Check]:
    """Run the checks one after the other; each yields as soon as it is known.

    Raises
    ------
    ConfigurationError
        If `only_destination` is not configured.
    """
    if only_destination is not None:
        yield from check_destination(configuration, configuration.destination(only_destination))
        return
    yield Check("configuration", "ok", f"read from {configuration.config_dir}")
    yield check_rules(configuration)
    yield check_database(configuration)
    yield check_redis(configuration)
    yield check_disk(configuration)
    yield from check_weights(configuration)
    yield check_device(configuration)
    yield check_listener(configuration)
    if not configuration.destinations:
        days = configuration.settings.retention.undelivered_days
        kept = "for ever" if days is None else f"for {days:g} days"
        text = f"there is none; results stay here, {kept} (retention.undelivered_days). Add one to destinations.yaml"
        yield Check("destinations", "warning", text)
    for destination in configuration.destinations:
        yield from check_destination(configuration, destination)


def check_rules(configuration: Configuration) -> Check:
    """The routing rules parse, and their pipelines are installed."""
    from node.assemble.rules import load_rules
    from pipelines.contract import iter_pipeline_names

    try:
        rules = load_rules(configuration).rules
    except OsteonError as error:
        return Check("rules", "failed", str(error))
    installed = set(iter_pipeline_names())
    enabled = [rule for rule in rules if rule.enabled]
    missing = sorted({rule.pipeline for rule in enabled} - installed)
    if missing:
        text = f"{len(enabled)} rules; no pipeline is installed for: {', '.join(missing)} (their series are left alone)"
        return Check("rules", "warning", text)
    return Check("rules", "ok", f"{len(enabled)} rules, all their pipelines are installed")


def check_database(configuration: Configuration) -> Check:
    """The database answers, and its schema is one that this program knows; the first start makes what is missing."""
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    from node.registry.migrate import head_revision, known_revisions, schema_revision

    url = make_url(configuration.database_url)
    shown = url.render_as_string(hide_password=True)
    if url.drivername == "sqlite" and not Path(url.database or "").exists():
        return Check("database", "ok", f"{shown} is not there yet; the first start makes it")
    try:
        engine = create_engine(url)
        with engine.connect() as connection:
            revision = schema_revision(connection)
        engine.dispose()
    except (SQLAlchemyError, ImportError) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        return Check("database", "failed", f"{shown} does not answer: {reason}")
    if revision is not None and revision not in known_revisions():
        text = f"{shown} stands at schema step '{revision}', which this osteon does not know: install the newer version"
        return Check("database", "failed", text)
    if revision != head_revision():
        stands = f"stands at schema step '{revision}'" if revision else "is empty"
        return Check("database", "ok", f"{shown} answers and {stands}; the next start brings it to '{head_revision()}'")
    return Check("database", "ok", f"{shown} answers, schema step '{revision}'")


def check_redis(configuration: Configuration) -> Check:
    """A configured Redis answers, or the embedded one can be started."""
    import redis

    from node.jobs.embedded_redis import connect, redis_executable

    url = configuration.settings.queue.url
    if not url:
        try:
            return Check("Redis", "ok", f"embedded, {redis_executable()}")
        except OsteonError as error:
            return Check("Redis", "failed", str(error))
    try:
        with closing(connect(url)) as client:
            version = client.info("server")["redis_version"]
    except redis.RedisError as error:
        return Check("Redis", "failed", f"the configured server does not answer: {error}")
    except ValueError:  # not quoted: what the parser took for a port may be part of the password
        text = "queue.url (OSTEON_REDIS_URL) cannot be read; write redis://:password@host:port/0, odd characters as %XX"
        return Check("Redis", "failed", text)
    return Check("Redis", "ok", f"the configured server answers, version {version}")


def check_disk(configuration: Configuration) -> Check:
    """There is room above the floor under which C-STORE is refused."""
    folder = configuration.data_dir
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    floor = configuration.settings.spool.min_free_bytes
    text = f"{free / 1e9:.1f} GB free at {configuration.data_dir}; new instances are refused below {floor / 1e9:.1f} GB"
    return Check("disk", "ok" if free > floor else "failed", text)


def check_weights(configuration: Configuration) -> Iterator[Check]:
    """Every weights file is the one its card was written for."""
    from pipelines.contract import WeightsError
    from pipelines.contract import weights as store

    found = store.find_models(store.weights_folders(configuration.weights_dir, store.shipped_folders()))
    if not found:
        yield Check("weights", "failed", "there are none; install them with `osteon models install`")
    for model in found:
        try:
            store.verify(model)
        except WeightsError as error:
            yield Check(f"weights {model.name}", "failed", str(error))
            continue
        assert model.card is not None
        note = "; trained on simulated patients only" if model.card.simulated_only else ""
        yield Check(f"weights {model.name}", "ok", f"version {model.card.version}, intact{note}")


def check_device(configuration: Configuration) -> Check:
    """The configured device can be used."""
    import torch

    wanted = configuration.settings.worker.device
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted.startswith("cuda"):
        index = int(wanted.partition(":")[2] or 0)
        if index >= count:
            return Check("device", "failed", f"worker.device is {wanted}, but this machine shows {count} CUDA devices")
        return Check("device", "ok", f"{wanted}: {torch.cuda.get_device_name(index)}")
    if wanted == "auto" and count:
        return Check("device", "ok", f"auto: {torch.cuda.get_device_name(0)}")
    return Check("device", "ok", f"{wanted}: CPU, {torch.get_num_threads()} threads")


def check_listener(configuration: Configuration) -> Check:
    """Our own listener, if it runs, answers C-ECHO where it listens, asked by a title that it lets in.

    With TLS its port must take a connection and no more: it asks for a certificate that its peers have, not we.
    """
    from node.deliver.scu import echo
    from node.supervise.ports import answers, reachable

    listen = configuration.settings.listen
    where = f"{listen.ae_title} at {listen.host}:{listen.port}"
    if listen.tls is not None:
        if answers(listen.host, listen.port):
            return Check("listener", "ok", f"{where} takes connections; C-ECHO not asked (TLS)")
        return Check("listener", "warning", f"{where} does not answer; start it with `osteon serve`")
    calling = (*listen.allow_calling_aets, listen.ae_title)[0]
    answer = echo(reachable(listen.host), listen.port, called_aet=listen.ae_title, calling_aet=calling, timeout_s=3)
    if answer.ok:
        return Check("listener", "ok", f"{where} answers C-ECHO")
    return Check("listener", "warning", f"{where} does not answer ({answer.sentence}); start it with `osteon serve`")


def check_destination(configuration: Configuration, destination: AnyDestination) -> Iterator[Check]:
    """A destination answers C-ECHO (QIDO-RS) and, where that shows, accepts the kinds of result it is meant to get."""
    from node.deliver.places import probe

    subject = f"destination {destination.name}"
    yield from check_pause(configuration, destination.name)
    if destination.segmentations != "all":
        chosen = ", ".join(destination.segmentations)
        yield Check(f"{subject}, segmentations", "ok", f"of the SEGs it gets only those drawn on {chosen}")
    answer = probe(destination, calling_aet=configuration.settings.listen.ae_title)
    if not answer.echo.ok:
        yield Check(subject, "failed", answer.echo.sentence)
        return
    yield Check(subject, "ok", answer.echo.sentence)
    for kind in destination.send if answer.accepts else ():
        if answer.accepts.get(kind):
            yield Check(f"{subject}, {kind}", "ok", "accepted")
        else:
            text = f"not accepted by the peer; take '{kind}' out of its `send`, or enable the SOP class there"
            yield Check(f"{subject}, {kind}", "failed", text)


def check_pause(configuration: Configuration, name: str) -> Iterator[Check]:
    """A warning if a person has paused the destination; nothing where the database is not there to ask."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    from node.registry.database import Registry
    from node.registry.destinations import paused

    url = make_url(configuration.database_url)
    if url.drivername == "sqlite" and not Path(url.database or "").exists():
        return
    registry = Registry(configuration.database_url)
    try:
        with registry.reading() as session:
            pause = paused(session).get(name)
    except SQLAlchemyError:  # away, or of an older schema: check_database says so
        return
    finally:
        registry.dispose()
    if pause is not None:
        text = f"paused since {pause.since:%Y-%m-%d %H:%M} UTC by {pause.by}; its results wait until"
        yield Check(f"destination {name}", "warning", f"{text} `osteon destination resume {name}`")
