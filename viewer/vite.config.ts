// Two builds: the page (index.html and hashed assets), and `--mode library`, the element as one file.

import { defineConfig } from "vitest/config";

export default defineConfig(({ mode }) => ({
  // Relative addresses, so that the page also works in a folder of any static host.
  base: "./",
  publicDir: mode === "library" ? false : "public",
  define: { "process.env.NODE_ENV": JSON.stringify("production") },
  build: {
    target: "es2022",
    outDir: "dist",
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
