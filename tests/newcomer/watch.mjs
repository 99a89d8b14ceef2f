// watch LINK [NAME=ADDRESS]: open a link as a person does, and print after how many milliseconds its picture moves.
// A phone finds NAME.local by mDNS; here it is told.

import { launch, open } from '../e2e/browser.mjs';

const [link, known] = process.argv.slice(2);
const browser = await launch({ flags: known ? [`--host-resolver-rules=MAP ${known.replace('=', ' ')}`] : [] });
try {
  const began = performance.now();
  const viewer = await open(browser, link);
  await viewer.plays();
  console.log(Math.round(performance.now() - began));
} finally {
  await browser.close();
}
