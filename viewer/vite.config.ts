// Two builds: the page (index.html and hashed assets), and `--mode library`, the element as one file.
// Beside each script lies the same, compressed: the daemon serves it so (src/io/http/page.rs).

import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

import { defineConfig } from "vitest/config";

const OUT = "dist";
/** Where gzip's header names the operating system (RFC 1952 §2.3); 255 is an unknown one, the same everywhere. */
const OS_AT = 9;
const OS_UNKNOWN = 255;

/** The same bytes for the same script, on every machine: Node writes neither a name nor a time. */
function compress(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) compress(path);
    if (!entry.isFile() || !path.endsWith(".js")) continue;
    const packed = gzipSync(readFileSync(path), { level: 9 });
    packed[OS_AT] = OS_UNKNOWN;
    writeFileSync(`${path}.gz`, packed);
  }
}

export default defineConfig(({ mode }) => ({
  plugins: [{ name: "compress", apply: "build" as const, closeBundle: () => compress(join(__dirname, OUT)) }],
  // Relative addresses, so that the page also works in a folder of any static host.
  base: "./",
  publicDir: mode === "library" ? false : "public",
  define: { "process.env.NODE_ENV": JSON.stringify("production") },
  build: {
    target: "es2022",
    outDir: OUT,
    emptyOutDir: mode !== "library",
    modulePreload: false,
    assetsInlineLimit: 0,
    ...(mode === "library" && {
      lib: { entry: "src/farol-camera.ts", formats: ["es" as const], fileName: () => "farol-camera.js" },
      // One file for other pages; the page of its own fetches the board's part later (src/board.ts).
      rollupOptions: { output: { inlineDynamicImports: true } },
    }),
  },
  test: {
    environment: "node",
    include: ["test/**/*.test.ts"],
    setupFiles: ["test/setup.ts"],
  },
}));
