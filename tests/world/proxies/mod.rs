//! Proxies in front of the server: nginx with `deploy/nginx.conf`, and nginx and HAProxy with all requests of the table
//! and with ordinary traffic.

mod deploy;
mod proxy;
mod smuggling;
mod traffic;
