// How @hey-api/openapi-ts makes the client. `cargo xtask sdk typescript` says what from, and where to.
export default {
  input: process.env.OPENAPI_DOCUMENT,
  output: { path: process.env.OPENAPI_OUTPUT, tsConfigPath: new URL('client/tsconfig.json', import.meta.url).pathname },
  plugins: [
    '@hey-api/client-fetch',
    '@hey-api/typescript',
    // Instants as Date; whole numbers stay numbers: no count of calls comes near 2^53.
    { name: '@hey-api/transformers', dates: true, bigInt: false },
    { name: '@hey-api/sdk', transformer: true },
  ],
};
