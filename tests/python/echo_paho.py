"""What a good Python script in Floorhand's place would be: the comparison of the MQTT bench.

    python echo_paho.py --port 1883 --in-topic plant/in --out-topic plant/out --bundle bundle/

Takes samples with the fields that the bundle's one input names, `{"Current": 1.5, ..}`, from one topic, standardises
them, runs the bundle's model with onnxruntime and publishes `{"t2": .., "q": .., "score": ..}`, whatever the model's
outputs are called, to the other. The network loop runs in this thread and each sample is answered in its callback, which
is paho's quickest way. Ends on Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tomllib
from pathlib import Path

import numpy as np
import onnxruntime
import paho.mqtt.client as mqtt


class Detector:
    """The bundle's scaler and model, loaded once."""

    def __init__(self, bundle: Path) -> None:
        recipe = tomllib.loads((bundle / "bundle.toml").read_text())
        self.fields = recipe["input"][0]["fields"]
        scaler = json.loads((bundle / "scaler.json").read_text())
        self.mean = np.array(scaler["mean"], dtype=np.float32)
        self.factor = 1 / np.array(scaler["scale"], dtype=np.float32)
        options = onnxruntime.SessionOptions()
        # A model this small is slower on several threads.
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(bundle / "model.onnx", options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        self.outputs = [output.name for output in self.session.get_outputs()]

    def answer(self, payload: bytes) -> bytes:
        """One JSON sample to one JSON result; ValueError or KeyError for what isn't a sample."""
        sample = json.loads(payload)
        sensors = np.array([sample[field] for field in self.fields], dtype=np.float32)
        x = (sensors - self.mean) * self.factor
        values = self.session.run(self.outputs, {self.input: x[np.newaxis, :]})
        result = {name: float(value.item()) for name, value in zip(self.outputs, values, strict=True)}
        return json.dumps(result, separators=(",", ":")).encode()


def main() -> None:
    arguments = parse_arguments()
    detector = Detector(arguments.bundle)
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.max_inflight_messages_set(100)

    def on_connect(
        client: mqtt.Client, _data: object, _flags: object, reason: mqtt.ReasonCode, _properties: object
    ) -> None:
        if reason.is_failure:
            sys.exit(f"the broker refused the connection: {reason}")
        client.subscribe(arguments.in_topic, qos=arguments.qos)

    def on_subscribe(
        _client: mqtt.Client, _data: object, _id: int, reasons: list[mqtt.ReasonCode], _properties: object
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            sys.exit(f"the broker refused the subscription to {arguments.in_topic}")
        print("ready", flush=True)

    def on_message(client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        try:
            result = detector.answer(message.payload)
        except (ValueError, KeyError, TypeError) as error:
            print(f"a sample that can't be used: {error!r}", file=sys.stderr)
            return
        client.publish(arguments.out_topic, result, qos=arguments.qos)

    client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
    signal.signal(signal.SIGTERM, lambda *_: client.disconnect())
    signal.signal(signal.SIGINT, lambda *_: client.disconnect())
    client.connect(arguments.host, arguments.port)
    client.loop_forever()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--in-topic", required=True)
    parser.add_argument("--out-topic", required=True)
    parser.add_argument("--qos", type=int, choices=(0, 1), default=1)
    parser.add_argument(
        "--bundle", type=Path, required=True, metavar="DIR", help="a directory with bundle.toml, scaler.json and model.onnx"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
