// A reader in JavaScript that pins a root: reads {chain, root, signerId, signature, content} and says what verifies.
import { webcrypto, X509Certificate } from "node:crypto";
import { text } from "node:stream/consumers";

const given = JSON.parse(await text(process.stdin));
const chain = given.chain.match(/-----BEGIN [^]+?-----END CERTIFICATE-----\n/g).map((pem) => new X509Certificate(pem));
const [leaf, ...above] = chain;
const root = chain.at(-1);
const linked = above.every((issuer, i) => issuer.ca && chain[i].checkIssued(issuer) && chain[i].verify(issuer.publicKey));
const pinned = root.fingerprint256.replaceAll(":", "").toLowerCase() === given.root && root.verify(root.publicKey);
const named = leaf.checkHost(given.signerId) === given.signerId && !leaf.ca;
const inTime = chain.every((one) => Date.parse(one.validFrom) <= Date.now() && Date.now() <= Date.parse(one.validTo));

const spki = leaf.publicKey.export({ type: "spki", format: "der" });
const key = await webcrypto.subtle.importKey("spki", spki, { name: "ECDSA", namedCurve: "P-384" }, false, ["verify"]);
const signature = Buffer.from(given.signature, "base64url");
const content = Buffer.from(given.content, "base64");
const verified = await webcrypto.subtle.verify({ name: "ECDSA", hash: "SHA-384" }, key, signature, content);
console.log(JSON.stringify({ chain: linked && pinned && named && inTime, signature: verified }));
