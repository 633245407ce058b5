// Makes a component of a folder's JavaScript: node build.mjs FOLDER WORLD [OUTPUT]
//
// FOLDER/FOLDER.js is compiled against the world, without WASI; FOLDER/schema.json goes into the component.

import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { componentize } from '@bytecodealliance/componentize-js';

const WIT = join(dirname(fileURLToPath(import.meta.url)), '../../../wit/0.1.0');

// Everything that would import WASI. Without them Math.random is a fixed sequence, Date.now stands still at the build's
// time, and console.log goes nowhere.
const DISABLED = ['clocks', 'fetch-event', 'http', 'random', 'stdio'];

const [folder, world, output = `${folder}/${folder}.wasm`] = process.argv.slice(2);
const { component } = await componentize({
  sourcePath: join(folder, `${folder}.js`),
  witPath: WIT,
  worldName: world,
  disableFeatures: DISABLED,
});
const schema = JSON.stringify(JSON.parse(readFileSync(join(folder, 'schema.json'), 'utf8')));
const stamped = Buffer.concat([component, customSection('floorhand:schema', schema)]);
writeFileSync(output, stamped);
console.log(`${output}: ${stamped.length} bytes`);

/** A custom section may stand at the end of any component: 0, the length of the rest, the name with its length, the text. */
function customSection(name, text) {
  const named = Buffer.concat([length(Buffer.byteLength(name)), Buffer.from(name), Buffer.from(text)]);
  return Buffer.concat([Buffer.from([0]), length(named.length), named]);
}

/** A length as WebAssembly writes it: seven bits a byte, the lowest first. */
function length(value) {
  const bytes = [];
  for (let rest = value; ; rest >>>= 7) {
    if (rest < 0x80) return Buffer.from([...bytes, rest]);
    bytes.push((rest & 0x7f) | 0x80);
  }
}
