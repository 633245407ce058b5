// Lines of `name=value` pairs: a decoder in JavaScript.
//
// Every line of a message is a sample: `id=7 machine=press-1 ms=1767225600000 pressure=4.2 flow=11`. A line that can't be
// read is a failure at its place; the others stand. Pairs that nobody asked for are passed over.

import { counter } from 'floorhand:plugin/host@0.1.0';
import { badConfig, badInput, each, fieldsOf, guarded, parseConfig, rowSpec, tensorOf, textOf } from '../guest.mjs';

const NAMES = ['id_name', 'series_name', 'time_name'];

// So many messages of so many lines and bytes fit into an answer, whatever stands in them, and into memory.
const MAX_MESSAGES = 64;
const MAX_LINES = 1024;
const MAX_BYTES = 65_536;

let fields;
let names;

export const decoding = guarded({
  configure(text, _assets, wanted) {
    const config = parseConfig(text, ['fields', 'output', ...NAMES]);
    fields = fieldsOf(config);
    names = NAMES.map((key, place) => textOf(config, key, ['id', 'machine', 'ms'][place]));
    return { outputs: [rowSpec(textOf(config, 'output'), fields, wanted)], stateBytes: 0, maxMessages: MAX_MESSAGES };
  },

  decode(messages) {
    const read = each(messages, (message, index) => {
      const lines = linesOf(message.payload);
      counter('lines', BigInt(lines.length));
      return failed(each(lines, (line) => sample(line, index)), lines, index);
    });
    const found = read.results.flatMap(({ results }) => results);
    const whole = read.refusals.map(({ index, error }) => ({ message: index, samplesBefore: 0, error }));
    const failures = [...whole, ...read.results.flatMap(({ failures }) => failures)].sort((a, b) => a.message - b.message);
    if (found.length === 0) return { batches: [], failures };
    const tensors = [tensorOf(found.map(({ row }) => row), fields.length)];
    return { batches: [{ samples: found.map(({ known }) => known), tensors }], failures };
  },

  // A component has all functions of its world; without state nobody calls these.
  snapshot: () => new Uint8Array(),
  restore() {
    throw badConfig('there is no state: start without it');
  },
});

/** The lines that aren't empty. */
function linesOf(payload) {
  if (payload.byteLength > MAX_BYTES) throw badInput(`the message has ${payload.byteLength} bytes, over ${MAX_BYTES}`);
  let text;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(payload);
  } catch {
    throw badInput('the message is no UTF-8');
  }
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  if (lines.length > MAX_LINES) throw badInput(`the message has ${lines.length} lines, over ${MAX_LINES}`);
  return lines;
}

/** The lines of a message that couldn't be read, each behind the samples before it and with its key, if it has one. */
function failed({ results, refusals }, lines, message) {
  const failures = refusals.map(({ index, error }, place) => {
    return { message, samplesBefore: index - place, key: keyOf(lines[index]), error };
  });
  return { results, failures };
}

/** The key of a line of which the rest may be anything; of several the last one counts, as in `sample`. */
function keyOf(line) {
  const start = `${names[1]}=`;
  const found = line.trim().split(/\s+/).findLast((text) => text.startsWith(start))?.slice(start.length);
  return found !== undefined && isName(found) ? found : undefined;
}

/** Whether it can be an id or a key. */
const isName = (text) => text !== '' && new TextEncoder().encode(text).length <= 256;

/** As much of what stands in a line as an error's text needs. */
const brief = (text) => text.slice(0, 64);

/** A line's numbers, and what else is known of the sample. */
function sample(line, message) {
  const pairs = new Map(line.trim().split(/\s+/).map(pair));
  const [id, key, ms] = names.map((name) => pairs.get(name));
  [id, key].forEach((text, place) => {
    if (text !== undefined && !isName(text)) throw badInput(`${names[place]} is ${brief(text)}, and has to have 1 to 256 bytes`);
  });
  const row = fields.map((field) => number(field, pairs.get(field)));
  return { row, known: { message, id, key, timeNs: time(ms) } };
}

function pair(text) {
  const at = text.indexOf('=');
  if (at < 1) throw badInput(`${brief(text)} is no name=value`);
  return [text.slice(0, at), text.slice(at + 1)];
}

function number(field, text) {
  if (text === undefined) throw badInput(`${field} is missing`);
  const value = text === '' ? NaN : Number(text);
  if (Number.isNaN(value)) throw badInput(`${field} is ${brief(text)}, no number`);
  return value;
}

/** Milliseconds to nanoseconds, which are too many for a number: BigInt. */
function time(text) {
  if (text === undefined) return undefined;
  if (!/^\d{1,12}$|^[0-8]\d{12}$/.test(text)) throw badInput(`${names[2]} is ${brief(text)}, no milliseconds since 1970`);
  return BigInt(text) * 1_000_000n;
}
