// The file, run in WebAssembly by onnxruntime-web.

const RUNTIME = "ort.wasm.min.mjs";

/** Why nothing can be computed, in a sentence or two. */
export class NoRuntime extends Error {}

/** Return a function that inverts one matrix: `await invert(m, entries)`. */
export async function loadInverter() {
  const ort = await importRuntime();
  ort.env.wasm.numThreads = 1; // more would ask the server for cross-origin isolation
  const session = await createSession(ort);
  const invert = async (m, entries) => {
    const A = new ort.Tensor("float32", entries, [1, m, m]);
    const start = performance.now();
    const { inverse, rho, residual_norm } = await session.run({ A });
    const milliseconds = performance.now() - start;
    return { inverse: inverse.data, rho: rho.data[0], residual: residual_norm.data[0], milliseconds };
  };
  await invert(1, Float32Array.of(1)); // the first run sets up, and would be timed with the rest
  return invert;
}

async function importRuntime() {
  try {
    return await import(`./${RUNTIME}`);
  } catch {
    throw new NoRuntime(
      `The runtime is not beside this page: ${RUNTIME} is missing. To add it, build the page where npm is, with ` +
        "python -m scripts.build_demo FOLDER, or copy ort.wasm.min.mjs, ort-wasm-simd-threaded.mjs and " +
        "ort-wasm-simd-threaded.wasm here from the folder dist of the npm package onnxruntime-web 1.30.0.",
    );
  }
}

async function createSession(ort) {
  try {
    return await ort.InferenceSession.create("any_size.onnx", { executionProviders: ["wasm"] });
  } catch (error) {
    throw new NoRuntime(`The runtime, or the file any_size.onnx, could not be loaded: ${error.message}`);
  }
}
