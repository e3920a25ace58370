// A photo from the camera, which is on only while the dialog is open.

import { el, Fault } from "../dom.js";

const QUALITY = 0.92;

/** Return a photo that the user takes, or null. @returns {Promise<File|null>} */
export async function photograph() {
  const video = el("video", { autoplay: true, playsinline: true, muted: true });
  const shutter = el("button", { type: "button", class: "primary", disabled: true }, "Take the photo");
  const cancel = el("button", { type: "button" }, "Cancel");
  const fault = new Fault();
  const dialog = el(
    "dialog",
    { class: "camera", "aria-label": "Camera" },
    el("div", { class: "stack" }, video, fault.element, el("div", { class: "row end" }, cancel, shutter)),
  );
  document.body.append(dialog);
  dialog.showModal();
  const closed = new Promise((resolve) => dialog.addEventListener("close", () => resolve(null)));
  const taken = new Promise((resolve) => shutter.addEventListener("click", () => resolve(frame(video))));
  cancel.addEventListener("click", () => dialog.close());
  const opening = open(video).then(
    () => (shutter.disabled = false),
    (error) => {
      fault.tell(`The camera cannot be used: ${(error.message || error.name).replace(/\.$/, "")}.`);
    },
  );
  const photo = await Promise.race([taken, closed]);
  dialog.close(); // the keyboard is then where it was before
  dialog.remove();
  await opening; // what is given late is given back, too
  video.srcObject?.getTracks().forEach((track) => track.stop());
  return photo;
}

async function open(video) {
  video.srcObject = await navigator.mediaDevices.getUserMedia({
    video: { facingMode: "environment", width: { ideal: 1280 } },
  });
  await video.play();
}

function frame(video) {
  const canvas = el("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise((resolve) => {
    canvas.toBlob((blob) => resolve(new File([blob], "photo.jpg", { type: blob.type })), "image/jpeg", QUALITY);
  });
}
