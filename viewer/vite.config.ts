// Two builds: the page, one file with its script in it, and `--mode library`, the element as one file.
// Beside each lies the same, compressed: the daemon serves it so (src/io/http/page.rs).

import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

import { type Plugin, defineConfig } from "vitest/config";

const OUT = "dist";
const COMPRESSED = /\.(js|html)$/;
/** Where gzip's header names the operating system (RFC 1952 §2.3); 255 is an unknown one, the same everywhere. */
const OS_AT = 9;
const OS_UNKNOWN = 255;

/** The same bytes for the same file, on every machine: Node writes neither a name nor a time. */
function compress(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (!entry.isFile() || !COMPRESSED.test(path)) continue;
    const packed = gzipSync(readFileSync(path), { level: 9 });
    packed[OS_AT] = OS_UNKNOWN;
    writeFileSync(`${path}.gz`, packed);
  }
}

/**
 * Puts the script at the end of the page, and its hash into the page's policy: a file of its own takes another
 * request until the first picture, and a module waits until the empty page is drawn. No other script runs then.
 */
function inline(): Plugin {
  return {
    name: "inline",
    apply: "build",
    enforce: "post",
    generateBundle(_, bundle) {
      const page = bundle["index.html"];
      if (page?.type !== "asset") return;
      const [script, ...more] = Object.values(bundle).filter((file) => file.type === "chunk");
      if (script === undefined || more.length > 0) throw new Error("the page has one script");
      // What would end the element, or begin a comment in it (HTML §4.12.1.3).
      const code = script.code.trim().replaceAll("</script", "<\\/script").replaceAll("<!--", "\\x3C!--");
      const hash = createHash("sha256").update(code).digest("base64");
      const parts = [
        [/\s*<script type="module"[^>]* src="[^"]*"><\/script>/, ""],
        ["script-src 'self'", `script-src 'sha256-${hash}'`],
        ["\n  </body>", `\n    <script>${code}</script>\n  </body>`],
      ] as const;
      page.source = parts.reduce((text, [place, part]) => {
        const parts = text.split(place);
        if (parts.length !== 2) throw new Error(`index.html has ${parts.length - 1} places for ${place}`);
        return parts.join(part);
      }, String(page.source));
      delete bundle[script.fileName];
    },
  };
}

export default defineConfig(({ mode }) => ({
  plugins: [inline(), { name: "compress", apply: "build" as const, closeBundle: () => compress(join(__dirname, OUT)) }],
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
    ...(mode === "library"
      ? { lib: { entry: "src/farol-camera.ts", formats: ["es" as const], fileName: () => "farol-camera.js" } }
      : { rollupOptions: { output: { format: "iife" as const } } }),
  },
  test: {
    environment: "node",
    include: ["test/**/*.test.ts"],
    setupFiles: ["test/setup.ts"],
  },
}));
