"""Publishing a stream of messages to an MQTT broker, so that a count proves that none was lost.

One thread: publish while the window of unacknowledged messages has room, read acknowledgements,
wait for the next message's moment. Needs the extra `telemetry` (paho-mqtt).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runs.replay import Message

WINDOW = 1000
"""Messages on their way without an acknowledgement: what the broker is slow with, the replay waits for."""
_POLL_S = 0.02


class BrokerError(OSError):
    """The broker refuses, or went away and did not come back; the message is one line, exit code 4."""

    def __init__(self, text: str, sent: Sent) -> None:
        super().__init__(text)
        self.sent = sent


class BrokerAddressError(ValueError):
    """Not an address, or not a file of certificates; one line."""


@dataclass
class Sent:
    """How far a replay came.

    Attributes
    ----------
    published, acknowledged : int
        Messages given to the broker for the first time, and those it confirmed.
    whole : int
        All messages up to this one are confirmed: where a later replay goes on (`--skip`).
    reconnects : int
    seconds, behind_s : float
        Time it took, and how far the last message was behind its moment.
    """

    published: int = 0
    acknowledged: int = 0
    whole: int = 0
    reconnects: int = 0
    seconds: float = 0.0
    behind_s: float = 0.0


@dataclass(frozen=True)
class Broker:
    """Where to publish and how.

    Parameters
    ----------
    host, port : str, int
    qos : int
        1: every message is confirmed by the broker. 0: none is; what was written counts.
    ca : Path, optional
        File of certificates: the connection is encrypted and the broker's certificate checked.
    user, password : str, optional
    patience_s : float
        How long a broker may be gone or silent.
    """

    host: str
    port: int
    qos: int = 1
    ca: Path | None = None
    user: str | None = None
    password: str | None = None
    patience_s: float = 30.0

    @classmethod
    def at(cls, address: str, **more: Any) -> Broker:
        """Read HOST:PORT.

        Examples
        --------
        >>> Broker.at("localhost:1883").port
        1883
        """
        host, colon, port = address.rpartition(":")
        if not colon or not host or not port.isdigit() or not 0 < int(port) < 65_536:
            raise BrokerAddressError(f"--mqtt {address!r}: must be HOST:PORT, such as localhost:1883")
        ca = more.get("ca")
        if ca is not None and not Path(ca).is_file():
            raise BrokerAddressError(f"--tls-ca {ca}: no such file")
        return cls(host.strip("[]"), int(port), **more)

    def publish(
        self,
        messages: Iterable[Message],
        *,
        speed: float = 1.0,
        first: int = 0,
        report: Callable[[Sent], None] | None = None,
    ) -> Sent:
        """Publish all messages at `speed` times real time (0: as fast as the broker takes them).

        Parameters
        ----------
        first : int
            Number of the first message: how many were skipped.
        report : callable, optional
            Told about once a second.

        Raises
        ------
        BrokerError
            When the broker refuses, or stays away for longer than the patience; `sent` says how far it came.
        """
        return _Session(self, first).run(messages, speed=speed, report=report)


class _Session:
    def __init__(self, broker: Broker, first: int) -> None:
        try:
            import paho.mqtt.client as mqtt
        except ImportError:
            raise BrokerAddressError(
                "twin replay --mqtt needs paho-mqtt: pip install 'fleet-twin[telemetry]'"
            ) from None
        self.mqtt, self.broker = mqtt, broker
        self.sent = Sent(whole=first)
        self._first = first
        self._open: dict[int, int] = {}  # message id at the broker -> number of the message
        self._early: set[int] = set()  # confirmed before an older one
        self._refused = ""
        self._connected = False
        self._alive_at = self._began = time.monotonic()
        client = self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
        client.on_connect, client.on_publish = self._on_connect, self._on_publish
        client.on_disconnect = self._on_disconnect
        client.max_inflight_messages_set(WINDOW)
        client.max_queued_messages_set(0)
        client.connect_timeout = min(5.0, broker.patience_s)
        if broker.user is not None:
            client.username_pw_set(broker.user, broker.password)
        if broker.ca is not None:
            client.tls_set(ca_certs=str(broker.ca))

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._connected = not reason.is_failure
        self._refused = str(reason) if reason.is_failure else ""

    def _on_disconnect(self, *_what: Any) -> None:
        self._connected = False

    def _on_publish(self, _client: Any, _data: Any, mid: int, _reason: Any, _properties: Any) -> None:
        number = self._open.pop(mid, None)
        if number is None:
            return
        self._alive_at = time.monotonic()
        self.sent.acknowledged += 1
        self._early.add(number)
        while self.sent.whole in self._early:
            self._early.discard(self.sent.whole)
            self.sent.whole += 1

    def run(self, messages: Iterable[Message], *, speed: float, report: Callable[[Sent], None] | None) -> Sent:
        try:
            self._connect(again=False)
        except BrokerError:
            self._close()
            raise
        self._began = self._alive_at = time.monotonic()
        told, zero = self._began, None
        number = self._first
        try:
            for message in messages:
                now = time.monotonic()
                if speed > 0:
                    zero = message.at_s if zero is None else zero
                    due = self._began + (message.at_s - zero) / speed
                    while now < due:
                        self._step(min(_POLL_S, due - now))
                        now = time.monotonic()
                        if not self._open:
                            self._alive_at = now
                    self.sent.behind_s = now - due
                while len(self._open) >= WINDOW:
                    self._step(_POLL_S)
                info = self.client.publish(message.topic, message.payload, self.broker.qos)
                self._open[info.mid] = number
                if self.broker.qos == 0 and info.rc == self.mqtt.MQTT_ERR_SUCCESS:
                    self._on_publish(None, None, info.mid, None, None)
                self.sent.published += 1
                number += 1
                if number % 64 == 0:
                    self._step(0.0)
                    if report is not None and now - told >= 1:
                        told = now
                        self.sent.seconds = now - self._began
                        report(self.sent)
            while self._open or self.client.want_write():
                self._step(_POLL_S)
        finally:
            self.sent.seconds = time.monotonic() - self._began
            self._close()
        return self.sent

    def _close(self) -> None:
        until = time.monotonic() + 1
        self.client.disconnect()
        while self.client.socket() is not None and time.monotonic() < until:
            self.client.loop(timeout=_POLL_S)

    def _step(self, wait_s: float) -> None:
        """Read and write what the connection has; come back when it is lost."""
        code = self.client.loop(timeout=wait_s)
        if code != self.mqtt.MQTT_ERR_SUCCESS or not self._connected:
            self._connect(again=True)
        elif self._open and time.monotonic() - self._alive_at > self.broker.patience_s:
            raise self._gone(f"confirmed nothing for {self.broker.patience_s:g} s")

    def _connect(self, *, again: bool) -> None:
        """Connect, after a loss for as long as the patience; paho sends what was not confirmed again."""
        until = time.monotonic() + self.broker.patience_s
        pause, why = 0.1, ""
        self._connected = False
        while True:
            try:
                if again:
                    self.client.reconnect()
                else:
                    self.client.connect(self.broker.host, self.broker.port, keepalive=30)
                answer_until = min(until, time.monotonic() + 5)
                while not self._connected and not self._refused and time.monotonic() < answer_until:
                    if self.client.loop(timeout=_POLL_S) != self.mqtt.MQTT_ERR_SUCCESS:
                        break
                why = self._refused or "does not answer as a broker"
            except (OSError, ValueError) as error:
                why = str(error.strerror if isinstance(error, OSError) and error.strerror else error)
            if self._connected:
                self.sent.reconnects += again
                self._alive_at = time.monotonic()
                return
            if not again or self._refused or time.monotonic() + pause > until:
                raise self._gone(why)
            time.sleep(pause)
            pause = min(2 * pause, 2.0)

    def _gone(self, why: str) -> BrokerError:
        self.sent.seconds = time.monotonic() - self._began
        s = self.sent
        return BrokerError(
            f"broker {self.broker.host}:{self.broker.port}: {why}; {s.published:,} published, {s.acknowledged:,} "
            f"confirmed; go on with --skip {s.whole}",
            s,
        )
