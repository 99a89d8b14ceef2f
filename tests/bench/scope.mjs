// What is to be undone when a measurement ends: it stands for a test's context.

export class Scope {
  #undo = [];
  after(undo) {
    this.#undo.push(undo);
  }
  async end() {
    for (const undo of this.#undo.reverse()) await undo();
  }
}

/** Measures, and undoes what was set up for it, whatever happened. */
export async function within(measure) {
  const scope = new Scope();
  try {
    return await measure(scope);
  } finally {
    await scope.end();
  }
}
