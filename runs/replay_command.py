"""The command `twin replay`. Like the others it imports what it needs when it runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

REPLAY_HELP = (
    "Send a run's telemetry to an MQTT broker, or write it to a file for a loader.\n\n"
    "Example: twin replay results/demo-1a2b3c4d-s1 --mqtt localhost:1883 --speed 60\n\n"
    "With --user, the password is read from the environment variable TWIN_MQTT_PASSWORD."
)


def replay_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.")],
    mqtt: Annotated[str | None, typer.Option("--mqtt", metavar="HOST:PORT", help="Broker to publish to.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the stream: .jsonl, or .parquet.")
    ] = None,
    speed: Annotated[
        float, typer.Option("--speed", min=0.0, help="Times real time; 0: as fast as the broker takes it.")
    ] = 1.0,
    form: Annotated[str, typer.Option("--format", help="vss (JSON) or gbt32960 (binary, electric cars).")] = "vss",
    first: Annotated[str | None, typer.Option("--from", help="Begin at this time of the run: 7h.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="End at this time of the run: 9h.")] = None,
    copies: Annotated[int, typer.Option("--copies", min=1, help="Every car speaks for so many.")] = 1,
    skip: Annotated[int, typer.Option("--skip", min=0, help="Leave out the first messages: go on after a stop.")] = 0,
    qos: Annotated[int, typer.Option("--qos", min=0, max=1, help="1: the broker confirms every message.")] = 1,
    tls_ca: Annotated[
        Path | None, typer.Option("--tls-ca", metavar="FILE", help="Encrypt, and check the broker by this file.")
    ] = None,
    user: Annotated[str | None, typer.Option("--user", help="Name at the broker.")] = None,
    patience: Annotated[
        float, typer.Option("--patience", min=0.0, help="Seconds that the broker may be gone or silent.")
    ] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more, on stderr.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Errors only, and the path of what was written.")
    ] = False,
) -> int:
    """Replay a run's messages."""
    from runs import cli
    from runs.broker import Broker, Sent
    from runs.replay import Replay, ReplayError, write
    from runs.results import RunResult
    from runs.scenario import seconds_of

    cli._talk(verbose=verbose)
    if (mqtt is None) == (out is None):
        raise ReplayError("twin replay: give one of --mqtt HOST:PORT and --out FILE")
    broker = (
        Broker.at(
            mqtt, qos=qos, ca=tls_ca, user=user, password=os.environ.get("TWIN_MQTT_PASSWORD"), patience_s=patience
        )
        if mqtt
        else None
    )
    stream = Replay(
        RunResult(folder),
        form=form,
        first_s=seconds_of(first, "--from") if first else 0.0,
        until_s=seconds_of(until, "--until") if until else float("inf"),
        copies=copies,
    )
    if skip >= len(stream):
        raise ReplayError(f"--skip {skip}: there are {len(stream):,} messages")
    if out is not None:
        from runs.folder import disk_errors

        cli._writable(out)
        with disk_errors(out):
            count = write(stream, out)
        if as_json:
            cli._json({"path": str(out), "messages": count})
            return cli.DONE
        cli._print(() if quiet else (f"{count:,} messages over {stream.span_s:,.0f} s of the run",))
        cli._print((str(out),))
        return cli.DONE
    assert broker is not None

    def report(sent: Sent) -> None:
        if sent.seconds >= report_at[0]:
            report_at[0] += 10
            cli._say(f"{sent.published:,} of {len(stream) - skip:,} published, {sent.acknowledged:,} confirmed")

    report_at = [10.0]
    sent = broker.publish(stream.messages(skip=skip), speed=speed, first=skip, report=None if quiet else report)
    if as_json:
        cli._json({"path": str(folder), "messages": len(stream), **vars(sent)})
        return cli.DONE
    rate = sent.acknowledged / sent.seconds if sent.seconds else 0.0
    word = "confirmed" if qos else "written"
    if not quiet:
        counts = f"{sent.published:,} messages published, {sent.acknowledged:,} {word}, in {sent.seconds:,.1f} s "
        late = f"{sent.reconnects} reconnects; last message {sent.behind_s:.1f} s late"
        cli._print((f"{counts}({rate:,.0f} per second); {late}",))
    cli._print((str(folder),))
    return cli.DONE
