// How figures are summed up and printed.

/** The value below which a share of them lies. */
export function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1))];
}

export const median = (values) => quantile(values, 0.5);

/** Rows of cells, the first of them the heads. */
export function table(title, rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => String(row[column]).length)));
  const line = (row) => row.map((cell, n) => (n === 0 ? String(cell).padEnd(widths[n]) : String(cell).padStart(widths[n]))).join("  ");
  console.log(`\n${title}\n`);
  rows.forEach((row, n) => {
    console.log(`  ${line(row).trimEnd()}`);
    if (n === 0) console.log(`  ${widths.map((width) => "-".repeat(width)).join("  ")}`);
  });
}

/** Whether a figure reaches its goal; nothing fails for one that does not. */
export function goal(what, figure, most, unit = "") {
  const digits = most < 1 ? 3 : most < 100 ? 2 : 0;
  const text = (value) => `${value.toFixed(digits)}${unit}`;
  console.log(`  ${figure <= most ? "met   " : "MISSED"}  ${what}: ${text(figure)}, at most ${most}${unit}`);
}
