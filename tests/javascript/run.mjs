// node run.mjs PACKAGES RUNTIME FOLDER
//
// Runs ONNX files with a runtime of the folder PACKAGES: onnxruntime-node, or onnxruntime-web, in wasm.
// FOLDER/jobs.json lists {model, feeds: {name: {dims, file}}}; the files hold float32. Outputs are written beside them
// as JOB.NAME.RUNTIME, float32 or one byte a bool; printed is a list of {name: {type, dims, file}}, or {error}.

import { readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const [packages, runtime, folder] = process.argv.slice(2);
const ort = createRequire(resolve(packages, "package.json"))(runtime);
ort.env.wasm.numThreads = 1;
const options = { intraOpNumThreads: 1, interOpNumThreads: 1 };

async function readTensor({ dims, file }) {
  const bytes = await readFile(join(folder, file));
  // Bytes that node read may start anywhere in a pool; floats must start at a multiple of four.
  return new ort.Tensor("float32", new Float32Array(new Uint8Array(bytes).buffer), dims);
}

async function writeTensor({ type, dims, data }, file) {
  await writeFile(join(folder, file), new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return { type, dims, file };
}

async function mapValues(object, change) {
  const entries = Object.entries(object).map(async ([name, value]) => [name, await change(value, name)]);
  return Object.fromEntries(await Promise.all(entries));
}

const sessions = new Map();

async function sessionOf(model) {
  if (!sessions.has(model)) {
    const bytes = new Uint8Array(await readFile(join(folder, model)));
    sessions.set(model, await ort.InferenceSession.create(bytes, options));
  }
  return sessions.get(model);
}

async function answer({ model, feeds }, job) {
  try {
    const session = await sessionOf(model);
    const outputs = await session.run(await mapValues(feeds, readTensor));
    return await mapValues(outputs, (tensor, name) => writeTensor(tensor, `${job}.${name}.${runtime}`));
  } catch (error) {
    return { error: String(error) };
  }
}

const answers = [];
for (const [job, description] of JSON.parse(await readFile(join(folder, "jobs.json"))).entries()) {
  answers.push(await answer(description, job));
}
console.log(JSON.stringify(answers));
