/** Sends a file to where `createDirectUpload` said. Needs no token. */
export function send({ uploadUrl, method, headers, formFields, fileFieldName }, file) {
  if (method === 'PUT') {
    const named = headers.map(({ name, value }) => [name, value]);
    return fetch(uploadUrl, { method, headers: Object.fromEntries(named), body: file });
  }
  const form = new FormData();
  for (const { name, value } of formFields) form.append(name, value);
  form.append(fileFieldName, file);
  return fetch(uploadUrl, { method, body: form });
}
