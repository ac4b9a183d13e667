// kinto-http.js: each line on stdin asks monitor/changes, then for the records that are newer than what is held.
import { answer, load, options } from "./verification.mjs";

const KintoClient = load("kinto-http").default;

const client = new KintoClient(options.server);
const collection = client.bucket(options.bucket).collection(options.collection);
const monitor = client.bucket("monitor").collection("changes");
const held = new Map();
let since;

await answer(async () => {
  const { bucket, collection: name } = options;
  const entries = (await monitor.listRecords({ filters: { bucket, collection: name } })).data;
  if (entries.length !== 1) throw new Error(`monitor/changes has ${entries.length} entries of ${bucket}/${name}`);
  const { data, last_modified } = await collection.listRecords({ since, pages: Infinity });
  for (const change of data) {
    if (change.deleted) held.delete(change.id);
    else held.set(change.id, change);
  }
  since = last_modified;
  return { records: [...held.values()], timestamp: last_modified, metadata: await collection.getData(), changes: data.length };
});
