//! The clients: agents that send requests, and clients that keep streams open.

use crate::link::*;
use crate::model::Filter;
use crate::session::Asked;
use crate::transcript::{Item, Response};
use crate::world::*;
use cortex_core::internals::EventKind;
use std::net::{IpAddr, Ipv4Addr};

impl World {
    /// Opens a connection to any instance; `None` while none accepts.
    fn connect(&mut self, owner: Owner) -> Option<usize> {
        let accepts = |process: &&Process| !process.draining && !process.stopped;
        let accepting = |instance: &usize| self.instances[*instance].as_ref().filter(accepts).is_some();
        let accepting: Vec<usize> = (0..self.setup.instances).filter(accepting).collect();
        if accepting.is_empty() {
            return None;
        }
        let position = |instance: &usize| Some(self.instances[*instance].as_ref()?.shared.streams.position());
        let furthest_behind = accepting.iter().copied().min_by_key(position).expect("an instance accepts");
        let is_hard = accepting.len() > 1 && matches!(owner, Owner::StreamClient(_)) && self.chance(1, 3);
        let instance = if is_hard { furthest_behind } else { accepting[self.below(accepting.len())] };
        let shard = instance * self.setup.shards + self.below(self.setup.shards);
        let room = [150, 700, 3000, 1 << 20][self.below(4)];
        let now = self.now;
        let slot = self.state_mut(shard).shard.accept(IpAddr::V4(Ipv4Addr::LOCALHOST), now);
        let id = self.next_link;
        self.next_link += 1;
        self.state_mut(shard).slots.insert(slot, id);
        self.links.insert(id, Link::new(shard, slot, owner, room, now.mono));
        trace!(self, "link {id}: {owner:?} at shard {shard}, room {room}");
        Some(id)
    }

    /// Writes a request to a connection; returns its index.
    fn send(&mut self, id: usize, user: usize, kind: Kind, head: &str, fields: &str, body: &[u8]) -> usize {
        let at = self.requests.len();
        let lifetime = match kind {
            Kind::Stream { .. } => [45, 100, 3600][self.below(3)],
            _ => 3600,
        };
        let (token, expires_at) = self.token(user, lifetime);
        let mut bytes = format!(
            "{head} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nX-Request-Id: r{at}\r\n{fields}"
        )
        .into_bytes();
        if body.is_empty() {
            bytes.extend_from_slice(b"\r\n");
        } else if self.chance(1, 6) {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            let size = 1 + self.below(body.len());
            for chunk in body.chunks(size) {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            bytes.extend_from_slice(body);
        }
        trace!(self, "link {id}: r{at} of {user}: {head} {kind:?}");
        let link = self.links.get_mut(&id).expect("the link exists");
        link.send(&bytes);
        link.expects.push_back(at);
        let end = link.sent;
        // A stream starts at what its instance knows, and a read is of the newest state.
        let instance = self.instance_of(self.links[&id].shard);
        let known_committed = match (&kind, &self.instances[instance]) {
            (Kind::Stream { .. }, Some(process)) => process.known_committed,
            _ => self.known_committed,
        };
        self.requests.push(Request { kind, known_committed, expires_at, expected: None, end });
        at
    }

    /// The agent's connection, if it has space for another request.
    pub fn agent_link(&mut self, agent: usize) -> Option<usize> {
        if let Some(id) = self.agents[agent].link
            && let Some(link) = self.links.get(&id)
        {
            if link.is_open() {
                return (link.expects.len() < 3).then_some(id);
            }
            if !link.client_done && !link.gone {
                return None;
            }
        }
        let id = self.connect(Owner::Agent(agent))?;
        self.agents[agent].link = Some(id);
        Some(id)
    }

    /// An agent sends a request.
    pub fn agent_acts(&mut self, agent: usize) {
        let user = self.agents[agent].user;
        let Some(link) = self.agent_link(agent) else { return };
        let conversation = self.some_conversation(user);
        let workspace = self.some_workspace(user);
        // With large messages, little else happens, so that they push each other out of the tails.
        let choice = if self.setup.heavy && self.chance(3, 4) { 99 } else { self.below(100) };
        match (choice, workspace, conversation) {
            (0..=5, ..) | (_, None, _) => {
                let body = b"{\"name\":\"w\",\"description\":\"d\"}";
                self.send(link, user, Kind::Write, "POST /config/workspace", "", body);
            }
            (6..=16, Some(workspace), _) | (_, Some(workspace), None) => {
                let id = self.model.workspaces[workspace].id;
                let body =
                    format!("{{\"workspace_id\":\"{id}\",\"topic\":\"t\",\"participant_ids\":{}}}", self.some_users());
                self.send(link, user, Kind::Write, "POST /config/conversation", "", body.as_bytes());
            }
            (17..=32, _, Some(conversation)) => {
                let id = self.model.conversations[conversation].id;
                let body = if self.chance(1, 5) {
                    "{\"topic\":\"other\"}".to_owned()
                } else {
                    format!("{{\"participant_ids\":{}}}", self.some_users())
                };
                self.send(link, user, Kind::Write, &format!("PUT /config/conversation/{id}"), "", body.as_bytes());
            }
            (33..=36, _, Some(conversation)) => {
                let id = self.model.conversations[conversation].id;
                self.send(link, user, Kind::Write, &format!("POST /config/conversation/{id}/leave"), "", b"");
            }
            (37..=38, _, Some(conversation)) => {
                let id = self.model.conversations[conversation].id;
                self.send(link, user, Kind::Write, &format!("DELETE /config/conversation/{id}"), "", b"");
            }
            (39, Some(workspace), _) => {
                let id = self.model.workspaces[workspace].id;
                self.send(link, user, Kind::Write, &format!("DELETE /config/workspace/{id}"), "", b"");
            }
            (40..=42, Some(workspace), _) => {
                let id = self.model.workspaces[workspace].id;
                let body = b"{\"name\":\"renamed\",\"metadata\":{\"n\":1}}";
                self.send(link, user, Kind::Write, &format!("PUT /config/workspace/{id}"), "", body);
            }
            (43..=46, Some(workspace), _) => {
                let id = self.model.workspaces[workspace].id;
                self.send(link, user, Kind::Read, &format!("GET /config/conversation?workspace_id={id}"), "", b"");
            }
            (47, ..) => {
                self.send(link, user, Kind::Read, "GET /output/streams", "", b"");
            }
            (48..=50, ..) => self.renew(link, user),
            (51..=57, _, Some(conversation)) => self.change_message(link, user, conversation),
            (58.., ..) => self.post(link, user),
        }
    }

    fn change_message(&mut self, link: usize, user: usize, conversation: usize) {
        let messages = self.model.messages_of(conversation);
        if messages.is_empty() {
            return self.post(link, user);
        }
        let (id, message) = (self.model.conversations[conversation].id, messages[self.below(messages.len())]);
        let path = format!("/conversations/{id}/messages/{message}");
        if self.chance(1, 3) {
            self.send(link, user, Kind::Write, &format!("DELETE {path}"), "", b"");
            return;
        }
        let size = if self.chance(1, 4) { 3_000 } else { 100 };
        let body = format!("{{\"content\":\"changed in request {} {}\"}}", self.requests.len(), "x".repeat(size));
        self.send(link, user, Kind::Write, &format!("PUT {path}"), "", body.as_bytes());
    }

    fn renew(&mut self, link: usize, user: usize) {
        let stream_client = self.below(self.stream_clients.len());
        if self.stream_clients[stream_client].user != user {
            return;
        }
        let session = self.stream_clients[stream_client].link.and_then(|id| self.links.get(&id)?.session.as_ref());
        let Some(stream_id) = session.map(|session| session.stream_id.clone()).filter(|id| !id.is_empty()) else {
            return;
        };
        // The request's own token is the fresh one, and lives as long as tokens of requests do.
        let (_, expires_at) = self.token(user, 3600);
        let head = format!("POST /output/streams/{stream_id}/renew");
        self.send(link, user, Kind::Renew { stream_client, stream_id, expires_at }, &head, "", b"");
    }

    /// Posts a new message, or repeats one whose response was lost.
    fn post(&mut self, link: usize, user: usize) {
        let open = |post: &PostedMessage| post.user == user && post.is_open();
        let again = self.posts.iter().position(|post| open(post) && (post.pending == 0 || post.sends < 2));
        if let Some(post) = again
            && self.chance(1, 2)
        {
            return self.send_post(link, post);
        }
        let answered = self.posts.iter().rposition(|post| post.user == user && post.response.is_some());
        if let Some(post) = answered.filter(|post| self.posts[*post].key.is_some() && !self.posts[*post].aged)
            && self.chance(1, 8)
        {
            return self.send_post(link, post);
        }
        let place = self.posts.len();
        let content = self.content(place);
        let quoted = serde_json::to_string(&content).expect("text is JSON");
        let metadata = if self.chance(1, 4) { ",\"metadata\":{\"a\": [1, \"b\"]}" } else { "" };
        let target = self.some_conversation(user).map(|found| self.model.conversations[found].id);
        let (path, body) = match (self.below(8), target) {
            (0, _) | (_, None) => ("/input".to_owned(), format!("{{\"content\":{quoted}{metadata}}}")),
            (1, _) => {
                let body = format!("{{\"content\":{quoted},\"conversation_id\":\"default\"{metadata}}}");
                ("/input".to_owned(), body)
            }
            (2..=3, Some(id)) if content.chars().count() <= 4000 => {
                let body = format!("{{\"content\":{quoted},\"role\":\"user\"{metadata}}}");
                (format!("/conversations/{id}/messages"), body)
            }
            (_, Some(id)) => {
                let body = format!("{{\"content\":{quoted},\"conversation_id\":\"{id}\"{metadata}}}");
                ("/input".to_owned(), body)
            }
        };
        let body = body.into_bytes();
        let key = match self.below(12) {
            0..=4 => None,
            // Another message under a key that was used before.
            5 => self.posts.iter().rfind(|post| post.user == user).and_then(|post| post.key.clone()),
            _ => Some(format!("key-{place}")),
        };
        self.posts.push(PostedMessage {
            user,
            key,
            path,
            body,
            content,
            pending: 0,
            sends: 0,
            response: None,
            acknowledged_before: None,
            rejected: false,
            aged: false,
        });
        self.send_post(link, place);
    }

    pub fn send_post(&mut self, link: usize, place: usize) {
        let post = &mut self.posts[place];
        post.pending += 1;
        post.sends += 1;
        let fields = post.key.as_ref().map_or(String::new(), |key| format!("Idempotency-Key: {key}\r\n"));
        let (user, body, post_path) = (post.user, post.body.clone(), post.path.clone());
        let head = format!("POST {}", post_path);
        self.send(link, user, Kind::Post(place), &head, &fields, &body);
    }

    fn content(&mut self, place: usize) -> String {
        let size = match (self.setup.heavy, self.below(20)) {
            (true, 0..=12) => 300_000 + self.below(700_000),
            (_, 0) => 4_000 + self.below(6_000),
            (_, 1..=6) => 500 + self.below(2_500),
            _ => self.below(200),
        };
        let mut content = format!("message {place} \"of\"\n{}é", "x\\".repeat(self.below(3)));
        content.push_str(&"0123456789".repeat(size / 10));
        content
    }

    /// Usually a conversation that the user may write to.
    fn some_conversation(&mut self, user: usize) -> Option<usize> {
        let all = self.model.conversations.len();
        if all == 0 || self.chance(1, 12) {
            return (all > 0).then(|| self.below(all));
        }
        let may = |model: &crate::model::Model, place| model.conversation_lives(place) && model.may_see(place, user);
        let good: Vec<usize> = (0..all).filter(|place| may(&self.model, *place)).collect();
        if good.is_empty() { None } else { Some(good[self.below(good.len())]) }
    }

    fn some_workspace(&mut self, user: usize) -> Option<usize> {
        let all = self.model.workspaces.len();
        if all > 0 && self.chance(1, 15) {
            return Some(self.below(all));
        }
        let own =
            |model: &crate::model::Model, place| model.workspace_lives(place) && model.workspaces[place].owner == user;
        let good: Vec<usize> = (0..all).filter(|place| own(&self.model, *place)).collect();
        if good.is_empty() { None } else { Some(good[self.below(good.len())]) }
    }

    fn some_users(&mut self) -> String {
        let chosen: Vec<String> = (0..self.setup.users)
            .filter(|_| self.random.below(2) == 0)
            .map(|user| format!("\"{}\"", self.model.users[user]))
            .collect();
        format!("[{}]", chosen.join(","))
    }

    /// A client opens its stream, where it was or elsewhere.
    pub fn listen(&mut self, stream_client: usize) {
        if self.stream_clients[stream_client].link.is_some() {
            return;
        }
        let Some(id) = self.connect(Owner::StreamClient(stream_client)) else { return };
        let user = self.stream_clients[stream_client].user;
        if self.stream_clients[stream_client].opened == 0 || self.chance(1, 10) {
            self.stream_clients[stream_client].filter = self.some_filter(user);
        }
        let seen = &self.stream_clients[stream_client].seen;
        let (last, count) = (seen.last().copied(), seen.len());
        let older = if count > 0 { self.below(count) } else { 0 };
        let asked = match (self.below(20), last) {
            (0, _) => Asked::After(0),
            (1, _) => Asked::Invalid,
            (2, _) | (_, None) => Asked::Now,
            (5, _) if self.shown[user] > 0 => Asked::After(self.shown[user]),
            (3..=4, Some(_)) => Asked::After(self.stream_clients[stream_client].seen[older]),
            (_, Some(last)) => Asked::After(last),
        };
        self.coverage.reconnects +=
            u64::from(self.stream_clients[stream_client].opened > 0 && matches!(asked, Asked::After(_)));
        let instance = self.instance_of(self.links[&id].shard);
        let is_moved = self.stream_clients[stream_client].last_instance != instance;
        self.stream_clients[stream_client].last_instance = instance;
        if let Asked::After(number) = asked {
            self.coverage.moves += u64::from(is_moved);
            self.coverage.ahead += u64::from(number > self.process(instance).shared.streams.position().0);
        }
        let StreamClient { filter, named, .. } = &self.stream_clients[stream_client];
        let (filter, named) = (filter.clone(), *named);
        let mut query = Vec::new();
        query.extend(filter.conversation.map(|id| format!("conversation_id={id}")));
        query.extend(filter.workspace.map(|id| format!("workspace_id={id}")));
        if !filter.kinds.is_empty() {
            let names: Vec<&str> = filter.kinds.iter().map(|kind| kind.as_str()).collect();
            query.push(format!("types={}", names.join(",")));
        }
        if named {
            query.push("named=true".to_owned());
        }
        let fields = match asked {
            Asked::After(number) if self.chance(1, 5) => {
                query.push(format!("last_event_id={number}"));
                String::new()
            }
            Asked::After(number) => format!("Last-Event-ID: {number}\r\n"),
            Asked::Invalid => "Last-Event-ID: none of yours\r\n".to_owned(),
            Asked::Now => String::new(),
        };
        let head = match query.is_empty() {
            true => "GET /output/stream".to_owned(),
            false => format!("GET /output/stream?{}", query.join("&")),
        };
        self.stream_clients[stream_client].opened += 1;
        self.stream_clients[stream_client].link = Some(id);
        self.send(id, user, Kind::Stream { stream_client, filter, named, asked }, &head, &fields, b"");
    }

    fn some_filter(&mut self, user: usize) -> Filter {
        let mut filter = Filter::default();
        match self.below(10) {
            0..=1 => filter.conversation = self.some_conversation(user).map(|at| self.model.conversations[at].id),
            2 => filter.workspace = self.some_workspace(user).map(|at| self.model.workspaces[at].id),
            3 => filter.kinds = vec![EventKind::Input],
            4 => filter.kinds = vec![EventKind::ConversationCreated, EventKind::ConversationLeft],
            _ => {}
        }
        filter
    }

    /// Handles an item that a client has read completely.
    pub fn client_saw(&mut self, id: usize, item: Item, request: Option<usize>, remembered: Option<u64>) {
        if let (Owner::StreamClient(stream_client), Some(number)) = (self.links[&id].owner, remembered) {
            self.stream_clients[stream_client].seen.push(number);
        }
        let (Item::Response(response), Some(at)) = (item, request) else { return };
        match self.requests[at].kind.clone() {
            Kind::Post(place) => self.post_finished(place, at, response),
            Kind::Stream { stream_client, .. } if !response.opens_stream && matches!(response.status, 403 | 404) => {
                self.stream_clients[stream_client].filter = Filter::default();
            }
            Kind::Read => {
                let user = match self.links[&id].owner {
                    Owner::Agent(agent) => self.agents[agent].user,
                    Owner::StreamClient(stream_client) => self.stream_clients[stream_client].user,
                };
                self.shown[user] = self.shown[user].max(response.position.unwrap_or(0));
            }
            Kind::Stream { .. } | Kind::Write | Kind::Renew { .. } => {}
        }
    }

    fn post_finished(&mut self, place: usize, at: usize, response: Response) {
        let sent = self.requests.len();
        let post = &mut self.posts[place];
        post.pending -= 1;
        match response.status {
            200 => {}
            401 | 408 | 500 | 503 => return,
            _ => {
                // One of two requests under way may be executed before a change that permits it, and the other after it.
                let was_acknowledged = post.acknowledged_before.is_some_and(|before| at >= before);
                let may = !was_acknowledged || response.status == 422 || post.aged;
                assert!(may, "r{at} was acknowledged, and its repetition is rejected");
                post.rejected = true;
                return;
            }
        }
        post.acknowledged_before.get_or_insert(sent);
        let first = post.response.get_or_insert_with(|| response.body.clone());
        let number = response.event_id.expect("the response has the event's number");
        let entry = self.model.entry(number).expect("an acknowledged message is committed");
        if response.replayed && !post.aged {
            assert!(*first == response.body, "r{at}: a retry gets another response");
        }
        let message = entry.event.message().expect("the event is the message");
        assert_eq!(message.content.as_str(), post.content, "r{at} names another message");
        self.coverage.acknowledged += 1;
        if self.model.is_deleted(entry) || self.model.is_changed(entry) {
            return;
        }
        let query = "SELECT count(*) FROM messages WHERE content = ?1";
        let count = self.database.number(query, &[post.content.clone().into()]);
        assert!(
            count == 1 || (count > 1 && self.posts[place].aged),
            "an acknowledged message is in the journal {count} times"
        );
    }

    /// Handles the end of a client's connection.
    pub fn client_sees_end(&mut self, id: usize) {
        let link = self.links.get_mut(&id).expect("the link exists");
        link.client_done = true;
        link.sending.clear();
        link.sending_ends = true;
        let owner = link.owner;
        // The server may not have detected it, and responds nevertheless.
        let responses = link.items.iter().filter_map(|item| item.2);
        let lost: Vec<usize> = link.expects.iter().copied().chain(responses).collect();
        for at in lost {
            if let Kind::Post(place) = self.requests[at].kind {
                self.posts[place].pending -= 1;
            }
        }
        match owner {
            Owner::StreamClient(stream_client) if self.stream_clients[stream_client].link == Some(id) => {
                self.stream_clients[stream_client].link = None;
            }
            _ => {}
        }
    }

    /// Resets a client's connection.
    pub fn reset(&mut self, id: usize) {
        let link = self.links.get_mut(&id).expect("the link exists");
        if link.client_done {
            return;
        }
        trace!(self, "link {id}: reset by the client");
        link.reset = true;
        self.coverage.resets += 1;
        self.client_sees_end(id);
    }

    /// A client shuts down its sending side and keeps reading.
    pub fn half_close(&mut self, id: usize) {
        let link = self.links.get_mut(&id).expect("the link exists");
        if link.client_done || link.sending_ends {
            return;
        }
        trace!(self, "link {id}: half closed");
        link.sending_ends = true;
        self.coverage.half_closes += 1;
    }

    /// Removes connections that both sides have closed.
    pub fn sweep(&mut self) {
        self.links.retain(|_, link| !(link.gone && link.client_done));
    }
}
