// Four events from @rudderstack/rudder-sdk-node. Arguments: URL, write key, run.
const RudderAnalytics = require("@rudderstack/rudder-sdk-node");

const [url, writeKey, run] = process.argv.slice(2);
const analytics = new RudderAnalytics(writeKey, { dataPlaneUrl: url });
const consentManagement = {
  provider: "custom",
  allowedConsentIds: ["measurement"],
  deniedConsentIds: ["marketing"],
};
const context = { consentManagement };
analytics.identify({ userId: "u1", traits: { run }, context });
analytics.track({ userId: "u1", event: "Order Completed", properties: { run, total: 7.5 }, context });
analytics.page({ userId: "u1", name: "Home", properties: { run }, context });
analytics.group({ userId: "u1", groupId: "g1", traits: { run }, context });
analytics.flush();
