// jsforce's own code against an org: JSON with `url` in, what it saw out.
"use strict";
const fs = require("fs");
const jsforce = require("jsforce");

const KEY = "Fieldline_Key__c";

async function refused(act) {
  try {
    await act();
  } catch (error) {
    return error.errorCode || error.name;
  }
  return null;
}

async function main() {
  const given = JSON.parse(fs.readFileSync(0, "utf8"));
  const said = {};
  const version = "62.0";

  const conn = new jsforce.Connection({ loginUrl: given.url, instanceUrl: given.url, version });
  await conn.authorize({
    grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer",
    assertion: given.assertion,
  });
  said.instance = conn.instanceUrl === given.url;
  const app = new jsforce.Connection({
    instanceUrl: given.url,
    oauth2: { clientId: given.client_id, clientSecret: given.client_secret, loginUrl: given.url },
    version,
  });
  await app.authorize({ grant_type: "client_credentials" });
  said.app = (await app.query("SELECT COUNT() FROM Case")).totalSize;

  const cases = conn.sobject("Case");
  const key = (await cases.describe()).fields.find((one) => one.name === KEY);
  said.key = [key.externalId, key.unique];
  await conn.sobject("Account").create({ Name: "Acme", Customer_Id__c: "C-1" });
  const single = { [KEY]: "j-1", Subject: "one", Account: { Customer_Id__c: "C-1" } };
  const first = await cases.upsert(single, KEY);
  const second = await cases.upsert({ [KEY]: "j-1", Subject: "two" }, KEY);
  said.upsert = [first.success, first.created, second.created, first.id === second.id];
  const many = [1, 2, 3].map((n) => ({ [KEY]: `j-${n}`, Subject: n === 2 ? "x".repeat(300) : "m" }));
  const each = await cases.upsert(many, KEY, { allowRecursive: true });
  said.collection = each.map((one) => (one.success ? one.created : one.errors[0].statusCode));
  said.found = (await cases.find({ [KEY]: "j-1" }, ["Id", "Subject", "Account.Name"])).map((one) => [
    one.Subject,
    one.Account.Name,
  ]);
  const event = await conn.sobject("Fieldline_Event__e").create({ Key__c: "j-1" });
  said.event = [event.success, event.errors[0].statusCode];

  const rows = Array.from({ length: 20 }, (_, n) => ({ [KEY]: `b-${n}`, Subject: `bulk ${n}` }));
  rows.push({ [KEY]: "b-bad", Subject: "x".repeat(300) });
  const job = await conn.bulk2.loadAndWaitForResults({
    object: "Case",
    operation: "upsert",
    externalIdFieldName: KEY,
    input: rows,
    pollInterval: 20,
    pollTimeout: 20000,
  });
  said.bulk = [
    job.successfulResults.length,
    job.failedResults.map((one) => [one[KEY], one.sf__Error.split(":")[0]]),
    job.unprocessedRecords.length,
  ];

  said.refused = [
    await refused(() => cases.create({ [KEY]: "j-1" })),
    await refused(() => cases.update({ Id: first.id, Status: "Sleeping" })),
    await refused(() => conn.query("SELECT Nope__c FROM Case")),
    await refused(() => cases.retrieve("500000000000000AAA")),
  ];
  await cases.destroy(first.id);
  said.deleted = (await cases.find({ [KEY]: "j-1" })).length;
  said.usage = conn.limitInfo.apiUsage.limit;
  process.stdout.write(JSON.stringify(said));
}

main().catch((error) => {
  process.stderr.write(String(error.stack || error));
  process.exit(1);
});
