// What is drawn of a model.

const MOST_DEVICES = 6;

const FAILED = ["invalid", "expired", "cancelled", "failed"];
const REFUSALS = {
  queue_full: "queue is full",
  bytes: "bytes in flight",
  pixels: "pixels in flight",
  share: "share of a caller",
  deadline: "deadline",
  not_ready: "not ready",
};
const REASONS = {
  full: "it was full",
  device_free: "a device was free",
  deadline: "a deadline",
  decoding: "decoding took long",
};
const STAGES = { decode: "decode", queue: "queue", infer: "inference", total: "total" };

/** Return the charts of a model. @returns {import("./chart.js").Spec[]} */
export function chartsOf(model) {
  return [
    {
      title: "Images",
      unit: "per second",
      lines: [
        { name: "answered", of: ({ images }) => images.ok },
        { name: "in time (goodput)", of: ({ goodput }) => goodput },
        { name: "refused", of: ({ images }) => images.rejected },
        { name: "other failures", of: failures },
      ],
    },
    { title: "Refusals by reason", unit: "images per second", lines: named(REFUSALS, "refusals") },
    {
      title: "Waiting, and in flight",
      unit: "images",
      lines: [
        { name: "in flight", of: ({ inflight }) => inflight },
        { name: "in the queue", of: ({ queue }) => queue },
        { name: "slow to decode", of: ({ background }) => background },
      ],
    },
    { title: "Half are faster: p50", unit: "milliseconds", lines: times("p50_ms") },
    { title: "99 of 100 are faster: p99", unit: "milliseconds", lines: times("p99_ms") },
    { title: "Why batches started", unit: "batches per second", lines: named(REASONS, "batches") },
    { title: "Devices at work", unit: "% of the time", lines: devices(model), most: 100 },
  ];
}

/** Return the images per second that ended otherwise than answered or refused. */
export function failures({ images }) {
  return FAILED.reduce((sum, outcome) => sum + images[outcome], 0);
}

function named(names, field) {
  return Object.entries(names).map(([key, name]) => ({ name, of: (model) => model[field][key] }));
}

function times(quantile) {
  return Object.entries(STAGES).map(([key, name]) => ({ name, of: ({ stages }) => stages[key][quantile] }));
}

function devices(model) {
  const busy = (at) => (one) => (one.devices[at] ? 100 * one.devices[at].busy : null);
  if (model.devices.length <= MOST_DEVICES) {
    return model.devices.map((device, at) => ({ name: device.name, of: busy(at) }));
  }
  const mean = (one) => (100 * one.devices.reduce((sum, { busy: share }) => sum + share, 0)) / one.devices.length;
  return [{ name: `mean of ${model.devices.length}`, of: mean }];
}
