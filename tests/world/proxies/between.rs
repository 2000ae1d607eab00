//! Streams through proxies without any configuration for them: each event arrives before the next is sent, and nothing is
//! lost when the server is restarted or killed.

use super::proxy::{Kind, Proxy};
use super::shipped::{self, Outer, Shipped, listening};
use crate::clients::follower::Follower;
use crate::clients::matrix::{node, python};
use crate::common::port::free_port;
use crate::common::publish::{Acknowledged, Publisher};
use crate::common::token::token;
use crate::common::{Options, Server, User};
use crate::tools;
use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// Seconds that HAProxy waits for the next byte: more than any test takes.
const PROXY_TIMEOUT_SECONDS: u32 = 3600;

#[test]
fn events_pass_express_with_compression() {
    let Some(packages) = tools::node_packages() else { return };
    let route = Route::start();
    let addr = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut command = Command::new("node");
    command.arg(packages.join("express.mjs")).args([format!("http://{}", route.server.addr), addr.port().to_string()]);
    let _proxy = listening(command, addr);
    route.follow(addr);
}

#[test]
fn events_pass_a_second_nginx() {
    let route = Route::start();
    let Some(inner) = Shipped::start(shipped::Kind::Nginx, route.server.addr) else { return };
    let Some(outer) = Outer::start(inner.addr) else { return };
    route.follow(outer.addr);
}

#[test]
fn events_pass_haproxy() {
    let route = Route::start();
    let Some(proxy) = Proxy::start(Kind::Haproxy, route.server.addr, PROXY_TIMEOUT_SECONDS) else { return };
    route.follow(proxy.addr);
}

/// A server, a conversation, and a publisher that is connected to the server directly.
pub struct Route {
    pub server: Server,
    conversation: String,
    publisher: Publisher,
    posted: Vec<Acknowledged>,
}

impl Route {
    /// Starts a server that keeps its address.
    #[track_caller]
    pub fn start() -> Route {
        let options = Options::new().set("TRUSTED_PROXIES", "127.0.0.1").set("ALLOWED_HOSTS", "*");
        let server = Server::start(options.set("PORT", free_port()));
        let mut owner = User::new(&server, "reader");
        let workspace = owner.create_workspace("w");
        let conversation = owner.create_conversation(&workspace, "t", &["publisher"]);
        let publisher = Publisher::new(server.addr, "publisher");
        Route { server, conversation, publisher, posted: Vec::new() }
    }

    /// Follows the stream through a proxy with two clients, over a restart and a kill.
    #[track_caller]
    fn follow(mut self, proxy: SocketAddr) {
        let commands = [node("eventsource.mjs", "eventsource"), python("follow_httpx_sse.py")];
        let mut clients: Vec<Follower> =
            commands.into_iter().flatten().map(|command| Follower::start(command, proxy, &token("reader"))).collect();
        clients.iter_mut().for_each(Follower::wait_for_established);
        self.post_alone(&mut clients);
        self.server.restart();
        self.post_after_restart(&mut clients);
        self.post_alone(&mut clients);
        self.server.kill();
        self.server.start_again();
        self.post_after_restart(&mut clients);
        self.post_alone(&mut clients);
        self.finish(clients);
    }

    /// Posts messages, each after every client has shown the one before.
    #[track_caller]
    pub fn post_alone(&mut self, clients: &mut [Follower]) {
        for _ in 0..3 {
            let number = self.post("alone é😀");
            clients.iter_mut().for_each(|client| client.wait_for_lone_message(number));
        }
    }

    /// Posts a message that clients get when they have reconnected.
    #[track_caller]
    pub fn post_after_restart(&mut self, clients: &mut [Follower]) {
        let number = self.post("while nobody was connected");
        clients.iter_mut().for_each(|client| client.wait_for_message(number));
    }

    /// Stops or kills the server, and starts it again five seconds later.
    #[track_caller]
    pub fn take_down(&mut self, end: impl FnOnce(&mut Server)) {
        end(&mut self.server);
        thread::sleep(Duration::from_secs(5));
        self.server.start_again();
    }

    /// Posts the last message. Every client must have shown everything, and must not have given up.
    #[track_caller]
    pub fn finish(mut self, clients: Vec<Follower>) {
        self.post("the end");
        let posted: Vec<(u64, String)> =
            self.posted.into_iter().map(|message| (message.number, message.content)).collect();
        for client in clients {
            assert_eq!(client.gave_up, 0, "every response was 200");
            assert_eq!(client.messages_to_the_end(), posted);
        }
    }

    fn post(&mut self, content: &str) -> u64 {
        let message = self.publisher.post(&self.conversation, content);
        let number = message.number;
        self.posted.push(message);
        number
    }
}
