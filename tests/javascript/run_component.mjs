// Runs a plugin's component in Node, as a job says, and prints what it answered: node run_component.mjs MODULE JOB
//
// MODULE is what jco makes of the component: jco transpile plugin.wasm --instantiation async --name plugin --out-dir FOLDER
// leaves FOLDER/plugin.js. tests/python/run_component.py says what a job is and what is printed.
//
// Written for jco 1.35.0.

import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const INTERFACES = { processor: 'processing', monitor: 'monitoring', decoder: 'decoding' };
// How many bytes a float has, the bits of infinity, and those of the NaN that is written for all.
const FLOATS = {
  fp16: [2, 0x7c00n, 0x7e00n],
  bf16: [2, 0x7f80n, 0x7fc0n],
  fp32: [4, 0x7f800000n, 0x7fc00000n],
  fp64: [8, 0x7ff0000000000000n, 0x7ff8000000000000n],
};

/** A component, its instance, and what it told the host. */
class Plugin {
  counters = {};
  gauges = {};
  state = new Uint8Array();

  constructor(module, folder, setup) {
    Object.assign(this, { module, folder, setup });
  }

  async start() {
    const compiled = async (path) => WebAssembly.compile(await readFile(join(this.folder, path)));
    const host = {
      log() {},
      counter: (name, increment) => {
        this.counters[name] = (this.counters[name] ?? 0n) + increment;
      },
      gauge: (name, value) => {
        this.gauges[name] = bits(value);
      },
    };
    const instance = await this.module.instantiate(compiled, { 'floorhand:plugin/host': host });
    this.functions = instance[INTERFACES[this.setup.world]];
    const assets = this.setup.assets.map(({ name, data }) => ({ name, data: unhex(data) }));
    const given = this.setup.given.map((one) => (one.origin ? { ...one, spec: specIn(one.spec) } : specIn(one)));
    const { ok, ...refused } = this.call('configure', this.setup.config, assets, given);
    return ok === undefined ? refused : plain(ok);
  }

  /** `{ok}` or `{error}`: jco throws an error with what the plugin gave as `payload`. A trap is thrown on. */
  call(name, ...values) {
    try {
      return { ok: this.functions[name](...values) ?? null };
    } catch (thrown) {
      if (thrown.payload === undefined) throw thrown;
      return error(thrown.payload);
    }
  }
}

const calls = {
  process(plugin, { samples, tensors }) {
    const { ok, ...refused } = plugin.call('process', samples.map(contextIn), tensors.map(tensorIn));
    if (ok === undefined) return samples.map(() => refused);
    const told = samples.map(() => null);
    for (const { indices, tensors } of ok.answers) {
      indices.forEach((index, place) => {
        told[index] = tensors.map((tensor) => row(tensor, place));
      });
    }
    for (const refusal of ok.refusals) told[refusal.index] = error(refusal.error);
    return told;
  },

  observe(plugin, { samples, tensors }) {
    const { ok, ...refused } = plugin.call('observe', samples.map(contextIn), tensors.map(tensorIn));
    if (ok === undefined) return samples.map(() => refused);
    const told = samples.map(() => []);
    for (const found of ok.findings) {
      const known = { watch: null, ...plain(found), value: bits(found.value), threshold: bits(found.threshold) };
      told[found.index].push(known);
    }
    for (const refusal of ok.refusals) told[refusal.index] = error(refusal.error);
    return told;
  },

  decode(plugin, messages) {
    const { ok, ...refused } = plugin.call('decode', messages.map(messageIn));
    if (ok === undefined) return refused;
    const samples = ok.batches.flatMap(({ samples, tensors }) =>
      samples.map(({ message, id = null, key = null, timeNs }, place) => {
        const rows = tensors.map((tensor) => row(tensor, place));
        return { message, id, key, time_ns: timeNs?.toString() ?? null, tensors: rows };
      }),
    );
    const failures = ok.failures.map(({ message, samplesBefore, key = null, error: why }) => ({
      message,
      samples_before: samplesBefore,
      key,
      ...error(why),
    }));
    return { samples, failures };
  },

  snapshot(plugin) {
    plugin.state = plugin.call('snapshot').ok;
    return hex(plugin.state);
  },

  async restart(plugin) {
    await plugin.start();
    // An empty state is that of a new instance, and isn't given to it.
    const { error: refused } = plugin.state.length > 0 ? plugin.call('restore', plugin.state) : {};
    return refused === undefined ? null : { error: refused };
  },
};

const error = ({ tag, val }) => ({ error: { [tag]: val } });

const specIn = (spec) => ({ ...spec, shape: Int32Array.from(spec.shape) });

const tensorIn = (tensor) => ({ ...tensor, shape: Uint32Array.from(tensor.shape), data: unhex(tensor.data) });

const contextIn = ({ sequence, time_ns: timeNs, gap, key, id }) => ({
  sequence: BigInt(sequence),
  timeNs: BigInt(timeNs),
  gap,
  key: key ?? undefined,
  id: id ?? undefined,
});

const messageIn = ({ topic, content_type: contentType, properties, received_ns: receivedNs, payload }) => ({
  topic,
  contentType,
  properties,
  receivedNs: BigInt(receivedNs),
  payload: unhex(payload),
});

/** Of a tensor of several samples the part of one. */
function row({ datatype, shape: [count, ...shape], data }, place) {
  const size = data.length / count;
  return { datatype, shape, data: oneNan(datatype, data.subarray(place * size, (place + 1) * size)) };
}

/** Names with underscores, and lists as JSON has them. */
function plain(made) {
  if (ArrayBuffer.isView(made)) return [...made];
  if (Array.isArray(made)) return made.map(plain);
  if (made === null || typeof made !== 'object') return made;
  const underscored = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  return Object.fromEntries(Object.entries(made).map(([name, value]) => [underscored(name), plain(value)]));
}

function hex(bytes) {
  return Buffer.from(bytes).toString('hex');
}

function unhex(text) {
  return new Uint8Array(Buffer.from(text, 'hex'));
}

function bits(value) {
  if (value === undefined) return null;
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleBE(value);
  return Number.isNaN(value) ? '7ff8000000000000' : hex(bytes);
}

function oneNan(datatype, data) {
  if (FLOATS[datatype] === undefined) return hex(data);
  const [size, infinity, nan] = FLOATS[datatype];
  const [allButSign, bytes] = [(1n << BigInt(8 * size - 1)) - 1n, Buffer.from(data)];
  for (let at = 0; at < bytes.length; at += size) {
    const number = BigInt(`0x${hex(bytes.subarray(at, at + size).toReversed())}`);
    if ((number & allButSign) > infinity) bytes.set(Buffer.from(nan.toString(16), 'hex').reverse(), at);
  }
  return hex(bytes);
}

const print = (told) => console.log(JSON.stringify(told));

const [path, job] = process.argv.slice(2);
const [first, ...lines] = readFileSync(job, 'utf8').trimEnd().split('\n');
const module = await import(pathToFileURL(resolve(path)));
const plugin = new Plugin(module, dirname(path), JSON.parse(first));
print(await plugin.start());
for (const line of lines) {
  const [[name, call]] = Object.entries(JSON.parse(line));
  print(await calls[name](plugin, call));
}
const counters = Object.entries(plugin.counters).map(([name, count]) => [name, String(count)]);
print({ counters: Object.fromEntries(counters), gauges: plugin.gauges });
