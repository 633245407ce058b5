// Lines of `name=value` pairs: a decoder in JavaScript.
//
// Every line of a message is a sample: `id=7 machine=press-1 ms=1767225600000 pressure=4.2 flow=11`. A line that can't be
// read is a failure at its place; the others stand. Pairs that nobody asked for are passed over.

import { counter } from 'floorhand:plugin/host@0.1.0';
import { badInput, each, fieldsOf, guarded, parseConfig, rowSpec, tensorOf, textOf } from '../guest.mjs';

const NAMES = ['id_name', 'series_name', 'time_name'];

let fields;
let names;

export const decoding = guarded({
  configure(text, _assets, wanted) {
    const config = parseConfig(text, ['fields', 'output', ...NAMES]);
    fields = fieldsOf(config);
    names = NAMES.map((key, place) => textOf(config, key, ['id', 'machine', 'ms'][place]));
    return { outputs: [rowSpec(textOf(config, 'output'), fields, wanted)], stateBytes: 0, maxMessages: 64 };
  },

  decode(messages) {
    const read = each(messages, (message, index) => {
      const lines = textOfMessage(message.payload).split('\n').filter((line) => line.trim() !== '');
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

  snapshot: () => new Uint8Array(),
  restore() {},
});

function textOfMessage(payload) {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(payload);
  } catch {
    throw badInput('the message is no UTF-8');
  }
}

/** The lines of a message that couldn't be read, each behind the samples before it and with its key, if it has one. */
function failed({ results, refusals }, lines, message) {
  const failures = refusals.map(({ index, error }, place) => {
    const key = lines[index].match(new RegExp(`(?:^|\\s)${names[1]}=(\\S+)`))?.[1];
    return { message, samplesBefore: index - place, key, error };
  });
  return { results, failures };
}

/** A line's numbers, and what else is known of the sample. */
function sample(line, message) {
  const pairs = new Map(line.trim().split(/\s+/).map(pair));
  const [id, key, ms] = names.map((name) => pairs.get(name));
  const row = fields.map((field) => number(field, pairs.get(field)));
  return { row, known: { message, id, key, timeNs: time(ms) } };
}

function pair(text) {
  const at = text.indexOf('=');
  if (at < 1) throw badInput(`${text} is no name=value`);
  return [text.slice(0, at), text.slice(at + 1)];
}

function number(field, text) {
  if (text === undefined) throw badInput(`${field} is missing`);
  const value = text === '' ? NaN : Number(text);
  if (Number.isNaN(value)) throw badInput(`${field} is ${text}, no number`);
  return value;
}

/** Milliseconds to nanoseconds, which are too many for a number: BigInt. */
function time(text) {
  if (text === undefined) return undefined;
  if (!/^\d{1,12}$|^[0-8]\d{12}$/.test(text)) throw badInput(`${names[2]} is ${text}, no milliseconds since 1970`);
  return BigInt(text) * 1_000_000n;
}
