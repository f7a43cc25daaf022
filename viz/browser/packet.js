// Named arrays from one block of bytes; the other half is packet.py.
function unpack(view) {
  if (!view || !view.byteLength) return null;
  let { buffer, byteOffset: at } = view;
  if (at % 4) { buffer = buffer.slice(at, at + view.byteLength); at = 0; }
  const size = new DataView(buffer, at, 4).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, at + 4, size)));
  const sorts = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, i4: Int32Array, f4: Float32Array };
  for (const [name, sort, from, count] of head.arrays) head[name] = new sorts[sort](buffer, at + 4 + size + from, count);
  return head;
}
