// Makes renditions with sharp, one for each line of standard input: format, width, quality, source and result. Answers each
// with a line of its own: its bytes, or what went wrong.
import { writeFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import sharp from 'sharp';

// One thread, and each rendition from the beginning.
sharp.concurrency(1);
sharp.cache(false);

const encoders = {
  jpeg: (picture, quality) => picture.jpeg({ quality, chromaSubsampling: '4:2:0' }),
  webp: (picture, quality) => picture.webp({ quality, effort: 4 }),
};

console.log(`sharp ${sharp.versions.sharp}, libvips ${sharp.versions.vips}`);
for await (const line of createInterface({ input: process.stdin })) {
  const [format, width, quality, source, result] = line.split('\t');
  const picture = sharp(source).resize({ width: Number(width), kernel: 'lanczos3' });
  const file = await encoders[format](picture, Number(quality)).toBuffer();
  if (result) await writeFile(result, file);
  console.log(file.length);
}
