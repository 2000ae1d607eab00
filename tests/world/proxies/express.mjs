// A development server in front of an API: express with compression. Arguments: the URL of the API; the port.
import compression from "compression";
import express from "express";
import { createProxyMiddleware } from "http-proxy-middleware";

const [target, port] = process.argv.slice(2);
const app = express();
app.use(compression());
app.use(
  createProxyMiddleware({
    target,
    // Version 3 and earlier leave a client's connection open when the server's is cut.
    on: { proxyRes: (response, request, toClient) => response.on("aborted", () => toClient.destroy()) },
  }),
);
app.listen(Number(port), "127.0.0.1");
