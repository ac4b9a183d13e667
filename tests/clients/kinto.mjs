// kinto.js: each line on stdin synchronises its store (IndexedDB), which is then verified: what the application would read.
import { answer, load, options } from "./verification.mjs";

load("fake-indexeddb/auto");
const Kinto = load("kinto").default;

const kinto = new Kinto({ remote: options.server, bucket: options.bucket, retry: 0 });
const collection = kinto.collection(options.collection);

await answer(async () => {
  const result = await collection.sync({ strategy: Kinto.syncStrategy.SERVER_WINS });
  if (!result.ok) throw new Error(JSON.stringify(result));
  const { data } = await collection.list();
  const records = data.map(({ _status, ...record }) => record);
  const changes = result.created.length + result.updated.length + result.deleted.length;
  const timestamp = await collection.db.getLastModified();
  return { records, timestamp, metadata: await collection.metadata(), changes };
});
