// What the plugins here share: errors, the configuration, states of series, and bytes as numbers.

/** Errors as the interface wants them thrown. Anything else that is thrown out of an exported function is a trap. */
export const badInput = (text) => ({ tag: 'bad-input', val: text });
export const badConfig = (text) => ({ tag: 'bad-config', val: text });
export const exhausted = (text) => ({ tag: 'exhausted', val: text });

/** What was thrown, if it is one of the above; of a bug of ours an `internal` error with its text. */
const errorOf = (thrown) =>
  thrown instanceof Error ? { tag: 'internal', val: `${thrown.name}: ${thrown.message}` } : thrown;

/** The same functions, but a bug of ours is an error and no trap. */
export function guarded(functions) {
  const guard = (work) => (...values) => {
    try {
      return work(...values);
    } catch (thrown) {
      throw errorOf(thrown);
    }
  };
  return Object.fromEntries(Object.entries(functions).map(([name, work]) => [name, guard(work)]));
}

/**
 * Does the same to each of a call's samples or messages, in order. What is thrown refuses that one; `undefined` is no answer.
 */
export function each(items, work) {
  const [indices, results, refusals] = [[], [], []];
  items.forEach((item, index) => {
    try {
      const result = work(item, index);
      if (result === undefined) return;
      indices.push(index);
      results.push(result);
    } catch (thrown) {
      refusals.push({ index, error: errorOf(thrown) });
    }
  });
  return { indices, results, refusals };
}

/** The configuration's object, if it has none but these keys. */
export function parseConfig(text, keys) {
  let config;
  try {
    config = JSON.parse(text);
  } catch (error) {
    throw badConfig(`configuration: ${error.message}`);
  }
  if (config === null || typeof config !== 'object' || Array.isArray(config)) {
    throw badConfig('configuration: has to be an object');
  }
  for (const key of Object.keys(config)) {
    if (!keys.includes(key)) throw badConfig(`configuration, key ${key}: unknown, it takes ${keys.join(', ')}`);
  }
  return config;
}

/** A configuration's value if it is a text, what stands for a missing one, else an error. */
export function textOf(config, key, missing) {
  const value = config[key] ?? missing;
  if (typeof value === 'string' && value !== '') return value;
  throw badConfig(`configuration, key ${key}: has to be a text`);
}

/** A configuration's whole number. */
export function integerOf(config, key, least, most, missing) {
  const value = config[key] ?? missing;
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw badConfig(`configuration, key ${key}: has to be a whole number from ${least} to ${most}`);
}

/** A configuration's names of columns: each once. */
export function fieldsOf(config) {
  const fields = config.fields;
  const named = Array.isArray(fields) && fields.length > 0 && fields.every((field) => typeof field === 'string' && field);
  if (!named || new Set(fields).size !== fields.length) {
    throw badConfig('configuration, key fields: has to be a list of the names of columns, each once');
  }
  return fields;
}

/** A row of single-precision numbers; with the units of the tensor that is given, if there is one of this name. */
export function rowSpec(name, names, given = [], source = name) {
  const known = given.find((spec) => spec.name === source)?.fields ?? [];
  const unitOf = (field) => known.find((column) => column.name === field)?.unit ?? '';
  return {
    name,
    datatype: 'fp32',
    shape: [names.length],
    fields: names.map((field) => ({ name: field, unit: unitOf(field) })),
  };
}

/** Rows of numbers as one FP32 tensor. */
export function tensorOf(rows, columns) {
  const data = new Uint8Array(4 * columns * rows.length);
  const view = viewOf(data);
  rows.flat().forEach((number, place) => view.setFloat32(4 * place, number, true));
  return { datatype: 'fp32', shape: [rows.length, columns], data };
}

/** The numbers of each sample in the only tensor of a call, after a close look at it. */
export function rowsOf(samples, tensors, columns) {
  const [tensor] = tensors;
  const wanted = [samples.length, columns];
  const fits = tensors.length === 1 && tensor.datatype === 'fp32' && [...tensor.shape].join() === wanted.join();
  if (!fits || tensor.data.byteLength !== 4 * samples.length * columns) {
    throw badInput(`it takes one FP32 tensor of shape [${wanted}]`);
  }
  const view = viewOf(tensor.data);
  const numbers = Array.from({ length: samples.length * columns }, (_, place) => view.getFloat32(4 * place, true));
  return samples.map((_, place) => numbers.slice(place * columns, (place + 1) * columns));
}

/** For numbers in bytes that may begin anywhere: no typed array can. */
const viewOf = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

// The most bytes that a key takes in a snapshot: 256 bytes may each be written as six.
const KEY_BYTES = 6 * 256;

/** A state for each series of samples, by their key; at most so many. A state is what JSON can hold. */
export class Series {
  #most;
  #states = new Map();

  constructor(most) {
    this.#most = most;
  }

  /**
   * The state of a sample's series, or `undefined` if it begins with this sample. A gap is of the sample's own series: the
   * others go on. Asked of every sample, refused ones too.
   */
  before({ key, gap }) {
    if (gap) this.#states.delete(key);
    if (!this.#states.has(key) && this.#states.size >= this.#most) {
      throw exhausted(`there are more series than max_keys, ${this.#most}: raise it`);
    }
    return this.#states.get(key);
  }

  set({ key }, state) {
    this.#states.set(key, state);
  }

  /** How long a snapshot can get, when a state's JSON can get so long. */
  bytes(stateBytes) {
    return 32 + this.#most * (KEY_BYTES + 8 + stateBytes);
  }

  /** Empty where there is no series yet: an empty state isn't given to `restore`. */
  snapshot() {
    if (this.#states.size === 0) return new Uint8Array();
    const series = [...this.#states].map(([key, state]) => [key ?? null, state]);
    return new TextEncoder().encode(JSON.stringify({ version: 1, series }));
  }

  /** `fits` says whether something can be a state. */
  restore(saved, fits) {
    let read;
    try {
      read = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(saved));
    } catch {
      throw badConfig('the state is none of this plugin: start without it');
    }
    const list = read?.version === 1 && Array.isArray(read.series) ? read.series : [];
    if (list.length === 0 || list.length > this.#most || !list.every((one) => isPair(one) && fits(one[1]))) {
      throw badConfig('the state is of another version or configuration: start without it');
    }
    this.#states = new Map(list.map(([key, state]) => [key ?? undefined, state]));
  }
}

const isPair = (one) => Array.isArray(one) && one.length === 2 && (one[0] === null || typeof one[0] === 'string');
