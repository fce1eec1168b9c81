// Four events from @jitsu/js in Node.js. Arguments: URL, write key, run.
const { jitsuAnalytics } = require("@jitsu/js");

const [host, writeKey, run] = process.argv.slice(2);
const jitsu = jitsuAnalytics({
  host,
  writeKey: `${writeKey}:secret`,
  privacy: { consentCategories: { measurement: true, marketing: false } },
});
(async () => {
  await jitsu.identify("u1", { run });
  await jitsu.track("Order Completed", { run, total: 7.5 });
  await jitsu.page("Home", { run });
  await jitsu.group("g1", { run });
})();
