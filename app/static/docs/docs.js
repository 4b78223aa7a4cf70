// Draws the API's description. Addresses are relative, so that a proxy may move the hub below a path.

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: false,
  // The default sends the description's address to a validator on the internet.
  validatorUrl: null,
});
