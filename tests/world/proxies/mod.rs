//! Proxies in front of the server: nginx as `deploy/nginx.conf` configures it, and nginx and HAProxy with every request of
//! the table and with ordinary traffic.

mod deploy;
mod proxy;
mod smuggling;
mod traffic;
