// Starts Swagger UI. The server replaces {document} with the path of the OpenAPI document.

// Swagger UI shows an answer when it has ended. A stream of events does not end, so "Try it out" is not offered for it.
const streamsAreNotTried = () => ({
  statePlugins: {
    spec: {
      wrapSelectors: {
        allowTryItOutFor: (original) => (state, path, method) =>
          !state.hasIn(["json", "paths", path, method, "responses", "200", "content", "text/event-stream"]) &&
          original(state, path, method),
      },
    },
  },
});

window.onload = () => {
  window.ui = SwaggerUIBundle({
    url: "{document}",
    dom_id: "#swagger-ui",
    layout: "BaseLayout",
    presets: [SwaggerUIBundle.presets.apis],
    plugins: [streamsAreNotTried],
    deepLinking: true,
    displayRequestDuration: true,
    // The key is kept in the browser's local storage for this origin until "Logout".
    persistAuthorization: true,
    tryItOutEnabled: true,
    // No document is sent to a validator elsewhere.
    validatorUrl: null,
  });
};
