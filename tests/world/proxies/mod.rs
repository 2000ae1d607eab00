//! Proxies in front of the server: nginx and Caddy with the configurations of `deploy/`, proxies without any configuration
//! for streams, and nginx and HAProxy with all requests of the table and with ordinary traffic.

mod between;
mod deploy;
mod proxy;
mod shipped;
mod smuggling;
mod traffic;
