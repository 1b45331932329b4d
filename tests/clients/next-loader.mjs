/** A loader for `next/image`: `src` is the `url` of an image that is not private. */
export default function imagegraphLoader({ src, width, quality = 75 }) {
  const base = src.slice(0, src.lastIndexOf('/'));
  return `${base}/width=${width},quality=${quality},format=auto`;
}
