// Shows the API's description. Addresses are relative, so that a proxy may add a path prefix.

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: false,
  // By default Swagger UI sends the description's address to a validator on the internet.
  validatorUrl: null,
});
