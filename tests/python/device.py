"""A minimal Floorhand device in Python, which uses nothing but what docs/protocol.md says.

It verifies a trust root, assignments, commands, acks and manifests, says hello, sends telemetry until it is acknowledged,
and fetches a bundle chunk by chunk. It runs no model: where a device would try the bundle, this one reports that it
can't. Its use is to show that the document is complete, and to be a start for a device in another language.

    python device.py --host 127.0.0.1 --port 1883 --root root.cose --device press-07 --key press-07.key

Needs what fleet_protocol.py needs, and paho-mqtt.
"""

from __future__ import annotations

import argparse
import hashlib
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from fleet_protocol import MAX_PACKET_BYTES, Download, Refused, Root, Spool, check_blob, encode, seal

# What didn't come by then, chunks and acks, is asked for or sent again.
RETRY_S = 10.0


class Device:
    """The order of messages. Knows no client: `publish` takes a topic's last level and bytes."""

    def __init__(
        self,
        root: Root,
        name: str,
        key: Ed25519PrivateKey,
        publish: Callable[[str, bytes], None],
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.root, self.name, self.key, self.publish, self.clock = root, name, key, publish, clock
        self.boot_id, self.hellos = secrets.randbits(64), 0
        self.spool = Spool(self.boot_id)
        self.state = {"seq": 0, "command_id": 0, "mode": "run", "parameters": {"sampling_ppm": 0}}
        self.assignment: dict | None = None
        self.download: Download | None = None
        self.manifest: dict | None = None
        self.blobs: dict[bytes, bytes] = {}

    @property
    def topics(self) -> str:
        return f"fh/v1/{self.root.document['fleet']}/d/{self.name}"

    def presence(self, online: bool) -> bytes:
        return encode({"boot_id": self.boot_id, "online": online})

    def connected(self) -> None:
        self.publish("presence", self.presence(True))
        self.say_hello()
        self.send_batch()
        self.ask()

    def say_hello(self) -> None:
        self.hellos += 1
        hello = {
            "device": self.name,
            "boot_id": self.boot_id,
            "count": self.hellos,
            "time_ms": self.clock(),
            "agent": "0.1.0",
            "hardware": "python",
            "platform": "any",
            "root_version": self.root.document["version"],
            "floor": 0,
            "deployment": "fetching" if self.download else "idle",
            **self.state,
        }
        self.send("hello", "hello", hello)

    def send(self, kind: str, domain: str, document: dict) -> None:
        self.publish(kind, seal(domain, document, [self.key]))

    def send_batch(self) -> None:
        batch = self.spool.batch(self.name)
        if batch:
            self.send("batch", "up-batch", batch)

    def answer(self, to: str, outcome: object) -> None:
        document = {"device": self.name, "boot_id": self.boot_id, "to": to, "time_ms": self.clock(), "outcome": outcome}
        self.send("answer", "answer", document)

    def report(self, status: str, step: str, reason: str = "") -> None:
        job = {key: self.assignment[key] for key in ("job", "seq")}
        job |= {"bundle": self.assignment["run"]["bundle"], "status": status, "step": step}
        self.spool.add(self.clock(), {"job": job | ({"reason": reason} if reason else {})})
        self.send_batch()

    def take(self, kind: str, data: bytes) -> None:
        """Takes a message of the device's own `down` topics."""
        take = {"assign": self.take_assignment, "cmd": self.take_command, "ack": self.take_ack, "chunk": self.take_chunk}
        take[kind](data)

    def take_assignment(self, data: bytes) -> None:
        assignment = self.root.open_order("assignment", data, self.name, self.clock())
        seq = assignment["seq"]
        if seq == self.state["seq"]:
            return
        if seq < self.state["seq"]:
            self.answer(f"assign/{seq}", {"rejected": {"reason": f"{seq} is older than {self.state['seq']}"}})
            return
        parameters = {"sampling_ppm": 0} | assignment.get("parameters", {})
        self.state |= {"seq": seq, "mode": assignment.get("mode", "run"), "parameters": parameters}
        self.answer(f"assign/{seq}", "accepted")
        if assignment.get("run"):
            check_blob(assignment["run"]["manifest"])
            self.assignment, self.manifest = assignment, None
            self.download = Download(assignment["run"]["manifest"])
            self.report("IN_PROGRESS", "assigned")
        self.say_hello()
        self.ask()

    def take_command(self, data: bytes) -> None:
        command = self.root.open_order("command", data, self.name, self.clock())
        if command["id"] <= self.state["command_id"]:
            return
        self.state["command_id"] = command["id"]
        match command["action"]:
            case "report-now":
                self.send_batch()
                outcome = {"done": {"body": f"{len(self.spool.records)} records wait"}}
            case {"fetch-logs": {"lines": _}}:
                outcome = {"done": {"body": ""}}
            case other:
                outcome = {"rejected": {"reason": f"{other} is no action that this device knows"}}
        self.answer(f"cmd/{command['id']}", outcome)

    def take_ack(self, data: bytes) -> None:
        self.spool.acknowledge(self.root.open_order("ack", data, self.name, self.clock()))

    def take_chunk(self, data: bytes) -> None:
        if self.download is None:
            return
        self.download.take(data)
        if self.download.is_complete():
            self.blob_came(self.download.content())
        self.ask()

    def blob_came(self, content: bytes) -> None:
        if self.manifest is None:
            self.manifest = self.root.open_manifest(content, self.assignment["run"]["bundle"], self.clock())
            self.report("IN_PROGRESS", "fetching")
        else:
            self.blobs[hashlib.sha256(content).digest()] = content
        missing = (one["blob"] for one in self.manifest["components"] if one["blob"]["sha256"] not in self.blobs)
        blob = next(missing, None)
        self.download = Download(blob) if blob else None
        if blob is None:
            self.report("IN_PROGRESS", "verified")
            # A device loads and tries the bundle here. This one has nothing to run it with, and says so.
            self.report("FAILED", "staged", "this device runs no models")
            self.say_hello()

    def ask(self) -> None:
        request = self.download.request() if self.download else None
        if request:
            self.publish("fetch", request)


def main() -> None:
    import paho.mqtt.client as mqtt
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    arguments = parse_arguments()
    key = load_pem_private_key(arguments.key.read_bytes(), None)
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, arguments.device, protocol=mqtt.MQTTv5)
    device = Device(
        Root.open(arguments.root.read_bytes()),
        arguments.device,
        key,
        lambda kind, data: client.publish(f"{device.topics}/up/{kind}", data, qos=1),
    )

    def on_connect(*_: object) -> None:
        client.subscribe(f"{device.topics}/down/#", qos=1)

    def on_subscribe(*_: object) -> None:
        device.connected()

    def on_message(_client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        kind = message.topic.rpartition("/")[2]
        try:
            device.take(kind, message.payload)
        except Refused as refused:
            print(f"{message.topic}: {refused}", flush=True)
        else:
            print(f"{message.topic}: {len(message.payload)} bytes", flush=True)

    client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
    client.will_set(f"{device.topics}/up/presence", device.presence(False), qos=1)
    if arguments.ca:
        client.tls_set(arguments.ca, arguments.cert, arguments.cert_key)
    properties = Properties(PacketTypes.CONNECT)
    properties.MaximumPacketSize, properties.SessionExpiryInterval = MAX_PACKET_BYTES, 3600
    client.connect(arguments.host, arguments.port, clean_start=False, properties=properties)
    ends, retry = time.monotonic() + arguments.seconds, time.monotonic() + RETRY_S
    while time.monotonic() < ends:
        client.loop(0.5)
        if time.monotonic() > retry:
            retry = time.monotonic() + RETRY_S
            device.send_batch()
            if device.download:
                device.download.give_up_waiting()
                device.ask()
    print(f"{len(device.spool.records)} records wait, {len(device.blobs)} blobs are here")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--root", type=Path, required=True, help="the fleet's trust root, root.cose")
    parser.add_argument("--device", required=True)
    parser.add_argument("--key", type=Path, required=True, help="the device's key, made by `floorhand keys new`")
    parser.add_argument("--ca", help="for mqtts: the CA of the broker's certificate")
    parser.add_argument("--cert", help="for mqtts: the device's certificate")
    parser.add_argument("--cert-key", help="for mqtts: the certificate's key")
    parser.add_argument("--seconds", type=float, default=60, help="how long to stay")
    return parser.parse_args()


if __name__ == "__main__":
    main()
