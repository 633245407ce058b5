// Exponential smoothing over time: a processor in JavaScript.
//
// Each column's level moves towards its new value by 1 - 2^(-t / half_life_s), where t is the time since the sample before. The
// first sample of a series, and the first after a gap, is its level. A sample no later than the one before moves nothing.

import { gauge } from 'floorhand:plugin/host@0.1.0';
import {
  Series, badConfig, badInput, each, fieldsOf, guarded, integerOf, parseConfig, rowSpec, rowsOf, tensorOf, textOf,
} from '../guest.mjs';

let fields;
let halfLifeS;
let series;

export const processing = guarded({
  configure(text, _assets, given) {
    const config = parseConfig(text, ['fields', 'half_life_s', 'input', 'max_keys', 'output']);
    const input = textOf(config, 'input');
    const output = textOf(config, 'output', input);
    fields = fieldsOf(config);
    halfLifeS = config.half_life_s;
    if (!(typeof halfLifeS === 'number' && halfLifeS > 0)) {
      throw badConfig('configuration, key half_life_s: has to be a number of seconds above 0');
    }
    series = new Series(integerOf(config, 'max_keys', 1, 1024, 1));
    return {
      inputs: [rowSpec(input, fields, given)],
      outputs: [rowSpec(output, fields, given, input)],
      // A number has at most 24 characters and a comma; a time has 20.
      stateBytes: series.bytes(64 + 25 * fields.length),
      maxSamples: 64,
    };
  },

  process(samples, inputs) {
    const rows = rowsOf(samples, inputs, fields.length);
    const { indices, results, refusals } = each(samples, (sample, index) => {
      const before = series.before(sample);
      const row = rows[index];
      const missing = row.findIndex((value) => !Number.isFinite(value));
      if (missing >= 0) throw badInput(`${fields[missing]} is ${row[missing]}`);
      const state = moved(before, sample.timeNs, row);
      series.set(sample, state);
      gauge('level', state.levels[0]);
      return state.levels;
    });
    const answers = indices.length > 0 ? [{ indices, tensors: [tensorOf(results, fields.length)] }] : [];
    return { answers, refusals };
  },

  snapshot: () => series.snapshot(),
  restore: (saved) => series.restore(saved, isState),
});

/** The state after a sample, as JSON can hold it: it has no BigInt for times, and no -0, which becomes 0 here. */
function moved(before, timeNs, row) {
  if (before === undefined) return { timeNs: String(timeNs), levels: row.map((value) => value + 0) };
  const seconds = Number(timeNs - BigInt(before.timeNs)) / 1e9;
  if (seconds <= 0) return before;
  const weight = 1 - 2 ** (-seconds / halfLifeS);
  const levels = before.levels.map((level, column) => level + weight * (row[column] - level));
  return { timeNs: String(timeNs), levels };
}

function isState(state) {
  const levels = Array.isArray(state?.levels) ? state.levels : [];
  return /^\d{1,19}$/.test(state?.timeNs) && levels.length === fields.length && levels.every(Number.isFinite);
}
