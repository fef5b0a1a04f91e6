// Signs a webhook's body with Stripe's own library, and has the library believe a signature.
//
//   sign.cjs <library> sign <secret> <timestamp> < body     prints the header Stripe-Signature
//   sign.cjs <library> believe <secret> <header> < body     exits with 0 if the library believes it
//
// No request is made: the key is never used.
"use strict";

const { readFileSync } = require("node:fs");

const [library, task, secret, given] = process.argv.slice(2);
const Stripe = require(library);
const { webhooks } = new Stripe("sk_test_unused");
const payload = readFileSync(0, "utf8");

if (task === "sign") {
  const timestamp = Number(given);
  process.stdout.write(webhooks.generateTestHeaderString({ payload, secret, timestamp }));
} else if (task === "believe") {
  // The clock of the tests is their own, so the age does not count here.
  webhooks.constructEvent(payload, given, secret, Number.MAX_SAFE_INTEGER);
} else {
  throw new Error(`no such task: ${task}`);
}
