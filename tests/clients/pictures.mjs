// Tiny pictures, made here.

import { crc32, deflateSync } from 'node:zlib';

/** A PNG of one colour, e.g. `[200, 30, 90]`. */
export function png(width, height, colour) {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2], 8); // eight bits, RGB
  const row = Buffer.concat([Buffer.of(0), ...Array(width).fill(Buffer.from(colour))]);
  const pixels = deflateSync(Buffer.concat(Array(height).fill(row)));
  const signature = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');
  return Buffer.concat([signature, chunk('IHDR', header), chunk('IDAT', pixels), chunk('IEND')]);
}

function chunk(type, data = Buffer.alloc(0)) {
  const typed = Buffer.concat([Buffer.from(type), data]);
  return Buffer.concat([uint32(data.length), typed, uint32(crc32(typed))]);
}

/** A grey JPEG with EXIF: `orientation`, 1 to 8, and `make`, a text of four characters or more. */
export function jpeg(width, height, { orientation, make }) {
  const blocks = Math.ceil(width / 8) * Math.ceil(height / 8);
  // A block is two zero bits: no difference to the block before, end of block.
  const scan = Buffer.alloc(Math.ceil(blocks / 4));
  scan[scan.length - 1] = 0xff >> (2 * (((blocks - 1) % 4) + 1));
  const oneCode = [1, ...Array(15).fill(0), 0];
  return Buffer.concat([
    Buffer.of(0xff, 0xd8),
    segment(0xe1, exif(orientation, make)),
    segment(0xdb, Buffer.of(0, ...Array(64).fill(1))),
    segment(0xc0, Buffer.of(8, height >> 8, height & 255, width >> 8, width & 255, 1, 1, 0x11, 0)),
    segment(0xc4, Buffer.of(0x00, ...oneCode)),
    segment(0xc4, Buffer.of(0x10, ...oneCode)),
    segment(0xda, Buffer.of(1, 1, 0, 0, 63, 0)),
    scan,
    Buffer.of(0xff, 0xd9),
  ]);
}

function segment(marker, data) {
  return Buffer.concat([Buffer.of(0xff, marker, (data.length + 2) >> 8, (data.length + 2) & 255), data]);
}

function exif(orientation, make) {
  const text = Buffer.from(`${make}\0`);
  const tags = Buffer.alloc(2 + 2 * 12 + 4);
  tags.writeUInt16BE(2, 0);
  // Tag, type, count; then the value, or where in the TIFF it is.
  tags.writeUInt16BE(0x010f, 2);
  tags.writeUInt16BE(2, 4);
  tags.writeUInt32BE(text.length, 6);
  tags.writeUInt32BE(8 + tags.length, 10);
  tags.writeUInt16BE(0x0112, 14);
  tags.writeUInt16BE(3, 16);
  tags.writeUInt32BE(1, 18);
  tags.writeUInt16BE(orientation, 22);
  return Buffer.concat([Buffer.from('Exif\0\0MM\0*'), uint32(8), tags, text]);
}

function uint32(number) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(number);
  return bytes;
}

/** Width and height that the header of a PNG or JPEG tells. */
export function pixelsOf(bytes) {
  if (bytes.subarray(1, 4).toString('latin1') === 'PNG') {
    return { width: bytes.readUInt32BE(16), height: bytes.readUInt32BE(20) };
  }
  for (let at = 2; bytes[at] === 0xff; at += 2 + bytes.readUInt16BE(at + 2)) {
    const marker = bytes[at + 1];
    // Start of frame; three of the sixteen markers are something else.
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      return { width: bytes.readUInt16BE(at + 7), height: bytes.readUInt16BE(at + 5) };
    }
  }
  throw new Error('neither a PNG nor a JPEG');
}
