//! A user of the server: a token, a persistent connection, and frequent calls.

use super::eventually;
use super::http::{Client, Origin, Request, Response};
use super::server::Server;
use super::sse::Stream;
use super::token::token;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// A user with a token.
pub struct User {
    /// The `oid` in the token.
    pub id: String,
    /// The token.
    pub token: String,
    addr: SocketAddr,
    client: Client,
}

impl User {
    /// A user with that id and a valid token.
    pub fn new(server: &Server, id: &str) -> User {
        User::at(server.addr, id)
    }

    /// A user of the server at an address, for threads that cannot borrow the `Server`.
    pub fn at(addr: SocketAddr, id: &str) -> User {
        User::from(Origin::default(), addr, id)
    }

    /// The same, from a given address.
    pub fn from(origin: Origin, addr: SocketAddr, id: &str) -> User {
        User { id: id.to_owned(), token: token(id), addr, client: Client::from(origin, addr) }
    }

    /// A user with the given token.
    pub fn with_token(server: &Server, id: &str, token: &str) -> User {
        User { id: id.to_owned(), token: token.to_owned(), addr: server.addr, client: Client::new(server.addr) }
    }

    /// The address of the server.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connects to the new address of the server.
    pub fn follow(&mut self, server: &Server) {
        self.addr = server.addr;
        self.client = Client::new(server.addr);
    }

    /// Builds a request with the token.
    pub fn request(&mut self, method: &str, path: &str) -> Request<'_> {
        let token = self.token.clone();
        self.client.request(method, path).token(&token)
    }

    /// Sends a `GET` request.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Response {
        self.request("GET", path).send()
    }

    /// Sends a `POST` request with a JSON body.
    #[track_caller]
    pub fn post(&mut self, path: &str, body: Value) -> Response {
        self.request("POST", path).json(&body).send()
    }

    /// Sends a `PUT` request with a JSON body.
    #[track_caller]
    pub fn put(&mut self, path: &str, body: Value) -> Response {
        self.request("PUT", path).json(&body).send()
    }

    /// Sends a `DELETE` request.
    #[track_caller]
    pub fn delete(&mut self, path: &str) -> Response {
        self.request("DELETE", path).send()
    }

    /// Creates a workspace and returns its id.
    #[track_caller]
    pub fn create_workspace(&mut self, name: &str) -> String {
        let response = self.post("/config/workspace", json!({"name": name, "description": "for a test"})).expect(200);
        text(&response.json()["workspace"]["id"])
    }

    /// Creates a conversation and returns its id.
    #[track_caller]
    pub fn create_conversation(&mut self, workspace: &str, topic: &str, participants: &[&str]) -> String {
        let body = json!({"workspace_id": workspace, "topic": topic, "participant_ids": participants});
        text(&self.post("/config/conversation", body).expect(200).json()["conversation"]["id"])
    }

    /// Posts a message by `POST /input` and returns the `data` of the response.
    #[track_caller]
    pub fn say(&mut self, conversation: &str, content: &str) -> Value {
        let body = json!({"content": content, "conversation_id": conversation});
        self.post("/input", body).expect(200).json()["data"].clone()
    }

    /// Creates a conversation by `POST /conversations`, in the default workspace, and returns its id.
    #[track_caller]
    pub fn start_conversation(&mut self, title: &str) -> String {
        text(&self.post("/conversations", json!({"title": title})).expect(200).json()["id"])
    }

    /// Posts a message by `POST /conversations/{id}/messages` and returns its id.
    #[track_caller]
    pub fn post_message(&mut self, conversation: &str, content: &str) -> String {
        let body = json!({"content": content, "role": "user"});
        text(&self.post(&format!("/conversations/{conversation}/messages"), body).expect(200).json()["id"])
    }

    /// A conversation, as `GET /config/conversation/{id}` returns it.
    #[track_caller]
    pub fn conversation(&mut self, id: &str) -> Value {
        self.get(&format!("/config/conversation/{id}")).expect(200).json()["conversation"].clone()
    }

    /// A workspace, as `GET /config/workspace/{id}` returns it.
    #[track_caller]
    pub fn workspace(&mut self, id: &str) -> Value {
        self.get(&format!("/config/workspace/{id}")).expect(200).json()["workspace"].clone()
    }

    /// The ids of the user's workspaces on the first page of the list.
    #[track_caller]
    pub fn workspace_ids(&mut self) -> Vec<String> {
        ids(&self.get("/config/workspace?limit=1000").expect(200).json()["workspaces"])
    }

    /// The ids of a workspace's conversations on the first page of the list.
    #[track_caller]
    pub fn conversation_ids(&mut self, workspace: &str) -> Vec<String> {
        let response = self.get(&format!("/config/conversation?limit=1000&workspace_id={workspace}")).expect(200);
        ids(&response.json()["conversations"])
    }

    /// Waits until the server counts no stream of the user. It detects a disconnect when it reads the socket.
    #[track_caller]
    pub fn wait_until_no_streams(&mut self) {
        eventually("no stream is counted", || self.get("/output/streams").expect(200).json()["total"] == 0);
    }

    /// Opens a stream without filters.
    #[track_caller]
    pub fn stream(&self) -> Stream {
        Stream::open(self.addr, &self.token, "")
    }

    /// Opens a stream with a query.
    #[track_caller]
    pub fn stream_with(&self, query: &str) -> Stream {
        Stream::open(self.addr, &self.token, query)
    }
}

/// The string in a JSON value.
#[track_caller]
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a string, not {value}")).to_owned()
}

/// The ids in a list of resources.
#[track_caller]
pub fn ids(list: &Value) -> Vec<String> {
    list.as_array().unwrap_or_else(|| panic!("a list, not {list}")).iter().map(|item| text(&item["id"])).collect()
}
