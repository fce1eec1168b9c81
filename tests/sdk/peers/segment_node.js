// Four events from @segment/analytics-node. Arguments: URL, write key, run.
const { Analytics } = require("@segment/analytics-node");

const [url, writeKey, run] = process.argv.slice(2);
const analytics = new Analytics({ writeKey, host: url });
const context = { consent: { categoryPreferences: { measurement: true, marketing: false } } };
analytics.identify({ userId: "u1", traits: { run }, context });
analytics.track({ userId: "u1", event: "Order Completed", properties: { run, total: 7.5 }, context });
analytics.page({ userId: "u1", name: "Home", properties: { run }, context });
analytics.group({ userId: "u1", groupId: "g1", traits: { run }, context });
analytics.closeAndFlush({ timeout: 30000 });
