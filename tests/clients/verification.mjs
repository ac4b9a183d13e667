// What a reader in JavaScript needs to verify a state: the canonical form, and WebCrypto. Nothing of this project.
import { webcrypto } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [folder, server, bucket, collection, keyFile] = process.argv.slice(2);
export const options = { server, bucket, collection };

/** A package of the folder into which tools/install_npm_clients.sh installed. */
export const load = createRequire(`${folder}/package.json`);

const byUtf8 = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b));
const escaped = (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;

export function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value !== null && typeof value === "object") {
    const names = Object.keys(value).sort(byUtf8);
    return `{${names.map((name) => `${canonical(name)}:${canonical(value[name])}`).join(",")}}`;
  }
  return JSON.stringify(value).replace(/[\u007f-\uffff]/g, escaped);
}

const der = Buffer.from(readFileSync(keyFile, "ascii").replace(/-----[A-Z ]+-----|\s/g, ""), "base64");
const key = await webcrypto.subtle.importKey("spki", der, { name: "ECDSA", namedCurve: "P-384" }, false, ["verify"]);

export async function verified(records, timestamp, metadata) {
  const data = [...records].sort((a, b) => byUtf8(a.id, b.id));
  const text = canonical({ data, last_modified: String(timestamp) });
  const bytes = Buffer.from(`Content-Signature:\x00${text}`);
  const signature = Buffer.from(metadata.signature.signature, "base64url");
  return await webcrypto.subtle.verify({ name: "ECDSA", hash: "SHA-384" }, key, signature, bytes);
}

/** For each line that is read, one line of JSON with what `read` found. */
export async function answer(read) {
  for await (const _ of createInterface({ input: process.stdin })) {
    const { records, timestamp, metadata, changes } = await read();
    const held = await verified(records, timestamp, metadata);
    console.log(JSON.stringify({ records, timestamp, changes, verified: held }));
  }
}
