"""twin replay: the stream of a run, files for loaders, and a real Mosquitto on loopback."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from runs.broker import Broker, BrokerAddressError, BrokerError
from runs.cli import main
from runs.replay import Message, Replay, ReplayError, write
from runs.results import RunResult
from runs.scenario import Scenario
from runs.single import run
from twin.cloud import gbt32960

ROOT = Path(__file__).resolve().parents[1]
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    scenario = Scenario.load("demo").but(fleet__cars=40, until="9h", demand__other_traffic=0.0)
    return run(scenario, out=tmp_path_factory.mktemp("replay") / "run")


# ------------------------------------------------------------------ the stream


def test_the_stream_holds_every_message_of_the_run_in_order(result: RunResult) -> None:
    replay = Replay(result)
    messages = list(replay.messages())
    assert len(messages) == len(replay) == result.summary["cloud"]["messages"] > 200
    at = [m.at_s for m in messages]
    assert at == sorted(at)
    assert at[0] == 0
    bodies = [json.loads(m.payload) for m in messages]
    assert [b["serial"] for b in bodies] == list(range(len(bodies)))
    services = {name: sum(b["service"] == name for b in bodies) for name in ("driving", "trip", "connection")}
    table = result.table("cloud").to_pandas()
    for name, count in services.items():
        assert table[table.service == name].messages.sum() == count > 0
    one = next(b for b in bodies if b["service"] == "driving")
    assert 0 < one["Vehicle.Speed"] < 200
    assert abs(one["Vehicle.CurrentLocation.Latitude"] - 60.17) < 0.6
    first, last = (datetime.fromisoformat(bodies[k]["timestamp"]) for k in (0, -1))
    assert (last - first).total_seconds() == pytest.approx(replay.span_s, abs=0.01)


def test_a_part_copies_and_a_later_start(result: RunResult) -> None:
    whole = list(Replay(result).messages())
    begin = float(Replay(result)._time[0])
    part = list(Replay(result, first_s=7 * 3600, until_s=8 * 3600).messages())
    assert len(part) == sum(7 * 3600 <= m.at_s + begin < 8 * 3600 for m in whole) > 0
    three = list(Replay(result, copies=3).messages())
    assert len(three) == 3 * len(whole)
    assert len({m.topic.split("/")[1] for m in three}) == 3 * len({m.topic.split("/")[1] for m in whole})
    for skip in (1, 4, 100):
        assert list(Replay(result, copies=3).messages(skip=skip)) == three[skip:]


def test_electric_cars_speak_the_chinese_standard(result: RunResult) -> None:
    frames = [gbt32960.read(m.payload) for m in Replay(result, form="gbt32960").messages()]
    bev = [kind == "bev" for kind in result.table("cars")["powertrain"].to_pylist()]
    assert frames
    assert all(bev[int(vin[8:])] for vin, _ in frames)
    assert any(reading.speed_kmh > 0 for _, reading in frames)
    assert all(0 <= reading.soc <= 1 for _, reading in frames)


def test_files_hold_the_same_stream(result: RunResult, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    replay = Replay(result)
    stream = list(replay.messages())
    assert write(replay, tmp_path / "a.jsonl") == write(replay, tmp_path / "a.parquet") == len(stream)
    assert (tmp_path / "a.jsonl").read_bytes().splitlines() == [m.payload for m in stream]
    table = pq.read_table(tmp_path / "a.parquet")
    assert table["value"].to_pylist() == [m.payload for m in stream]
    assert table["topic"].to_pylist() == [m.topic for m in stream]
    with pytest.raises(ReplayError, match=r"must end in \.parquet or \.jsonl"):
        write(replay, tmp_path / "a.csv")
    with pytest.raises(ReplayError, match=r"binary payloads go to \.parquet"):
        write(Replay(result, form="gbt32960"), tmp_path / "b.jsonl")


def test_what_cannot_be_replayed_is_named(result: RunResult, tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="no messages to replay from 1e"):
        Replay(result, first_s=1e6)
    with pytest.raises(ReplayError, match="unknown format 'xml'; valid: vss, gbt32960"):
        Replay(result, form="xml")
    bare = tmp_path / "bare"
    shutil.copytree(result.path, bare)
    (bare / "messages.parquet").unlink()
    with pytest.raises(ReplayError, match=r"--set cloud\.message_log_cars=N"):
        Replay(RunResult(bare))


@pytest.mark.parametrize("address", ["localhost", "localhost:", ":1883", "localhost:99999", "localhost:x"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(BrokerAddressError, match="must be HOST:PORT"):
        Broker.at(address)


# ------------------------------------------------------------------ a real broker


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Mosquitto:
    def __init__(self, folder: Path, *, lines: str = "allow_anonymous true", port: int | None = None) -> None:
        if MOSQUITTO is None:
            pytest.skip("mosquitto is not installed (Debian: apt-get install mosquitto)")
        pytest.importorskip(
            "paho.mqtt.client", reason="needs the extra telemetry (pip install 'fleet-twin[telemetry]')"
        )
        self.port = port or free_port()
        self.conf = folder / "mosquitto.conf"
        self.conf.write_text(f"listener {self.port} 127.0.0.1\nmax_queued_messages 0\n{lines}\n")
        self.start()

    def start(self) -> None:
        assert MOSQUITTO is not None
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen([MOSQUITTO, "-c", str(self.conf)], stdout=quiet, stderr=quiet)
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("mosquitto does not listen")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(10)


class Listener:
    """A subscriber in its own thread: payloads, as they come."""

    def __init__(self, port: int, **knobs: Any) -> None:
        import paho.mqtt.client as mqtt

        self.payloads: list[bytes] = []
        self.ready = threading.Event()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        if "ca" in knobs:
            self.client.tls_set(ca_certs=str(knobs["ca"]))
        if "user" in knobs:
            self.client.username_pw_set(knobs["user"], knobs["password"])
        self.client.on_connect = lambda client, *_: client.subscribe("fleet/#", 1)
        self.client.on_subscribe = lambda *_: self.ready.set()
        self.client.on_message = lambda _c, _d, message: self.payloads.append(message.payload)
        self.client.connect("localhost" if "ca" in knobs else "127.0.0.1", port)
        self.client.loop_start()
        assert self.ready.wait(20)

    def wait(self, count: int) -> list[bytes]:
        for _ in range(400):
            if len(self.payloads) >= count:
                break
            time.sleep(0.05)
        time.sleep(0.2)
        self.client.disconnect()
        self.client.loop_stop()
        return self.payloads


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    found = Mosquitto(tmp_path)
    yield found
    found.stop()


def test_every_message_arrives_once(result: RunResult, broker: Mosquitto) -> None:
    listener = Listener(broker.port)
    replay = Replay(result)
    sent = Broker.at(f"127.0.0.1:{broker.port}").publish(replay.messages(), speed=0)
    assert sent.published == sent.acknowledged == sent.whole == len(replay)
    assert listener.wait(len(replay)) == [m.payload for m in replay.messages()]


def test_real_time_times_speed(broker: Mosquitto) -> None:
    stream = [Message(0.5 * k, "fleet/x/driving", b"%d" % k) for k in range(21)]
    sent = Broker.at(f"127.0.0.1:{broker.port}").publish(stream, speed=10)
    assert 1.0 <= sent.seconds < 3.0
    assert sent.acknowledged == 21


def test_a_broker_that_comes_back_gets_all_that_it_had_not_confirmed(broker: Mosquitto) -> None:
    stream = [Message(0.01 * k, "fleet/x/driving", b"%d" % k) for k in range(300)]

    def restart() -> None:
        time.sleep(0.8)
        broker.stop()
        time.sleep(0.5)
        broker.start()

    thread = threading.Thread(target=restart)
    thread.start()
    sent = Broker.at(f"127.0.0.1:{broker.port}", patience_s=15.0).publish(stream, speed=1)
    thread.join()
    assert sent.reconnects >= 1
    assert sent.published == sent.acknowledged == sent.whole == 300


def test_a_broker_that_dies_ends_with_the_count_and_where_to_go_on(broker: Mosquitto) -> None:
    stream = [Message(0.01 * k, "fleet/x/driving", b"%d" % k) for k in range(2000)]
    threading.Timer(0.5, broker.stop).start()
    with pytest.raises(BrokerError, match=r"published, .* confirmed; go on with --skip \d+") as caught:
        Broker.at(f"127.0.0.1:{broker.port}", patience_s=1.0).publish(stream, speed=1)
    sent = caught.value.sent
    assert 0 < sent.whole <= sent.acknowledged <= sent.published < 2000


def test_the_command_exits_4_without_a_broker_and_2_for_bad_input(
    result: RunResult, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("paho.mqtt.client", reason="needs the extra telemetry")

    def twin(*words: str) -> tuple[int, str, str]:
        code = main(["replay", str(result.path), *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    code, out, error = twin("--mqtt", f"127.0.0.1:{free_port()}", "--patience", "1")
    assert (code, out) == (4, "")
    assert "refused; 0 published, 0 confirmed; go on with --skip 0" in error
    assert error.count("\n") == 1
    code, out, error = twin("--mqtt", "nowhere")
    assert (code, error.count("\n")) == (2, 1)
    assert twin() == (2, "", "twin: twin replay: give one of --mqtt HOST:PORT and --out FILE\n")


# paho leaves the socket of a failed TLS handshake to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_credentials_and_encryption(result: RunResult, tmp_path: Path) -> None:
    if shutil.which("openssl") is None or shutil.which("mosquitto_passwd") is None:
        pytest.skip("needs openssl and mosquitto_passwd")
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem",
            "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]  # fmt: skip
    subprocess.run(make, cwd=tmp_path, check=True, capture_output=True)
    subprocess.run(
        ["mosquitto_passwd", "-b", "-c", "users", "maker", "right"], cwd=tmp_path, check=True, capture_output=True
    )
    for name in ("key.pem", "cert.pem", "users"):
        (tmp_path / name).chmod(0o644)
    tmp_path.chmod(0o755)
    lines = f"allow_anonymous false\nuser {os.environ.get('USER', 'root')}\npassword_file {tmp_path / 'users'}\n"
    lines += f"certfile {tmp_path / 'cert.pem'}\nkeyfile {tmp_path / 'key.pem'}"
    broker = Mosquitto(tmp_path, lines=lines)
    try:
        ca = tmp_path / "cert.pem"
        listener = Listener(broker.port, ca=ca, user="maker", password="right")
        stream = list(Replay(result).messages())[:100]
        address = f"localhost:{broker.port}"
        sent = Broker.at(address, ca=ca, user="maker", password="right").publish(stream, speed=0)
        assert sent.acknowledged == 100
        assert listener.wait(100) == [m.payload for m in stream]
        with pytest.raises(BrokerError, match="Not authorized; 0 published"):
            Broker.at(address, ca=ca, user="maker", password="wrong", patience_s=2).publish(stream, speed=0)
        other = tmp_path / "other"
        other.mkdir()
        subprocess.run(make, cwd=other, check=True, capture_output=True)
        with pytest.raises(BrokerError, match="certificate verify failed"):
            Broker.at(address, ca=other / "cert.pem", patience_s=2).publish(stream, speed=0)
    finally:
        broker.stop()
