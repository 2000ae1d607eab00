// What a bundler makes of the package, which is a script and not a module.
import "/node_modules/event-source-polyfill/src/eventsource.js";

export const EventSourcePolyfill = globalThis.EventSourcePolyfill;
