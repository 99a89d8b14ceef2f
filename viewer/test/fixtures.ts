// Where the test vectors are that the Rust and the TypeScript tests both read.
import { readFileSync } from "node:fs";

/** A file of tests/fixtures/signal; a missing one fails the test. */
export function fixture(name: string): unknown {
  return JSON.parse(readFileSync(new URL(`../../tests/fixtures/signal/${name}`, import.meta.url), "utf8"));
}
